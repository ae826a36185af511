"""Products of a large sparse matrix with one column over threads; parts are cut by the matrix alone, added in their order."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.row_kernels import add_sparse_column, sparse_rows
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

__all__ = ["column_product"]

PARTS = 16
SUMS = 32_000_000
"""Cells of all the partial sums of a transposed product together."""


def column_product(
    indptr: Index, indices: Index, data: Array, x: Array, shape: tuple[int, int], *, by_rows: bool
) -> Array:
    """A x, (m,), of A in compressed rows, or in compressed columns.

    Parameters
    ----------
    indptr, indices, data : arrays
        As scipy has them.
    x : (k,) array
    shape : (m, k)
    by_rows : bool
        Whether rows are compressed.
    """
    major = len(indptr) - 1
    goals = np.linspace(0, len(indices), PARTS + 1)[1:-1]
    x = np.ascontiguousarray(x)
    if by_rows:
        cuts = np.unique([0, *np.searchsorted(indptr, goals).tolist(), major]).tolist()
        out = np.empty(shape[0])
        in_parts(lambda i, j: sparse_rows(i, j, indptr, indices, data, x, out), cuts)
        return out
    count = int(np.clip(SUMS // max(shape[0], 1), 2, PARTS))
    goals = np.linspace(0, len(indices), count + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(indptr, goals).tolist(), major]).tolist()

    def part(i: int, j: int) -> Array:
        own = np.zeros(shape[0])
        add_sparse_column(i, j, indptr, indices, data, x, own)
        return own

    return sum(in_parts(part, cuts), np.zeros(shape[0]))
