"""Plots of rows: residuals against the fit, against the normal distribution, and in bins.

Residuals of a Gaussian model are responses minus fitted values. All others are shown as randomised quantile residuals
(Dunn & Smyth 1996), which are standard normal if the model holds, whatever the family; residuals of 0/1 responses themselves
lie on two curves. Fitted values hold shrunken random effects, so that residuals tilt upwards a little even in a true model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.residuals import linear_predictor
from lmmformula.reporting.plots.canvas import COLOURS, GREY, MOST_POINTS, Positions, new_axes, points, thinned
from lmmformula.reporting.response import response_levels, response_name
from lmmformula.typing import Array, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["binned_residuals", "qq", "residuals", "response"]


def residuals(fit: Fitted, ax: Axes | None = None, kind: str | None = None, seed: int = 0) -> Drawn:
    """Residuals against fitted values (linear predictors if not Gaussian), with their running mean.

    Parameters
    ----------
    fit : Fit
    ax : Axes, optional
    kind : str, optional
        Of :meth:`Fit.residuals`; "response" for Gaussian models and "quantile" for others by default.
    seed : int
        Of randomised residuals.

    Returns
    -------
    Axes
        Beyond 5,000 rows every so-manieth is drawn, in order of the fitted value; the title says so. The running mean is of
        all rows.
    """
    kind = kind or ("response" if fit.problem.is_linear else "quantile")
    y = fit.residuals(kind, seed).to_numpy()
    x = linear_predictor(fit)
    ax = new_axes(ax)
    shown = thinned(x)
    points(ax, x[shown], y[shown])
    centres, means, _ = _bins(x, y, min(_bin_count(len(x)) // 2, 40) or 1)
    ax.axhline(0.0, color=GREY, lw=1, zorder=0)
    ax.plot(centres, means, color=COLOURS[1], lw=1.5)
    ax.set(
        xlabel="fitted value"
        if fit.problem.family.link == "identity"
        else f"linear predictor ({fit.problem.family.link} scale)",
        ylabel=f"{kind} residual",
        title=_thinning("Residuals against fitted values", len(x)),
    )
    return ax


def qq(fit: Fitted, ax: Axes | None = None, seed: int = 0) -> Drawn:
    """Quantile residuals against the normal distribution, with the band that holds 95% of each order statistic.

    Returns
    -------
    Axes
    """
    from scipy.special import betaincinv, ndtri

    z = np.sort(fit.residuals("quantile", seed).to_numpy())
    n = len(z)
    ranks = np.arange(1, n + 1)
    expected = ndtri((ranks - 0.375) / (n + 0.25))
    ax = new_axes(ax, (4.5, 4.5))
    shown = _tails_first(n)
    low, high = (ndtri(betaincinv(ranks[shown], n + 1 - ranks[shown], p)) for p in (0.025, 0.975))
    ax.fill_between(expected[shown], low, high, color=GREY, alpha=0.25, lw=0)
    ax.axline((0.0, 0.0), slope=1.0, color=GREY, lw=1)
    points(ax, expected[shown], z[shown])
    ax.set(
        xlabel="normal quantile",
        ylabel="quantile residual",
        title=_thinning("Normal quantiles of residuals", n),
    )
    return ax


def binned_residuals(fit: Fitted, ax: Axes | None = None, bins: int | None = None) -> Drawn:
    """Mean response residual in bins of the fitted value, with twice its standard error (Gelman & Hill 2007, sec. 5.6).

    Parameters
    ----------
    fit : Fit
    ax : Axes, optional
    bins : int, optional
        Of equal numbers of rows; the root of the number of rows, at most 200, by default.

    Returns
    -------
    Axes
        About 95% of the points lie within the lines if the mean is modelled well.
    """
    count = _bin_count(fit.problem.n) if bins is None else bins
    if not isinstance(count, int) or not 1 <= count <= fit.problem.n:
        raise DataError(f"bins={bins!r} must be a whole number from 1 to the {fit.problem.n:,} rows.")
    x, y = fit.fittedvalues.to_numpy(), fit.residuals("response").to_numpy()
    centres, means, errors = _bins(x, y, count)
    ax = new_axes(ax)
    ax.axhline(0.0, color=GREY, lw=1, zorder=0)
    ax.plot(centres, 2.0 * errors, color=GREY, lw=1)
    ax.plot(centres, -2.0 * errors, color=GREY, lw=1)
    points(ax, centres, means, alpha=0.9)
    rows = "row" if fit.problem.n == count else f"about {fit.problem.n / count:,.0f} rows"
    ax.set(xlabel="fitted mean", ylabel="mean residual", title=f"Binned residuals ({rows} a bin)")
    return ax


def response(fit: Fitted, ax: Axes | None = None) -> Drawn:
    """Distribution of the response: bars for few different values, else a histogram."""
    y = fit.problem.data.whole(fit.problem.data.y)
    ax = new_axes(ax)
    values, counts = np.unique(y, return_counts=True)
    if len(values) <= 12:
        names = response_levels(fit)
        ax.bar(np.arange(len(values)), counts, color=COLOURS[0], width=0.7)
        labels = [names.get(float(v), f"{v:g}") for v in values]
        ax.set_xticks(np.arange(len(values)), labels, parse_math=False)
    else:
        ax.hist(y, bins=int(min(60, max(10, np.sqrt(len(y))))), color=COLOURS[0])
    ax.set(ylabel="rows", title="Response")
    ax.set_xlabel(response_name(fit), parse_math=False)
    return ax


def _bin_count(n: int) -> int:
    """arm's rule, with at most 200."""
    if n >= 100:
        return min(int(np.sqrt(n)), 200)
    return 10 if n > 10 else max(n // 2, 1)


def _bins(x: Array, y: Array, count: int) -> tuple[Array, Array, Array]:
    """Mean of x, mean of y and its standard error in bins of equal numbers of rows, ascending in x."""
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, count)
    centres = np.array([x[p].mean() for p in parts])
    means = np.array([y[p].mean() for p in parts])
    errors = np.array([y[p].std(ddof=1) / np.sqrt(len(p)) if len(p) > 1 else np.nan for p in parts])
    return centres, means, errors


def _tails_first(n: int) -> Positions:
    """Positions of at most `MOST_POINTS` order statistics: the ends whole, the middle evenly spaced."""
    if n <= MOST_POINTS:
        return np.arange(n)
    ends = MOST_POINTS // 5
    middle = np.linspace(ends, n - ends - 1, MOST_POINTS - 2 * ends).round().astype(int)
    return np.concatenate([np.arange(ends), middle, np.arange(n - ends, n)])


def _thinning(title: str, n: int) -> str:
    return title if n <= MOST_POINTS else f"{title}\n({MOST_POINTS:,} of {n:,} rows drawn)"
