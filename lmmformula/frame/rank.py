"""Columns of a matrix that earlier columns determine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["independent_columns"]

Array = NDArray[np.float64]

TOLERANCE = 1e-7
"""R's: a column goes when less than this share of its norm is left after projection."""

# Gram matrices square the condition number; shares below this are decided by QR.
_CLEAR = 1e-5


def independent_columns(matrix: Array) -> NDArray[np.intp]:
    """Positions of the columns to keep, as R's ``qr(X, tol = 1e-7)`` chooses them.

    Columns are taken in order; one is dropped when the part that is left of it after projection on
    those kept is smaller than `TOLERANCE` times its norm.
    """
    p = matrix.shape[1]
    gram = matrix.T @ matrix
    norms = np.sqrt(np.diag(gram))
    if p <= len(matrix) and norms.all():
        try:
            factor = np.linalg.cholesky(gram / np.outer(norms, norms))
        except np.linalg.LinAlgError:
            factor = None
        if factor is not None and np.diag(factor).min(initial=1.0) > _CLEAR:
            return np.arange(p)
    return _greedy(np.asarray(np.linalg.qr(matrix, mode="r")) if len(matrix) > p else matrix)


def _greedy(matrix: Array) -> NDArray[np.intp]:
    rows, p = matrix.shape
    norms = np.linalg.norm(matrix, axis=0)
    basis = np.empty((rows, min(rows, p)))
    kept: list[int] = []
    for j in range(p):
        if norms[j] == 0.0 or len(kept) == rows:
            continue
        rest = matrix[:, j] / norms[j]
        done = basis[:, : len(kept)]
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest = rest - done @ (done.T @ rest)
        left = np.linalg.norm(rest)
        if left >= TOLERANCE:
            basis[:, len(kept)] = rest / left
            kept.append(j)
    return np.array(kept, dtype=np.intp)
