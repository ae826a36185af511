"""Tables of this package as polars frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import checked
from lmmformula.errors import DataError
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["to_polars"]


@checked
def to_polars(table: Data, index: str = "index") -> Data:
    """Turn a table that this package returns into a polars frame.

    Parameters
    ----------
    table : pandas Series or DataFrame, or a dict of them
        For example ``fit.ranef()``, ``fit.tidy()``, ``fit.augment()``, ``fit.predict(new)``, ``fit.coef()``.
    index : str
        Name of the column that takes an index without a name. An index that only counts the rows from 0 is left out.

    Returns
    -------
    polars DataFrame, or a dict of them
        Index first, then the columns. Missing values are null; categories are an Enum in their order.

    Raises
    ------
    DataError
        If `table` is none of these, or a column of the index would hide another column.
    ImportError
        Without polars.

    Examples
    --------
    >>> from lmmformula import fit, load_dataset, to_polars
    >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    >>> to_polars(m.params, index="term").columns
    ['term', 'value']
    """
    import pandas as pd

    if isinstance(table, Mapping):
        return {name: to_polars(part, index) for name, part in table.items()}
    if isinstance(table, pd.Series):
        table = table.to_frame("value" if table.name is None else table.name)
    if not isinstance(table, pd.DataFrame):
        raise DataError(
            f"to_polars() takes for table= a pandas Series or DataFrame, or a dict of them, not {type(table).__name__}."
        )
    return _frame(table, index)


def _frame(table: pd.DataFrame, index: str) -> pl.DataFrame:
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError(
            "polars is not installed, and to_polars() needs it: pip install 'lmmformula[polars]'."
        ) from error
    kept = _index_columns(table.index, index)
    if both := [name for name in kept if name in map(str, table.columns)]:
        raise DataError(
            f"the index and a column are both called {both[0]!r}: choose another name, to_polars(table, index=...)."
        )
    columns = kept | {str(name): table.iloc[:, j] for j, name in enumerate(table.columns)}
    return pl.DataFrame([_column(name, values) for name, values in columns.items()])


def _index_columns(index: pd.Index, name: str) -> dict[str, pd.Series]:
    """Columns of the index; none where it only counts the rows."""
    import pandas as pd

    if isinstance(index, pd.RangeIndex) and index.name is None and (index.start, index.step) == (0, 1):
        return {}
    if index.nlevels == 1:
        return {name if index.name is None else str(index.name): pd.Series(index.array)}
    names = [f"{name}_{i}" if own is None else str(own) for i, own in enumerate(index.names)]
    return {own: pd.Series(index.get_level_values(i).array) for i, own in enumerate(names)}


def _column(name: str, values: pd.Series) -> pl.Series:
    import pandas as pd
    import polars as pl

    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories.inferred_type == "string":
        return pl.Series(name, _objects(values), dtype=pl.Enum(list(dtype.categories)))
    if isinstance(dtype, np.dtype) and dtype.kind in "biufmM":
        return pl.Series(name, values.to_numpy(), nan_to_null=True)
    return pl.Series(name, _objects(values))


def _objects(values: pd.Series) -> list[object]:
    return [None if missing else v for v, missing in zip(values, values.isna(), strict=True)]
