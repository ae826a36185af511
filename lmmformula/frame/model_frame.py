"""R's model frame: every variable of a model on the rows that are complete in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, LinearPart, ModelSpec, Name, RandomTerm
from lmmformula.frame.aligning import levels_within
from lmmformula.frame.arguments import RowArgument
from lmmformula.frame.columns import Column
from lmmformula.frame.evaluate import Evaluator, is_constant_name
from lmmformula.frame.functions import RefusalError, as_float
from lmmformula.frame.nearly import warn_of_numbers_in_text
from lmmformula.frame.seeing import chosen_rows
from lmmformula.frame.smooths.record import SmoothRecord
from lmmformula.frame.table import Table
from lmmformula.frame.values import Basis, Factor, Value, drop_unused, is_column, missing_rows, n_infinite
from lmmformula.frame.variables import (
    Completeness,
    column_names,
    model_variables,
    needs_complete_rows,
    used_context,
)
from lmmformula.typing import Arguments, Context, Entries

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["ModelFrame", "evaluate", "raw_names", "refuse_infinite", "single_values", "variable"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ModelFrame:
    """R's model frame: every variable of the model on the complete rows.

    Attributes
    ----------
    text : str
        The formula, for messages.
    n : int
    columns : mapping
        Columns of the table by name, at the complete rows.
    values : mapping
        Variables by expression.
    memory : mapping
        States that functions learned, by call.
    rows : (n,) int64 array or None
        Positions of the complete rows in the table, None if all are.
    n_rows_data : int
    context : mapping
        What the formula uses of it.
    labels : pandas Index or None
        Of the rows of the table.
    given : mapping
        The whole context.
    within : mapping
        Levels of factors that are made within expressions.
    smooths : tuple of SmoothRecord
        Smooths of the mean, once they are expanded.
    """

    text: str
    n: int
    columns: Mapping[str, Value]
    values: Mapping[Expr, Value]
    memory: Mapping[Expr, Value]
    rows: NDArray[np.int64] | None
    n_rows_data: int
    context: Context
    labels: pd.Index | None
    given: Arguments
    within: Mapping[Expr, Entries]
    smooths: tuple[SmoothRecord, ...] = ()

    def __call__(self, expr: Expr) -> Value:
        return self.values[expr]

    def subset(self, array: Array) -> Array:
        return array if self.rows is None else array[self.rows]

    def number(self, expr: Expr) -> Array:
        """A variable that must be numbers."""
        try:
            return as_float(self(expr), f"`{deparse(expr)}`")
        except RefusalError as refusal:
            raise FormulaError(refusal.problem, self.text, expr.span, refusal.hint) from None


def raw_names(exprs: Iterable[Expr], known: Iterable[str], context: Context) -> list[str]:
    """Columns of a table that has those `known`, or that a table should have, which the expressions need."""
    there = frozenset(known)
    return [
        name
        for name in column_names(exprs)
        if name in there or not (name in context or is_constant_name(name))
    ]


def single_values(spec: ModelSpec) -> set[Expr | None]:
    """Variables of which one number stands for every row, as in ``trials(10)``."""
    found = [own.response for own in (spec, *spec.responses)]
    return {
        e for own in found if own is not None for e in (own.trials, own.weights, own.censored, *own.bounds)
    }


def open_values(spec: ModelSpec) -> set[Expr]:
    """Variables whose missing or infinite values say that there is no bound."""
    return {e for own in (spec, *spec.responses) if own.response is not None for e in own.response.bounds}


def evaluate(
    spec: ModelSpec,
    auxiliary: Sequence[LinearPart],
    table: Table,
    arguments: tuple[RowArgument | None, ...],
    missing: str,
    context: Context,
    random: Sequence[Sequence[RandomTerm]] = (),
) -> ModelFrame:
    """Evaluate all variables on the rows that are complete in all of them."""
    terms = [*spec.random, *(term for own in random for term in own)]
    exprs = model_variables(spec, auxiliary, terms)
    columns = {name: table.column(name) for name in raw_names(exprs, table.names, context)}
    complete = Completeness(table.n_rows)
    unbounded = open_values(spec)
    for expr, keep in _subsets(spec, columns, table, context):
        complete.choose(chosen_rows(keep, deparse(expr)))
    if (absent := _imputed(spec, columns)) is not None:
        complete.choose(~absent)
    for name in column_names(e for e in exprs if needs_complete_rows(e) and e not in unbounded):
        if name in columns and (mask := columns[name].missing) is not None:
            complete.exclude(name, mask)
    for argument in arguments:
        if argument is not None and argument.missing is not None:
            complete.exclude(argument.name, argument.missing)
    used = used_context(context, exprs, columns)
    single = single_values(spec)
    while True:
        rows = complete.rows()
        n = table.n_rows if rows is None else len(rows)
        if n == 0:
            complete.report(missing)
        present = {name: column.at(rows) for name, column in columns.items()}
        evaluator = Evaluator(present, n, spec.text, used, {}, learn=True)
        values = {expr: variable(expr, evaluator, constant=expr in single) for expr in exprs}
        tested = {e: v for e, v in values.items() if e not in unbounded}
        incomplete = {e: mask for e, v in tested.items() if (mask := missing_rows(v)) is not None}
        if not incomplete:
            break
        # log(-1) is missing: leave the rows out and learn means, knots and levels again.
        for expr, mask in incomplete.items():
            complete.exclude(deparse(expr), mask, rows)
    complete.report(missing)
    refuse_infinite({expr: n_infinite(value) for expr, value in tested.items()}, n)
    if any(isinstance(value, Factor) and value.kind == "text" for value in values.values()):
        plain = model_variables(spec, auxiliary, terms, groups=False)
        warn_of_numbers_in_text((expr, values[expr]) for expr in plain)
    return ModelFrame(
        text=spec.text,
        n=n,
        columns=present,
        values=values,
        memory=evaluator.memory,
        rows=rows,
        n_rows_data=table.n_rows,
        context=used,
        labels=table.labels,
        given=context,
        within=levels_within(exprs, evaluator.found),
    )


def _subsets(
    spec: ModelSpec, columns: Mapping[str, Column], table: Table, context: Context
) -> Iterator[tuple[Expr, Value]]:
    """What ``y | subset(x)`` says of every row of the table."""
    found = (own.response for own in (spec, *spec.responses))
    for expr in {own.chosen for own in found if own is not None and own.chosen is not None}:
        present = {name: columns[name].at(None) for name in column_names([expr]) if name in columns}
        evaluator = Evaluator(present, table.n_rows, spec.text, context, {}, learn=True)
        yield expr, variable(expr, evaluator, constant=False)


def _imputed(spec: ModelSpec, columns: Mapping[str, Column]) -> NDArray[np.bool_] | None:
    """Rows without the response of ``y | mi()``: they say nothing of the parameters, whose posterior gives what is missing."""
    if spec.response is None or not spec.response.imputed:
        return None
    masks = [columns[name].missing for name in column_names(spec.response.parts) if name in columns]
    there = [mask for mask in masks if mask is not None]
    return np.any(there, axis=0) if there else None


def _spread(value: Value, n: int) -> Value:
    """A number as a column of `n` equal ones."""
    single = isinstance(value, int | float) and not isinstance(value, bool)
    return np.full(n, float(value)) if single else value


def variable(expr: Expr, evaluator: Evaluator, *, constant: bool = False) -> Value:
    """Value of a variable of the model; `constant` lets one number stand for every row, as in ``trials(10)``."""
    value = _spread(evaluator(expr), evaluator.n_rows) if constant else evaluator(expr)
    if not is_column(value):
        raise FormulaError(
            f"`{deparse(expr)}` is a constant, not a column",
            evaluator.text,
            expr.span,
            "a variable of the model needs a value for every row",
        )
    length = len(
        value.codes if isinstance(value, Factor) else value.matrix if isinstance(value, Basis) else value
    )
    if length != evaluator.n_rows:
        raise FormulaError(
            f"`{deparse(expr)}` has {length:,} values for {evaluator.n_rows:,} rows",
            evaluator.text,
            expr.span,
        )
    return drop_unused(value) if isinstance(value, Factor) else value


def refuse_infinite(counts: Mapping[Expr, int], n: int) -> None:
    """Refuse variables that are infinite in some rows, given how many these are."""
    for expr, count in counts.items():
        if count:
            where = "column" if isinstance(expr, Name) else "expression"
            hint = "" if isinstance(expr, Name) else " (the logarithm or inverse of zero?)"
            raise DataError(
                f"{where} `{deparse(expr)}` is infinite in {count:,} of {n:,} rows{hint}: "
                "correct or drop these rows"
            )
