"""Tables in files: CSV, Parquet and JSON, and the data sets that come with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.values import as_number
from lmmformula.typing import Json

__all__ = ["is_json", "is_parquet", "locate", "read_csv", "read_file", "separator_of"]

_NA_STRINGS = ["NA", ""]
_EXACT = 2.0**53
"""Whole numbers from here on are identifiers, which a float would merge."""
_PARQUET = (".parquet", ".pq")
_JSON = (".json", ".jsonl", ".ndjson")
_OTHERS = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods"), "a spreadsheet: pass what pandas.read_excel(path) reads"
    ),
    **dict.fromkeys(
        (".feather", ".arrow", ".ipc"), "an Arrow file: pass what pandas.read_feather(path) reads"
    ),
    **dict.fromkeys(
        (".rds", ".rda", ".rdata"), "a file of R: write it with write.csv() or arrow::write_parquet() there"
    ),
    **dict.fromkeys((".sas7bdat", ".xpt"), "a file of SAS: pass what pandas.read_sas(path) reads"),
    **dict.fromkeys((".sav", ".zsav"), "a file of SPSS: pass what pandas.read_spss(path) reads"),
    ".dta": "a file of Stata: pass what pandas.read_stata(path) reads",
    ".orc": "an ORC file: pass what pandas.read_orc(path) reads",
    **dict.fromkeys((".h5", ".hdf5"), "an HDF5 file: pass what pandas.read_hdf(path) reads"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle: pass the table that is in it"),
    **dict.fromkeys((".db", ".sqlite", ".duckdb"), "a database: pass the table that a query gives"),
}
"""Suffixes of formats that would come out as garbage if they were read as text."""


def is_parquet(path: str | Path) -> bool:
    """Whether the name of a file says Parquet."""
    return Path(path).suffix.lower() in _PARQUET


def is_json(path: str | Path) -> bool:
    """Whether the name of a file says JSON, or a line of JSON for each row."""
    return Path(path).suffix.lower() in _JSON


def separator_of(path: Path) -> str:
    """Tabs in .tsv files, commas elsewhere."""
    return "\t" if ".tsv" in path.suffixes else ","


def locate(name: str | Path) -> Path | str:
    """The path of a file, or the name of a data set of the package; a file has the right of way.

    Raises
    ------
    DataError
        If it is neither.
    """
    path = Path(name)
    if _is_file(path):
        return path
    shown = str(name) if len(str(name)) <= 200 else f"{str(name)[:200]}... ({len(str(name)):,} characters)"
    if isinstance(name, Path) or path.suffix or len(path.parts) != 1:
        raise DataError(f"no such file: {shown}")
    from lmmformula.datasets import dataset_names, near_datasets

    if name in dataset_names():
        return name
    near = near_datasets(name)
    hint = f" Did you mean the data set {' or '.join(map(repr, near))}?" if near else ""
    raise DataError(
        f"no such file: {shown}, and no data set of the package has that name.{hint} dataset_names() lists those."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than the system allows, or with a null character
        return False


def read_file(path: Path) -> pd.DataFrame:
    """A CSV (also compressed), Parquet or JSON file.

    Raises
    ------
    DataError
        If it is not there, cannot be read, or its suffix names another format.
    """
    locate(path)
    if what := _OTHERS.get(path.suffix.lower()):
        raise DataError(f"cannot read {path}: its name says that it is {what}.")
    try:
        if is_parquet(path):
            return pd.read_parquet(path)
        if is_json(path):
            return read_json(path)
        _refuse_other_separators(path)
        return read_csv(path, separator_of(path))
    except (ValueError, OSError, EOFError, ImportError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _refuse_other_separators(path: Path) -> None:
    """A CSV file whose first line has semicolons or tabs and no comma would be read as one column."""
    if path.suffix.lower() != ".csv":
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(100_000)
    other = next((mark for mark in (";", "\t") if mark in header), None)
    if other is not None and "," not in header:
        what, cure = ("semicolons", "") if other == ";" else ("tabs", ", or name it .tsv")
        raise DataError(
            f"{path}: columns are separated by {what}, and a .csv file is read by commas. Write it with commas (and decimal "
            f"points){cure}; in Python, pass what pandas.read_csv(path, sep={other!r}) reads, with decimal=',' if need be."
        )


def read_csv(source: str | Path | IO[bytes], separator: str = ",") -> pd.DataFrame:
    """A table from CSV text in a file or a buffer, with numbers and missing values as R reads them.

    Empty cells and NA are missing in every column. In a column whose other cells are numbers, NaN in any case and with any
    sign, and blanks, are missing too; in a column of text they are text.
    """
    # Read in chunks (low_memory), a column may come out as numbers in one and text in another.
    table = pd.read_csv(source, sep=separator, keep_default_na=False, na_values=_NA_STRINGS, low_memory=False)
    for j in range(table.shape[1]):
        column = table.iloc[:, j]
        if pd.api.types.is_string_dtype(column.dtype) and (numbers := _numbers(column)) is not None:
            table.isetitem(j, numbers)
        elif column.dtype == np.float64 and column.isna().any() and (column.abs() >= _EXACT).any():
            _as_integers(table, j, source, separator)
    return table


def _as_integers(table: pd.DataFrame, j: int, source: str | Path | IO[bytes], separator: str) -> None:
    """Read a column again as integers with gaps, if that is what it holds; pandas makes floats of it."""
    if not isinstance(source, str | Path):
        source.seek(0)
    with suppress(TypeError, ValueError), np.errstate(invalid="ignore"):  # decimals, or beyond 64 bits
        again = pd.read_csv(
            source, sep=separator, keep_default_na=False, na_values=_NA_STRINGS, usecols=[j], dtype="Int64"
        )
        table.isetitem(j, again.iloc[:, 0])


def _numbers(column: pd.Series) -> NDArray[np.float64] | None:
    """A column of text as numbers, if all its cells are numbers, NaN or blank; None if it is text."""
    first = column.first_valid_index()
    if (
        first is None or _as_r_reads(column[first]) is None
    ):  # most columns of text show it in their first cell
        return None
    codes, labels = pd.factorize(column)
    read = [_as_r_reads(label) for label in labels]
    if any(value is None for value in read):
        return None
    values = np.array([*read, np.nan], dtype=float)
    known = values[np.isfinite(values)]
    return None if not len(known) or np.abs(known).max() >= _EXACT else values[codes]


def _as_r_reads(cell: object) -> float | None:
    """The number in a cell, NaN where it is NaN or blank; None for other text."""
    bare = str(cell).strip()
    return np.nan if not bare or bare.lstrip("+-").lower() == "nan" else as_number(bare)


def read_json(path: Path) -> pd.DataFrame:
    """Rows as records: a list of objects, or an object a line; or one object of columns.

    A key that a record lacks, and null, are missing values.
    """
    text = path.read_text(encoding="utf-8-sig")
    try:
        rows = _parsed(text)
    except RecursionError:
        raise DataError(f"cannot read {path}: it is nested too deeply to be a table.") from None
    if isinstance(rows, dict):
        return _columns(path, rows)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f'cannot read {path}: a table in JSON is a list of records, [{{"x": 1, "g": "a"}}, ...], one record a line, or '
            'an object of columns, {"x": [1, 2], "g": ["a", "b"]}.'
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _inferred([row.get(name) for row in rows]) for name in names})


def _parsed(text: str) -> Json:
    """One JSON value, or those of all lines if there are several."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or error.msg != "Extra data":
            raise
        return [json.loads(line) for line in lines]


def _columns(path: Path, given: Mapping[str, Json]) -> pd.DataFrame:
    """Columns by name; single values are repeated, and make one row if there is nothing else."""
    lengths = {name: len(values) for name, values in given.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"`{name}` {n}" for name, n in lengths.items())
        raise DataError(f"cannot read {path}: columns of different length: {shown}")
    n = next(iter(lengths.values()), 1)
    return pd.DataFrame({k: _inferred(v if isinstance(v, list) else [v] * n) for k, v in given.items()})


def _inferred(values: list[Json]) -> pd.Series:
    """Numbers as floats where one is missing, else as they are; text and nested values as objects."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} and float in kinds:
        return pd.Series([np.nan if value is None else float(value) for value in values], dtype=float)
    return pd.Series(values, dtype=object if None in values or kinds - {int, bool} else None)
