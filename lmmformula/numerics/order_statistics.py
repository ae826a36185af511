"""Medians and spreads of numbers that are gone through part by part, as often as needed.

Numbers are given as some arrays after others (:data:`lmmformula.numerics.columns.Parts`): ``[x]`` where they are in memory. A
median of many is found by counting: between bounds that hold it, numbers are counted in bins; the bin that holds it gives the
next bounds, until so few are left that they can be sorted. It is the number that sorting all would give, to the last digit.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.columns import Parts, over
from lmmformula.typing import Array

__all__ = ["mean_ranks", "median", "spread"]

FEW = 500_000
"""Numbers that are sorted."""
BINS = 4_096


def median(parts: Parts) -> float:
    """The median, of two in the middle their mean."""
    if isinstance(parts, list) and len(parts) == 1:
        return float(np.median(parts[0]))
    n = int(over(parts, len))
    middle = {(n - 1) // 2, n // 2}
    return float(np.mean([_at(parts, k) for k in sorted(middle)]))


def spread(parts: Parts, *, around_mean: bool) -> float:
    """Standard deviation, or root mean square about zero; 1 if that is zero."""
    n = int(over(parts, len))
    mean = float(over(parts, lambda x: x.sum())) / n if around_mean else 0.0
    return float(np.sqrt(over(parts, lambda x: float(((x - mean) ** 2).sum())) / n)) or 1.0


def mean_ranks(x: Array) -> Array:
    """Ranks from 1 within each column of x (n, columns), those that are equal sharing their mean; nan in columns with nan.

    SciPy's `rankdata`, whose module takes as long to import as a small posterior to be drawn.
    """
    order = np.argsort(x, axis=0, kind="stable")
    ordered = np.take_along_axis(x, order, axis=0)
    place = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
    new, edge = ordered[1:] != ordered[:-1], np.ones((1, x.shape[1]), dtype=bool)
    first = np.maximum.accumulate(np.where(np.vstack([edge, new]), place, 0))
    last = np.minimum.accumulate(np.where(np.vstack([new, edge]), place, len(x))[::-1])[::-1]
    out = np.empty(x.shape)
    np.put_along_axis(out, order, 0.5 * (first + last) + 1.0, axis=0)
    out[:, np.isnan(x).any(axis=0)] = np.nan
    return out


def _at(parts: Parts, k: int) -> float:
    """The k-th smallest number, from 0."""
    low, high, below = -np.inf, np.inf, 0
    while True:
        ends = over(parts, lambda x: np.array(_ends(_within(x, low, high))), np.maximum)  # noqa: B023 - called at once
        low, high = -float(ends[0]), float(ends[1])
        if low == high:
            return low
        held = int(over(parts, lambda x: len(_within(x, low, high))))  # noqa: B023
        if held <= FEW:
            found = over(parts, lambda x: _within(x, low, high), lambda a, b: np.concatenate([a, b]))  # noqa: B023
            return float(np.sort(found)[k - below])
        edges = np.linspace(low, high, BINS + 1)
        counts = over(parts, lambda x: np.bincount(_bins(_within(x, low, high), edges), minlength=BINS))  # noqa: B023
        ends_at = below + np.cumsum(counts)
        own = int(np.searchsorted(ends_at, k, side="right"))
        below = int(ends_at[own] - counts[own])
        low = edges[own]
        high = edges[own + 1] if own == BINS - 1 else np.nextafter(edges[own + 1], -np.inf)


def _within(x: Array, low: float, high: float) -> Array:
    return x[(x >= low) & (x <= high)]


def _ends(x: Array) -> tuple[float, float]:
    """Minus the smallest, and the largest."""
    return float(-x.min(initial=np.inf)), float(x.max(initial=-np.inf))


def _bins(x: Array, edges: Array) -> Array:
    """Of each number its bin, closed below and, but for the last, open above."""
    return np.minimum(np.searchsorted(edges, x, side="right") - 1, BINS - 1)
