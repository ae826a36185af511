"""Intervals of draws of a posterior."""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Array

__all__ = ["highest_density", "quantile_ends"]


def highest_density(draws: Array, level: float) -> tuple[Array, Array]:
    """Ends of the shortest interval that holds `level` of the draws of each column (Chen & Shao 1999).

    Parameters
    ----------
    draws : (S, r) array
    """
    ordered = np.sort(draws, axis=0)
    n = len(ordered)
    inside = min(max(int(np.floor(level * n)), 1), n - 1)
    width = ordered[inside:] - ordered[: n - inside]
    start = width.argmin(axis=0)
    at = np.arange(draws.shape[1])
    return ordered[start, at], ordered[start + inside, at]


def quantile_ends(draws: Array, level: float) -> tuple[Array, Array]:
    """Quantiles that leave equally many draws on both sides."""
    low, high = np.quantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    return low, high
