r"""Elimination of a chain of nested groups a_1 in a_2 in ..., finest first, for any array module.

With ``S = Lambda'Z'WZ Lambda + I`` of the chain, group by group and level by level::

    F_i F_i' = S_ii,      T_ij = F_i^-1 S_ij
    S_jl, s_j  lose  sum over the levels of i in each level of j of  T_ij'T_il, T_ij'F_i^-1 s_i

for right-hand sides s. A level of i meets one level of j only, so what is lost stays block diagonal
(:mod:`lmmformula.engines.elimination`): O(q k^2) and no matrix larger than k x k. ``log|S| = 2 sum log|F_i|``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.engines.elimination import oriented
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array, Index, Numbers

__all__ = ["Chain", "Eliminated", "StackModule"]


class StackModule(Protocol):
    """Arithmetic on stacks (m, k, k) of small matrices."""

    def unit_lower(self, a: Numbers) -> tuple[Numbers, Numbers]:
        """F^-1 and log|F|, summed over the stack, of the Cholesky factors of a stack."""
        ...

    def times(self, a: Numbers, b: Numbers) -> Numbers:
        """Products, matrix by matrix."""
        ...

    def segment_sum(self, values: Numbers, parent: Index, m: int) -> Numbers:
        """Sums of values (n, ...) with the same parent, (m, ...)."""
        ...


@dataclass(frozen=True, eq=False)
class Eliminated:
    """A chain's factor.

    Attributes
    ----------
    parents : dict (i, j) -> (m_i,) index array
    inverses : list of (m, k, k)
        F_i^-1.
    pairs : dict (i, j) -> (m_i, k_i, k_j)
        T_ij.
    sides : list of (m, k, c)
        F^-1 s.
    log_det : ()
        sum log|F_i|.
    """

    parents: dict[tuple[int, int], Index]
    inverses: list[Numbers]
    pairs: dict[tuple[int, int], Numbers]
    sides: list[Numbers]
    log_det: Numbers

    def back(self, right: Sequence[Numbers], ops: StackModule) -> list[Numbers]:
        """F^-T of right-hand sides (m, k, c)."""
        out: list[Numbers] = [None] * len(self.inverses)
        for i in reversed(range(len(out))):
            own = right[i]
            for j in range(i + 1, len(out)):
                own = own - ops.times(self.pairs[i, j], out[j][self.parents[i, j]])
            out[i] = ops.times(self.inverses[i].swapaxes(-1, -2), own)
        return out


@dataclass(frozen=True, eq=False)
class Chain:
    """Cross-products of a chain.

    Attributes
    ----------
    groups : tuple of int
        Finest first.
    parents : dict (i, j) -> (m_i,) index array
        Level of groups[j] that holds each level of groups[i].
    diag : tuple of (m, k, k) arrays
    pairs : dict (i, j) -> (m_i, k_i, k_j) array
    """

    groups: tuple[int, ...]
    parents: dict[tuple[int, int], Index]
    diag: tuple[Array, ...]
    pairs: dict[tuple[int, int], Array]

    @classmethod
    def of(cls, blocks: Levels, gram: Gram, groups: tuple[int, ...]) -> Chain:
        """Of nested groups, with their blocks of the Gram."""
        parents, pairs = {}, {}
        for i, a in enumerate(groups):
            for j, b in enumerate(groups[i + 1 :], start=i + 1):
                _, parents[i, j], order = oriented(blocks, a, b)
                values = gram.cross[min(a, b), max(a, b)]
                pairs[i, j] = values if a < b else np.swapaxes(values[order], 1, 2)
        return cls(groups, parents, tuple(gram.diag[a] for a in groups), pairs)

    def eliminated(self, lowers: Sequence[Numbers], sides: Sequence[Numbers], ops: StackModule) -> Eliminated:
        """The factor at Lambda of each group (k, k), and F^-1 of right-hand sides (m, k, c)."""
        every, times, turned = range(len(self.groups)), ops.times, [low.T for low in lowers]
        diag = [times(times(turned[i], a), lowers[i]) + np.eye(a.shape[-1]) for i, a in enumerate(self.diag)]
        pairs = {(i, j): times(times(turned[i], c), lowers[j]) for (i, j), c in self.pairs.items()}
        sides, inverses, log_det = list(sides), [], 0.0
        for i in every:
            inverse, one = ops.unit_lower(diag[i])
            inverses.append(inverse)
            log_det = log_det + one
            sides[i] = times(inverse, sides[i])
            for j in every[i + 1 :]:
                pairs[i, j] = times(inverse, pairs[i, j])
            for j in every[i + 1 :]:
                t, parent, m = pairs[i, j].swapaxes(-1, -2), self.parents[i, j], len(self.diag[j])
                diag[j] = diag[j] - ops.segment_sum(times(t, pairs[i, j]), parent, m)
                sides[j] = sides[j] - ops.segment_sum(times(t, sides[i]), parent, m)
                for other in every[j + 1 :]:
                    lost = ops.segment_sum(times(t, pairs[i, other]), parent, m)
                    pairs[j, other] = pairs[j, other] - lost
        return Eliminated(self.parents, inverses, pairs, sides, log_det)
