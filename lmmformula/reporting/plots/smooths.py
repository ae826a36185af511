"""Smooths drawn: curves with pointwise and simultaneous bands, surfaces as contours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.smooths.places import all_places
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, new_grid
from lmmformula.typing import Drawn

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.smooths.curves import Curve

__all__ = ["draw_smooth", "smooths"]

FEW = 8
"""Curves of one plot that have bands and a legend."""


def smooths(fit: Fitted, ax: Drawn = None, level: float = 0.95, seed: int = 0) -> Drawn:
    """Every smooth of a fit, an Axes for each, as an array.

    Raises
    ------
    PlanError
        For a fit without smooths.
    """
    from lmmformula.inference.smooths.curves import curve_of

    labels = [p.record.label for p in all_places(fit)]
    if not labels:
        raise PlanError("the model has no smooth to draw: write s(x) in its formula.")
    axes = new_grid(len(labels)) if ax is None else ax
    for label, own in zip(labels, np.ravel(axes).tolist(), strict=False):
        draw_smooth(curve_of(fit, label, level=level, seed=seed), own)
    return axes


def draw_smooth(curve: Curve, ax: Drawn = None) -> Drawn:
    """Draw one smooth; of more than two variables over the first two, at the middle of the others."""
    ax = new_axes(ax, (4.6, 3.2))
    if len(curve.variables) > 1:
        return _surface(curve, ax)
    parts = [part for _, part in curve.frame.groupby(curve.of, sort=False)] if curve.of else [curve.frame]
    x = next(iter(curve.variables))
    for j, part in enumerate(parts):
        _curve(ax, part, x, COLOURS[j % len(COLOURS)], curve.of, bands=len(parts) <= FEW)
    ax.axhline(0.0, color=GREY, lw=0.7, zorder=0)
    if 1 < len(parts) <= FEW:
        ax.legend(title=curve.of, frameon=False, fontsize="small")
    ax.set_xlabel(x, parse_math=False)
    ax.set_ylabel(curve.label, parse_math=False)
    return ax


def _curve(ax: Drawn, part: pd.DataFrame, x: str, colour: str, of: str, *, bands: bool) -> None:
    label = str(part[of].iloc[0]) if of else None
    if bands:
        ax.fill_between(part[x], part["lower_all"], part["upper_all"], color=colour, alpha=0.12, lw=0)
        ax.fill_between(part[x], part["lower"], part["upper"], color=colour, alpha=0.22, lw=0)
    ax.plot(part[x], part["fit"], color=colour, lw=1.6, label=label)


def _surface(curve: Curve, ax: Drawn) -> Drawn:
    first, second, *others = curve.variables
    own = curve.frame
    chosen = np.ones(len(own), dtype=bool)
    if curve.of:
        chosen &= (own[curve.of] == own[curve.of].iloc[0]).to_numpy()
    for name in others:
        values = np.unique(own[name])
        chosen &= (own[name] == values[len(values) // 2]).to_numpy()
    x, z = np.unique(own[first]), np.unique(own[second])
    heights = own["fit"].to_numpy()[chosen].reshape(len(x), len(z)).T
    lines = ax.contour(x, z, heights, levels=12, colors=COLOURS[0], linewidths=1.0)
    ax.clabel(lines, fontsize="x-small")
    ax.set_xlabel(first, parse_math=False)
    ax.set_ylabel(second, parse_math=False)
    ax.set_title(curve.label, fontsize="medium", parse_math=False)
    return ax
