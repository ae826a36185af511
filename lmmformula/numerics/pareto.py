r"""Pareto-smoothed importance weights and the shape k that says whether they can be trusted.

The largest M = min(S/5, 3 sqrt S) weights are fitted by a generalised Pareto distribution (Zhang & Stephens 2009, with
the weak prior of Vehtari et al. 2024, app. C) and replaced by its expected order statistics, none above the largest raw
weight (Vehtari, Simpson, Gelman, Yao & Gabry 2024, sec. 2.4). k estimates how many moments the weights have (1 / k):
below 0.5 the variance is finite, and up to 0.7 the estimates are of use.
"""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Array, Index

__all__ = ["TRUSTED_K", "fit_generalised_pareto", "log_sum", "pareto_smooth", "stratified", "weights_ess"]

TRUSTED_K = 0.7
"""Above this, importance sampling needs impractically many draws (Vehtari et al. 2024, sec. 3.2)."""


def fit_generalised_pareto(x: Array) -> tuple[float, float]:
    """(k, sigma) of the density ``(1 + k x / sigma)^(-1/k - 1) / sigma`` for sorted positive `x`."""
    n = len(x)
    grid = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1.0 / x[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = n * (np.log(-b / k) - k - 1.0)
    likelihood = np.where(np.isfinite(likelihood), likelihood, -np.inf)
    weight = np.exp(likelihood - likelihood.max())
    best = float(b @ weight / weight.sum())
    shape = float(np.log1p(-best * x).mean())
    scale = -shape / best
    return (shape * n + 0.5 * 10.0) / (n + 10.0), scale


def pareto_smooth(log_weights: Array) -> tuple[Array, float]:
    """Smoothed log weights that sum to one, and k (infinite if fewer than 5 weights are in the tail).

    Parameters
    ----------
    log_weights : (S,) array
        -inf allowed.
    """
    s = len(log_weights)
    lw = log_weights - log_weights.max()
    tail = int(min(0.2 * s, 3.0 * np.sqrt(s)))
    k = np.inf
    if tail >= 5:
        order = np.argsort(lw)
        largest = order[-tail:]
        cut = max(float(lw[order[-tail - 1]]), -300.0)
        excess = np.exp(lw[largest]) - np.exp(cut)
        if excess[-1] - excess[0] < 1e-12:
            k = -np.inf  # all weights alike: nothing to smooth
        elif (excess > 0).sum() >= 5:
            positive = excess > 0
            shape, scale = fit_generalised_pareto(excess[positive])
            k = shape
            p = (np.arange(1, positive.sum() + 1) - 0.5) / positive.sum()
            quantiles = (
                scale * np.expm1(-shape * np.log1p(-p)) / shape
                if abs(shape) > 1e-12
                else -scale * np.log1p(-p)
            )
            lw = lw.copy()
            lw[largest[positive]] = np.minimum(np.log(quantiles + np.exp(cut)), 0.0)
    return lw - log_sum(lw), float(k)


def weights_ess(log_weights: Array) -> float:
    """1 / sum of squares of weights that sum to one: how many equal ones they are worth."""
    return float(np.exp(2.0 * log_sum(log_weights) - log_sum(2.0 * log_weights)))


def log_sum(x: Array) -> float:
    """``log sum exp x``."""
    top = float(x.max())
    return top + float(np.log(np.exp(x - top).sum()))


def stratified(weights: Array, size: int, rng: np.random.Generator) -> Index:
    """Places of `size` draws in proportion to `weights`, by one stratified pass (Kitagawa 1996), in their order."""
    edges = np.cumsum(weights)
    points = (np.arange(size) + rng.uniform()) / size * edges[-1]
    return np.minimum(np.searchsorted(edges, points), len(weights) - 1)
