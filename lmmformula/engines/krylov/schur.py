r"""The largest group eliminated exactly, and the rest as an operator: nothing dense is formed.

With A the group of most effects, D all other groups, ``M_AA = F F'`` (a k x k factor for each level) and ``T = F^-1 M_AD``::

    S = M_DD - T'T,      log|M| = 2 sum log|F| + log|S|                                                          (1)

S is symmetric positive definite of side q_D. Let ``B = C C'`` be its blocks within levels (k_j x k_j), N = T C^-T and
``H = C^-1 M_DD C^-T``, which is block diagonal apart from pairs of groups within D. Then::

    C^-1 S C^-T = H - N'N =: I - K,          K has zero blocks within levels,  spectrum of K below 1,              (2)

    log|M| = 2 sum log|F| + 2 sum log|C| + tr log(I - K)                                                          (3)

    M^-1 = [ M_AA^-1  0 ] + G (I - K)^-1 G',      G = [ -F^-T N ; C^-T ]                                          (4)
           [ 0        0 ]

Eliminating one of two crossed groups and scaling the other is the symmetric Gauss-Seidel (SSOR) splitting of M at half its
size: the spectra agree. Forming (2) costs O(nnz k^2), one product with I - K costs 2 nnz(N) + nnz(H) multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.engines.krylov.compressed import filled
from lmmformula.engines.krylov.moments import Moments
from lmmformula.engines.krylov.stochastic import Probed, StochasticInverse
from lmmformula.numerics.aligned import aligned
from lmmformula.numerics.batched import flat, matmul, transpose
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, SparseMatrix

if TYPE_CHECKING:
    from lmmformula.engines.krylov.schur_pattern import SchurPattern

__all__ = ["SchurComplement", "are_compiled"]

COMPILED_ENTRIES = 50_000
"""Nonzeros from which on products with a block run in compiled loops."""
NARROW = 2
"""Columns of a block up to which one after the other is faster than all at a time."""
SINGLE_ENTRIES = 200_000
"""Nonzeros from which on blocks of single precision, half the bytes to fetch, are worth a copy of the values."""


def are_compiled(entries: float) -> bool:
    """Whether products with so many nonzeros run in compiled loops."""
    return entries >= COMPILED_ENTRIES


@dataclass(frozen=True, eq=False)
class SchurComplement:
    """I - K of (2), and the way between it and the stacked effects.

    Attributes
    ----------
    pattern : SchurPattern
    inv : (m_A, k, k) array
        F^-1.
    c_inverses : tuple of (m_j, k_j, k_j) arrays
        C^-1 of each dense group.
    n, n_turned, h : arrays
        Values of N by rows and by columns, and of H.
    logdet : float
        ``2 sum log|F| + 2 sum log|C|``.
    """

    pattern: SchurPattern
    inv: Array
    c_inverses: tuple[Array, ...]
    n: Array
    n_turned: Array
    h: Array
    logdet: float

    deflates: ClassVar[bool] = False

    @property
    def q(self) -> int:
        return self.pattern.q

    @property
    def compiled(self) -> bool:
        """Whether products run in compiled loops."""
        return are_compiled(len(self.n))

    @cached_property
    def _matrices(self) -> tuple[SparseMatrix, SparseMatrix]:
        return self.pattern.by_row.matrix(self.n, self.q), self.pattern.h.matrix(self.h, self.q)

    @property
    def has_single(self) -> bool:
        """Whether products with blocks of single precision are at hand."""
        return len(self.n) >= SINGLE_ENTRIES

    @cached_property
    def _single(self) -> tuple[Array, Array, Array]:
        """N, N by columns and H in single precision."""
        return tuple(v.astype(np.float32) for v in (self.n, self.n_turned, self.h))  # pyright: ignore[reportReturnType]

    def _values(self, x: Array) -> tuple[Array, Array, Array]:
        """N, N by columns and H in the precision of a block."""
        return self._single if x.dtype == np.float32 else (self.n, self.n_turned, self.h)

    def times_n(self, x: Array) -> Array:
        """N x, (q_A, c)."""
        if not self.compiled:
            return self._matrices[0] @ x
        if x.shape[1] <= NARROW:
            return self.pattern.by_row.times(self._values(x)[0], x)
        return self._times_rows(self._filled(x), x.shape[1])

    def nearly_times_n(self, x: Array) -> Array:
        """N x, in single precision where that is at hand."""
        return self.times_n(x.astype(np.float32) if self.has_single else x)

    def _filled(self, x: Array) -> Array:
        """With columns of zeros up to the next multiple of what products take at a time."""
        return filled(x, alike=self.pattern.alike)

    def _times_rows(self, wide: Array, c: int) -> Array:
        """The first c columns of N times a block of full width."""
        n, (values, _, _) = self.pattern.by_row, self._values(wide)
        if self.pattern.alike:
            return np.ascontiguousarray(n.times_alike(values, wide)[:, :c])
        from lmmformula.numerics.krylov_kernels import csr_times

        out = aligned((self.pattern.rows, c), wide.dtype)
        in_parts(lambda i, j: csr_times(i, j, n.ptr, n.cols, values, wide, out), n.cuts)
        return out

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q_D, c); of single precision, in that, where there `has_single`."""
        if not self.compiled:
            n, h = self._matrices
            return h @ x - n.T @ (n @ x)
        if x.shape[1] <= NARROW:
            _, by_column, own = self._values(x)
            t = self.times_n(x)
            return self.pattern.h.times(own, x) - self.pattern.by_column.times(by_column, t)
        wide, h, turned = self._filled(x), self.pattern.h, self.pattern.by_column
        t, (_, by_column, own) = self._times_rows(wide, wide.shape[1]), self._values(x)
        if self.pattern.alike:
            whole = h.times_alike(own, wide)
            turned.add_alike(by_column, -1.0, t, whole)
            return np.ascontiguousarray(whole[:, : x.shape[1]])
        from lmmformula.numerics.krylov_kernels import schur_times

        out = aligned(x.shape, x.dtype)
        values = (h.ptr, h.cols, own, turned.ptr, turned.cols, by_column, wide, t, out)
        in_parts(lambda i, j: schur_times(i, j, *values), turned.cuts)
        return out

    def nearly(self, x: Array) -> Array:
        """(I - K) x where single precision does."""
        if not self.has_single or x.shape[1] <= NARROW:
            return self.apply(x)
        return self.apply(x.astype(np.float32)).astype(np.float64)

    def reduced(self, rhs: Stacked) -> tuple[Array, Array]:
        """Forward substitution: F^-1 of A's part, (q_A, c), and the right-hand side of I - K, (q_D, c)."""
        a = flat(matmul(self.inv, rhs[self.pattern.plan.chain[0]]))
        if not self.q:
            return a, np.zeros((0, a.shape[1]))
        dense = [
            flat(matmul(c, rhs[j])) for c, j in zip(self.c_inverses, self.pattern.plan.dense, strict=True)
        ]
        return a, np.concatenate(dense) - self.times_n_transposed(a)

    def times_n_transposed(self, a: Array) -> Array:
        """N'a, (q_D, c)."""
        if not self.compiled:
            return self._matrices[0].T @ a
        if a.shape[1] <= NARROW:
            return self.pattern.by_column.times(self.n_turned, a)
        turned, wide = self.pattern.by_column, self._filled(a)
        if self.pattern.alike:
            return np.ascontiguousarray(turned.times_alike(self.n_turned, wide)[:, : a.shape[1]])
        from lmmformula.numerics.krylov_kernels import csr_times

        out = np.empty((self.q, a.shape[1]))
        in_parts(lambda i, j: csr_times(i, j, turned.ptr, turned.cols, self.n_turned, wide, out), turned.cuts)
        return out

    def stacked(self, a: Array, x: Array) -> Stacked:
        """Back substitution from what `reduced` gave and the solution x of I - K."""
        plan, groups = self.pattern.plan, self.pattern.blocks.groups
        out: list[Array] = [np.empty(0)] * len(groups)
        for values, j in zip(self.dense_effects(x), plan.dense, strict=True):
            out[j] = values
        own = a - self.times_n(x) if self.q else a
        out[plan.chain[0]] = matmul(
            transpose(self.inv), own.reshape(len(own) // self.pattern.k, self.pattern.k, a.shape[1])
        )
        return tuple(out)

    # -- traces ------------------------------------------------------------------------------------------------

    def moments(self, wanted: bool, on_patterns: bool = False) -> Moments:
        """Exact sums over the nonzeros of K."""
        return Moments.of(self, wanted, on_patterns)

    def correction(self, v: Array) -> Array:
        """Nothing that the moments hold differs from v'K^2 v / 2 + v'K v of a column, (c,)."""
        return np.zeros(v.shape[1])

    def inverse(self, moments: Moments, found: Probed | None) -> StochasticInverse:
        """Blocks of M^-1 from solutions; None where nothing is iterated on."""
        return StochasticInverse.of(self, moments, found)

    def dense_effects(self, x: Array) -> list[Array]:
        """C^-T x, one (m_j, k_j, c) array for each dense group."""
        plan, out = self.pattern.plan, []
        for c, g, start in zip(self.c_inverses, self.pattern.dense_groups, plan.offsets, strict=True):
            out.append(matmul(transpose(c), x[start : start + g.q].reshape(g.m, g.k, -1)))
        return out
