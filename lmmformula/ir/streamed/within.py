"""Which of all levels the rows of one store have: sums over them are formed, kept and sent for these alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lmmformula.ir.groups import Group
from lmmformula.typing import Index

__all__ = ["Where", "Within", "found_in"]

Where: TypeAlias = "slice | Index"
"""Levels among others: neighbours, or in increasing order."""


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Levels of a store among all.

    Attributes
    ----------
    levels : tuple of slices or arrays
        Of each group.
    """

    levels: tuple[Where, ...]

    def local(self, among_all: Sequence[Where]) -> list[Where]:
        """Where some of the store's levels, given among all, stand among those of the store."""
        return [_local(own, where) for own, where in zip(self.levels, among_all, strict=True)]

    def of(self, groups: Iterable[Group]) -> tuple[Group, ...]:
        """The groups with the levels of the store alone."""
        return tuple(replace(g, m=size(own)) for g, own in zip(groups, self.levels, strict=True))


def size(where: Where) -> int:
    """How many levels."""
    return where.stop - where.start if isinstance(where, slice) else len(where)


def named(where: Where, local: Index) -> Index:
    """Levels among all, of their places in the store."""
    return local + where.start if isinstance(where, slice) else where[local]


def as_where(levels: Index) -> Where:
    """Increasing places as a slice where they are neighbours."""
    if len(levels) and int(levels[-1]) - int(levels[0]) + 1 == len(levels):
        return slice(int(levels[0]), int(levels[-1]) + 1)
    return levels


def found_in(parts: Iterable[Sequence[Where]], sizes: Sequence[int]) -> Within:
    """Levels that any of the parts has; `sizes` says how many of each group there are in all."""
    present = [np.zeros(m, dtype=bool) for m in sizes]
    for part in parts:
        for marks, where in zip(present, part, strict=True):
            marks[where] = True
    return Within(tuple(as_where(np.flatnonzero(marks).astype(np.int32)) for marks in present))


def _local(own: Where, where: Where) -> Where:
    if isinstance(own, slice):
        if isinstance(where, slice):
            return slice(where.start - own.start, where.stop - own.start)
        return where - own.start
    if isinstance(where, slice):  # all of them are there, so they are neighbours here, too
        start = int(np.searchsorted(own, where.start))
        return slice(start, start + where.stop - where.start)
    return np.searchsorted(own, where)
