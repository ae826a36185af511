r"""Preconditioners that eliminate nothing: the whole system M, split into diagonal blocks and the rest.

With D = C C' diagonal (``diagonal``) or its blocks within levels (``block-diagonal``, ``ssor``), strictly lower blocks Lo
between groups, and O what `diagonal` leaves within levels (zero for the others)::

    C^-1 M C^-T = I + O + Lo + Lo' =: I - N,         log|M| = 2 sum log|C| + log|I - N|                              (1)

Both diagonal splittings iterate on I - K with K = N. Its diagonal is zero: ``tr K = 0`` and ``tr K^2 = |O|^2 + 2 |Lo|^2``.

Symmetric Gauss-Seidel over groups (SSOR with relaxation 1; Saad 2003, sec. 10.2) takes P = C E E' C' with E = I + Lo::

    I - K = E^-1 (I - N) E^-T,         K = E^-1 Lo Lo' E^-T,         0 <= K < I                                      (2)

since ``E E' = I - N + Lo Lo'``. E^-1 is a substitution over groups, one sparse product each, and with ``y = E^-T x``::

    (I - K) x = y + E^-1 (x - y)                                                                                     (3)

costs one product with Lo and one with Lo' (Eisenstat 1981). |E| = 1, and the head of the log-determinant is exact again::

    tr log(I - K) = - |Lo|^2 + tr [ log(I - K) + K ] + tr [ Lo Lo' - K ]                                             (4)

whose last part vanishes for two groups, where E^-1 Lo = Lo.

For two groups, T = -N_12 and the bottom block of (2)::

    I - K = [ I       0     ]                                                                                        (5)
            [ 0   I - T'T   ]

so that this spectrum is that of the Schur complement scaled by the blocks of *M*, ``C_2^-1 S C_2^-T = I - T'T``, and ones. The
Schur complement of :mod:`lmmformula.engines.krylov.schur` is scaled by its own blocks, ``F F' = blocks of I - T'T``, to
F^-1 (I - T'T) F^-T. By Ostrowski's theorem (Horn & Johnson 2013, 4.5.9) its eigenvalues are those of I - T'T, in order, each
times a factor between 1 and 1 / (1 - max |T_j|^2) over the columns of levels j.

Inverse. With E = I for the diagonal splittings, M^-1 = C^-T X C^-1 and X = E^-T (I - K)^-1 E^-1 = I + N + N^2 + ... in all
three. The pairs of I + N and the level blocks of I + N + N^2 are sums over nonzeros; what is left is estimated from solutions::

    X - H = E^-T R E^-1,         R = (I - K)^-1 - E'H E                                                              (6)

References
----------
Saad (2003), Iterative methods for sparse linear systems, SIAM.
Eisenstat (1981), Efficient implementation of a class of preconditioned conjugate gradient methods, SISSC 2.
Horn & Johnson (2013), Matrix analysis, Cambridge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Across, Paired, Stacked, Uncoupled
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.krylov.compressed import Compressed, filled
from lmmformula.engines.krylov.moments import Moments
from lmmformula.engines.krylov.schur import NARROW, are_compiled
from lmmformula.engines.krylov.stochastic import (
    Probed,
    Products,
    add_sampled,
    level_products,
    split_products,
    summed_products,
)
from lmmformula.engines.scaled import scaled, scaled_diagonal
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import cholesky, flat, lower_inverse, matmul, segment_sum, transpose
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array

__all__ = ["SPLITTINGS", "SplitInverse", "SplitPattern", "Splitting"]

SPLITTINGS = ("ssor", "block-diagonal", "diagonal")
"""What this module splits M into; the Schur complement stands in a module of its own."""

Pair = tuple[int, int]
"""Two groups a < b."""


class SplitPattern:
    """Where the nonzeros of Lo stand; depends on neither W nor theta.

    Attributes
    ----------
    kind : str
        Of `SPLITTINGS`.
    plan : Elimination
        Nothing eliminated, all groups kept in their order.
    lower, upper : Compressed
        Lo and Lo' by rows, both from the pairs' values one after another.
    """

    goes_to_devices = False

    def __init__(self, blocks: Levels, kind: str) -> None:
        self.blocks, self.kind = blocks, kind
        self.plan = Elimination(blocks, ())
        self.q = self.plan.q_dense
        entries = [self._entries(*pair) for pair in self.pairs]
        low = np.concatenate([e[0] for e in entries]) if entries else np.zeros(0, dtype=np.int64)
        high = np.concatenate([e[1] for e in entries]) if entries else np.zeros(0, dtype=np.int64)
        self.lower, self.upper = self._compressed(high, low), self._compressed(low, high)

    @property
    def dense_groups(self) -> tuple[Group, ...]:
        return self.blocks.groups

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of groups."""
        return list(combinations(range(len(self.blocks.groups)), 2))

    @property
    def parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each effect lies in, (q,)."""
        return self._parts

    @cached_property
    def _parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each effect lies in, (q,)."""
        from scipy.sparse.csgraph import connected_components

        graph = self.lower.matrix(np.ones(len(self.lower.cols)), self.q)
        return connected_components(graph, directed=False)[1]

    def _entries(self, a: int, b: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions in a and in b of the pair's values, in their order."""
        pattern, (ga, gb) = self.blocks.pattern(a, b), (self.blocks.groups[a], self.blocks.groups[b])
        i = self.plan.offsets[a] + (pattern.rows().astype(np.int64) * ga.k)[:, None] + np.arange(ga.k)
        j = self.plan.offsets[b] + (pattern.indices.astype(np.int64) * gb.k)[:, None] + np.arange(gb.k)
        shape = (pattern.nnz, ga.k, gb.k)
        return np.broadcast_to(i[:, :, None], shape).ravel(), np.broadcast_to(j[:, None, :], shape).ravel()

    def _compressed(self, row: NDArray[np.int64], col: NDArray[np.int64]) -> Compressed:
        order = np.lexsort((col, row))
        ptr = np.zeros(self.q + 1, dtype=np.int64)
        np.cumsum(np.bincount(row, minlength=self.q), out=ptr[1:])
        return Compressed(ptr, col[order].astype(np.int32), order)

    def complement(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> Splitting:
        """(1) for Gram blocks `gram` and relative Cholesky factors L_a.

        Raises
        ------
        FitError
            If a diagonal block of M is not positive definite in floating point.
        """
        own, inverses, logdet = [], [], 0.0
        for diag, factor in zip(gram.diag, factors, strict=True):
            block = scaled_diagonal(diag, factor)
            try:
                c = self._scale(block)
            except np.linalg.LinAlgError as error:
                raise FitError(
                    "a diagonal block of the mixed-model matrix is not positive definite in floating point at theta up to "
                    f"{np.abs(factor).max():.3g}. The likely cause is a column or weight whose scale differs from the others "
                    "by many orders of magnitude; rescale it (for example divide by its standard deviation)."
                ) from error
            logdet -= 2.0 * float(np.log(np.einsum("mii->mi", c)).sum())
            within = matmul(matmul(c, block), transpose(c)) - np.eye(c.shape[1])
            own.append(within if self.kind == "diagonal" and c.shape[1] > 1 else None)
            inverses.append(c)
        values = {}
        for a, b in self.pairs:
            pattern = self.blocks.pattern(a, b)
            middle = scaled(factors[a], gram.cross[a, b], factors[b])
            left, right = inverses[a][pattern.rows()], inverses[b][pattern.indices]
            values[a, b] = matmul(matmul(left, middle), transpose(right))
        return Splitting(self, tuple(inverses), tuple(own), values, logdet)

    def _scale(self, block: Array) -> Array:
        """C^-1 for each level."""
        if self.kind != "diagonal" or block.shape[1] == 1:
            return lower_inverse(cholesky(block))
        diagonal = np.einsum("mii->mi", block)
        if not (diagonal > 0.0).all():
            raise np.linalg.LinAlgError("a diagonal element is not positive")
        return (1.0 / np.sqrt(diagonal))[:, :, None] * np.eye(block.shape[1])


@dataclass(frozen=True, eq=False)
class Splitting:
    """I - K of one of the splittings, and the way between it and the stacked effects.

    Attributes
    ----------
    pattern : SplitPattern
    c_inverses : tuple of (m_a, k_a, k_a) arrays
        C^-1 of each group.
    own : tuple of (m_a, k_a, k_a) arrays or None
        O of each group; None where it is zero.
    pairs : dict (a, b) -> (nnz, k_a, k_b) array, a < b
        Blocks of Lo' on the pattern of each pair.
    log_scale : float
        ``2 sum log|C|``.
    """

    pattern: SplitPattern
    c_inverses: tuple[Array, ...]
    own: tuple[Array | None, ...]
    pairs: dict[Pair, Array]
    log_scale: float

    deflates: ClassVar[bool] = False

    @property
    def q(self) -> int:
        return self.pattern.q

    @property
    def has_single(self) -> bool:
        """False: products are in double precision."""
        return False

    @property
    def triangular(self) -> bool:
        """Whether E is I + Lo rather than I."""
        return self.pattern.kind == "ssor"

    @property
    def compiled(self) -> bool:
        """Whether products run in compiled loops."""
        return are_compiled(len(self.values))

    @cached_property
    def values(self) -> Array:
        """All pairs' values one after another."""
        return np.concatenate([v.ravel() for v in self.pairs.values()]) if self.pairs else np.zeros(0)

    @cached_property
    def _data(self) -> tuple[Array, Array]:
        """Lo and Lo' by rows."""
        return self.values[self.pattern.lower.source], self.values[self.pattern.upper.source]

    @cached_property
    def square(self) -> float:
        """|Lo|^2, the sum of its squared elements."""
        return float(self.values @ self.values)

    @property
    def logdet(self) -> float:
        """The part of log|M| that is exact beside the moments."""
        return self.log_scale - (self.square if self.triangular else 0.0)

    def moments(self, wanted: bool, on_patterns: bool = False) -> Moments:
        """tr K^2 where it is exact, `wanted` or not; nothing but that sum is kept."""
        within = sum(float(np.vdot(o, o)) for o in self.own if o is not None)
        return Moments(not self.triangular, 0.0 if self.triangular else 2.0 * self.square + within)

    # -- products ----------------------------------------------------------------------------------------------

    def _times(self, upper: bool, x: Array, start: int, stop: int) -> Array:
        """Rows `start` to `stop` of Lo x or Lo'x."""
        pattern = self.pattern.upper if upper else self.pattern.lower
        ptr, data = pattern.ptr[start : stop + 1], self._data[upper]
        if self.compiled and x.shape[1] > NARROW:
            from lmmformula.numerics.krylov_kernels import csr_times

            out = np.empty((stop - start, x.shape[1]))
            cuts = [0, *(i - start for i in pattern.cuts if start < i < stop), stop - start]
            wide = filled(x)
            in_parts(lambda i, j: csr_times(i, j, ptr, pattern.cols, data, wide, out), cuts)
            return out
        some = slice(int(ptr[0]), int(ptr[-1]))
        return Compressed(ptr - ptr[0], pattern.cols[some], slice(None)).matrix(data[some], self.q) @ x

    def coupled(self, x: Array) -> Array:
        """-N x."""
        out = self._times(False, x, 0, self.q) + self._times(True, x, 0, self.q)
        for o, start in zip(self.own, self.pattern.plan.offsets, strict=True):
            if o is not None:
                rows = slice(start, start + len(o) * o.shape[1])
                out[rows] += matmul(o, x[rows].reshape(len(o), o.shape[1], -1)).reshape(-1, x.shape[1])
        return out

    def _ranges(self) -> list[tuple[int, int]]:
        starts = self.pattern.plan.offsets
        return [(s, s + g.q) for s, g in zip(starts, self.pattern.dense_groups, strict=True)]

    def forward(self, x: Array) -> Array:
        """E^-1 x, group by group from the first."""
        if not self.triangular:
            return x
        out = x.copy()
        for start, stop in self._ranges()[1:]:
            out[start:stop] -= self._times(False, out, start, stop)
        return out

    def backward(self, x: Array) -> Array:
        """E^-T x, group by group from the last."""
        if not self.triangular:
            return x
        out = x.copy()
        for start, stop in self._ranges()[-2::-1]:
            out[start:stop] -= self._times(True, out, start, stop)
        return out

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q, c)."""
        if not self.triangular:
            return x + self.coupled(x)
        y = self.backward(x)
        return y + self.forward(x - y)

    def correction(self, v: Array) -> Array:
        """v'(Lo Lo' - K) v of each column for the last part of (4), (c,)."""
        if not self.triangular or len(self.own) < 3:
            return np.zeros(v.shape[1])
        first = self._times(True, v, 0, self.q)
        second = v - self.backward(v)
        return np.einsum("qc,qc->c", first, first) - np.einsum("qc,qc->c", second, second)

    def inverse(self, moments: Moments, found: Probed | None) -> SplitInverse:
        """Blocks of M^-1 from solutions."""
        assert found is not None  # there is always something to iterate on
        return SplitInverse.of(self, found)

    # -- in and out --------------------------------------------------------------------------------------------

    def reduced(self, rhs: Stacked) -> tuple[Array, Array]:
        """Nothing eliminated, (0, c), and the right-hand side E^-1 C^-1 rhs of I - K, (q, c)."""
        own = [flat(matmul(i, r)) for i, r in zip(self.c_inverses, rhs, strict=True)]
        return np.zeros((0, rhs[0].shape[-1])), self.forward(np.concatenate(own))

    def stacked(self, a: Array, x: Array) -> Stacked:
        """C^-T E^-T x."""
        return tuple(self.scaled_effects(self.backward(x)))

    def scaled_effects(self, x: Array) -> list[Array]:
        """C^-T x, one (m_a, k_a, c) array for each group."""
        out = []
        for c, (start, stop) in zip(self.c_inverses, self._ranges(), strict=True):
            out.append(matmul(transpose(c), x[start:stop].reshape(len(c), c.shape[1], -1)))
        return out

    def level_squares(self, a: int) -> Array:
        """Blocks of N^2 within the levels of group a, (m_a, k_a, k_a)."""
        c, own = self.c_inverses[a], self.own[a]
        out = np.zeros_like(c) if own is None else matmul(own, own)
        for (i, j), v in self.pairs.items():
            pattern = self.pattern.blocks.pattern(i, j)
            if i == a:
                out = out + segment_sum(pattern.rows(), np.einsum("pik,pjk->pij", v, v), len(c))
            elif j == a:
                out = out + segment_sum(pattern.indices, np.einsum("pki,pkj->pij", v, v), len(c))
        return out


@dataclass(frozen=True, eq=False)
class SplitInverse(Uncoupled, Paired):
    """Blocks of M^-1 and their sums, by (6).

    Attributes
    ----------
    splitting : Splitting
    rest : Products
        X without I + N.
    own_rest : Products
        X without I + N + N^2.
    """

    splitting: Splitting
    rest: Products
    own_rest: Products

    @classmethod
    def of(cls, s: Splitting, found: Probed) -> SplitInverse:
        """From solutions for the basis of outliers and for the probes."""
        left, r = np.hstack([found.basis, found.probes]), found.basis.shape[1]
        x = np.hstack([found.of_basis, found.of_probes])
        w = left + s._times(False, left, 0, s.q) if s.triangular else left
        once = w - s.coupled(w)
        twice = w - s.coupled(once)
        rests = []
        for head in (once, twice):
            turned = head + s._times(True, head, 0, s.q) if s.triangular else head
            split = split_products(left, x - turned, r)
            rests.append(Products(s.backward(split.a), s.backward(split.b), r))
        return cls(s, rests[0], rests[1])

    def _head(self, a: int) -> Array:
        """I + N + N^2 within the levels of group a."""
        own, out = self.splitting.own[a], self.splitting.level_squares(a)
        out = out + np.eye(out.shape[1])
        return out if own is None else out - own

    def _vectors(self, a: int) -> list[Array]:
        return [self.splitting.scaled_effects(v)[a] for v in (self.own_rest.a, self.own_rest.b)]

    def _scaled_head(self, a: int) -> Array:
        c = self.splitting.c_inverses[a]
        return matmul(matmul(transpose(c), self._head(a)), c)

    @cached_property
    def _sums(self) -> list[tuple[Array, Array]]:
        count = len(self.splitting.own)
        exact = self.own_rest.exact
        return [
            summed_products(self._scaled_head(a).sum(axis=0), self._vectors(a), exact) for a in range(count)
        ]

    @property
    def traces(self) -> tuple[Array, ...]:
        """Per group the sum over levels of the diagonal blocks of M^-1."""
        return tuple(s[0] for s in self._sums)

    @property
    def trace_errors(self) -> tuple[Array, ...]:
        """Standard errors of `traces`, element by element."""
        return tuple(s[1] for s in self._sums)

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        return self._scaled_head(a) + level_products(*self._vectors(a))

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of the pair, a < b."""
        s = self.splitting
        pattern = s.pattern.blocks.pattern(a, b)
        left, right = transpose(s.c_inverses[a])[pattern.rows()], s.c_inverses[b][pattern.indices]
        return matmul(matmul(left, self._pairs[a, b]), right)

    @cached_property
    def _pairs(self) -> dict[Pair, Array]:
        """X on the patterns of all pairs."""
        s, lower, (a, b) = self.splitting, self.splitting.pattern.lower, (self.rest.a, self.rest.b)
        values = -s.values[lower.source]
        left, right = 0.5 * np.hstack([a, b]), np.hstack([b, a])
        add_sampled(lower, left, right, values, compiled=s.compiled)
        flat = np.empty_like(values)
        flat[lower.source] = values
        ends = np.cumsum([v.size for v in s.pairs.values()])[:-1]
        parts = np.split(flat, ends)
        return {pair: p.reshape(v.shape) for (pair, v), p in zip(s.pairs.items(), parts, strict=True)}
