"""``weights=`` and ``offset=``: a column's name, or one number for each row of the table.

A pandas Series says itself which row each of its numbers is for. It is put in the order of the table by its index, and refused
where that is not possible, rather than read in the order it happens to have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.functions import RefusalError, as_float
from lmmformula.frame.table import Table
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "RowArgument",
    "by_labels",
    "column_argument",
    "keep_argument",
    "refuse_infinite_argument",
    "row_argument",
]


@dataclass(frozen=True, slots=True, eq=False)
class RowArgument:
    """Numbers aligned with the rows of the table, before any are left out.

    Attributes
    ----------
    name : str
        For messages.
    values : (n,) float64 array
    missing : (n,) bool array or None
    column : str or None
        The column they come from; None for an array.
    """

    name: str
    values: NDArray[np.float64]
    missing: NDArray[np.bool_] | None = None
    column: str | None = None


def row_argument(given: Data, role: str, table: Table) -> RowArgument | None:
    """Read the argument called `role` ("weights", "offset").

    A missing value in a column leaves its row out, as in any variable; one in an array is an error,
    because nothing in the table shows it.
    """
    if given is None:
        return None
    if isinstance(given, str):
        return _finite(column_argument(given, role, table), role)
    given = by_labels(given, role, table.index, table.n_rows)
    try:
        values = np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{role} must be numbers or the name of a column") from None
    if values.shape != (table.n_rows,):
        shape = f"{values.shape[0]:,} values" if values.ndim == 1 else f"shape {values.shape}"
        raise DataError(f"{role} has {shape}, but the table has {table.n_rows:,} rows")
    if count := int(np.isnan(values).sum()):
        raise DataError(
            f"{role} is missing (NaN) in {count:,} of {len(values):,} rows: fill them or drop the rows"
        )
    return _finite(RowArgument(role, values), role)


def column_argument(given: str, role: str, table: Table) -> RowArgument:
    """The argument called `role` from a column, infinite or not."""
    column = table.column(given)
    try:
        values = as_float(column.at(None), f"{role}= (column `{given}`)")
    except RefusalError as refusal:
        raise DataError(refusal.problem) from None
    return RowArgument(given, values, column.missing, given)


def by_labels(given: Data, role: str, index: pd.Index | None, n_rows: int) -> Data:
    """`given` in the order of the rows labelled by `index`, if it is a pandas Series; anything else as it is.

    Parameters
    ----------
    given : Series or any
    role : str
        For messages.
    index : pandas Index or None
        Labels of the rows; None stands for 0, 1, ..., n_rows - 1.
    n_rows : int

    Raises
    ------
    DataError
        If the Series lacks a label of the rows, or has a label several times and other labels than the rows in order.
    """
    import pandas as pd

    if not isinstance(given, pd.Series):
        return given
    labels = pd.RangeIndex(n_rows) if index is None else index
    if given.index.equals(labels):
        return _numbers(given, role)
    if not given.index.is_unique:
        twice = given.index[given.index.duplicated()][0]
        raise DataError(
            f"{role} is a Series whose index has the label {twice!r} more than once and differs from the index of the data, so "
            "its values cannot be put beside the rows: give it the index of the data, or pass .to_numpy() if it is in the "
            "order of the rows"
        )
    there = labels.isin(given.index)
    if not there.all():
        lacking = list(dict.fromkeys(labels[~there]))
        shown = ", ".join(repr(label) for label in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        raise DataError(
            f"{role} is a Series whose index lacks labels of {int((~there).sum()):,} of {n_rows:,} rows of the data ({shown}), "
            "so its values cannot be put beside the rows: give it the index of the data, or pass .to_numpy() if it is in the "
            "order of the rows"
        )
    return _numbers(given.reindex(labels), role)


def _numbers(series: pd.Series, role: str) -> NDArray[np.float64]:
    try:
        return series.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataError(f"{role} must be numbers, not a Series of type {series.dtype}") from None


def keep_argument(given: Data) -> Data:
    """`given` as it is now: arrays, lists, mappings and Series are copied."""
    return given.copy() if hasattr(given, "copy") and not isinstance(given, str) else given


def _finite(argument: RowArgument, role: str) -> RowArgument:
    refuse_infinite_argument(
        argument.column, role, int(np.isinf(argument.values).sum()), len(argument.values)
    )
    return argument


def refuse_infinite_argument(column: str | None, role: str, count: int, n: int) -> None:
    """Refuse an argument that is infinite in `count` of `n` rows."""
    if count:
        name = f" `{column}`" if column else ""
        raise DataError(f"{role}{name} is infinite in {count:,} of {n:,} rows")
