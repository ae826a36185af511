"""Which levels of two groups meet in some row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import GroupRows
from lmmformula.numerics.cuts import even_cuts
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Index

if TYPE_CHECKING:
    from lmmformula.numerics.row_sums import LevelOrder

__all__ = [
    "CrossPattern",
    "SortedPairs",
    "counting_order",
    "cross_pattern",
    "is_sorted",
    "pattern_of",
    "sorted_pairs",
]

MANY = 200_000
"""Rows from which on pairs are found in compiled loops, over threads."""
NARROW = 2**31
"""Rows and levels that half of 64 bits can hold."""


@dataclass(frozen=True, eq=False)
class CrossPattern:
    """Which levels of two groups meet, in compressed rows.

    Attributes
    ----------
    indptr : (m_a + 1,) int64 array
    indices : (nnz,) int32 array
        Levels of b, increasing within a level of a.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    @property
    def nnz(self) -> int:
        return len(self.indices)

    @cached_property
    def by_column(self) -> Index:
        """Order that puts the pairs by levels of b, levels of a increasing within, (nnz,)."""
        return np.argsort(self.indices, kind="stable")

    @cached_property
    def compressed(self) -> tuple[Index, Index]:
        """Indices and pointers in one type, as scipy takes them without a copy; the narrow one where it suffices."""
        wide = self.nnz >= 2**31
        return (
            (self.indices.astype(np.int64), self.indptr)
            if wide
            else (self.indices, self.indptr.astype(np.int32))
        )

    def rows(self) -> Index:
        """Level of a for each pair, (nnz,)."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


def cross_pattern(a: GroupRows, b: GroupRows) -> tuple[CrossPattern, Index]:
    """Pattern of Z_a' Z_b, and the pair of each row. O(n + min(m_a m_b, n)) by counting, never by comparison.

    Returns
    -------
    CrossPattern
    slots : (n,) or (n, r_a, r_b) int32 or int64 array
        Of each two of a row's levels if it has several, negative where those are one level.
    """
    if a.shares is not None or b.shares is not None:
        return _several_pattern(a, b)
    n, (m_a, m_b) = len(a.codes), (a.group.m, b.group.m)
    if not _is_sparse(a, b):
        key = a.codes.astype(np.int64) * m_b + b.codes
        present = np.zeros(m_a * m_b, dtype=bool)
        present[key] = True
        number = np.cumsum(present) - 1
        pairs = np.flatnonzero(present)
        slots, row, indices = number[key], pairs // m_b, pairs % m_b
    else:
        order = counting_order(b.codes, m_b)
        order = order[counting_order(a.codes[order], m_a)]
        ca, cb = a.codes[order], b.codes[order]
        first = np.ones(n, dtype=bool)
        first[1:] = (ca[1:] != ca[:-1]) | (cb[1:] != cb[:-1])
        slots = np.empty(n, dtype=np.int32 if n < 2**31 else np.int64)
        slots[order] = np.cumsum(first) - 1
        row, indices = ca[first], cb[first]
    return pattern_of(row, indices, m_a), slots


def _is_sparse(a: GroupRows, b: GroupRows) -> bool:
    """Whether pairs are too few of all that there might be to be counted in a table of these."""
    return a.group.m * b.group.m > 4 * len(a.codes) + 4096


@dataclass(frozen=True, slots=True, eq=False)
class SortedPairs:
    """A pattern, with the rows in order of its pairs.

    Attributes
    ----------
    pattern : CrossPattern
    slots : (n,) int32 array
        Pair of each row.
    rows : LevelOrder
        Rows by level of a, by level of b within.
    other : LevelOrder
        Rows by level of b.
    ordered : (n,) int32 array
        The slots in that order, which increase.
    """

    pattern: CrossPattern
    slots: Index
    rows: LevelOrder
    other: LevelOrder
    ordered: Index


def is_sorted(a: GroupRows, b: GroupRows) -> bool:
    """Whether the pairs of two groups are best found by :func:`sorted_pairs`."""
    single = a.shares is None and b.shares is None
    return single and MANY <= len(a.codes) < NARROW and _is_sparse(a, b)


def sorted_pairs(a: GroupRows, b: GroupRows) -> SortedPairs:
    """:func:`cross_pattern` for many rows of one level each: by level of b, then of a; counted and numbered over threads."""
    from lmmformula.numerics.pattern_kernels import count_pairs, sort_rows, write_pairs
    from lmmformula.numerics.row_sums import PARTS, LevelOrder

    n, m = len(a.codes), a.group.m
    other = LevelOrder.of(b.codes, b.group.m)
    begin, ptr = np.zeros(m + 1, dtype=np.int64), np.zeros(m + 1, dtype=np.int64)
    np.cumsum(np.bincount(a.codes, minlength=m), out=begin[1:])
    order, keys = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    sort_rows(other.order, other.ptr, a.codes, begin, order, keys)
    rows, counts = LevelOrder(order, begin, even_cuts(begin, PARTS)), np.empty(m, dtype=np.int64)
    in_parts(lambda i, j: count_pairs(i, j, begin, keys, counts), rows.cuts)
    np.cumsum(counts, out=ptr[1:])
    pattern = CrossPattern(ptr, np.empty(int(ptr[-1]), dtype=np.int32))
    slots, ordered = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    given = (begin, order, keys, ptr, pattern.indices, slots, ordered)
    in_parts(lambda i, j: write_pairs(i, j, *given), rows.cuts)
    return SortedPairs(pattern, slots, rows, other, ordered)


def pattern_of(row: Index, indices: Index, m: int) -> CrossPattern:
    """From the levels of each pair, in order, and the number of levels of a."""
    indptr = np.zeros(m + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=m), out=indptr[1:])
    return CrossPattern(indptr, indices.astype(np.int32))


def _several_pattern(a: GroupRows, b: GroupRows) -> tuple[CrossPattern, Index]:
    """The same where rows have several levels; of a group with itself the pairs of different levels, the lower one first."""
    first, second = (g.codes if g.codes.ndim == 2 else g.codes[:, None] for g in (a, b))
    rows, cols = np.broadcast_arrays(first[:, :, None].astype(np.int64), second[:, None, :])
    met = np.ones(rows.shape, dtype=bool)
    for shares, axis in ((a.shares, 2), (b.shares, 1)):
        if shares is not None:
            met &= np.expand_dims(shares != 0.0, axis)
    if a is b:
        met &= rows != cols
        rows, cols = np.minimum(rows, cols), np.maximum(rows, cols)
    pairs, number = np.unique(rows[met] * b.group.m + cols[met], return_inverse=True)
    slots = np.full(rows.shape, -1, dtype=np.int64)
    slots[met] = number
    return pattern_of(pairs // b.group.m, pairs % b.group.m, a.group.m), slots


def counting_order(codes: NDArray[np.int32], m: int) -> Index:
    """Stable order of rows by code, by scipy's counting sort of compressed columns."""
    from scipy.sparse import csr_array

    n = len(codes)
    ones = np.ones(n, dtype=np.int8)
    return csr_array((ones, codes, np.arange(n + 1)), shape=(n, m)).tocsc().indices
