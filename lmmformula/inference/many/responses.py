"""Many responses as the user gives them: a frame, an array or names of columns; and rows that are missing in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.rows import row_labels
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.frame.table import Table
    from lmmformula.inference.fitted import Fitted

__all__ = ["Responses", "of_fit", "of_table", "patterns"]


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Responses with their names.

    Attributes
    ----------
    names : list of str
    values : (rows, B) array
        nan where missing.
    """

    names: list[str]
    values: Array


def of_table(responses: Data, table: Table) -> Responses:
    """Responses for the rows of a table.

    Parameters
    ----------
    responses : frame, array (rows, B), mapping of columns, or names of columns of the table

    Raises
    ------
    DataError
        For names that the table does not have, another number of rows, or values that are no numbers.
    """
    import pandas as pd

    if isinstance(responses, str) or _are_names(responses):
        names = [responses] if isinstance(responses, str) else list(responses)
        columns = [_column(table, name) for name in names]
        return Responses(names, np.stack(columns, axis=1))
    if isinstance(responses, pd.DataFrame) and table.index is not None:
        same = responses.index.equals(table.index)
        if not same and len(responses) == table.n_rows and not isinstance(responses.index, pd.RangeIndex):
            if not responses.index.is_unique or not table.index.is_unique:
                raise DataError("the responses' index and that of the data have repeated labels that differ.")
            if set(responses.index) != set(table.index):
                raise DataError(
                    "the index of the responses has other labels than that of the data: rows are matched by labels. Give the "
                    "responses the index of the data, or pass responses.to_numpy() in the order of its rows."
                )
            responses = responses.loc[table.index]
    found = _matrix(responses)
    if len(found.values) != table.n_rows:
        turned = found.values.shape[1] == table.n_rows
        hint = (
            " They look transposed: rows are observations here, pass responses.T."
            if turned
            else " Give one row for each row of the data."
        )
        raise DataError(f"the responses have {len(found.values):,} rows, the data {table.n_rows:,}.{hint}")
    return found


def of_fit(responses: Data, fit: Fitted) -> Responses:
    """Responses for the rows of a fit, or of the data it came from, of which those of the fit are taken.

    Raises
    ------
    DataError
        For another number of rows, labels that are not the fit's, or missing values.
    """
    import pandas as pd

    problem = fit.problem
    if isinstance(responses, pd.DataFrame) and len(responses) == problem.n:
        labels = row_labels(problem)
        if not responses.index.equals(labels) and set(responses.index) == set(labels) and labels.is_unique:
            responses = responses.loc[labels]
    found = _matrix(responses)
    values = found.values
    if len(values) == problem.n_rows_data and problem.n != problem.n_rows_data:
        values = values[problem.rows]
    if len(values) != problem.n:
        raise DataError(
            f"the responses have {len(values):,} rows, the fit {problem.n:,} (of {problem.n_rows_data:,} in its data)."
        )
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(
            f"{bad:,} values of the responses are missing or infinite; fit_many() takes responses with missing values."
        )
    return Responses(found.names, values)


def patterns(values: Array) -> list[tuple[Index, Index]]:
    """Rows that are present and the responses that they are present in, for each pattern of missing values."""
    present = np.isfinite(values)
    if present.all():
        return [(np.arange(len(values)), np.arange(values.shape[1]))]
    packed = np.packbits(present, axis=0).T
    _, first, of = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(of.ravel()))
    parts = np.split(order, ends[:-1])
    return [(np.flatnonzero(present[:, i]), part) for i, part in zip(first, parts, strict=True)]


def _are_names(responses: Data) -> bool:
    if hasattr(responses, "dtype") or hasattr(responses, "columns") or not isinstance(responses, Iterable):
        return False
    return not isinstance(responses, dict) and all(isinstance(name, str) for name in responses)


def _column(table: Table, name: str) -> Array:
    values = table.column(name).at(None)
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"the response `{name}` is not numeric.") from None


def _matrix(responses: Data) -> Responses:
    import pandas as pd

    if not isinstance(responses, pd.DataFrame):
        if hasattr(responses, "to_pandas"):
            responses = responses.to_pandas()
        elif isinstance(responses, Mapping):
            try:
                responses = pd.DataFrame(dict(responses))
            except ValueError as error:
                raise DataError(f"the responses are no columns of one length: {error}") from None
    names: list[str] = []
    if isinstance(responses, pd.DataFrame):
        names = [str(name) for name in responses.columns]
    try:
        raw = responses.to_numpy(dtype=float) if isinstance(responses, pd.DataFrame) else responses
        values = np.array(raw, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            "the responses must be numbers: a column for each response, a row for each observation."
        ) from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise DataError(
            f"the responses have the shape {values.shape}: give a frame or an array with a row for each observation and a "
            "column for each response."
        )
    if np.isinf(values).any():
        raise DataError(f"{int(np.isinf(values).sum()):,} values of the responses are infinite.")
    return Responses(names or [f"y{j}" for j in range(1, values.shape[1] + 1)], values)
