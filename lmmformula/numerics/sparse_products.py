"""Products of a large sparse matrix with one column over threads; parts are cut by the matrix alone, added in their order."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.cuts import even_cuts, summing_parts
from lmmformula.numerics.row_kernels import add_sparse_column, sparse_rows
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

__all__ = ["column_product"]

PARTS = 16
PART = 100_000
"""Entries that are worth a part of their own."""
SUMS = 32_000_000
"""Cells of all the partial sums of a transposed product together."""


def column_product(
    indptr: Index, indices: Index, data: Array, x: Array, shape: tuple[int, int], *, by_rows: bool
) -> Array:
    """A x, (m,), of A in compressed rows, in the precision of x, or in compressed columns.

    Parameters
    ----------
    indptr, indices, data : arrays
        As scipy has them.
    x : (k,) array
    shape : (m, k)
    by_rows : bool
        Whether rows are compressed.
    """
    x = np.ascontiguousarray(x)
    if by_rows:
        out = np.empty(shape[0], dtype=x.dtype)
        parts = min(PARTS, len(indices) // PART + 1)
        in_parts(lambda i, j: sparse_rows(i, j, indptr, indices, data, x, out), even_cuts(indptr, parts))
        return out
    cuts = even_cuts(indptr, summing_parts(shape[0], SUMS, PARTS))

    def part(i: int, j: int) -> Array:
        own = np.zeros(shape[0])
        add_sparse_column(i, j, indptr, indices, data, x, own)
        return own

    return sum(in_parts(part, cuts), np.zeros(shape[0]))
