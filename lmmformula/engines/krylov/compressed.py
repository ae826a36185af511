"""A sparse pattern whose values are filled in from others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.cuts import cuts_at
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


def filled(x: Array) -> Array:
    """A block with columns of zeros up to the next multiple of what compiled products take at a time."""
    from lmmformula.numerics.krylov_kernels import WIDTH

    c = x.shape[1]
    if c % WIDTH == 0:
        return np.ascontiguousarray(x)
    out = np.zeros((len(x), -(-c // WIDTH) * WIDTH), dtype=x.dtype)
    out[:, :c] = x
    return out
