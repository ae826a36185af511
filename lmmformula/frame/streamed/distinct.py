"""Distinct values of columns that pass by in batches, and where each value stands among them.

Whole numbers that lie close together, as identifiers do, are marked in a table over their range: one write for each row.
Others are sorted batch by batch, and merged when as many have come as were known: O(n log b) for batches of b rows.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.frame.values import Factor, FactorKind, object_array
from lmmformula.typing import Entries

__all__ = ["DistinctLabels", "DistinctNumbers", "Places"]

_SPAN = 2**28
"""Longest range of whole numbers that is marked in a table: 256 MB while they are collected."""
_SPARE = 16
"""Most places of that table for each row that has passed by, if there are many."""
_SMALL = 2**26
"""Places that are no matter: pages of the table that no number falls on take no memory."""


class DistinctNumbers:
    """Distinct numbers, whole or not."""

    def __init__(self) -> None:
        self._rows = 0
        self._low = 0
        self._marks: NDArray[np.bool_] | None = None
        self._sorted: Entries | None = None
        self._held: list[Entries] = []
        self._n_held = 0

    def add(self, values: Entries) -> None:
        """Take in the numbers of a batch, none of them missing."""
        if not len(values):
            return
        self._rows += len(values)
        if self._held or self._sorted is not None or not self._mark(values):
            self._sort(values)

    def _mark(self, values: Entries) -> bool:
        """Mark the numbers in the table; False if their range is too long for one."""
        if values.dtype.kind not in "iu":
            return self._to_sorted()
        low, high = int(values.min()), int(values.max())
        if high >= 2**62 or low < -(2**62):
            return self._to_sorted()
        if self._marks is not None:
            low, high = min(low, self._low), max(high, self._low + len(self._marks) - 1)
        span = high - low + 1
        if span > min(_SPAN, max(_SMALL, _SPARE * self._rows)):
            return self._to_sorted()
        if self._marks is None:
            self._low, self._marks = low, np.zeros(span, dtype=bool)
        elif span > len(self._marks):
            known, start = self._marks, self._low - low
            room = min(2 * span, _SPAN) if high >= self._low + len(known) else span  # identifiers mostly grow
            self._low, self._marks = low, np.zeros(max(room, span), dtype=bool)
            self._marks[start : start + len(known)] = known
        self._marks[values.astype(np.int64) - self._low] = True
        return True

    def _to_sorted(self) -> bool:
        if self._marks is not None:
            self._sorted, self._marks = np.flatnonzero(self._marks) + self._low, None
        return False

    def _sort(self, values: Entries) -> None:
        own = sorted_distinct(values)
        self._held.append(own)
        self._n_held += len(own)
        if self._n_held > max(2**21, 0 if self._sorted is None else len(self._sorted)):
            self._merge()

    def _merge(self) -> None:
        known = [] if self._sorted is None else [self._sorted]
        self._sorted = sorted_distinct(np.concatenate([*known, *self._held]))
        self._held, self._n_held = [], 0

    def merge(self, other: DistinctNumbers) -> None:
        """Take in what others had passed by."""
        own = other.values()
        self._rows += max(other._rows - len(own), 0)
        self.add(own)

    def values(self) -> Entries:
        """The distinct numbers in increasing order."""
        if self._marks is not None:
            return np.flatnonzero(self._marks) + self._low
        if self._held:
            self._merge()
        return np.zeros(0) if self._sorted is None else self._sorted


def sorted_distinct(values: Entries) -> Entries:
    """Distinct numbers in increasing order. By sorting: a table of hashes, as in ``numpy.unique``, is slow if many differ."""
    own = np.sort(values)
    new = np.ones(len(own), dtype=bool)
    new[1:] = own[1:] != own[:-1]
    return own[new]


class DistinctLabels:
    """Labels of factors whose levels each batch may count in its own way."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._rows = np.zeros(0, dtype=np.int64)
        self._last: tuple[Entries, NDArray[np.int32]] | None = None
        self.kind: FactorKind = "text"

    def places(self, factor: Factor) -> NDArray[np.int32]:
        """Code of each row by the order in which labels came up, -1 if it is missing; levels that no row has come up too."""
        self.kind = factor.kind
        return self._mapping(factor.levels)[factor.codes]

    def add(self, codes: NDArray[np.int32], times: NDArray[np.int64] | None = None) -> None:
        """Count rows of these codes, each of them `times`."""
        if len(self._rows) < len(self._place):
            more = max(len(self._place), 2 * len(self._rows)) - len(self._rows)
            self._rows = np.concatenate([self._rows, np.zeros(more, dtype=np.int64)])
        there = codes >= 0
        counts = np.bincount(codes[there], None if times is None else times[there])
        self._rows[: len(counts)] += counts.astype(np.int64, copy=False)

    def merge(self, other: DistinctLabels) -> None:
        """Take in what others had passed by, after these."""
        self.kind = other.kind
        places = self._mapping(object_array(other._place))
        rows = np.zeros(len(self._place), dtype=np.int64)
        rows[: len(self._rows)] = self._rows[: len(rows)]
        counts = other._rows[: len(other._place)]
        rows[places[: len(counts)]] += counts
        self._rows = rows

    def _mapping(self, levels: Entries) -> NDArray[np.int32]:
        last = self._last
        if last is not None and len(last[0]) == len(levels) and (last[0] == levels).all():
            return last[1]
        place = self._place
        found = [place.setdefault(level, len(place)) for level in levels]
        self._last = levels, np.array([*found, -1], dtype=np.int32)
        return self._last[1]

    def forget_rows(self) -> None:
        """Count rows anew."""
        self._rows = np.zeros(0, dtype=np.int64)

    def order(self) -> NDArray[np.intp]:
        """Places of the labels in R's order: text by code point, categories as they are given."""
        labels = object_array(self._place)
        if self.kind != "text":
            return np.arange(len(labels))
        return np.argsort(labels, kind="stable")

    def levels(self) -> NDArray[np.object_]:
        """All labels in R's order."""
        return object_array(self._place)[self.order()]

    def rows(self) -> NDArray[np.int64]:
        """Rows of each of :meth:`levels`."""
        counts = np.zeros(len(self._place), dtype=np.int64)
        counts[: len(self._rows)] = self._rows[: len(counts)]
        return counts[self.order()]

    def factor(self, codes: NDArray[np.int32]) -> Factor:
        """The factor of codes by the order in which labels came up."""
        order = self.order()
        rank = np.full(len(order) + 1, -1, dtype=np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return Factor(rank[codes], self.levels(), self.kind)


class Places:
    """Where a value stands among known ones: numbers in increasing order, or labels.

    Parameters
    ----------
    known : array
        Distinct numbers in increasing order, or labels.
    """

    def __init__(self, known: Entries) -> None:
        small = known.dtype.kind in "iu" and (not len(known) or int(known[-1]) < 2**62)
        self.known: Entries = known.astype(np.int64, copy=False) if small else known

    def __getstate__(self) -> dict[str, Entries]:
        return {"known": self.known}

    @cached_property
    def _table(self) -> tuple[int, NDArray[np.int32]] | None:
        """Lowest number and the place of each number from there on, where they lie close together."""
        known = self.known
        if known.dtype != np.int64 or not len(known):
            return None
        low, span = int(known[0]), int(known[-1]) - int(known[0]) + 1
        if span > 4 * len(known) + 65_536:
            return None
        table = np.full(span, -1, dtype=np.int32)
        table[known - low] = np.arange(len(known), dtype=np.int32)
        return low, table

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.known, dtype=object if self.known.dtype == object else None)

    def of(self, values: Entries) -> NDArray[np.int32]:
        """Place of each value, -1 where it is not known."""
        table = self._table
        if table is None:
            dtype = object if self.known.dtype == object else None
            return self._index.get_indexer(pd.Index(values, dtype=dtype)).astype(np.int32)
        low, places = table
        if not len(values):
            return np.zeros(0, dtype=np.int32)
        if values.dtype.kind not in "iu" or int(values.min()) < low or int(values.max()) >= low + len(places):
            return self._index.get_indexer(pd.Index(values)).astype(np.int32)
        return places[values.astype(np.int64, copy=False) - low] if low else places[values]
