"""Plots of checks: scaled residuals, and the panel of a fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError, LmmformulaError
from lmmformula.inference.checking.collinearity import HIGH, MUCH, inflation
from lmmformula.inference.checking.influential import quiet_units
from lmmformula.inference.checking.look import Look
from lmmformula.inference.checking.normality import Shape, shape, standardised_modes
from lmmformula.reporting.plots import influence as _drawn
from lmmformula.reporting.plots import rows as _rows
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_grid, points, row_labels, thinned
from lmmformula.reporting.response import response_name
from lmmformula.typing import Array, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.checking.scaled import Scaled
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.influence import Influence

__all__ = ["check_panel", "check_plots", "scaled_panel"]

Painter = Callable[[Axes], object]
MOST_EFFECTS = 3
"""Columns of random effects whose normality is drawn."""
FEW_VALUES = 30
"""Different values of a discrete response that are counted one by one."""

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


# -- the panel of a fit -----------------------------------------------------------------------------------------------


def check_panel(fit: Fitted, ax: Drawn = None, seed: int = 0, n: int = 50) -> Drawn:
    """Everything that :meth:`Fit.check` looks at and that can be drawn.

    Parameters
    ----------
    fit : Fit
    ax : array of Axes, optional
    seed : int
        Of simulations, randomised residuals and envelopes.
    n : int
        Simulated responses behind the observed one.

    Returns
    -------
    array of Axes
    """
    painters = check_plots(fit, seed, n)
    axes = several_axes(ax, len(painters), 3, (4.2, 3.4))
    for own, (_, paint) in zip(axes, painters, strict=True):
        paint(own)
    return axes


def check_plots(fit: Fitted, seed: int = 0, n: int = 50) -> list[tuple[str, Painter]]:
    """Captions and painters, in order, of those that the fit has."""
    look = Look.at(fit, seed, n, None, None, None)
    out: list[tuple[str, Painter]] = [
        (
            "The response, and responses drawn from the fit: they should look alike.",
            partial(predictive, look),
        ),
        (
            "Residuals over the fit: their running mean should be flat.",
            lambda ax: _rows.residuals(fit, ax, None, seed),
        ),
        (
            "Roots of absolute residuals over the fit: a flat line is an even spread.",
            partial(homogeneity, look),
        ),
    ]
    if (found := quiet_units(look)) is not None and fit.problem.p:
        caption = f"Cook's distance of {found.units}: how far the coefficients move without each."
        out.append((caption, partial(_influence, found)))
    x = fit.problem.X
    if len({owner for owner in x.assign if owner > 0}) > 1:
        out.append(
            ("Variance inflation of the terms, with the bars at 5 and 10.", partial(collinearity, fit))
        )
    if look.size > 2:
        caption = (
            "Residuals against the normal distribution; the envelope holds 95% of right samples as a whole."
        )
        out.append((caption, partial(_shaped, "Residuals", look.residuals, look)))
    pairs = [(i, j) for i, t in enumerate(fit.problem.terms) for j in range(t.k) if t.m > 2]
    for i, j in pairs[:MOST_EFFECTS]:
        z = standardised_modes(look, i, j)
        if z is not None and len(z) > 2:
            term = fit.problem.terms[i]
            name = f"{term.columns[j]} | {term.group}"
            out.append(
                (f"Effects of {name}, each over its standard deviation.", partial(_shaped, name, z, look))
            )
    return out


def predictive(look: Look, ax: Axes) -> None:
    """Distribution of the response over those of simulated ones, random effects drawn anew."""
    from lmmformula.inference.checking.scaled import scaled_residuals

    if look.fit.estimate.quasi_dispersion:
        raise LmmformulaError(
            "a quasi-likelihood with a free dispersion has no distribution to draw responses from."
        )
    simulations = scaled_residuals(look.fit, look.n, look.seed, rows=look.rows).simulations
    y, drawn = simulations.observed, list(simulations)
    values = np.unique(y)
    if simulations.discrete and len(values) <= FEW_VALUES:
        for one in drawn:
            ax.plot(values, [float(np.mean(one == v)) for v in values], color=GREY, alpha=0.25, lw=0.8)
        ax.plot(values, [float(np.mean(y == v)) for v in values], "o-", color=COLOURS[0], ms=4, lw=1.5)
        ax.set_ylabel("share of rows")
    else:
        low, high = np.quantile(np.concatenate([y, *drawn]), [0.002, 0.99])
        edges = np.linspace(float(low), float(high), 41)
        middle = 0.5 * (edges[1:] + edges[:-1])
        for one in drawn:
            ax.plot(middle, np.histogram(one, edges)[0] / len(one), color=GREY, alpha=0.25, lw=0.8)
        ax.plot(middle, np.histogram(y, edges)[0] / len(y), color=COLOURS[0], lw=1.8)
        ax.set_ylabel("share of rows in a bin")
    ax.set_title(f"Response over {look.n} simulated ones")
    ax.set_xlabel(response_name(look.fit), parse_math=False)


def homogeneity(look: Look, ax: Axes) -> None:
    """Roots of absolute residuals over the linear predictor, with their running mean."""
    x, y = look.predictor, np.sqrt(np.abs(look.residuals))
    shown = thinned(x)
    points(ax, x[shown], y[shown])
    bins = np.array_split(np.argsort(x, kind="stable"), max(min(BINS // 2, len(x) // 15), 1))
    if len(bins) > 1:
        ax.plot([x[b].mean() for b in bins], [y[b].mean() for b in bins], color=COLOURS[1], lw=1.5)
    ax.set(xlabel="linear predictor", ylabel="root of |standardised residual|", title="Homogeneity")


def collinearity(fit: Fitted, ax: Axes) -> None:
    """Bars of the variance inflation of each term."""
    table = inflation(fit.vcov, fit.problem.X.assign)
    names = [fit.problem.X.term_labels[term - 1] for term in table]
    values = [g ** (1.0 / df) for g, df in table.values()]
    places = np.arange(len(names))[::-1]
    ax.barh(places, values, color=COLOURS[0], height=0.6)
    for bar in (HIGH, MUCH):
        ax.axvline(bar, color=GREY, lw=1, ls="--", zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(0.9, max(1.5 * MUCH, 1.3 * max(values)))
    ax.set_xticks([1.0, HIGH, MUCH], ["1", f"{HIGH:g}", f"{MUCH:g}"])
    ax.minorticks_off()
    row_labels(ax, places, names)
    ax.set(xlabel="VIF, of a coefficient", title="Collinearity")


def _influence(found: Influence, ax: Axes) -> None:
    _drawn.influence(found, "cooks_distance", ax)
    ax.set_title("Influence")


def _shaped(name: str, values: Array, look: Look, ax: Axes) -> None:
    found: Shape = shape(values, np.random.default_rng([5, look.seed]))
    shown = thinned(found.expected)
    ax.fill_between(found.expected[shown], found.low[shown], found.high[shown], color=GREY, alpha=0.25, lw=0)
    ax.axline((0.0, 0.0), slope=1.0, color=GREY, lw=1)
    points(ax, found.expected[shown], found.values[shown])
    ax.set(xlabel="normal quantile", ylabel="standardised value")
    ax.set_title(f"{name}\nnormal quantiles", parse_math=False)
