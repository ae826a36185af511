"""Plots of checks: scaled residuals, and the panel of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_grid, points, thinned
from lmmformula.typing import Array, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.checking.scaled import Scaled

__all__ = ["scaled_panel"]

BINS = 40
"""Running quantiles are of so many bins at most."""


def several_axes(ax: Axes, count: int, columns: int, size: tuple[float, float]) -> Array:
    """`count` axes: those given, or new ones.

    Raises
    ------
    ArgumentError
    """
    if ax is None:
        return new_grid(count, columns, size)
    given = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(given) != count:
        raise ArgumentError(f"ax= has {len(given)} Axes, and this plot needs an array of {count}.")
    return given


def scaled_panel(found: Scaled, ax: Drawn = None) -> Drawn:
    """Quantiles of scaled residuals against the uniform distribution, and residuals over ranks of the prediction.

    Parameters
    ----------
    found : Scaled
    ax : array of two Axes, optional

    Returns
    -------
    array of two Axes
        The band of the first holds 95% of each order statistic; the lines of the second are running quartiles, which should lie
        near .25, .5 and .75 (dashed).
    """
    axes = several_axes(ax, 2, 2, (4.2, 4.0))
    _uniform_quantiles(axes[0], np.sort(found.residuals))
    _over_ranks(axes[1], found)
    return axes


def _uniform_quantiles(ax: Axes, ordered: Array) -> None:
    from scipy.special import betaincinv

    n = len(ordered)
    ranks = np.arange(1.0, n + 1)
    shown = thinned(ranks)
    low, high = (betaincinv(ranks[shown], n + 1 - ranks[shown], p) for p in (0.025, 0.975))
    expected = ranks[shown] / (n + 1)
    ax.fill_between(expected, low, high, color=GREY, alpha=0.25, lw=0)
    ax.axline((0.0, 0.0), slope=1.0, color=GREY, lw=1)
    points(ax, expected, ordered[shown])
    ax.set(xlabel="uniform quantile", ylabel="scaled residual", title="Quantiles of scaled residuals")


def _over_ranks(ax: Axes, found: Scaled) -> None:
    from scipy.stats import rankdata

    n = len(found)
    x = rankdata(found.simulations.fitted) / n
    shown = thinned(x)
    points(ax, x[shown], found.residuals[shown])
    bins = np.array_split(np.argsort(x, kind="stable"), max(min(BINS, n // 25), 1))
    places = [float(x[b].mean()) for b in bins]
    for q in (0.25, 0.5, 0.75):
        ax.axhline(q, color=GREY, lw=1, ls="--", zorder=0)
        if len(bins) > 1:
            ax.plot(
                places, [float(np.quantile(found.residuals[b], q)) for b in bins], color=COLOURS[1], lw=1.5
            )
    ax.set(
        xlabel="rank of the prediction",
        ylabel="scaled residual",
        title="Residuals over the prediction",
        ylim=(-0.02, 1.02),
    )
