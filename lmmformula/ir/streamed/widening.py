"""Sums of a store on all levels, so that those of different stores are of one shape and can be added up by whoever has them.

What is left with the store of the first group has no level here.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern
from lmmformula.ir.streamed.parcels import Parcel
from lmmformula.ir.streamed.within import Where
from lmmformula.ir.sums import AdjointOf, GramOf, LevelSums, Place, Reduced, Share, Sum, TransposedOf

__all__ = ["Wide", "added_tuples", "joined", "settled", "widened"]

_NONE = slice(0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """Where the levels and pairs of a store stand among all.

    Attributes
    ----------
    groups : tuple of Group
    apart : bool
        Whether the first group is left out.
    levels : tuple of slices or arrays
        Of each group.
    pairs : dict
        Of two groups.
    nnz : dict
        How many pairs there are.
    """

    groups: tuple[Group, ...]
    apart: bool
    levels: tuple[Where, ...]
    pairs: dict[tuple[int, int], Where]
    nnz: dict[tuple[int, int], int]

    def place(self) -> Place:
        """As sums want it."""
        levels = (_NONE, *self.levels[1:]) if self.apart else self.levels
        return Place(levels, lambda a, b: self.pairs[a, b] if self._has(a, b) else _NONE)

    def _has(self, a: int, b: int) -> bool:
        return (a, b) in self.pairs and not (self.apart and a == 0)

    def sizes(self) -> Levels:
        """How many levels and pairs there are."""
        first, *others = self.groups
        groups = (replace(first, m=0), *others) if self.apart else self.groups
        return _Sizes(groups, {pair: n for pair, n in self.nnz.items() if self._has(*pair)})


class _Sizes(Levels):
    """Numbers of levels and pairs alone."""

    def __init__(self, groups: tuple[Group, ...], nnz: Mapping[tuple[int, int], int]) -> None:
        super().__init__(groups, 0)
        self._nnz = nnz

    def _met(self, a: int, b: int) -> CrossPattern:
        none = np.zeros(self._nnz.get((a, b), 0), dtype=np.int32)
        return CrossPattern(np.zeros(0, dtype=np.int64), none)


def settled(asked: Sum[Share]) -> Sum[Share]:
    """The kind of a sum, without what it is of."""
    if isinstance(asked, GramOf):
        return GramOf(None, asked.fixed, apart=asked.apart)
    if isinstance(asked, AdjointOf):
        return AdjointOf(cast("Share", None), asked.apart)
    if isinstance(asked, LevelSums):
        return LevelSums(asked.a, cast("Share", None))
    if isinstance(asked, TransposedOf):
        return TransposedOf(cast("Share", None))
    if isinstance(asked, Reduced):
        return Reduced(cast("Share", None), (), asked.merge)
    return asked


def widened(shares: tuple[Share, ...], kinds: Parcel, wide: Wide, left: tuple[int, ...]) -> tuple[Share, ...]:
    """Sums of a store on all levels; of those `left` the part of the first group stays out."""
    whole, rest = replace(wide, apart=False), replace(wide, apart=True)
    out = []
    for i, (kind, share) in enumerate(zip(kinds.opened(), shares, strict=True)):
        own = rest if i in left else whole
        total = kind.total(own.sizes())
        total.add(_without_first(share) if i in left else share, own.place())
        out.append(total.result())
    return tuple(out)


def _without_first(share: Share) -> Share:
    if not isinstance(share, Gram):
        return (share[0][:0], *share[1:])
    cross = {pair: values[:0] if pair[0] == 0 else values for pair, values in share.cross.items()}
    diag, rhs = share.diag, share.rhs
    return Gram((diag[0][:0], *diag[1:]), cross, (rhs[0][:0], *rhs[1:]), share.vv)


def joined(one: tuple[Share, ...], other: tuple[Share, ...], kinds: Parcel) -> tuple[Share, ...]:
    """Sums of two stores as those of both."""
    return tuple(kind.joined(a, b) for kind, a, b in zip(kinds.opened(), one, other, strict=True))


def added_tuples(one: tuple[Share, ...], other: tuple[Share, ...]) -> tuple[Share, ...]:
    """Element by element."""
    return tuple(map(operator.add, one, other))
