"""Levels of rows that lie with workers: which of them meet is found there, and brought here when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.streamed.parts import Part
from lmmformula.ir.streamed.widening import Wide
from lmmformula.ir.streamed.within import Where, as_where, named
from lmmformula.ir.sums import Place
from lmmformula.typing import Index

__all__ = ["SpreadLevels"]


class _Stores(Protocol):
    """Rows of workers."""

    @property
    def apart(self) -> bool: ...
    def within(self, number: int) -> tuple[Where, ...]:
        """Levels of a store among all, of each group."""
        ...

    @property
    def count(self) -> int: ...
    def pairs(self, a: int, b: int) -> Iterator[tuple[Index, Index]]: ...
    def n_pairs(self, a: int, b: int) -> list[int]: ...


class _Awaited(CrossPattern):
    """A pattern of so many pairs; which these are is brought when it is asked for."""

    def __init__(self, nnz: int, bring: Callable[[], CrossPattern]) -> None:
        self.__dict__["_nnz"], self.__dict__["_bring"] = nnz, bring

    @property
    def nnz(self) -> int:
        return self.__dict__["_nnz"]

    @cached_property
    def _whole(self) -> CrossPattern:
        return self.__dict__["_bring"]()

    @cached_property
    def indptr(self) -> NDArray[np.int64]:  # type: ignore[override]
        return self._whole.indptr

    @cached_property
    def indices(self) -> NDArray[np.int32]:  # type: ignore[override]
        return self._whole.indices


class SpreadLevels(Levels):
    """Groups, and patterns of their pairs as the stores have them together.

    Parameters
    ----------
    groups : tuple of Group
    n : int
    rows
        The stores.
    """

    def __init__(self, groups: tuple[Group, ...], n: int, rows: _Stores) -> None:
        super().__init__(groups, n)
        self._rows = rows
        self._places: dict[tuple[int, int], list[Where]] = {}

    def place_of(self, number: int) -> Place:
        """Where the levels and pairs of a store stand among all."""

        def pairs(a: int, b: int) -> Where:
            if (a, b) not in self._places:
                _ = self.pattern(a, b).indices
            return self._places[a, b][number]

        return Place(self._rows.within(number), pairs)

    def wide(self, number: int, *, apart: bool) -> Wide:
        """The same for the workers; `apart` leaves out the first group."""
        place, own = self.place_of(number), [p for p in self.pairs() if not (apart and p[0] == 0)]
        nnz = {pair: self.pattern(*pair).nnz for pair in own}
        return Wide(self.groups, apart, place.levels, {pair: place.pairs(*pair) for pair in own}, nnz)

    def place(self, a: int, b: int, number: int, part: Part) -> Where:
        """Where the pairs of a part that was brought here stand among all."""
        del number
        pattern, own = self.pattern(a, b), part.rows.levels.pattern(a, b)
        m = self.groups[b].m
        known = pattern.rows().astype(np.int64) * m + pattern.indices
        asked = named(part.levels[a], own.rows()).astype(np.int64) * m + named(part.levels[b], own.indices)
        return np.searchsorted(known, asked)

    def _met(self, a: int, b: int) -> CrossPattern:
        if self._rows.apart and a == 0 and b != 0:  # no pair is in two stores
            return _Awaited(sum(self._rows.n_pairs(a, b)), lambda: self._union(a, b))
        return self._union(a, b)

    def _union(self, a: int, b: int) -> CrossPattern:
        """Of the stores; where these have the levels of the first group to themselves, one after the other."""
        m_a, m_b = self.groups[a].m, self.groups[b].m
        found = [row.astype(np.int64) * m_b + column for row, column in self._rows.pairs(a, b)]
        order = sorted((i for i, keys in enumerate(found) if len(keys)), key=lambda i: int(found[i][0]))
        apart = all(found[i][-1] < found[j][0] for i, j in pairwise(order))
        together = np.concatenate([*(found[i] for i in order), np.zeros(0, dtype=np.int64)])
        keys = together if apart else _merged(found)
        self._places[a, b] = [as_where(np.searchsorted(keys, own)) for own in found]
        return pattern_of(keys // m_b, keys % m_b, m_a)


def _merged(found: Sequence[Index]) -> Index:
    """The different ones of several sorted lists, sorted: the merges of a stable sort are those of runs."""
    keys = np.concatenate(found)
    keys.sort(kind="stable")
    new = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys[new]
