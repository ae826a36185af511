"""Which levels of two groups meet in some row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import GroupRows
from lmmformula.typing import Index

__all__ = ["CrossPattern", "counting_order", "cross_pattern", "pattern_of"]


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
    cells = m_a * m_b
    if cells <= 4 * n + 4096:
        key = a.codes.astype(np.int64) * m_b + b.codes
        present = np.zeros(cells, dtype=bool)
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
