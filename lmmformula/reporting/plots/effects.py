"""Plots of parameters: forests of coefficients, caterpillars of random effects, and their normality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.conditional import group_names
from lmmformula.inference.records import Intervals
from lmmformula.reporting.plots.canvas import (
    COLOURS,
    GREY,
    Positions,
    new_axes,
    points,
    row_labels,
    spread_out,
    thinned,
)
from lmmformula.typing import Array, Axes, Drawn, Entries

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["caterpillar", "coefficients", "find_term", "random_effects_qq", "shown_coefficients", "spaced"]

MOST_LEVELS = 200
"""Levels of a caterpillar beyond which their intervals run into each other."""
NAMED = 40
"""Levels that are named along the axis at most."""
ROW = 11.0
"""Points that a name takes."""


def coefficients(fit: Fitted, ax: Axes | None = None, intercept: bool = False, level: float = 0.95) -> Drawn:
    """Forest of the fixed effects with their intervals.

    Parameters
    ----------
    fit : Fit
    ax : Axes, optional
    intercept : bool
        Whether the intercept, which often has another scale, is among them; it is if there is nothing else.
    level : float

    Returns
    -------
    Axes
    """
    found = fit.inference.fixed_intervals(level)
    chosen = shown_coefficients(found, intercept)
    ax = new_axes(ax, (6.0, 1.2 + 0.32 * len(chosen)))
    places = np.arange(len(chosen))[::-1]
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    _bars(ax, found.point[chosen], found.low[chosen], found.high[chosen], places, COLOURS[0], dot=5.0)
    row_labels(ax, places, [found.names[j] for j in chosen])
    ax.set_xlabel(
        f"estimate and {level:.0%} interval{_scale(fit)}", loc="right"
    )  # else cut off where names are long
    ax.set_title("Fixed effects")
    ax.set_ylim(-0.6, len(chosen) - 0.4)
    return ax


def shown_coefficients(found: Intervals, intercept: bool) -> list[int]:
    """Positions of the coefficients to draw, refusing a model that has none."""
    if not found.names:
        raise DataError("the model has no fixed effects, so there are no coefficients to draw.")
    others = [j for j, name in enumerate(found.names) if intercept or name != "(Intercept)"]
    return others or list(range(len(found.names)))


def caterpillar(
    fit: Fitted,
    ax: Axes | None = None,
    group: str | None = None,
    column: str | None = None,
    level: float = 0.95,
    most: int = MOST_LEVELS,
    spread: bool = True,
) -> Drawn:
    """Random effects of one grouping factor in ascending order, with their intervals.

    Parameters
    ----------
    fit : Fit
    ax : Axes, optional
    group, column : str, optional
        As in :meth:`Fit.varcorr`; the first of the formula by default.
    level : float
    most : int
        Levels drawn at most: evenly spaced in their order, both ends among them; the title says how many there are.
    spread : bool
        Without it intervals are left out; they need the inverse of the equations.

    Returns
    -------
    Axes
    """
    i, j, title = find_term(fit, group, column)
    found = fit.inference.mode_intervals(i, j, level, spread=spread)
    shown = spaced(found.point, most)
    ax = new_axes(ax, (5.0, min(1.2 + 0.16 * len(shown), 8.0)))
    places = np.arange(len(shown))
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    _bars(
        ax, found.point[shown], found.low[shown], found.high[shown], places, COLOURS[0], dot=3.0, dim=spread
    )
    _name_levels(ax, places, [found.names[r] for r in shown])
    count = (
        f"{len(found.names):,} levels"
        if len(shown) == len(found.names)
        else (f"{len(shown):,} of {len(found.names):,} levels drawn")
    )
    ax.set_title(f"{title}: {count}", parse_math=False)
    ax.set_xlabel(f"effect and {level:.0%} interval" if spread else "effect")
    ax.set_ylim(-1, len(shown))
    return ax


def random_effects_qq(
    fit: Fitted, ax: Axes | None = None, group: str | None = None, column: str | None = None
) -> Drawn:
    """Random effects of one grouping factor against the normal distribution, with the line through their quartiles.

    Returns
    -------
    Axes
    """
    from scipy.special import ndtri

    i, j, title = find_term(fit, group, column)
    found = fit.inference.mode_intervals(i, j, spread=False)
    z = np.sort(found.point)
    expected = ndtri((np.arange(1, len(z) + 1) - 0.375) / (len(z) + 0.25))
    ax = new_axes(ax, (4.5, 4.5))
    points(ax, expected, z)
    if len(z) > 3:
        low, high = np.quantile(z, [0.25, 0.75])
        slope = (high - low) / (2 * ndtri(0.75))
        ax.axline((0.0, 0.5 * (low + high)), slope=slope, color=GREY, lw=1)
    ax.set(xlabel="normal quantile", ylabel="effect")
    ax.set_title(f"{title}: normal quantiles", parse_math=False)
    return ax


def find_term(fit: Fitted, group: str | None, column: str | None) -> tuple[int, int, str]:
    """Positions of a term and of its column, and both as a title."""
    names, terms = group_names(fit), fit.problem.terms
    pairs = [(i, j) for i, t in enumerate(terms) for j in range(t.k)]
    chosen = [
        (i, j)
        for i, j in pairs
        if (group is None or group in (names[i], terms[i].group))
        and (column is None or column == terms[i].columns[j])
    ]
    if not pairs:
        raise DataError(
            "the model has no random effects to draw; its coefficients are in plot.coefficients()."
        )
    if not chosen:
        known = ", ".join(f"{terms[i].columns[j]!r} of {names[i]!r}" for i, j in pairs)
        raise DataError(
            f"there are no random effects of group={group!r}, column={column!r}; the model has {known}."
        )
    i, j = chosen[0]
    return i, j, f"{terms[i].columns[j]} | {terms[i].group}"


def spaced(values: Array, most: int) -> Positions:
    """Positions of at most `most` values in ascending order, evenly spaced, both ends among them."""
    if most < 2:
        raise DataError(f"most={most!r} must be at least 2.")
    return thinned(values, most)


def _bars(
    ax: Axes,
    point: Array,
    low: Array,
    high: Array,
    places: Entries,
    colour: str,
    dot: float,
    dim: bool = False,
) -> None:
    """Intervals and their points; where they are many, thin enough to be told apart, and grey if they hold zero (`dim`)."""
    if len(places) <= NAMED:
        ax.hlines(places, low, high, color=colour, lw=1.4)
        ax.plot(point, places, "o", color=colour, ms=dot)
        return
    room = 72.0 * ax.bbox.height / ax.figure.dpi / len(places)  # points for each
    clear = (low > 0.0) | (high < 0.0) if dim else np.ones(len(places), dtype=bool)
    ax.hlines(places, low, high, colors=[colour if own else GREY for own in clear], lw=min(0.8, 0.35 * room))
    ax.plot(point, places, "o", color=colour, ms=min(dot, 0.9 * room), mew=0)


def _name_levels(ax: Axes, places: Entries, names: list[str]) -> None:
    """Names of the levels, evenly spaced ones where there is no room for all."""
    if len(names) <= NAMED:
        row_labels(ax, places, names)
        ax.tick_params(axis="y", labelsize="small")
        return
    room = int(72.0 * ax.bbox.height / ax.figure.dpi / ROW)
    shown = spread_out(len(names), max(min(room, NAMED), 2))
    row_labels(ax, places[shown], [names[r] for r in shown])
    ax.tick_params(axis="y", labelsize="x-small")
    ax.set_ylabel(f"levels, ascending; {len(shown)} of {len(names)} named")


def _scale(fit: Fitted) -> str:
    link = fit.problem.family.link
    return "" if link == "identity" else f" ({link} scale)"
