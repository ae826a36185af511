"""The data sets that come with the package, typed as R types them.

The order of a factor's levels decides what a coefficient means, so it is part of the data: every factor
is read into a `pandas.Categorical` whose categories stand in R's order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Literal

from lmmformula.arguments import checked
from lmmformula.errors import DataError
from lmmformula.resources import dataset_path

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.typing import Record

__all__ = ["ColumnInfo", "DatasetInfo", "dataset_info", "dataset_names", "load_dataset", "near_datasets"]

ColumnType = Literal["numeric", "integer", "logical", "character", "factor", "ordered"]
_FACTORS = ("factor", "ordered")


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """What is known about one column.

    Attributes
    ----------
    name : str
        The column's name in R.
    type : str
        ``numeric``, ``integer``, ``logical``, ``character``, ``factor`` or ``ordered``.
    levels : tuple of str or None
        Levels in R's order. None for a column that is no factor, and for a factor whose levels are the
        numbers that occur in the file, ascending.
    sum : float or None
        Sum of the values that are present (numeric and integer columns).
    missing : int
        Number of missing values.
    """

    name: str
    type: ColumnType
    levels: tuple[str, ...] | None = None
    sum: float | None = None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Where a data set comes from and what it holds.

    Attributes
    ----------
    name, file : str
        Name for `load_dataset`, and the file that holds the rows.
    source : str or None
        The object in R, as ``package::object``; None for simulated data.
    version : str or None
        Version of the R package that the rows were exported from.
    citation, description : str
        Who published the data, and what one row is.
    rows : int
        Number of rows.
    columns : tuple of ColumnInfo
        The columns, in the order of the file.
    """

    name: str
    file: str
    source: str | None
    version: str | None
    citation: str
    description: str
    rows: int
    columns: tuple[ColumnInfo, ...]


@checked
def dataset_names() -> list[str]:
    """Names that `load_dataset` knows, in alphabetical order."""
    return sorted(_metadata(), key=str.casefold)


@checked
def dataset_info(name: str) -> DatasetInfo:
    """Source, citation, size and columns of one data set.

    Parameters
    ----------
    name : str
        One of `dataset_names`.

    Returns
    -------
    DatasetInfo

    Raises
    ------
    DataError
        If there is no data set of that name; the message lists near names.
    """
    entry = _metadata().get(name)
    if entry is None:
        raise DataError(_unknown(name))
    columns = tuple(
        ColumnInfo(c["name"], c["type"], _levels(c.get("levels")), c.get("sum"), c.get("missing", 0))
        for c in entry["columns"]
    )
    fields = {key: entry[key] for key in ("file", "source", "version", "citation", "description", "rows")}
    return DatasetInfo(name=name, columns=columns, **fields)


@checked
def load_dataset(name: str) -> pd.DataFrame:
    """Read one of the package's data sets.

    Parameters
    ----------
    name : str
        One of `dataset_names`, for example ``"sleepstudy"``.

    Returns
    -------
    pandas.DataFrame
        A new frame. Factors are categorical with R's level order (ordered ones are flagged as such),
        logical columns are bool, integers int64 (Int64 where values are missing), numbers float64.

    Raises
    ------
    DataError
        If there is no data set of that name; the message lists near names.

    Examples
    --------
    >>> from lmmformula.datasets import load_dataset
    >>> load_dataset("sleepstudy").shape
    (180, 3)
    """
    import numpy as np
    import pandas as pd

    info = dataset_info(name)
    frame = pd.read_csv(
        dataset_path(info.file),
        dtype={c.name: _read_as(c) for c in info.columns},
        keep_default_na=False,  # "none" and "" are levels of some factors; only NA is missing
        na_values=["NA"],
        true_values=["TRUE"],
        false_values=["FALSE"],
    )
    for column in info.columns:
        if column.type in _FACTORS and column.levels is None:
            numbers, codes = np.unique(frame[column.name], return_inverse=True)
            frame[column.name] = pd.Categorical.from_codes(
                codes, [str(number) for number in numbers], ordered=column.type == "ordered"
            )
    return frame


def _read_as(column: ColumnInfo) -> str | pd.CategoricalDtype:
    """Dtype that the reader is to use."""
    import pandas as pd

    if column.type in _FACTORS:
        if column.levels is None:
            return "int64"
        # With its levels given the reader keeps them as text; it would turn levels like "308" into numbers.
        return pd.CategoricalDtype(list(column.levels), ordered=column.type == "ordered")
    if column.type == "integer":
        return "Int64" if column.missing else "int64"
    if column.type == "logical":
        return "boolean" if column.missing else "bool"
    return "float64" if column.type == "numeric" else "str"


def _levels(rule: list[str] | Record | None) -> tuple[str, ...] | None:
    """Levels as the metadata file gives them: a list, a range of numbers, or None (see `ColumnInfo`)."""
    if isinstance(rule, list):
        return tuple(rule)
    if rule is not None and "range" in rule:
        first, last = rule["range"]
        return tuple(str(i) for i in range(first, last + 1))
    return None


@cache
def _metadata() -> Mapping[str, Record]:
    return json.loads(dataset_path("datasets.json").read_text(encoding="utf-8"))["datasets"]


def near_datasets(name: str) -> list[str]:
    """Up to three names of data sets that look like `name`, the nearest first."""
    folded = {known.casefold(): known for known in dataset_names()}
    return [folded[match] for match in get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]


def _unknown(name: str) -> str:
    message = f"There is no data set {name!r}."
    if near := near_datasets(name):
        message += f" Near names: {', '.join(near)}."
    return message + f" dataset_names() lists all {len(dataset_names())}."
