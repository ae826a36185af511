r"""X'V^-1X without a column of M^-1: the largest group eliminated exactly, the rest by conjugate gradients.

With a the largest group, r all others, and M, C and B as in :mod:`lmmformula.engines.backfitting.factor`::

    S = M_rr - B_ra M_a^-1 B_ar,      F = C_r - B_ra M_a^-1 C_a,      K = X'WX - C_a'M_a^-1 C_a
    X'V^-1X = X'WX - C'M^-1 C = K - F'S^-1 F                                                                    (1)

For any U near S^-1 F the value K - F'U - U'F + U'SU is off by E'SE, E = U - S^-1 F: the square of a small number, so the
iteration may end early. It is preconditioned by the blocks of M_r. Nothing of the size of C_a is formed: memory is that of
F, and of B_ar U for some levels at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from lmmformula.engines.backfitting.clubbed import Clubbed, Operators
from lmmformula.numerics.batched import cholesky, flat, lower_inverse, matmul, transpose
from lmmformula.numerics.conjugate_gradients import conjugate_gradients
from lmmformula.numerics.cuts import even_cuts, summing_parts
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Numbers, SparseMatrix

__all__ = ["Complement", "fixed_information", "information"]

TOLERANCE = 1e-7
"""Relative residual of U; (1) is then exact to its square."""
MAX_STEPS = 1_000
COMPILED_PRODUCTS = 2e7
"""Multiplications of one product with S from which on a compiled loop repays its import."""
_PART_CELLS = 500_000
"""Cells of B_ar U that are held at a time."""
_SUM_CELLS = 8_000_000
"""Cells of all the partial sums of one product together."""


def fixed_information(factor: Operators) -> Array:
    """X'V^-1X of the working model, (p, p)."""
    gram = factor.gram
    system = Clubbed(factor, gram.rhs, gram.vv)
    if not system.order or not len(gram.vv):
        return gram.vv
    return information(system, Complement(factor, system.order[0], system.order[1:]))


def information(system: Clubbed, s: Complement) -> Array:
    """The same of a system and the complement of its first group."""
    k = system.xwx - system.explained[s.a]
    if not s.rest:
        return 0.5 * (k + k.T)
    f = s.reduced(system.columns)
    u = conjugate_gradients(s.times, f, TOLERANCE, MAX_STEPS).x
    fu = f.T @ u
    out = k - fu - fu.T + u.T @ s.times(u)
    return 0.5 * (out + out.T)


@dataclass(frozen=True, eq=False)
class Complement:
    """S of (1) between blocks of M_r scaled to one, on stacked effects of the groups `rest`."""

    factor: Operators
    a: int
    rest: tuple[int, ...]

    @cached_property
    def halves(self) -> tuple[Array, ...]:
        """H_b with H_b M_b H_b' = I."""
        return tuple(lower_inverse(cholesky(self.factor.own[b])) for b in self.rest)

    @cached_property
    def inner(self) -> Array:
        """L_a M_a^-1 L_a', (m, k, k)."""
        low = self.factor.factors[self.a]
        return matmul(matmul(low, self.factor.inverses[self.a]), low.T)

    @cached_property
    def coupling(self) -> SparseMatrix:
        """Z_a'WZ_r by compressed rows."""
        from scipy.sparse import csr_array, hstack

        parts = [csr_array(self.factor.couplings[self.a, b]) for b in self.rest]
        return parts[0] if len(parts) == 1 else csr_array(hstack(parts))

    @cached_property
    def compiled(self) -> bool:
        """Whether there is enough to do for a compiled loop."""
        return float(self.coupling.nnz) * len(self.factor.gram.vv) >= COMPILED_PRODUCTS

    def through(self, b: Array) -> Array:
        """B_ra M_a^-1 B_ar b without the L_r, (q_r, c)."""
        n, k, size = self.coupling, self.inner.shape[1], len(b) * b.shape[1]
        if not self.compiled:
            return self._pull(lambda i, j: (_rows(n, i * k, j * k) @ b).reshape(j - i, k, -1))
        from lmmformula.numerics.row_kernels import add_eliminated

        b = np.ascontiguousarray(b)

        def part(i: int, j: int) -> Array:
            out = np.zeros_like(b)
            add_eliminated(i, j, n.indptr, n.indices, n.data, self.inner, b, out)
            return out

        cuts = np.unique(np.array(even_cuts(n.indptr, summing_parts(size, _SUM_CELLS))) // k)
        return sum(in_parts(part, cuts.tolist()), np.zeros(()))

    def _pull(self, values: Callable[[int, int], Array]) -> Array:
        """sum over levels of N_s' L_a M_a^-1 L_a' v_s, (q_r, c), v_s given for ranges of levels."""
        n, (m, k, _) = self.coupling, self.inner.shape
        total: Numbers = 0.0
        size = max(1, _PART_CELLS // (k * max(1, len(self.factor.gram.vv))))
        for i, j in pairwise(edges(m, size)):
            total += _rows(n, i * k, j * k).T @ flat(matmul(self.inner[i:j], values(i, j)))
        return total

    def columns_through(self, columns: tuple[Array, ...]) -> Array:
        """B_ra M_a^-1 C_a without the L_r, (q_r, p)."""
        return self._pull(lambda i, j: columns[self.a][i:j])

    def times(self, x: Array) -> Array:
        """H S H' x, (q_r, c)."""
        scaled = [matmul(transpose(h), v) for h, v in zip(self.halves, self._split(x), strict=True)]
        b = [matmul(self.factor.factors[i], v) for i, v in zip(self.rest, scaled, strict=True)]
        pulled = self._split(self.through(np.concatenate([flat(v) for v in b])))
        out = []
        for i, (own, down) in enumerate(zip(self._split(x), pulled, strict=True)):
            total = -down
            for j, other in enumerate(b):
                if j != i:
                    total += (self.factor.couplings[self.rest[i], self.rest[j]] @ flat(other)).reshape(
                        total.shape
                    )
            out.append(flat(own + self._into(i, total)))
        return np.concatenate(out)

    def reduced(self, columns: tuple[Array, ...]) -> Array:
        """H F, (q_r, p), from Z'WX."""
        pulled = self._split(self.columns_through(columns))
        parts = (
            self._into(i, columns[b] - v) for i, (b, v) in enumerate(zip(self.rest, pulled, strict=True))
        )
        return np.concatenate([flat(v) for v in parts])

    def _into(self, i: int, v: Array) -> Array:
        """H L'v for the i-th group of the rest."""
        return matmul(self.halves[i], matmul(self.factor.factors[self.rest[i]].T, v))

    def _split(self, x: Array) -> list[Array]:
        groups, out, at = self.factor.blocks.groups, [], 0
        for b in self.rest:
            out.append(x[at : at + groups[b].q].reshape(groups[b].m, groups[b].k, -1))
            at += groups[b].q
        return out


def _rows(n: SparseMatrix, first: int, last: int) -> SparseMatrix:
    """Rows first..last of a compressed matrix, on its own arrays."""
    from scipy.sparse import csr_array

    start, stop = int(n.indptr[first]), int(n.indptr[last])
    index = (n.indices[start:stop], n.indptr[first : last + 1] - start)
    return csr_array((n.data[start:stop], *index), shape=(last - first, n.shape[1]))
