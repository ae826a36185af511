"""``weights=`` and ``offset=``: a column's name, or one number for each row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.functions import RefusalError, as_float
from lmmformula.frame.table import Table

__all__ = ["RowArgument", "row_argument"]


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


def row_argument(given: Any, role: str, table: Table) -> RowArgument | None:
    """Read the argument called `role` ("weights", "offset").

    A missing value in a column leaves its row out, as in any variable; one in an array is an error,
    because nothing in the table shows it.
    """
    if given is None:
        return None
    if isinstance(given, str):
        column = table.column(given)
        try:
            values = as_float(column.at(None), f"{role}= (column `{given}`)")
        except RefusalError as refusal:
            raise DataError(refusal.problem) from None
        return _finite(RowArgument(given, values, column.missing, given), role)
    try:
        values = np.asarray(given, dtype=float)
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


def _finite(argument: RowArgument, role: str) -> RowArgument:
    if count := int(np.isinf(argument.values).sum()):
        name = f" `{argument.column}`" if argument.column else ""
        raise DataError(f"{role}{name} is infinite in {count:,} of {len(argument.values):,} rows")
    return argument
