"""Influence of the units of a fit, one measure at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, points
from lmmformula.typing import Drawn

if TYPE_CHECKING:
    from lmmformula.inference.influence import Influence

__all__ = ["influence"]

STEMS = 200
"""Units up to which lines go down to the axis."""
NAMED = 5
"""Units beyond the cut-off that are named."""


def influence(found: Influence, measure: str = "cooks_distance", ax: Drawn = None) -> Drawn:
    """One measure of every unit in their order, its cut-off dashed, the units farthest beyond it named.

    Parameters
    ----------
    found : Influence
    measure : str
        A column of its frame, or "dfbetas": each coefficient in a colour of its own.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    values, ax = found.values(measure), new_axes(ax)
    columns = values if isinstance(values, pd.DataFrame) else values.to_frame()
    cutoff = next((c for c in found.cutoffs if c.measure == measure), None)
    base = 0.0 if cutoff is None or cutoff.centre is None else cutoff.centre
    at = np.arange(len(columns), dtype=float)
    for j, name in enumerate(columns.columns):
        heights, colour = columns[name].to_numpy(dtype=float), COLOURS[j % len(COLOURS)]
        if len(at) <= STEMS:
            ax.vlines(at, base, heights, colors=colour, linewidth=1.0, alpha=0.6)
        points(ax, at, heights, color=colour, label=str(name))
    if cutoff is not None:
        signed = base != 0.0 or bool((columns < 0.0).any(axis=None))
        for line in (base - cutoff.value, base + cutoff.value) if signed else (cutoff.value,):
            ax.axhline(line, color=GREY, linestyle="--", linewidth=1.0)
        beyond = cutoff.exceeded(values).to_numpy()
        for i in [i for i in found.order(measure) if beyond[i]][:NAMED]:
            row = columns.iloc[i]
            ax.annotate(
                str(columns.index[i]),
                (i, float(row.iloc[int(np.nanargmax((row - base).abs()))])),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize="small",
                parse_math=False,
            )
    if base:
        ax.axhline(base, color=GREY, linewidth=0.8)
    if columns.shape[1] > 1:
        ax.legend(frameon=False, fontsize="small")
    ax.set_xlabel(found.units)
    ax.set_ylabel(measure.replace("_", " "))
    return ax
