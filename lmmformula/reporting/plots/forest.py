"""A forest plot: studies with their sampling errors, what the model makes of each, the mean, and where a new study lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.meta import Differences, quantile_of, studies_of
from lmmformula.inference.rows import row_labels as row_index
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, row_labels
from lmmformula.reporting.response import response_name

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Drawn, Index

__all__ = ["draw_forest"]

MOST = 60
"""Studies that have a line of their own."""


def draw_forest(fit: Fitted, found: Differences, ax: Drawn = None) -> Drawn:
    """Studies from the most precise to the least; returns the Axes."""
    rows = fit.problem.data
    y, (_, _, weights) = rows.whole(rows.y), studies_of(fit)
    se = 1.0 / np.sqrt(weights)
    chosen = np.argsort(se, kind="stable")[:MOST]
    place = np.arange(len(chosen), 0, -1.0)
    ax = new_axes(ax, (5.2, 1.4 + 0.22 * len(chosen)))
    y, reach = y[chosen], quantile_of(fit, "z", found.level) * se[chosen]
    ax.errorbar(y, place, xerr=reach, fmt="none", ecolor=GREY, elinewidth=1.0)
    precise = weights[chosen] / weights[chosen].max()
    ax.scatter(y, place, s=10.0 + 60.0 * precise, marker="s", color=COLOURS[0], linewidths=0, label="study")
    ax.scatter(
        fit.fittedvalues.to_numpy()[chosen],
        place,
        s=22,
        marker="d",
        color=COLOURS[1],
        linewidths=0,
        label="shrunken",
    )
    if found.prediction is not None and len(found.prediction) == 1:
        row = found.prediction.iloc[0]
        ax.axvline(row["fit"], color=GREY, linewidth=0.8, linestyle=":")
        ax.plot([row["lower_new"], row["upper_new"]], [0.0, 0.0], color=COLOURS[2], linewidth=1.5)
        ax.plot(
            [row["lower"], row["upper"]], [0.0, 0.0], color=COLOURS[2], linewidth=5.0, label="mean, new study"
        )
        place, names = np.append(place, 0.0), [*_names(fit, chosen), "mean"]
    else:
        names = _names(fit, chosen)
    row_labels(ax, place, names)
    ax.set_xlabel(response_name(fit))
    ax.legend(loc="best", fontsize="small", frameon=False)
    return ax


def _names(fit: Fitted, rows: Index) -> list[str]:
    """Studies by the term that has one level for each, else by the rows of the data."""
    problem = fit.problem
    for term in problem.terms:
        codes = term.codes
        if term.m == problem.n and codes.ndim == 1:
            return [str(term.levels[code]) for code in codes[rows]]
    return [str(label) for label in row_index(problem)[rows]]
