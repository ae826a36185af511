"""Plots of a comparison: the same parameters by every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, new_grid, points, row_labels
from lmmformula.reporting.plots.effects import NAMED, find_term, shown_coefficients, spaced
from lmmformula.typing import AnyFunction, Argument, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.reporting.compared import Compared

T = TypeVar("T")

__all__ = ["KINDS", "plot_comparison"]

MOST_LEVELS = 40


def plot_comparison(comparison: Compared, kind: str = "all", ax: Drawn = None, **options: Argument) -> Drawn:
    """See :meth:`MethodComparison.plot`."""
    if kind in KINDS:
        return KINDS[kind](comparison, ax, **options)
    if kind != "all":
        raise DataError(f"kind={kind!r} is unknown; use 'all', {', '.join(map(repr, KINDS))}.")
    if options:
        raise DataError(
            f"{next(iter(options))!r} is an option of one kind of plot: name it, for example kind='caterpillar'."
        )
    kinds = [name for name in KINDS if name != "shrinkage" or len(comparison.fits) > 1]
    axes = new_grid(len(kinds), size=(4.6, 4.2)) if ax is None else np.ravel(ax)
    if len(axes) != len(kinds):
        raise DataError(f"ax holds {len(axes)} axes, and there are {len(kinds)} plots: {', '.join(kinds)}.")
    for name, one in zip(kinds, axes, strict=True):
        KINDS[name](comparison, one)
    return axes


def forest(comparison: Compared, ax: Axes | None = None, intercept: bool = False) -> Drawn:
    """Coefficients with intervals, one colour a method."""
    fits = comparison.fits
    found = {name: fit.inference.fixed_intervals(comparison.level) for name, fit in fits.items()}
    first = found[comparison.reference]
    chosen = shown_coefficients(first, intercept)
    ax = new_axes(ax, (6.5, 1.4 + 0.2 * (len(fits) + 1) * len(chosen)))
    places = np.arange(len(chosen), dtype=float)[::-1]
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    for shift, (name, values), colour in _dodged(found):
        where = places - shift
        ax.hlines(where, values.low[chosen], values.high[chosen], color=colour, lw=1.4)
        ax.plot(values.point[chosen], where, "o", color=colour, ms=4, label=name)
    row_labels(ax, places, [first.names[j] for j in chosen])
    ax.set_xlabel(f"estimate and {comparison.level:.0%} interval", loc="right")
    ax.set_ylim(-0.6, len(chosen) - 0.4)
    _head(ax, "Fixed effects", len(fits))
    return ax


def caterpillar(
    comparison: Compared,
    ax: Axes | None = None,
    group: str | None = None,
    column: str | None = None,
    most: int = MOST_LEVELS,
) -> Drawn:
    """Random effects of one factor with intervals, in the order of the most trusted method."""
    reference = comparison.fits[comparison.reference]
    i, j, title = find_term(reference, group, column)
    found = {
        name: fit.inference.mode_intervals(i, j, comparison.level) for name, fit in comparison.fits.items()
    }
    first = found[comparison.reference]
    shown = spaced(first.point, most)
    ax = new_axes(ax, (5.5, min(1.4 + 0.1 * (len(found) + 1) * len(shown), 9.0)))
    places = np.arange(len(shown), dtype=float)
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    for shift, (name, values), colour in _dodged(found):
        ax.hlines(places - shift, values.low[shown], values.high[shown], color=colour, lw=0.9, alpha=0.8)
        ax.plot(values.point[shown], places - shift, "o", color=colour, ms=2.5, label=name)
    if len(shown) <= NAMED:
        row_labels(ax, places, [first.names[r] for r in shown])
        ax.tick_params(axis="y", labelsize="small")
    else:
        ax.set_yticks([])
    drawn = f"{len(shown):,} of " if len(shown) < len(first.names) else ""
    ax.set_xlabel(f"effect and {comparison.level:.0%} interval", loc="right")
    ax.set_ylim(-1, len(shown))
    _head(ax, f"{title}: {drawn}{len(first.names):,} levels", len(found))
    return ax


def shrinkage(
    comparison: Compared, ax: Axes | None = None, group: str | None = None, column: str | None = None
) -> Drawn:
    """Random effects of each method over those of the most trusted one: a slope below one shrinks more."""
    reference = comparison.reference
    others = [name for name in comparison.fits if name != reference]
    if not others:
        raise DataError(f"only {reference!r} was fitted, and shrinkage compares two methods at least.")
    i, j, title = find_term(comparison.fits[reference], group, column)
    x = comparison.fits[reference].inference.mode_intervals(i, j, spread=False).point
    ax = new_axes(ax, (5.0, 4.5))
    ax.axline((0.0, 0.0), slope=1.0, color=GREY, lw=1, zorder=0)
    for name, colour in _coloured(comparison):
        if name == reference:
            continue
        y = comparison.fits[name].inference.mode_intervals(i, j, spread=False).point
        slope = float(x @ y / (x @ x)) if np.any(x) else float("nan")
        points(ax, x, y, color=colour, label=f"{name}: slope {slope:.3f}")
    ax.set_title(f"{title}: shrinkage", parse_math=False)
    ax.set_xlabel(f"effect by {reference}", parse_math=False)
    ax.set_ylabel("effect by the other method" if len(others) == 1 else "effect by the other methods")
    ax.legend(fontsize="small", frameon=False)
    return ax


def _head(ax: Axes, title: str, methods: int, across: int = 4) -> None:
    """A title, and the legend between it and the axes, where it hides nothing.

    Both end where the axes do, so that what is long goes over the names of the rows and is not cut off.
    """
    rows = -(-methods // across)
    ax.legend(
        fontsize="small",
        frameon=False,
        ncols=min(methods, across),
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        borderpad=0.1,
    )
    ax.set_title(title, parse_math=False, pad=8.0 + 14.0 * rows)


def _coloured(comparison: Compared) -> list[tuple[str, str]]:
    return [(name, COLOURS[c % len(COLOURS)]) for c, name in enumerate(comparison.fits)]


def _dodged(found: dict[str, T]) -> list[tuple[float, tuple[str, T], str]]:
    """Shift, method with its values, and colour."""
    count = len(found)
    return [
        ((c - 0.5 * (count - 1)) * 0.7 / count, item, COLOURS[c % len(COLOURS)])
        for c, item in enumerate(found.items())
    ]


KINDS: dict[str, AnyFunction] = {
    "coefficients": forest,
    "caterpillar": caterpillar,
    "shrinkage": shrinkage,
}
