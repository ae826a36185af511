r"""The reference grid: one row for every combination of the predictors' reference values.

Factors, text and logicals have all of their levels, as have numbers that the formula turns into a factor and numbers with two
values (0 and 1); other numbers have their mean over the rows of the fit, before any function of the formula is applied to them.
The offset is that of the reference values. With D the columns that were dropped for being combinations ``X C`` of those kept,
the prediction of a row (x, d) is estimable where ``d = C'x``, whatever the dropped coefficients are taken to be (Searle 1971).

The conventions are those of emmeans, whose results these are to be compared with.

References
----------
Lenth (2016), J. Stat. Software 69(1): reference grids. Searle (1971), Linear Models: sec. 5.4.
Searle, Speed & Milliken (1980), The American Statistician 34, 216-221.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.formula.spec import Call, Name
from lmmformula.formula.walk import nodes
from lmmformula.frame.numbers import as_factor
from lmmformula.frame.values import labels_of
from lmmformula.frame.variables import column_names
from lmmformula.inference.location import coefficients as location
from lmmformula.inference.looks import ALL, Labels, Numbers, Summary, looks, numbers_of, summaries
from lmmformula.inference.prediction_rows import of_mean, rows_of
from lmmformula.numerics.columns import column_sizes
from lmmformula.typing import Arguments, Array, Data

if TYPE_CHECKING:
    from lmmformula.frame.recipe import ColumnRecord, Recipe
    from lmmformula.inference.fitted import Fitted

__all__ = [
    "Grid",
    "Label",
    "Predictor",
    "counted_numbers",
    "predictors",
    "reference_grid",
    "rows_at",
    "spread_of",
]

Label = str | float | bool
"""A level or a value."""

MOST_CELLS = 100_000
"""Rows of a grid beyond which it is refused."""
TWO = 2
"""Values up to which a number is taken for a factor."""
_FACTORS_OF_NUMBERS = frozenset(
    ("factor", "as.factor", "ordered", "as.ordered", "as.character", "as.logical", "C", "mo")
)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A variable of the fixed part.

    Attributes
    ----------
    name : str
    values : tuple
        Reference values.
    is_factor : bool
        Whether its values are counted in weights.
    is_logical : bool
    """

    name: str
    values: tuple[Label, ...]
    is_factor: bool
    is_logical: bool = False

    def as_data(self, values: Iterable[Label]) -> list[Data]:
        """Values as new data hold them."""
        return [value == "TRUE" for value in values] if self.is_logical else list(values)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Columns of the model on the reference grid, whose first predictor is fastest.

    Attributes
    ----------
    predictors : tuple of Predictor
    X : (cells, P) array
        Of the fixed effects, and of smooths that all rows share.
    offset : (cells,) array
    excess : (cells, dropped) array
        ``d - C'x`` in units of the dropped columns: zero where a cell is estimable.
    counts : (cells,) array
        Rows of the data (their weights, if they have any) with the cell's factors.
    columns : dict
        The cells as new data.
    """

    predictors: tuple[Predictor, ...]
    X: Array
    offset: Array
    excess: Array
    counts: Array
    columns: dict[str, list[Data]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each predictor."""
        return tuple(len(p.values) for p in self.predictors)

    def predictor(self, name: str) -> Predictor:
        """The one of a name.

        Raises
        ------
        DataError
        """
        for predictor in self.predictors:
            if predictor.name == name:
                return predictor
        known = ", ".join(p.name for p in self.predictors) or "none"
        raise DataError(f"the fixed part has no variable {name!r}; it has {known}.")


def reference_grid(
    fit: Fitted,
    at: Arguments | None = None,
    data: Data = None,
    further: Iterable[str] = (),
    part: int | None = None,
) -> Grid:
    """The grid of a fit.

    Parameters
    ----------
    fit : Fit
    at : mapping, optional
        Predictor -> value or values, in place of the reference values.
    data : table, optional
        The rows of which means and counts are taken; by default those of the fit.
    further : iterable of str
        Columns besides those of the fixed part.
    part : int, optional
        The auxiliary parameter whose predictor takes the place of the fixed part.

    Raises
    ------
    DataError
        For a fit that was loaded without data, an unknown predictor or level, or a grid of too many cells.
    """
    names = predictors(fit, further, part)
    found = _found(fit, names, data)
    found = _replaced(found, at or {})
    cells = prod(len(p.values) for p in found)
    if cells > MOST_CELLS:
        sizes = ", ".join(f"{p.name} ({len(p.values):,})" for p in found if len(p.values) > 1)
        raise DataError(
            f"the reference grid would have {cells:,} rows, of {sizes}: at most {MOST_CELLS:,} are made. Hold some variables "
            "at fewer values with at=, for example at={'" + found[0].name + "': ...}."
        )
    index = np.indices([len(p.values) for p in found[::-1]]).reshape(len(found), cells)[::-1]
    columns = {p.name: p.as_data(p.values[i] for i in where) for p, where in zip(found, index, strict=True)}
    X, offset, excess = rows_at(fit, columns, data, cells, part)
    return Grid(found, X, offset, excess, _counts(fit, found, index, data), columns)


def predictors(fit: Fitted, further: Iterable[str] = (), part: int | None = None) -> tuple[str, ...]:
    """Columns that the mean and its offset name, in order of first use; or those of an auxiliary predictor."""
    recipe = fit.problem.recipe
    known = {record.name for record in recipe.columns}
    if part is not None:
        own = column_names([p.expr for parts in recipe.aux[part][0].terms for p in parts])
        return tuple(dict.fromkeys(name for name in own if name in known))
    offsets = [*column_names(recipe.offsets), *([recipe.offset_column] if recipe.offset_column else [])]
    names = [*location.variables(fit), *offsets, *further]
    return tuple(dict.fromkeys(name for name in names if name in known))


def rows_at(
    fit: Fitted, columns: dict[str, list[Data]], data: Data, n: int, part: int | None = None
) -> tuple[Array, Array, Array]:
    """X, offset and excess of new rows; of an auxiliary predictor, whose columns are all kept."""
    given = columns or {"(none)": [0.0] * n}  # an intercept alone needs no column, but a number of rows
    if part is not None:
        alone = replace(fit.problem.recipe, aux=(fit.problem.recipe.aux[part],), aux_terms=())
        x = np.asarray(alone.replay(given, fixed=False, aux=True, terms=()).aux[0])
        return x, np.zeros(n), np.zeros((n, 0))
    rows = rows_of(fit, given, of_mean(fit), aux=False)
    return location.columns(fit, rows), rows.offset, _excess(fit, given, rows.X, data)


def spread_of(fit: Fitted, name: str, data: Data = None) -> tuple[float, float]:
    """Mean and standard deviation of a number over the rows of the fit.

    Raises
    ------
    DataError
        For a factor, or a name that is no variable of the fixed part.
    """
    recipe, known = fit.problem.recipe, predictors(fit)
    if name not in known:
        raise DataError(f"the fixed part has no variable {name!r}; it has {', '.join(known) or 'none'}.")
    if next(r for r in recipe.columns if r.name == name).levels is not None:
        raise DataError(
            f"{name!r} is a factor, which has no slope: use emmeans({name!r}).contrast('consec') or 'poly' instead."
        )
    seen = summaries(looks(fit, (name,), data, what=_WHAT), (name,), {}, ())[name]
    assert isinstance(seen, Numbers)
    return seen.mean, seen.sd()


_WHAT = "reference values and counts are taken"


def _found(fit: Fitted, names: tuple[str, ...], data: Data) -> tuple[Predictor, ...]:
    """The predictors with their reference values."""
    recipe = fit.problem.recipe
    records = {record.name: record for record in recipe.columns if record.name in names}
    factors, coerced = {name for name, r in records.items() if r.levels is not None}, counted_numbers(recipe)
    most = {name: ALL if name in coerced else TWO for name in names}
    seen = summaries(looks(fit, names, data, what=_WHAT), names, most, factors)
    return tuple(_predictor(records[name], seen[name]) for name in names)


def _predictor(record: ColumnRecord, seen: Summary) -> Predictor:
    if isinstance(seen, Labels):
        used = {level for level, count in zip(seen.levels, seen.counts, strict=True) if count}
        levels = tuple(str(level) for level in record.levels or seen.levels if level in used)
        return Predictor(record.name, levels, True, record.kind == "logical")
    if seen.different is not None:
        return Predictor(record.name, tuple(map(float, seen.different)), len(seen.different) > 1)
    return Predictor(record.name, (seen.mean,), False)


def counted_numbers(recipe: Recipe) -> set[str]:
    """Columns of numbers whose values are levels for the formula."""
    designs = (recipe.fixed, *(design for design, _ in recipe.aux))
    exprs = [part.expr for design in designs for parts in design.terms for part in parts]
    calls = [n for e in exprs for n in nodes(e) if isinstance(n, Call)]
    inside = [c.args[0].value for c in calls if c.function in _FACTORS_OF_NUMBERS and c.args]
    return {expr.value for expr in inside if isinstance(expr, Name)}


def _replaced(found: tuple[Predictor, ...], at: Arguments) -> tuple[Predictor, ...]:
    """The predictors with the values of `at`."""
    known = {p.name: p for p in found}
    for name, given in at.items():
        if name not in known:
            raise DataError(
                f"at= names {name!r}, which is no variable of the fixed part; it has {', '.join(known) or 'none'}."
            )
        own = known[name]
        several = isinstance(given, Iterable) and not isinstance(given, str)
        values = tuple(_as_label(own, v) for v in (given if several else (given,)))
        if not values:
            raise DataError(f"at={{{name!r}: ...}} has no value.")
        known[name] = replace(own, values=values)
    return tuple(known.values())


def _as_label(own: Predictor, value: Data) -> Label:
    """A value that was asked for, as the predictor has it."""
    if own.values and isinstance(own.values[0], str):
        text = str(value).upper() if own.is_logical else str(value)
        if isinstance(value, float | np.floating) and float(value).is_integer() and text not in own.values:
            text = str(int(value))
        if text not in own.values:
            raise DataError(f"{own.name!r} has no level {value!r}; it has {', '.join(map(str, own.values))}.")
        return text
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise DataError(f"{own.name!r} is a number, and at= asks for {value!r}.")
    return number


def _counts(fit: Fitted, found: tuple[Predictor, ...], index: Data, data: Data) -> Array:
    """Rows, or their weights, that have the factors of each cell; equal along numbers."""
    cells = index.shape[1] if len(found) else 1
    factors = [(j, p) for j, p in enumerate(found) if p.is_factor]
    if not factors:
        return np.ones(cells)
    cell, total = np.zeros(cells, np.int64), int(prod(len(p.values) for _, p in factors))
    for j, predictor in factors:
        cell = cell * len(predictor.values) + index[j]
    counted = np.zeros(total)
    weighted = fit.problem.family.weights_are != "trials" and fit.problem.data.weights is not None
    for look in looks(fit, [p.name for _, p in factors], data, weighted=weighted, what=_WHAT):
        code, known = np.zeros(look.n, np.int64), np.ones(look.n, dtype=bool)
        for _, predictor in factors:
            own = _as_labels(predictor, look.column(predictor.name))
            codes = label_codes(predictor.values, own)
            known &= codes >= 0
            code = code * len(predictor.values) + np.maximum(codes, 0)
        counted += np.bincount(
            code[known], None if look.weights is None else look.weights[known], minlength=total
        )
    return counted[cell]


def label_codes(values: tuple[Label, ...], rows: Data) -> Data:
    """Place of each row's value among some; -1 where it is none of them."""
    import pandas as pd

    kind = object if values and isinstance(values[0], str) else None
    return pd.Index(values, dtype=kind).get_indexer(pd.Index(rows, dtype=kind))


def _as_labels(predictor: Predictor, values: Data) -> Data:
    """A column in the values that the predictor has: labels, or numbers."""
    if predictor.values and isinstance(predictor.values[0], str):
        return labels_of(as_factor(values))
    return numbers_of(values)


def _excess(fit: Fitted, columns: dict[str, list[Data]], X: Array, data: Data) -> Array:
    """What new rows have in dropped columns beyond what the kept ones imply, in units of these columns."""
    recipe, monotonic = fit.problem.recipe, fit.problem.monotonic
    kept = list(recipe.kept if monotonic is None else monotonic.design)  # steps of zero are known
    every = tuple(range(len(recipe.fixed.names)))
    if not fit.problem.family.distribution.intercept:  # thresholds are what a constant is to other families
        kept = [j for j in every if recipe.fixed.names[j] == "(Intercept)"] + kept
    dropped = [j for j in every if j not in set(kept)]
    if not dropped:
        return np.zeros((len(X), 0))
    whole = replace(recipe, kept=every)
    old = _rows_of_columns(fit, whole, data)
    size, size_d = column_sizes([old[:, kept]]), column_sizes([old[:, dropped]])
    size, size_d = (np.where(s > 0.0, s, 1.0) for s in (size, size_d))
    implied = np.linalg.lstsq(old[:, kept] / size, old[:, dropped] / size_d, rcond=None)[0]
    new = np.asarray(whole.replay(columns, terms=()).X)
    return new[:, dropped] / size_d - (new[:, kept] / size) @ implied


def _rows_of_columns(fit: Fitted, recipe: Recipe, data: Data) -> Array:
    """All columns on the rows; of rows that come in batches the triangle of their QR decomposition, per row."""
    old, n, batches = np.zeros((0, len(recipe.fixed.names))), 0, 0
    for look in looks(fit, recipe.needed, data, what=_WHAT):
        own = np.asarray(recipe.replay(look.table, terms=()).X)
        own = own if look.rows is None else own[look.rows]
        own = own[~np.isnan(own).any(axis=1)]
        old = np.asarray(np.linalg.qr(np.vstack([old, own]), mode="r")) if batches else own
        n, batches = n + len(own), batches + 1
    return old if batches < 2 else old / np.sqrt(max(n, 1))
