"""The model of a fit with another formula, on the rows of that fit.

A smaller formula may leave out the variable whose missing values removed rows; its fit would then have more of them, and the
two likelihoods would be of different data. So where rows were left out, the table of the fit's own rows takes its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import (
    BoundaryWarning,
    DataDroppedWarning,
    DataError,
    LmmformulaWarning,
    PlanError,
    RankDeficientWarning,
    SingularFitWarning,
    warn,
)
from lmmformula.formula import ModelSpec, means_other_columns, model_spec, render
from lmmformula.frame import open_data
from lmmformula.frame.arguments import by_labels
from lmmformula.frame.table import Table, open_table
from lmmformula.typing import Argument, Data, Record

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted, FittedT

__all__ = ["Call", "call_of", "own_spec", "quietly", "refitted"]

T = TypeVar("T")
_ROW_ARGUMENTS = ("weights", "offset")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What a fit was made of, on some of its rows.

    Attributes
    ----------
    data : table
    arguments : dict
        Those of the call. Numbers for rows, where `data` are some of these, have become a column of it.
    """

    data: Data
    arguments: Record


def own_spec(fit: Fitted) -> ModelSpec:
    """What the formula of a fit means, with ``.`` written out."""
    text = fit.recall.formula
    columns = open_data(_source(fit)).names if means_other_columns(text) else None
    return model_spec(text, columns)


def call_of(fit: Fitted, rows: NDArray[np.int64] | None = None) -> Call:
    """The call that made `fit` on `rows`, positions in its table; by default on the rows that it used.

    Raises
    ------
    DataError
        For a fit that was loaded, which does not carry its data.
    """
    source, arguments = _source(fit), dict(fit.recall.arguments)
    arguments["progress"] = False
    if rows is None:
        if fit.problem.n == fit.problem.n_rows_data:
            return Call(source, arguments)
        rows = fit.problem.rows
    table = _table(fit, source)
    names = {record.name for record in fit.problem.recipe.columns}
    names |= {a for a in map(arguments.get, _ROW_ARGUMENTS) if isinstance(a, str)}
    names |= set(model_spec(fit.recall.formula, table.names).variables) & set(table.names)
    beside: Record = {}
    for name in _ROW_ARGUMENTS:
        given = arguments.get(name)
        if given is not None and not isinstance(given, str):
            beside[f"({name})"] = np.asarray(by_labels(given, name, table.index, table.n_rows))[rows]
            arguments[name] = f"({name})"
    frame = table.to_pandas([name for name in table.names if name in names], rows)
    return Call(frame.assign(**beside), arguments)


def refitted(
    fit: FittedT, spec: ModelSpec | None = None, call: Call | None = None, **changes: Argument
) -> FittedT:
    """`fit` with another formula (by default its own), data or arguments; without a word about what its own fit has said.

    Parameters
    ----------
    spec : ModelSpec, optional
    call : Call, optional
        By default on the rows of the fit.
    **changes
        Arguments of the call that replace the earlier ones.
    """
    made = call_of(fit) if call is None else call
    text = fit.recall.formula if spec is None else render(spec)
    return quietly(lambda: fit.recall.function(text, made.data, **{**made.arguments, **changes}))


def quietly(make: Callable[[], T]) -> T:
    """What `make` gives, without warnings of what a smaller model may well meet: boundaries, dropped rows and columns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    expected = (SingularFitWarning, BoundaryWarning, DataDroppedWarning, RankDeficientWarning)
    for item in caught:
        if issubclass(item.category, expected):
            continue
        if issubclass(item.category, LmmformulaWarning):
            warn(str(item.message), item.category)
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    return made


def _table(fit: Fitted, source: Data) -> Table:
    """The data in memory, of which some rows are taken."""
    opened = open_data(source)
    if isinstance(opened, Table):
        return open_table(opened)
    raise PlanError(
        f"another model has to be fitted to the {fit.problem.n_used:,} rows of {fit.problem.n_rows_data:,} that this fit uses, "
        f"and those of {opened.name} are not in memory. Leave out rows with missing values beforehand (a query, a filter), or "
        "fit a sample of the rows."
    )


def _source(fit: Fitted) -> Data:
    if fit.recall.given is None:
        raise DataError(
            "the fit does not carry its data, as it was loaded, or refitted to a response that is an expression, so no other "
            "model can be fitted to them: use m.update(data=...) first."
        )
    return fit.recall.given
