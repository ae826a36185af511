"""Marginal effects: the expected response over one variable, the others held where they are typical.

Random effects are zero, as in ``predict(re_form=None)``; numbers are held at their mean, factors at their most frequent level,
and the limits are those of ``predict(interval="confidence")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor
from lmmformula.frame.variables import column_names
from lmmformula.reporting.plots.canvas import COLOURS, new_axes
from lmmformula.reporting.response import expected_response

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["marginal_effects", "variables"]

STEPS = 50
"""Places along a number."""
MOST_LEVELS = 30
"""Levels of a factor that are drawn, the most frequent ones."""


def variables(fit: Fitted) -> tuple[str, ...]:
    """The columns of the data that the fixed part names."""
    recipe = fit.problem.recipe
    known = {record.name for record in recipe.columns}
    exprs = [part.expr for parts in recipe.fixed.terms for part in parts]
    return tuple(name for name in column_names(exprs) if name in known)


def marginal_effects(fit: Fitted, variable: str | None = None, ax: Any = None, level: float = 0.95) -> Any:
    """Expected response over one variable of the fixed part, with its limits.

    Parameters
    ----------
    fit : Fit
    variable : str, optional
        A column of the data; the first of the formula by default.
    ax : Axes, optional
    level : float

    Returns
    -------
    Axes
        A line and a band over a number, points and bars over a factor.

    Raises
    ------
    DataError
        For a variable that the fixed part does not name, and for a fit that carries no data.
    """
    known = variables(fit)
    if not known:
        raise DataError("the fixed part names no variable, so there is no effect to draw over one.")
    variable = known[0] if variable is None else variable
    if variable not in known:
        raise DataError(f"the fixed part has no variable {variable!r}; it has {', '.join(known)}.")
    columns, places = _grid(fit, variable)
    found: Any = fit.predict(columns, re_form=None, interval="confidence", level=level)
    middle, low, high = (found[name].to_numpy() for name in ("fit", "lower", "upper"))
    ax = new_axes(ax, (4.2, 3.2))
    if isinstance(places, list):
        at = np.arange(len(places))
        ax.vlines(at, low, high, color=COLOURS[0], lw=1.6)
        ax.plot(at, middle, "o", color=COLOURS[0], ms=5)
        turned = sum(map(len, places)) > 24
        ax.set_xticks(
            at, places, parse_math=False, rotation=35 if turned else 0, ha="right" if turned else "center"
        )
        ax.margins(x=0.12)
    else:
        ax.fill_between(places, low, high, color=COLOURS[0], alpha=0.2, lw=0)
        ax.plot(places, middle, color=COLOURS[0], lw=1.6)
    ax.set_xlabel(variable, parse_math=False)
    ax.set_ylabel(expected_response(fit), parse_math=False)
    return ax


def _grid(fit: Fitted, variable: str) -> tuple[dict[str, Any], Any]:
    """Columns of new data, and the places along the axis: numbers, or a list of the names of levels."""
    if fit.recall.data is None:
        raise DataError("a loaded fit does not carry its data, from which typical values would be taken.")
    table, rows = open_table(fit.recall.data), fit.problem.rows
    names = [record.name for record in fit.problem.recipe.columns if record.name in table]
    values = {name: table.column(name).at(rows) for name in names}
    own = values[variable]
    if isinstance(own, Factor):
        order = np.argsort(-np.bincount(own.codes[own.codes >= 0], minlength=len(own.levels)), kind="stable")
        used = np.unique(own.codes[own.codes >= 0])
        chosen = np.sort([c for c in order if c in used][:MOST_LEVELS])
        along, places = _labels(own, chosen), [str(own.levels[c]) for c in chosen]
    else:
        numbers = np.asarray(own, dtype=float)
        places = along = np.linspace(np.nanmin(numbers), np.nanmax(numbers), STEPS)
    columns = {name: along if name == variable else [_typical(v)] * len(along) for name, v in values.items()}
    return columns, places


def _labels(factor: Factor, codes: Any) -> list[Any]:
    """Values of a column that have these codes, as new data hold them."""
    names = [str(factor.levels[c]) for c in codes]
    return [name == "TRUE" for name in names] if factor.kind == "logical" else names


def _typical(values: Any) -> Any:
    if isinstance(values, Factor):
        counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.levels))
        return _labels(values, [int(np.argmax(counts))])[0]
    return float(np.nanmean(np.asarray(values, dtype=float)))
