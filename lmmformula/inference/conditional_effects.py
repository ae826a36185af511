"""Expected responses over one variable, or over one at values of another, the rest held where they are typical.

Random effects are zero, as in ``predict(re_form=None)``; numbers are held at their mean (those that the formula takes for
levels at the value nearest to it), factors at their most frequent level, and limits are those of
``predict(interval="confidence")``: of a posterior, quantiles of its draws. A second variable that is a number is taken at its
mean and one standard deviation to either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.variables import column_names
from lmmformula.inference.location.coefficients import terms, variables
from lmmformula.inference.looks import ALL, Labels, Summary, looks, summaries
from lmmformula.inference.means.grid import counted_numbers
from lmmformula.typing import Arguments, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["ConditionalEffect", "conditional_effect", "effects_of"]

FEW = 3
"""Values of a number that are all shown."""
MOST_LEVELS = 30
"""Levels of a factor that are shown, the most frequent ones."""


@dataclass(frozen=True, eq=False)
class ConditionalEffect:
    """What is expected over a variable.

    Attributes
    ----------
    variables : tuple of str
        The variable, and the one at whose values it is taken, if there is any.
    frame : DataFrame
        The variables, ``estimate, se, lower, upper``.
    held : mapping
        Other columns -> where they are held.
    """

    variables: tuple[str, ...]
    frame: pd.DataFrame = field(repr=False)
    held: Arguments

    @property
    def name(self) -> str:
        """``x`` or ``x:f``."""
        return ":".join(self.variables)


def effects_of(fit: Fitted) -> tuple[str, ...]:
    """Every variable of the fixed part, and every pair that one of its terms has: what is shown by default."""
    known, pairs, recipe = variables(fit), [], fit.problem.recipe
    designs = (recipe.fixed, *(recipe.terms[i].design for i in terms(fit)))
    for parts in (own for design in designs for own in design.terms):
        own = [name for name in column_names([part.expr for part in parts]) if name in known]
        pairs += [f"{a}:{b}" for a, b in combinations(dict.fromkeys(own), 2)]
    return (*known, *dict.fromkeys(pairs))


def conditional_effect(
    fit: Fitted,
    effect: str,
    conditions: Arguments | None = None,
    level: float = 0.95,
    points: int = 50,
    kind: str = "response",
) -> ConditionalEffect:
    """Expected response over ``x``, or ``x:z``: over x at values of z.

    Parameters
    ----------
    conditions : mapping, optional
        Column -> where it is held instead.
    points : int
        Places along a number.
    kind : str
        As in ``predict()``.

    Raises
    ------
    DataError
        For a variable that the fixed part does not name, or a fit that carries no data.
    """
    wanted = [part.strip() for part in effect.split(":")]
    known = variables(fit)
    if not known:
        raise DataError("the fixed part names no variable, so there is no effect to draw over one.")
    if len(wanted) > 2 or len(set(wanted)) < len(wanted):
        raise DataError(
            f"effect {effect!r} must name one variable, or two of which the second is held: 'x' or 'x:f'."
        )
    if unknown := [name for name in wanted if name not in known]:
        raise DataError(f"the fixed part has no variable {unknown[0]!r}; it has {', '.join(known)}.")
    counted = counted_numbers(fit.problem.recipe)
    values = _columns(fit, counted)
    if odd := [name for name in (conditions or {}) if name not in values]:
        raise DataError(
            f"conditions= names {odd[0]!r}, which is no column of the model: {', '.join(values)}."
        )
    held = {n: _typical(v, counted=n in counted) for n, v in values.items() if n not in wanted}
    held |= dict(conditions or {})
    over, *beside = wanted
    first = _along(values[over], points, counted=over in counted)
    second = _few(values[beside[0]], counted=beside[0] in counted) if beside else [None]
    columns = {name: [v] * (len(first) * len(second)) for name, v in held.items()}
    columns[over] = list(first) * len(second)
    columns |= {name: [v for v in second for _ in first] for name in beside}
    import pandas as pd

    if fit.problem.family.outcomes and kind == "response":
        kind = "mean"  # one curve: of the category's number
    found: Data = fit.predict(columns, re_form=None, interval="confidence", level=level, kind=kind, se=True)
    frame = pd.DataFrame({name: columns[name] for name in wanted})
    for name, own in (("estimate", "fit"), ("se", "se"), ("lower", "lower"), ("upper", "upper")):
        frame[name] = found[own].to_numpy()
    shown = {name: v for name, v in held.items() if name in known or name in (conditions or {})}
    return ConditionalEffect(tuple(wanted), frame, shown)


def _columns(fit: Fitted, counted: set[str]) -> dict[str, Summary]:
    """Columns of the model on the rows of the fit; those that only name levels are none of an effect's business."""
    known = [record.name for record in fit.problem.recipe.columns]
    if not fit.problem.data.at_hand:
        known = [name for name in known if name not in fit.problem.recipe.groups_only()]
    few = {name: ALL if name in counted else FEW for name in known}
    return summaries(looks(fit, known, what="typical values are taken"), known, few)


def _along(values: Summary, points: int, *, counted: bool = False) -> Sequence[Data]:
    """Where a variable is looked at: its levels, the most frequent ones, or places from its least to its largest value.

    A number whose values are levels for the formula, `counted`, is looked at at each of them.
    """
    if isinstance(values, Labels):
        order = np.argsort(-values.counts, kind="stable")
        return _labels(values, np.sort(order[: min(MOST_LEVELS, int((values.counts > 0).sum()))]))
    if counted and values.different is not None:
        return list(values.different)
    return list(np.linspace(values.low, values.high, points))


def _few(values: Summary, *, counted: bool = False) -> Sequence[Data]:
    """Where a second variable is held: its levels, its values if they are three at most, or mean and one sd to either side."""
    if isinstance(values, Labels):
        return _along(values, 0)
    if values.different is not None and (counted or len(values.different) <= FEW):
        return list(values.different)
    mean, sd = values.mean, values.sd(1)
    return [mean - sd, mean, mean + sd]


def _labels(factor: Labels, codes: Data) -> list[Data]:
    """Values of a column that have these codes, as new data hold them."""
    names = [factor.levels[c] for c in codes]
    return [name == "TRUE" for name in names] if factor.kind == "logical" else names


def _typical(values: Summary, *, counted: bool = False) -> Data:
    if isinstance(values, Labels):
        return _labels(values, [int(np.argmax(values.counts))])[0]
    if counted and values.different is not None:
        return float(values.different[np.argmin(np.abs(values.different - values.mean))])
    return values.mean
