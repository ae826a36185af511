"""Levels of streamed rows: which of them meet is learned in a pass of its own, when an engine asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.streamed.parts import Part
from lmmformula.typing import Index

__all__ = ["StreamedLevels"]

PENDING = 5_000_000
"""Pairs that wait until they are merged with the others."""


class StreamedLevels(Levels):
    """Groups, and patterns of their pairs.

    Parameters
    ----------
    groups : tuple of Group
    n : int
    each : callable
        ``each(function)``: what a function makes of one part after the other, in their order.
    whole_levels : bool
        Whether the rows of each level of the first group lie in one part, so that pairs with it come in their order.
    """

    def __init__(
        self,
        groups: tuple[Group, ...],
        n: int,
        each: Callable[[Callable[[Part], object]], Iterator[object]],
        *,
        whole_levels: bool,
    ) -> None:
        super().__init__(groups, n)
        self._each, self._whole = each, whole_levels
        self._starts: dict[tuple[int, int], Index] = {}

    def place(self, a: int, b: int, number: int, part: Part) -> slice | Index:
        """Where the pairs of the part of this number stand among all."""
        pattern = self.pattern(a, b)
        if self._in_order(a):
            starts = self._starts[a, b]
            return slice(int(starts[number]), int(starts[number + 1]))
        row, column = _pairs(part, a, b)
        m = self.groups[b].m
        return np.searchsorted(self._keys(pattern, m), row.astype(np.int64) * m + column)

    def _in_order(self, a: int) -> bool:
        return a == 0 and self._whole

    def _keys(self, pattern: CrossPattern, m: int) -> Index:
        return pattern.rows().astype(np.int64) * m + pattern.indices

    def _met(self, a: int, b: int) -> CrossPattern:
        m_a, m_b = self.groups[a].m, self.groups[b].m
        if not self._in_order(a):
            return self._union(a, b, m_a, m_b)
        counts, starts = np.zeros(m_a, dtype=np.int64), [0]
        indices = np.empty(
            self.n, dtype=np.int32
        )  # as many as there may be; what is not written takes no memory
        for row, column in self._each(lambda part: _pairs(part, a, b)):  # type: ignore[misc]
            if len(row):
                first, last = int(row[0]), int(row[-1])
                counts[first : last + 1] += np.bincount(row - first, minlength=last - first + 1)
            indices[starts[-1] : starts[-1] + len(column)] = column
            starts.append(starts[-1] + len(column))
        self._starts[a, b] = np.array(starts)
        indptr = np.zeros(m_a + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        indices.resize(starts[-1], refcheck=False)
        return CrossPattern(indptr, indices)

    def _union(self, a: int, b: int, m_a: int, m_b: int) -> CrossPattern:
        known, waiting, count = np.zeros(0, dtype=np.int64), [], 0
        for row, column in self._each(lambda part: _pairs(part, a, b)):  # type: ignore[misc]
            waiting.append(row.astype(np.int64) * m_b + column)
            count += len(row)
            if count > PENDING:
                known, waiting, count = np.unique(np.concatenate([known, *waiting])), [], 0
        known = np.unique(np.concatenate([known, *waiting]))
        return pattern_of(known // m_b, known % m_b, m_a)


def _pairs(part: Part, a: int, b: int) -> tuple[Index, Index]:
    """Levels, among all, of the pairs of a part."""
    pattern = part.met.pattern(a, b)
    return _named(part.levels[a], pattern.rows()), _named(part.levels[b], pattern.indices)


def _named(levels: slice | Index, local: Index) -> Index:
    if isinstance(levels, slice):
        return (local + levels.start).astype(np.int32, copy=False)
    return levels[local]
