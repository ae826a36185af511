"""Expected responses drawn over one variable, or over one at values of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from lmmformula.inference.conditional_effects import ConditionalEffect, conditional_effect
from lmmformula.inference.location.coefficients import variables
from lmmformula.reporting.plots.canvas import COLOURS, new_axes
from lmmformula.reporting.response import expected_response
from lmmformula.typing import Axes, Drawn

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["draw_effect", "marginal_effects"]


def marginal_effects(
    fit: Fitted, variable: str | None = None, ax: Axes | None = None, level: float = 0.95
) -> Drawn:
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
    named = variables(fit)[:1] if variable is None else (variable,)
    return draw_effect(conditional_effect(fit, "".join(named), level=level), expected_response(fit), ax)


def draw_effect(effect: ConditionalEffect, response: str, ax: Drawn = None) -> Drawn:
    """A line and a band for each value of the second variable, or points and bars where the first is a factor."""
    ax = new_axes(ax, (4.2, 3.2))
    first, *second = effect.variables
    parts = list(effect.frame.groupby(second[0], sort=False)) if second else [("", effect.frame)]
    over_numbers = is_numeric_dtype(effect.frame[first]) and not is_bool_dtype(effect.frame[first])
    for j, (value, part) in enumerate(parts):
        colour, label = COLOURS[j % len(COLOURS)], f"{value:.3g}" if isinstance(value, float) else str(value)
        if over_numbers:
            ax.fill_between(part[first], part["lower"], part["upper"], color=colour, alpha=0.2, lw=0)
            ax.plot(part[first], part["estimate"], color=colour, lw=1.6, label=label)
        else:
            _bars(ax, part, (j - 0.5 * (len(parts) - 1)) * 0.6 / max(len(parts), 1), colour, label)
    if not over_numbers:
        _name_levels(ax, [str(v).upper() if isinstance(v, bool) else str(v) for v in parts[0][1][first]])
    if second:
        ax.legend(title=second[0], frameon=False, fontsize="small")
    ax.set_xlabel(first, parse_math=False)
    ax.set_ylabel(response, parse_math=False)
    return ax


def _bars(ax: Drawn, part: pd.DataFrame, aside: float, colour: str, label: str) -> None:
    at = np.arange(len(part)) + aside
    ax.vlines(at, part["lower"], part["upper"], color=colour, lw=1.6)
    ax.plot(at, part["estimate"], "o", color=colour, ms=5, label=label)
    ax.margins(x=0.12)


def _name_levels(ax: Drawn, names: list[str]) -> None:
    turned = sum(map(len, names)) > 24
    ax.set_xticks(
        range(len(names)),
        names,
        parse_math=False,
        rotation=35 if turned else 0,
        ha="right" if turned else "center",
    )
