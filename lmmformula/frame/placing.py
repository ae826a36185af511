"""Terms of time and space: their levels are the positions within each group, with a structure across them.

``exp(0 + pos(x, y) | g)`` has an effect at every point where a level of g has rows, ``b(g, x, y)``. A covariance of columns
would hold an effect for every level and every position; here those that occur are stored, and Q has a block for each level of
g. ``ar1(0 + time | g)`` of a factor with few levels is a covariance of its columns, as glmmTMB's: M is then factorised level by
level. Both forms are the same model (Sigma restricted to the rows that occur).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from lmmformula.errors import DataError, FormulaError, PlanError
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Expr, LinearPart, Name, Number, RandomTerm
from lmmformula.frame.functions import as_factor
from lmmformula.frame.grouping import group_factor, group_members
from lmmformula.frame.levels import Levels
from lmmformula.frame.values import Basis, Factor, Value, label_index, object_array
from lmmformula.ir.across import Kernel, Markov, Placed, Proportional, positions_of
from lmmformula.memory import available_memory, in_words
from lmmformula.typing import Array, Context, Data, Index

__all__ = ["first_rows", "of_columns", "place_labels", "placed", "placed_column"]

MOST_COLUMNS = 24
"""Levels of a factor up to which ar1() is a covariance of columns: beyond, blocks of M of that side cost more than a chain."""
_COPIES = 8.0
"""Dense matrices of a block that an evaluation of the criterion holds."""

_Values = Callable[[Expr], Value]


def placed(
    term: RandomTerm, value_of: _Values, context: Context, text: str
) -> tuple[RandomTerm, Levels | None]:
    """The term as one of independent columns at its positions, with these; None for a term of columns.

    Parameters
    ----------
    term : RandomTerm
    value_of : callable
    context : mapping
        Where the matrix of ``propto()`` stands.
    text : str
        The formula, for messages.

    Raises
    ------
    DataError
        For coordinates that are no numbers, and what the structures refuse.
    PlanError
        For more points in a group than memory holds a matrix of.
    """
    if not term.along:
        return term, None
    values = [value_of(expr) for expr in term.along]
    for expr, value in zip(term.along, values, strict=True):
        if isinstance(value, Basis):
            raise DataError(
                f"`{deparse(expr)}` has several columns; coordinates are written one by one, as in "
                f"{term.covariance}(0 + pos(x, y) | g)"
            )
    if _has_columns(term, values[0]):
        return replace(term, along=()), None
    grouping = group_factor((*group_members(term.group), *term.along), value_of, clean=True)
    cells, codes = grouping.cells, grouping.factor.codes
    first = first_rows(codes, len(cells[0]))
    groups = group_factor(term.group, value_of, clean=True).factor.codes[first].astype(np.intp)
    if term.covariance == "propto":
        across: Placed = _proportional(term, cells[-1], as_factor(values[0]).levels, groups, context, text)
    else:
        points = np.column_stack(
            [_numbers(e, v, first, term) for e, v in zip(term.along, values, strict=True)]
        )
        across = _structure(term, points, groups)
    one = LinearPart(intercept=True, terms=())
    own = RandomTerm(one, term.group, term.group_label, along=term.along, text=term.text, span=term.span)
    return own, Levels(place_labels(cells, len(term.along)), codes, cells, across=across)


def of_columns(term: RandomTerm, value_of: _Values) -> RandomTerm:
    """The term as one of columns, for rows that are read in batches.

    Raises
    ------
    PlanError
        For a term of positions, whose distances are those of all rows.
    """
    if not term.along or _has_columns(term, value_of(term.along[0])):
        return replace(term, along=()) if term.along else term
    raise PlanError(
        f"({term.text}): positions of {term.covariance}() are those of all rows, and the rows of these data are read in "
        "batches. Read the data into memory, or a sample of them."
    )


def _has_columns(term: RandomTerm, value: Value) -> bool:
    """Whether the levels of a factor are columns, in their order."""
    return term.covariance == "ar1" and isinstance(value, Factor) and len(value.levels) <= MOST_COLUMNS


def placed_column(term: RandomTerm, covariance: str) -> str:
    """Name of the one column of such a term: ``exp(x, y)``."""
    return f"{covariance}({', '.join(map(deparse, term.along))})"


def place_labels(cells: tuple[Data, ...], count: int) -> Data:
    """Labels of positions, the last `count` of the cells, within the levels of the others."""
    rows = zip(*cells, strict=True)
    return object_array(
        ":".join((*row[:-count], f"({','.join(row[-count:])})" if count > 1 else row[-1])) for row in rows
    )


def first_rows(codes: Index, m: int) -> Index:
    """The first row of each level."""
    out = np.empty(m, dtype=np.intp)
    out[codes[::-1]] = np.arange(len(codes))[::-1]
    return out


def _numbers(expr: Expr, value: Value, first: Index, term: RandomTerm) -> Array:
    """Coordinates at the first row of each position: numbers, those in the labels of a factor, or the order of its levels."""
    if not isinstance(value, Factor):
        return np.asarray(value, dtype=float)[first][:, None]
    if term.covariance == "ar1":
        return value.codes[first].astype(float)[:, None]
    found = positions_of(list(value.levels), f"{term.covariance}()")
    if not all(any(c.isdigit() for c in str(level)) for level in value.levels):
        raise DataError(
            f"`{deparse(expr)}` is a factor whose labels are no numbers, such as {str(value.levels[0])!r}: "
            f"{term.covariance}() needs the positions themselves, as in {term.covariance}(0 + pos(x, y) | {term.group_label})"
        )
    return found[value.codes[first]]


def _structure(term: RandomTerm, points: Array, groups: Index) -> Placed:
    name, line = term.covariance, points.shape[1] == 1
    options = {key: value.value for key, value in term.options if isinstance(value, Number)}
    nu = options.get("nu")
    if name in ("ar1", "ou"):
        if not line:
            raise DataError(
                f"{name}() takes one coordinate, and {points.shape[1]} are given; points: exp(), gau() or mat()"
            )
        return Markov(points[:, 0], name, groups)
    most = int(np.bincount(groups).max())
    need, have = _COPIES * 8.0 * most**2, available_memory()
    if need > have:
        raise PlanError(
            f"{name}() with {most:,} points in one group takes matrices of {most:,} x {most:,}: about {in_words(need)}, where "
            f"{in_words(have)} are available. Points on a coarser grid, ou() along one coordinate, or a smooth of the "
            "coordinates take less."
        )
    return Kernel(points, name, groups, nu)


def _proportional(
    term: RandomTerm, labels: Data, order: Data, groups: Index, context: Context, text: str
) -> Proportional:
    """The known matrix, and the row of each level in it; `order` is that of the factor's levels."""
    (given,) = (value for key, value in term.options if key == "cov")
    assert isinstance(given, Name)
    if given.value not in context:
        raise FormulaError(
            f"`{given.value}` is not given in data2=",
            text,
            given.span,
            f'for example data2={{"{given.value}": A}}: a labelled DataFrame, or an array in the order of the levels',
        )
    value, known = context[given.value], list(order)
    if isinstance(value, pd.DataFrame):
        known = [str(label) for label in value.index]
        if [str(c) for c in value.columns] != known or len(set(known)) < len(known):
            raise DataError(
                f"`{given.value}` needs the same labels, each once, for its rows and its columns."
            )
        value = value.to_numpy(dtype=float)
    a = np.asarray(value, dtype=float)
    if a.shape != (len(known), len(known)):
        raise DataError(
            f"`{given.value}` is {' x '.join(map(str, a.shape))} for {len(known)} levels of {deparse(term.along[0])} in the "
            "rows used; give it labels (a DataFrame), or leave out what no row has."
        )
    _check_matrix(a, given.value)
    places = label_index(known, labels)
    if (absent := np.flatnonzero(places < 0)).size:
        raise DataError(
            f"{absent.size:,} levels of {deparse(term.along[0])} are not among the {len(known):,} labels of `{given.value}`, "
            f"for example {labels[absent[0]]}"
        )
    return Proportional(a, places.astype(np.intp), groups)


def _check_matrix(a: Array, name: str) -> None:
    largest = float(np.abs(a).max(initial=0.0))
    if not np.isfinite(a).all() or float(np.abs(a - a.T).max(initial=0.0)) > 1e-8 * largest:
        raise DataError(f"`{name}` must be a symmetric matrix of finite numbers.")
    low = float(np.linalg.eigvalsh(a)[0])
    if low <= 0.0:
        raise DataError(f"`{name}` is not positive definite (smallest eigenvalue {low:.3g}).")
