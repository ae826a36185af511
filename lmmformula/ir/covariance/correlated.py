"""Kinds of one correlation: compound symmetry and a first-order autoregression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.ir.covariance.base import Kind
from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["AR1", "CompoundSymmetry"]


class CompoundSymmetry(Kind):
    """Own variance for each column and one correlation shared by all pairs."""

    name = "cs"
    description = "compound symmetry"

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0 / max(self.k - 1, 1), 1.0),)

    def correlation(self, r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        rho = r[0][..., None, None]
        return rho + (1.0 - rho) * np.eye(self.k)

    def nearest(self, cor: Array) -> list[float]:
        return [_mean(cor[np.tril_indices(self.k, -1)])]

    def unit_rows(self, r: Sequence[Numbers], one: Numbers, xp: Namespace) -> list[list[Numbers]]:
        """Pivots (1 - rho)(1 + j rho) / (1 + (j - 1) rho)."""
        rows = [[0.0 * one] * self.k for _ in range(self.k)]
        if not r:
            return [[one]]
        rho = r[0]
        for j in range(self.k):
            before = 1.0 + (j - 1) * rho
            pivot = xp.sqrt((1.0 - rho) * (1.0 + j * rho) / before)
            rows[j][j] = one * pivot
            for i in range(j + 1, self.k):
                rows[i][j] = one * rho * (1.0 - rho) / (before * pivot)
        return rows


class AR1(Kind):
    """One variance, correlation rho^|i-j| between columns i and j (equally spaced, in column order)."""

    name = "ar1"
    description = "first-order autoregression"
    shared_sd = True
    serial = True

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0),)

    @property
    def _lags(self) -> Array:
        i = np.arange(self.k)
        return np.abs(i[:, None] - i[None, :]).astype(float)

    def correlation(self, r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        return r[0][..., None, None] ** self._lags

    def _slopes(self, r: Sequence[float]) -> Array:
        return (self._lags * r[0] ** np.maximum(self._lags - 1.0, 0.0))[None]

    def nearest(self, cor: Array) -> list[float]:
        return [_mean(np.diag(cor, -1))]

    def unit_rows(self, r: Sequence[Numbers], one: Numbers, xp: Namespace) -> list[list[Numbers]]:
        if not r:
            return [[one]]
        root = xp.sqrt(1.0 - r[0] * r[0])
        return [
            [one * r[0] ** (i - j) * (root if j else 1.0) if j <= i else 0.0 * one for j in range(self.k)]
            for i in range(self.k)
        ]


def _mean(correlations: Array) -> float:
    """Of those that are defined; 0 if none is."""
    known = np.isfinite(correlations)
    return float(np.mean(correlations[known])) if known.any() else 0.0
