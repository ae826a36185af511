"""The oracle: every answer from the q x q matrix M itself. O(q^3) time, O(q^2) memory.

Kept short enough to be read as the definition; the contract tests hold the other engines to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.engines.base import Across, Certain, Drawless, Exact, Paired, Stacked, Survey, traces
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.factorised_cost import exact_cost
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import flat
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["DenseEngine", "DenseFactor"]


@dataclass(frozen=True)
class DenseEngine(Exact):
    """Form M and factorise it whole."""

    name: str = "dense"

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """Everything dense."""
        side = problem.q
        cost = exact_cost(problem, blocks.once(Elimination), side)
        words = "for checking; cost grows with the cube of the random effects"
        return Survey(cost, ("dense",) * len(blocks.groups), words, side)

    def prepare(self, blocks: Levels) -> DensePrepared:
        return DensePrepared(blocks)


@dataclass(frozen=True, eq=False)
class DensePrepared:
    """Nothing is worth preparing."""

    blocks: Levels

    is_exact = True

    @property
    def dense_side(self) -> int:
        return sum(g.q for g in self.blocks.groups)

    @property
    def rough(self) -> DensePrepared:
        return self

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> DenseFactor:
        factor = DenseFactor(self.blocks, gram, tuple(factors), across)
        try:
            np.linalg.cholesky(factor.matrix)
        except np.linalg.LinAlgError as error:
            raise FitError("the mixed-model matrix is not positive definite.") from error
        return factor


@dataclass(frozen=True, eq=False)
class DenseFactor(Certain, Drawless, Paired):
    """M, its inverse and its determinant."""

    blocks: Levels
    gram: Gram
    factors: tuple[Array, ...]
    across: Across = ()

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        ends = np.cumsum([0, *(g.q for g in self.blocks.groups)])
        return tuple(slice(int(i), int(j)) for i, j in pairwise(ends))

    @cached_property
    def matrix(self) -> Array:
        """M = Lambda' Z'WZ Lambda + Q, (q, q)."""
        groups, q = self.blocks.groups, self.slices[-1].stop
        c, lam, prior = np.zeros((q, q)), np.zeros((q, q)), np.eye(q)
        for a, group in enumerate(groups):
            lam[self.slices[a], self.slices[a]] = np.kron(np.eye(group.m), self.factors[a])
            for level in range(group.m):
                i = self._span(a, level)
                c[i, i] = self.gram.diag[a][level]
            if self.across and (precision := self.across[a]) is not None:
                prior[self.slices[a], self.slices[a]] = np.kron(precision.matrix.toarray(), np.eye(group.k))
            for b in range(a, len(groups)):
                if (a, b) not in self.gram.cross:
                    continue
                pattern, values = self.blocks.pattern(a, b), self.gram.cross[a, b]
                for slot, (i, j) in enumerate(zip(pattern.rows(), pattern.indices, strict=True)):
                    c[self._span(a, i), self._span(b, j)] = values[slot]
                    c[self._span(b, j), self._span(a, i)] = values[slot].T
        return lam.T @ c @ lam + prior

    def _span(self, a: int, level: int) -> slice:
        k, start = self.blocks.groups[a].k, self.slices[a].start
        return slice(start + int(level) * k, start + (int(level) + 1) * k)

    @cached_property
    def matrix_inverse(self) -> Array:
        return np.linalg.inv(self.matrix)

    @property
    def logdet(self) -> float:
        return float(np.linalg.slogdet(self.matrix)[1])

    def solve(self, rhs: Stacked) -> Stacked:
        out = np.linalg.solve(self.matrix, np.concatenate([flat(r) for r in rhs]))
        return tuple(out[s].reshape(r.shape) for s, r in zip(self.slices, rhs, strict=True))

    def inverse(self) -> DenseFactor:
        return self

    def diagonal(self, a: int) -> Array:
        spans = [self._span(a, level) for level in range(self.blocks.groups[a].m)]
        return np.stack([self.matrix_inverse[i, i] for i in spans])

    def pair(self, a: int, b: int) -> Array:
        pattern = self.blocks.pattern(a, b)
        cells = zip(pattern.rows(), pattern.indices, strict=True)
        return np.stack([self.matrix_inverse[self._span(a, i), self._span(b, j)] for i, j in cells])

    def against(self, a: int, q: csr_array) -> Array:
        g = self.blocks.groups[a]
        own = self.matrix_inverse[self.slices[a], self.slices[a]].reshape(g.m, g.k, g.m, g.k)
        return np.einsum("st,tisj->ij", q.toarray(), own)

    def trace_blocks(self) -> tuple[Array, ...]:
        return traces(self, self.across, len(self.blocks.groups))
