"""Columns without correlation: one variance, or one for each."""

from __future__ import annotations

import numpy as np

from lmmformula.ir.covariance.base import Kind
from lmmformula.typing import Array

__all__ = ["IID", "Diagonal"]


class IID(Kind):
    """One variance shared by all columns, which are independent."""

    name = "iid"
    description = "independent columns of one variance"
    shared_sd = True
    linear = True

    def cholesky(self, theta: Array) -> Array:
        return np.eye(self.k) * theta[0]

    def jacobian(self, theta: Array) -> Array:
        return np.eye(self.k)[None]

    def from_covariance(self, sigma: Array) -> Array:
        return np.sqrt(np.maximum(np.trace(sigma) / self.k, 0.0))[None]

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        left = m * self.k - float(np.trace(trace))
        return self.from_covariance(lower @ lower.T * np.trace(spread) / max(left, 1e-12 * m))

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return (columns[0],) if len(columns) == 1 else ("sd",)


class Diagonal(Kind):
    """Independent columns, each with its own variance (``||``)."""

    name = "diag"
    description = "independent columns"
    linear = True

    def cholesky(self, theta: Array) -> Array:
        return np.diag(theta)

    def jacobian(self, theta: Array) -> Array:
        out = np.zeros((self.k, self.k, self.k))
        i = np.arange(self.k)
        out[i, i, i] = 1.0
        return out

    def from_covariance(self, sigma: Array) -> Array:
        return np.sqrt(np.maximum(np.diag(sigma), 0.0))

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        ratio = np.diagonal(spread) / np.maximum(m - np.diagonal(trace), 1e-12 * m)
        return self.from_covariance(lower @ np.diag(ratio) @ lower.T)
