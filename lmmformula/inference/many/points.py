"""The points of a power curve: what is varied, and the rows and the truth that each value means.

A curve varies one thing. Numbers of levels of a grouping factor, and numbers of rows within each of its levels, are copies of
rows (:mod:`lmmformula.inference.many.extending`; simr's ``extend(along=)`` and ``extend(within=)``, Green & MacLeod 2016);
values of a coefficient change the truth alone; lists of values of a variable, and tables, are laid out by what the formula
learned from the data of the fit (:mod:`lmmformula.inference.many.layouts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.rank import independent_columns
from lmmformula.inference.many.extending import extended, more_rows
from lmmformula.inference.many.layouts import laid_out, with_values
from lmmformula.typing import Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["DESIGN", "ROWS", "Curve", "Point", "curve"]

ROWS = "rows"
"""What is varied if the number of rows within each level is."""
DESIGN = "design"
"""What is varied if several tables are given."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One point of a curve.

    Attributes
    ----------
    label : number, text or None
        Where it stands; None for the only point.
    problem : Problem
        Its rows.
    effect : dict
        Coefficients in truth.
    """

    label: Data
    problem: Problem
    effect: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What is varied and the points.

    Attributes
    ----------
    varied : str
        Empty if nothing is.
    words : str
        The same for readers.
    points : tuple of Point
    """

    varied: str
    words: str
    points: tuple[Point, ...]


def curve(
    fit: Fitted,
    effect: dict[str, float],
    vary: Mapping[str, Sequence[Data]] | None,
    within: str | Sequence[str] | None,
    design: Data,
) -> Curve:
    """What is varied and the points; see :meth:`lmmformula.Fit.power`.

    Raises
    ------
    DataError
        For what cannot be varied, values that are none, tables without the columns of the model, and rows that do not determine
        its coefficients.
    PlanError
        For models whose rows cannot be copied.
    """
    found = _curve(fit, effect, vary, within, design)
    for point in found.points:
        if point.problem is not fit.problem:
            _refuse_undetermined(point, found.words)
    return found


def _refuse_undetermined(point: Point, words: str) -> None:
    names = point.problem.X.names
    kept = set(independent_columns(point.problem.X.matrix, names).tolist())
    if lost := [name for j, name in enumerate(names) if j not in kept]:
        which = f"with {point.label} ({words}) " if words else ""
        raise DataError(
            f"{which}the {point.problem.n:,} rows do not determine the coefficient of {', '.join(lost)}: vary larger numbers, "
            "or pass rows as design= that have every value of its variables."
        )


def _curve(
    fit: Fitted,
    effect: dict[str, float],
    vary: Mapping[str, Sequence[Data]] | None,
    within: str | Sequence[str] | None,
    design: Data,
) -> Curve:
    if vary is not None and design is not None:
        raise DataError("vary= and design= both say what the rows are: give one of them.")
    if within is not None and (vary is None or not _varies_rows(fit, next(iter(vary), ""))):
        raise DataError(f"within= says in which levels rows are counted, for vary={{'{ROWS}': [5, 10]}}.")
    if design is not None:
        return _designs(fit, effect, design)
    if vary is None:
        return Curve("", "", (Point(None, fit.problem, effect),))
    if len(vary) != 1:
        raise DataError(
            f"vary= names {len(vary)} things; a curve varies one, such as vary={{'subject': [20, 40]}}."
        )
    ((name, given),) = vary.items()
    if isinstance(given, str) or not np.iterable(given):
        raise DataError(f"vary={{{name!r}: {given!r}}}: give a list of values.")
    values = list(given)
    if values and all(np.iterable(v) and not isinstance(v, str) for v in values):
        return Curve(name, f"values of {name}", tuple(_of_values(fit, effect, name, values)))
    if not values or not all(isinstance(v, int | float | np.number) and np.isfinite(v) for v in values):
        raise DataError(f"vary={{{name!r}: {values!r}}}: the values must be finite numbers.")
    found = tuple(_of_numbers(fit, effect, name, values, within))
    if _varies_rows(fit, name):
        where = _rows_within(fit, within)
        return Curve(where, where, found)
    is_factor = any(t.group == name for t in fit.problem.terms)
    return Curve(name, f"levels of {name}" if is_factor else f"the effect {name}", found)


def _of_numbers(
    fit: Fitted,
    effect: dict[str, float],
    name: str,
    values: list[Data],
    within: str | Sequence[str] | None,
) -> Iterator[Point]:
    groups = tuple(dict.fromkeys(t.group for t in fit.problem.terms))
    coefficients = fit.problem.X.names
    if name in groups or _varies_rows(fit, name):
        least = 2 if name in groups else 1
        if not all(float(v).is_integer() and v >= least for v in values):
            what = "levels" if name in groups else "rows within a level"
            raise DataError(
                f"vary={{{name!r}: {values!r}}}: numbers of {what} are whole numbers of at least {least}."
            )
        for value in map(int, values):
            if name in groups:
                yield Point(value, extended(fit.problem, name, value), effect)
            else:
                yield Point(value, more_rows(fit.problem, within, value), effect)
    elif name in coefficients:
        for value in map(float, values):
            yield Point(value, fit.problem, {**effect, name: value})
    else:
        raise DataError(
            f"vary= names {name!r}, which is no grouping factor and no coefficient: those are "
            f"{', '.join((*groups, *coefficients))}. '{ROWS}' varies the rows within each level, a list of lists the values "
            "of a variable, {'x': [range(5), range(10)]}."
        )


def _varies_rows(fit: Fitted, name: str) -> bool:
    """Whether the number of rows within levels is varied; a factor or a coefficient of that name goes first."""
    return name == ROWS and name not in (*(t.group for t in fit.problem.terms), *fit.problem.X.names)


def _rows_within(fit: Fitted, within: str | Sequence[str] | None) -> str:
    groups = dict.fromkeys(t.group for t in fit.problem.terms)
    names = groups if within is None else (within,) if isinstance(within, str) else within
    return f"{ROWS} within {' and '.join(names)}" if names else ROWS + " in all"


def _of_values(fit: Fitted, effect: dict[str, float], name: str, values: list[Data]) -> Iterator[Point]:
    for own in values:
        numbers = np.asarray(list(own))
        yield Point(len(numbers), laid_out(fit, with_values(fit, name, numbers)), effect)


def _designs(fit: Fitted, effect: dict[str, float], design: Data) -> Curve:
    """One table, or several by name; a mapping of columns is one table."""
    several = isinstance(design, Mapping) and bool(design) and all(_is_table(v) for v in design.values())
    if not several:
        return Curve("", "", (Point(None, _laid_out(fit, design, ""), effect),))
    found = tuple(Point(str(k), _laid_out(fit, table, f" {k!r}"), effect) for k, table in design.items())
    return Curve(DESIGN, DESIGN, found)


def _laid_out(fit: Fitted, table: Data, which: str) -> Problem:
    try:
        return laid_out(fit, table)
    except DataError as error:
        raise DataError(f"design={which}: {error}") from error


def _is_table(value: Data) -> bool:
    return isinstance(value, Mapping) or any(
        hasattr(value, name) for name in ("columns", "column_names", "__dataframe__")
    )
