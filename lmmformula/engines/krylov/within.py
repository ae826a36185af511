"""Levels of one group that M couples: a precision Q that is not diagonal, or rows of several levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.engines.base import Across
from lmmformula.engines.scaled import scaled
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array, Index

__all__ = ["Within", "largest_blockwise"]


def largest_blockwise(blocks: Levels) -> int:
    """The group of most effects among those that can be eliminated level by level; there is one."""
    return int(np.argmax([g.q if g.is_blockwise else -1 for g in blocks.groups]))


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Pairs of levels of one group that are coupled.

    Attributes
    ----------
    group : int
    low, high : (nnz,) arrays
        Levels s < t of each pair.
    members, prior : (nnz of either,) arrays or None
        Where the pairs that rows share, and the elements of Q below its diagonal, stand among them.
    """

    group: int
    low: Index
    high: Index
    members: Index | None
    prior: Index | None

    @classmethod
    def of(cls, blocks: Levels, a: int) -> Within | None:
        """The pairs of group a; None if its levels are not coupled."""
        group = blocks.groups[a]
        if group.is_blockwise:
            return None
        keys: list[Index | None] = [None, None]
        if group.several:
            pattern = blocks.pattern(a, a)
            keys[0] = pattern.rows() * group.m + pattern.indices
        if group.across is not None:
            high, low, _ = group.across.precision(group.across.start()).below
            keys[1] = low.astype(np.int64) * group.m + high
        found = np.unique(np.concatenate([k for k in keys if k is not None]))
        places = [None if k is None else np.searchsorted(found, k) for k in keys]
        return cls(a, found // group.m, found % group.m, places[0], places[1])

    def values(self, gram: Gram, factors: Sequence[Array], across: Across) -> Array:
        """Blocks of M for the pairs, (nnz, k, k)."""
        a, lower = self.group, factors[self.group]
        out = np.zeros((len(self.low), *lower.shape))
        if self.members is not None:
            out[self.members] += scaled(lower, gram.cross[a, a], lower)
        q = across[a] if across else None
        if self.prior is not None and q is not None:
            for i in range(len(lower)):
                out[self.prior, i, i] += q.below[2]
        return out
