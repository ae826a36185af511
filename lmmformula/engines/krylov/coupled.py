"""How the group of most effects meets the others: what elimination and iterations cost depends on little else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lmmformula.engines.krylov.within import largest_blockwise
from lmmformula.ir.levels import Levels

__all__ = ["Coupled"]

FEW_LEVELS = 64
NEAR = 1e4
"""Effects whose vectors stay in a processor's cache."""
SPARSE, MOST = 12.0, 6.0
"""Nonzeros in a row below which the search for outliers grows, and by how much at most (it ends at 64 vectors)."""


@dataclass(frozen=True, slots=True)
class Coupled:
    """How the group of most effects meets the others.

    Attributes
    ----------
    group : int
    side : int
        Effects of the others.
    entries : float
        Nonzeros between the two.
    pairs : float
        Sum over its effects of the squared number of nonzeros.
    few : int
        Effects of groups of few levels beside larger ones: each moves against the others, and lies far out in the spectrum.
    total : int
        Effects of all groups.
    between : float
        Nonzeros between the others, both triangles: beside them only blocks within levels are on the diagonal.
    others : int
        How many they are.
    """

    group: int
    side: int
    entries: float
    pairs: float
    few: int = 0
    total: int = 0
    between: float = 0.0
    others: int = 1

    @classmethod
    def of(cls, blocks: Levels) -> Coupled:
        groups = blocks.groups
        a = largest_blockwise(blocks)
        counts = np.zeros(groups[a].m)
        for b, other in enumerate(groups):
            if b != a:
                counts += blocks.counts(a, b) * other.k
        k = groups[a].k
        side = sum(g.q for g in groups) - groups[a].q
        rest = [g for b, g in enumerate(groups) if b != a]
        few = sum(g.q for g in rest if g.m <= FEW_LEVELS) if len(rest) > 1 else 0
        pairs = combinations([b for b in range(len(groups)) if b != a], 2)
        between = sum(2.0 * blocks.pattern(b, c).nnz * groups[b].k * groups[c].k for b, c in pairs)
        return cls(
            a,
            side,
            float(k * counts.sum()),
            float(k * (counts @ counts)),
            min(few, FEW_LEVELS),
            side + groups[a].q,
            between,
            len(rest),
        )

    @property
    def width(self) -> float:
        """Nonzeros in a row of the Schur complement, about."""
        return min(float(self.side), self.pairs / max(self.side, 1))

    @property
    def crowding(self) -> float:
        """How many more vectors are looked at for outliers where levels meet few others, so that the bulk reaches far out."""
        met = self.entries / max(self.side, 1)
        return min(max((SPARSE / max(met, 1.0)) ** 2, 1.0), MOST)

    @property
    def reach(self) -> float:
        """How much longer a product takes whose vectors do not stay in the cache."""
        return 1.0 + max(np.log10(0.5 * max(self.total, 1) / NEAR), 0.0)
