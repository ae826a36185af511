"""Pooled estimates of multiply imputed data, and how much of their width is what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, row_labels
from lmmformula.typing import Drawn

if TYPE_CHECKING:
    from lmmformula.inference.many.pooling import Pooling

__all__ = ["pooled"]


def pooled(found: Pooling, ax: Drawn = None) -> Drawn:
    """A line for each term but the intercept: the interval, and within it, thicker, that of the variance within imputations."""
    names = [name for name in found.frame.index if name != "(Intercept)"] or list(found.frame.index)
    own = found.frame.loc[names]
    n = len(names)
    ax = new_axes(ax, (6.0, 1.2 + 0.32 * n))
    places = np.arange(n)[::-1]
    middle = own["estimate"].to_numpy(dtype=float)
    low, high = (own[name].to_numpy(dtype=float) for name in own.columns if str(name).endswith(" %"))
    share = np.sqrt(own["ubar"].to_numpy(dtype=float) / own["t"].to_numpy(dtype=float))
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    ax.hlines(places, low, high, color=COLOURS[0], lw=1.2, alpha=0.7)
    ax.hlines(
        places, middle - share * (middle - low), middle + share * (high - middle), color=COLOURS[0], lw=3.6
    )
    ax.plot(middle, places, "o", color=COLOURS[0], ms=5)
    row_labels(ax, places, names)
    ax.set_ylim(-0.6, n - 0.4)
    ax.set_xlabel("estimate", loc="right")
    ax.set_title(f"{found.m} imputations", loc="left")
    return ax
