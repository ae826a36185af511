"""Which levels of two groups meet in some row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import Group
from lmmformula.typing import Index

__all__ = ["CrossPattern", "cross_pattern"]


@dataclass(frozen=True, eq=False)
class CrossPattern:
    """Which levels of two groups meet, in compressed rows.

    Attributes
    ----------
    indptr : (m_a + 1,) int64 array
    indices : (nnz,) int32 array
        Levels of b, increasing within a level of a.
    slots : (n,) or (n, r_a, r_b) int32 or int64 array
        Pair of each row; of each two of its levels if it has several, negative where those are one level.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    slots: Index

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


def cross_pattern(a: Group, b: Group) -> CrossPattern:
    """Pattern of Z_a' Z_b. O(n + min(m_a m_b, n)) by counting, never by comparison."""
    if a.shares is not None or b.shares is not None:
        return _several_pattern(a, b)
    n, cells = len(a.codes), a.m * b.m
    if cells <= 4 * n + 4096:
        key = a.codes.astype(np.int64) * b.m + b.codes
        present = np.zeros(cells, dtype=bool)
        present[key] = True
        number = np.cumsum(present) - 1
        pairs = np.flatnonzero(present)
        slots, row, indices = number[key], pairs // b.m, pairs % b.m
    else:
        order = _counting_order(b.codes, b.m)
        order = order[_counting_order(a.codes[order], a.m)]
        ca, cb = a.codes[order], b.codes[order]
        first = np.ones(n, dtype=bool)
        first[1:] = (ca[1:] != ca[:-1]) | (cb[1:] != cb[:-1])
        slots = np.empty(n, dtype=np.int32 if n < 2**31 else np.int64)
        slots[order] = np.cumsum(first) - 1
        row, indices = ca[first], cb[first]
    indptr = np.zeros(a.m + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=a.m), out=indptr[1:])
    return CrossPattern(indptr, indices.astype(np.int32), slots)


def _several_pattern(a: Group, b: Group) -> CrossPattern:
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
    pairs, number = np.unique(rows[met] * b.m + cols[met], return_inverse=True)
    slots = np.full(rows.shape, -1, dtype=np.int64)
    slots[met] = number
    indptr = np.zeros(a.m + 1, dtype=np.int64)
    np.cumsum(np.bincount(pairs // b.m, minlength=a.m), out=indptr[1:])
    return CrossPattern(indptr, (pairs % b.m).astype(np.int32), slots)


def _counting_order(codes: NDArray[np.int32], m: int) -> Index:
    """Stable order of rows by code, by scipy's counting sort of compressed columns."""
    from scipy.sparse import csr_array

    n = len(codes)
    ones = np.ones(n, dtype=np.int8)
    return csr_array((ones, codes, np.arange(n + 1)), shape=(n, m)).tocsc().indices
