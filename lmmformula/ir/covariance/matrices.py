"""Covariance and correlation matrices and their factors."""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["cholesky_rows", "sd_cor", "semidefinite_cholesky"]


def sd_cor(cov: Array) -> tuple[Array, Array]:
    """Standard deviations (k,) and correlations (k, k); a zero variance has correlation nan."""
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cor = cov / np.outer(sd, sd)
    np.fill_diagonal(cor, 1.0)
    return sd, cor


def semidefinite_cholesky(sigma: Array) -> Array:
    """Lower triangular L with L L' = sigma for a positive semidefinite `sigma` (zero pivots give zero columns)."""
    k = sigma.shape[0]
    out, rest = np.zeros((k, k)), np.array(sigma, dtype=float)
    floor = 1e-14 * max(float(np.trace(sigma)), 0.0)
    for j in range(k):
        if rest[j, j] > floor:
            out[j:, j] = rest[j:, j] / np.sqrt(rest[j, j])
            rest -= np.outer(out[:, j], out[:, j])
    return out


def cholesky_rows(matrix: Numbers, xp: Namespace) -> list[list[Numbers]]:
    """Rows of the lower triangular C, C C' = matrix (..., k, k), each element (...,).

    Sums and square roots alone: analytic in the elements, so that complex steps go through it where LAPACK conjugates.
    """
    k = matrix.shape[-1]
    rows: list[list[Numbers]] = [[0.0 * matrix[..., 0, 0]] * k for _ in range(k)]
    for j in range(k):
        for i in range(j, k):
            left = matrix[..., i, j]
            for a in range(j):
                left = left - rows[i][a] * rows[j][a]
            rows[i][j] = xp.sqrt(left) if i == j else left / rows[j][j]
    return rows
