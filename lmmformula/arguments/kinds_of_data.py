"""Kinds of arguments that hold data: tables, numbers and labels of rows, positions, parameters, what plots are drawn into."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Number
from typing import TYPE_CHECKING

from lmmformula.arguments.kinds import Kind, UnsuitedError, as_number, is_flag, is_text

if TYPE_CHECKING:
    from lmmformula.typing import Argument

__all__ = ["axes", "labels_of_rows", "numbers_of_rows", "positions", "table", "theta"]


def axes() -> Kind:
    """What matplotlib draws into: Axes, or an array of them."""

    def read(value: object) -> Argument:
        if value is None or hasattr(value, "get_figure"):
            return value
        parts = (
            list(getattr(value, "flat", value)) if isinstance(value, Iterable) and not is_text(value) else []
        )
        if not parts or not all(hasattr(part, "get_figure") for part in parts):
            raise UnsuitedError
        return value

    return Kind("Axes of matplotlib (an array of them where there are several plots), or None", read)


def numbers_of_rows(accepted: str, *, column: bool) -> Kind:
    """One number for each row, or (`column`) the name of a column; their count is checked where the rows are known."""

    def read(value: Argument) -> Argument:
        if isinstance(value, str):
            if not column or not value.strip():
                raise UnsuitedError
            return value
        if isinstance(value, bytes | Mapping | Number) or is_flag(value) or not hasattr(value, "__len__"):
            raise UnsuitedError
        one_column = (
            getattr(value, "ndim", 1) == 2 and value.shape[1] == 1 and not column
        )  # simulate(1) has one
        if getattr(value, "ndim", 1) != 1 and not one_column:
            raise UnsuitedError(f"This has the shape {value.shape}.")
        if getattr(getattr(value, "dtype", None), "kind", "") == "c":
            raise UnsuitedError("These are complex numbers.")
        return value

    return Kind(accepted, read)


def labels_of_rows(accepted: str) -> Kind:
    """The name of a variable, or one label for each row; their count is checked where the rows are known."""
    rows = numbers_of_rows(accepted, column=True)

    def read(value: Argument) -> Argument:
        found = rows.read(value)
        if isinstance(found, list | tuple) and any(isinstance(x, list | tuple | Mapping) for x in found):
            raise UnsuitedError
        return found

    return Kind(accepted, read)


_TABLE = ("columns", "column_names", "column", "__dataframe__", "__arrow_c_stream__", "to_batches", "batches")
"""What the class of a table has, of pandas, polars, pyarrow, DuckDB, Dask, narwhals or this package; asked of the class, as to
ask a lazy frame itself costs it a pass over its rows."""


def table() -> Kind:
    """Rows and columns: a data frame, a dict of columns or a path; what is in it the room that reads it judges."""

    def read(value: object) -> Argument:
        if isinstance(value, str | os.PathLike):
            if not os.fspath(value):
                raise UnsuitedError
            return value
        if isinstance(value, Mapping):
            if not value:
                raise UnsuitedError("It has no rows: the dict is empty.")
            return value
        if isinstance(value, list | tuple) and value and all(isinstance(x, str | os.PathLike) for x in value):
            return value  # files
        if not any(hasattr(type(value), name) for name in _TABLE):
            raise UnsuitedError
        return value

    accepted = (
        "a table (pandas, polars, pyarrow), a dict of columns, the path of a file, a folder, glob or list of Parquet files, a "
        "lazy table (DuckDB, polars, Dask, PySpark), or the name of a shipped data set"
    )
    return Kind(accepted, read)


def positions() -> Kind:
    """Which rows: positions, a slice or a mask."""

    def is_position(value: object) -> bool:
        return isinstance(value, Integral) or is_flag(value)

    def read(value: object) -> Argument:
        if value is None or isinstance(value, slice) or (is_position(value) and not is_flag(value)):
            return value
        if is_text(value) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
            raise UnsuitedError
        if not all(map(is_position, value)):
            raise UnsuitedError
        return value

    return Kind("positions of rows, a slice, a mask, or None", read)


def theta() -> Kind:
    """Where a search starts: relative covariance parameters, or an estimate that has them."""

    def read(value: object) -> Argument:
        if value is None or hasattr(value, "theta"):
            return value
        if isinstance(value, Number) or is_flag(value):
            return as_number(value)
        if is_text(value) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
            raise UnsuitedError
        return [as_number(one) for one in value]

    return Kind("finite numbers, one for each covariance parameter, or the estimate of an earlier fit", read)
