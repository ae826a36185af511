"""A sparse pattern whose values are filled in from others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.aligned import aligned, is_aligned
from lmmformula.numerics.cuts import cuts_at
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Entries, Index, SparseMatrix

__all__ = ["Compressed", "filled"]

PART = 250_000
"""Entries of a pattern that one thread takes at a time."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """A sparse pattern by rows; `source` says where each entry stands among the values it is filled from."""

    ptr: NDArray[np.int64]
    cols: NDArray[np.int32]
    source: Index | slice

    @cached_property
    def cuts(self) -> list[int]:
        """Rows between parts of about `PART` entries each."""
        return cuts_at(self.ptr, np.arange(PART, self.ptr[-1], PART))

    def times_alike(self, values: Array, x: Array) -> Array:
        """A x, (rows, c), where rows come in groups of one pattern, for a block that is :func:`filled` for them."""
        out = aligned((len(self.ptr) - 1, x.shape[1]), x.dtype)
        out[:] = 0.0
        self.add_alike(values, 1.0, x, out)
        return out

    def add_alike(self, values: Array, sign: float, x: Array, out: Array) -> None:
        """Add sign A x to `out`."""
        from lmmformula.numerics.alike_kernels import HEIGHT, add_alike

        each = HEIGHT * PART  # so much faster are they than others
        cuts = sorted({cut - cut % HEIGHT for cut in cuts_at(self.ptr, np.arange(each, self.ptr[-1], each))})
        in_parts(lambda i, j: add_alike(i, j, self.ptr, self.cols, values, sign, x, out), cuts)

    def level_products(self, head: int, m: int, k: int, left: Array, right: Array) -> Array:
        """Products of the rows of m levels, k each from row `head` on, with each other, (m, k, k)."""
        from lmmformula.numerics.alike_kernels import level_products

        out = np.empty((m, k, k))
        in_parts(
            lambda i, j: level_products(i, j, head, self.ptr, left, right, out), self._level_cuts(head, m, k)
        )
        return out

    def scale_levels(self, head: int, lower: Array, values: Array) -> None:
        """Multiply the rows of levels, from row `head` on, by lower triangular matrices (m, k, k), in place."""
        from lmmformula.numerics.alike_kernels import scale_levels

        m, k, _ = lower.shape
        in_parts(lambda i, j: scale_levels(i, j, head, self.ptr, lower, values), self._level_cuts(head, m, k))

    def _level_cuts(self, head: int, m: int, k: int) -> list[int]:
        """Levels between parts of about `PART` entries."""
        ptr = self.ptr[head : head + m * k + 1 : k]
        return cuts_at(ptr, np.arange(ptr[0] + PART, ptr[-1], PART))

    def matrix(self, data: Entries, columns: int) -> SparseMatrix:
        """Scipy's matrix with these values."""
        from scipy.sparse import csr_array

        return csr_array((data, self.cols, self.ptr), shape=(len(self.ptr) - 1, columns))

    def times(self, values: Array, x: Array) -> Array:
        """A x, (rows, c), in compiled loops, of two columns at once or else of one after the other."""
        from lmmformula.numerics.krylov_kernels import pair_times
        from lmmformula.numerics.sparse_products import column_product

        shape = (len(self.ptr) - 1, len(x))
        out = np.empty((shape[0], x.shape[1]), dtype=x.dtype)
        if x.shape[1] == 2 and len(values):
            x = np.ascontiguousarray(x)
            in_parts(lambda i, j: pair_times(i, j, self.ptr, self.cols, values, x, out), self.cuts)
            return out
        for j, column in enumerate(x.T):
            out[:, j] = column_product(self.ptr, self.cols, values, column, shape, by_rows=True)
        return out


def filled(x: Array, *, alike: bool = False) -> Array:
    """A block in lines of the cache, with columns of zeros up to the next multiple of what compiled products take at a time.

    `alike` says whether these are products with rows in groups of one pattern.
    """
    from lmmformula.numerics.alike_kernels import HEIGHT
    from lmmformula.numerics.krylov_kernels import WIDTH

    rows, c = x.shape
    width = HEIGHT if alike else WIDTH
    wide = -(-c // width) * width
    if wide == c and x.flags.c_contiguous and is_aligned(x):
        return x
    out = aligned((rows, wide), x.dtype)
    out[:, :c] = x
    out[:, c:] = 0.0
    return out
