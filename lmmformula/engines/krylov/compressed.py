"""A sparse pattern whose values are filled in from others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.aligned import aligned, is_aligned
from lmmformula.numerics.cuts import cuts_at
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Entries, Index, SparseMatrix

__all__ = ["Compressed", "filled"]

PART = 250_000
"""Entries of a pattern that one thread takes at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A sparse pattern by rows; `source` says where each entry stands among the values it is filled from."""

    ptr: NDArray[np.int64]
    cols: NDArray[np.int32]
    source: Index | slice

    @property
    def cuts(self) -> list[int]:
        """Rows between parts of about `PART` entries each."""
        return cuts_at(self.ptr, np.arange(PART, self.ptr[-1], PART))

    def matrix(self, data: Entries, columns: int) -> SparseMatrix:
        """Scipy's matrix with these values."""
        from scipy.sparse import csr_array

        return csr_array((data, self.cols, self.ptr), shape=(len(self.ptr) - 1, columns))

    def times(self, values: Array, x: Array) -> Array:
        """A x, (rows, c), in compiled loops, one column after the other."""
        from lmmformula.numerics.row_kernels import sparse_rows

        out = np.empty((x.shape[1], len(self.ptr) - 1), dtype=x.dtype)
        for column, own in zip(np.ascontiguousarray(x.T), out, strict=True):
            given = (self.ptr, self.cols, values, column, own)
            in_parts(lambda i, j, given=given: sparse_rows(i, j, *given), self.cuts)
        return np.ascontiguousarray(out.T)


def filled(x: Array) -> Array:
    """A block in lines of the cache, with columns of zeros up to the next multiple of what compiled products take at a time."""
    from lmmformula.numerics.krylov_kernels import WIDTH

    rows, c = x.shape
    wide = -(-c // WIDTH) * WIDTH
    if wide == c and x.flags.c_contiguous and is_aligned(x):
        return x
    out = aligned((rows, wide), x.dtype)
    out[:, :c] = x
    out[:, c:] = 0.0
    return out
