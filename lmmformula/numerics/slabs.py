r"""Sparse patterns in slabs of rows of similar length, the form in which a device multiplies them.

A product by rows, ``y_i = sum_k a_k x_(j_k)``, is a sum of very unequal length. Atomic additions (segment sums) make it regular
at the price of an order that changes from run to run. Here rows are sorted by length and cut into slabs, each of them filled up
with zeros to its longest row (ELLPACK by slices; Monakov, Lokhmotov & Avetisyan 2010). A product is then one gather and one
sum over an axis for each slab, without atomics, in the same order in every run.

Cuts are those of least cost by dynamic programming over lengths: with c(i, j) = (rows of lengths i to j) x (length j) + start::

    best(j) = min over i <= j of  best(i - 1) + c(i, j)                                                          (1)

References
----------
Monakov, Lokhmotov & Avetisyan (2010), Automatically tuning sparse matrix-vector multiplication for GPU architectures, HiPEAC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Index

__all__ = ["Slabs"]

START = 8_192
"""Entries that take as long as the start of one more slab."""
LENGTHS = 128
"""Most different lengths that (1) looks at; beyond, neighbours share one."""


@dataclass(frozen=True, slots=True, eq=False)
class Slabs:
    """A sparse pattern, row by row, in rectangles.

    Attributes
    ----------
    sources : tuple of (rows, width) index arrays
        Where each entry stands among the values; ``count`` where there is none.
    cols : tuple of (rows, width) int32 arrays
        Its column; zero where there is none.
    back : (rows,) int32 array or None
        Where each row of the pattern stands among those of the slabs, one after another; None if just there.
    count : int
        Number of values.
    """

    sources: tuple[Index, ...]
    cols: tuple[NDArray[np.int32], ...]
    back: NDArray[np.int32] | None
    count: int

    @classmethod
    def of(cls, ptr: Index, cols: Index, source: Index | slice = slice(None)) -> Slabs:
        """From a pattern by rows; `source` says where its entries' values stand, by default in their order. O(nnz)."""
        counts, nnz = np.diff(ptr), int(ptr[-1])
        kind = np.int32 if nnz < np.iinfo(np.int32).max else np.int64
        ends = slab_widths(counts)
        slab = np.searchsorted(ends, counts)
        order = np.argsort(slab, kind="stable")
        stops = np.cumsum(np.bincount(slab, minlength=len(ends)))
        places, sources, columns = np.arange(nnz, dtype=kind)[source], [], []
        for width, start, stop in zip(ends, [0, *stops[:-1]], stops, strict=True):
            rows = order[start:stop]
            there = np.arange(width) < counts[rows][:, None]
            entry = np.where(there, ptr[rows][:, None] + np.arange(width), 0)
            sources.append(np.where(there, places[entry], nnz).astype(kind))
            columns.append(np.where(there, cols[entry], 0).astype(np.int32))
        if len(ends) == 1:
            return cls(tuple(sources), tuple(columns), None, nnz)
        back = np.empty(len(order), dtype=np.int32)
        back[order] = np.arange(len(order), dtype=np.int32)
        return cls(tuple(sources), tuple(columns), back, nnz)

    @property
    def padded(self) -> int:
        """Entries with those that fill up."""
        return sum(s.size for s in self.sources)

    @property
    def nbytes(self) -> int:
        """Of the indices, and of 64-bit values on them."""
        back = 0 if self.back is None else self.back.nbytes
        return back + sum(
            s.nbytes + c.nbytes + 8 * s.size for s, c in zip(self.sources, self.cols, strict=True)
        )


def slab_widths(counts: Index) -> NDArray[np.int64]:
    """Widths of the slabs that hold rows of these lengths at least cost, ascending, by (1)."""
    lengths = np.maximum(np.asarray(counts, dtype=np.int64), 1)
    widths, rows = np.unique(lengths, return_counts=True)
    if len(widths) > LENGTHS:
        grid = np.unique(np.ceil(np.geomspace(widths[0], widths[-1], LENGTHS)).astype(np.int64))
        owner = np.searchsorted(grid, widths)
        rows = np.bincount(owner, weights=rows, minlength=len(grid)).astype(np.int64)
        widths, rows = grid[rows > 0], rows[rows > 0]
    up_to = np.concatenate([[0], np.cumsum(rows)])
    best, first = np.zeros(len(widths) + 1), np.zeros(len(widths), dtype=np.int64)
    for j, width in enumerate(widths):
        cost = best[: j + 1] + (up_to[j + 1] - up_to[: j + 1]) * float(width) + START
        first[j] = np.argmin(cost)
        best[j + 1] = cost[first[j]]
    ends, j = [], len(widths) - 1
    while j >= 0:
        ends.append(widths[j])
        j = int(first[j]) - 1
    return np.array(ends[::-1], dtype=np.int64)
