"""Read any table into plain columns: numeric arrays and factors, with R's coding of each type."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.values import (
    Factor,
    factor_from_text,
    label_index,
    logical,
    missing_rows,
    number_label,
    object_array,
    sort_levels,
    take,
)

__all__ = ["Column", "Table", "open_table", "read_csv", "read_file", "separator_of", "table_columns"]

_NA_STRINGS = ["NA", ""]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column: `values` (array or Factor) and the rows where it is missing, None if nowhere."""

    values: NDArray[Any] | Factor
    missing: NDArray[np.bool_] | None

    def at(self, rows: NDArray[np.int64] | None) -> NDArray[Any] | Factor:
        """Entries at `rows` (all if None); missing entries that remain are NaN or code -1."""
        values, missing = self.values, self.missing
        if isinstance(values, Factor):
            return values if rows is None else take(values, rows)
        if rows is not None:
            values = values[rows]
            missing = None if missing is None else missing[rows]
        if missing is not None and missing.any():
            values = values.astype(float)
            values[missing] = np.nan
        return values


class Table:
    """Columns by name, converted on first use.

    Parameters
    ----------
    names : sequence of str
    n_rows : int
    read : callable
        Gives the native column of a name.
    """

    def __init__(self, names: Iterable[Any], n_rows: int, read: Any) -> None:
        self.names = tuple(str(name) for name in names)
        self.n_rows = n_rows
        self._known = frozenset(self.names)
        self._read = read
        self._columns: dict[str, Column] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def column(self, name: str) -> Column:
        """The column called `name`, or a DataError that suggests another."""
        if name not in self._columns:
            if name not in self._known:
                raise DataError(self._no_such(name))
            if len(self._known) < len(self.names) and (times := self.names.count(name)) > 1:
                raise DataError(
                    f"the table has {times} columns named `{name}`: rename them so that it is clear"
                )
            self._columns[name] = self._read(name)
        return self._columns[name]

    def _no_such(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names, n=3, cutoff=0.6)
        near += [c for c in self.names if c.lower() == name.lower() and c not in near]
        listed = ", ".join(self.names[:20]) + (
            f", ... ({len(self.names)} in all)" if len(self.names) > 20 else ""
        )
        hint = f" (did you mean {' or '.join(f'`{c}`' for c in near)}?)" if near else ""
        return f"no column `{name}` in the data{hint}; columns: {listed}"


def table_columns(data: Any) -> tuple[str, ...]:
    """Names of the columns of `data`, in order.

    Parameters
    ----------
    data : frame, dict of columns, or path
        As for :func:`lmmformula.frame.build`.

    Returns
    -------
    tuple of str
    """
    return open_table(data).names


def open_table(data: Any) -> Table:
    """A Table over any eager frame, a dict of columns, or a path to CSV or Parquet."""
    if isinstance(data, pd.DataFrame):
        return _from_pandas(data)
    if isinstance(data, str | Path):
        return _from_file(Path(data))
    if isinstance(data, Mapping):
        return _from_mapping(data)
    return _from_narwhals(data)


def _from_pandas(frame: pd.DataFrame) -> Table:
    by_text = {str(c): c for c in frame.columns}
    return Table(
        frame.columns, len(frame), lambda name: _from_series(cast("pd.Series", frame[by_text[name]]), name)
    )


def _from_mapping(data: Mapping[Any, Any]) -> Table:
    by_text = {str(c): c for c in data}
    lengths = {name: len(data[key]) for name, key in by_text.items() if hasattr(data[key], "__len__")}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"`{name}` {n}" for name, n in lengths.items())
        raise DataError(f"columns of different length: {shown}")
    n_rows = next(iter(lengths.values()), 0)

    def read(name: str) -> Column:
        raw = data[by_text[name]]
        series = raw if isinstance(raw, pd.Series) else pd.Series(raw, index=range(n_rows))
        return _from_series(series, name)

    return Table(data, n_rows, read)


def _from_file(path: Path) -> Table:
    return _from_pandas(read_file(path))


def read_file(path: Path) -> pd.DataFrame:
    """A CSV (also compressed) or Parquet file, with R's missing values: empty and NA."""
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return read_csv(path, separator_of(path))
    except (ValueError, OSError, EOFError, ImportError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_csv(source: Any, separator: str = ",") -> pd.DataFrame:
    """A table from CSV text in a file or a buffer."""
    return pd.read_csv(source, sep=separator, keep_default_na=False, na_values=_NA_STRINGS)


def separator_of(path: Path) -> str:
    """Tabs in .tsv files, commas elsewhere."""
    return "\t" if ".tsv" in path.suffixes else ","


def _from_narwhals(data: Any) -> Table:
    import narwhals as nw

    try:
        frame = nw.from_native(data, eager_only=True)
        names = frame.columns
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"the table has columns of the same name: {error}") from None
    except TypeError:
        lazy = " Collect a lazy frame first (.collect())." if hasattr(data, "collect") else ""
        raise DataError(
            f"cannot read data of type {type(data).__module__}.{type(data).__name__}: give an eager data "
            f"frame (pandas, polars, pyarrow), a dict of columns, or a path to a CSV or Parquet file.{lazy}"
        ) from None
    return Table(names, len(frame), lambda name: _from_nw_series(frame[name], name))


def _numeric(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> Column:
    if values.dtype.kind == "f":
        values = values if values.dtype == np.float64 else values.astype(float)
        missing = missing_rows(values) if missing is None else missing
    return Column(values, missing)


def _factor(factor: Factor) -> Column:
    return Column(factor, missing_rows(factor))


def _from_series(series: pd.Series, name: str) -> Column:
    """A pandas Series as a Column."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "fiu":
            return _numeric(series.to_numpy())
        if dtype.kind == "b":
            return Column(logical(series.to_numpy()), None)
        if dtype.kind == "O":
            return _from_objects(series, name)
        raise DataError(_unusable(name, str(dtype)))
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.asarray(series.cat.codes, dtype=np.int32)
        labels = _category_labels(dtype.categories)
        return _factor(Factor(codes, labels, "ordered" if dtype.ordered else "factor"))
    if pd.api.types.is_bool_dtype(dtype):
        missing = np.asarray(series.isna())
        return _factor(logical(series.to_numpy(dtype=bool, na_value=False), missing))
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return _nullable_number(series)
    if pd.api.types.is_string_dtype(dtype):
        return _factor(factor_from_text(series.array))
    return _from_extension(series, name)


def _nullable_number(series: pd.Series) -> Column:
    missing = np.asarray(series.isna())
    if pd.api.types.is_integer_dtype(series.dtype):
        # Identifiers of 19 digits must stay integers, which hold no NaN.
        values = series.to_numpy(dtype=np.int64, na_value=0)
        return Column(values, missing if missing.any() else None)
    return _numeric(series.to_numpy(dtype=float, na_value=np.nan))


def _from_extension(series: pd.Series, name: str) -> Column:
    """Rarer pandas types: decimals, pyarrow dictionaries, dates."""
    text = str(series.dtype)
    if text.startswith("dictionary"):
        return _from_series(series.astype("category"), name)
    if text.startswith("decimal"):
        return _numeric(series.to_numpy(dtype=float, na_value=np.nan))
    raise DataError(_unusable(name, text))


def _category_labels(categories: pd.Index) -> NDArray[np.object_]:
    items = np.asarray(categories, dtype=object)
    return items if categories.inferred_type == "string" else object_array(map(_label, items))


def _label(item: Any) -> str:
    if isinstance(item, bool | np.bool_):
        return "TRUE" if item else "FALSE"
    if isinstance(item, int | float | np.number):
        return number_label(item)  # type: ignore[arg-type]
    return str(item)


def _from_objects(series: pd.Series, name: str) -> Column:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "string":
        return _factor(_text_objects(series.to_numpy()))
    missing = np.asarray(series.isna())
    if kind == "boolean":
        return _factor(logical(series.where(~missing, False).to_numpy(dtype=bool), missing))
    if kind == "integer":
        values = np.where(missing, 0, series.to_numpy())
        try:
            return Column(values.astype(np.int64), missing if missing.any() else None)
        except OverflowError:
            texts = (None if m else str(v) for v, m in zip(values, missing, strict=True))
            return _factor(factor_from_text(object_array(texts)))
    if kind in ("floating", "mixed-integer-float", "decimal", "empty"):
        return _numeric(np.array([np.nan if m else float(v) for v, m in zip(series, missing, strict=True)]))
    if kind.startswith(("date", "time", "period", "interval")):
        raise DataError(_unusable(name, kind))
    types = Counter(type(v).__name__ for v, m in zip(series, missing, strict=True) if not m)
    shown = ", ".join(f"{t} ({count})" for t, count in types.items())
    raise DataError(f"column `{name}` mixes types: {shown}; convert it to numbers or to text first")


def _unusable(name: str, dtype: str) -> str:
    low = dtype.lower()
    if any(word in low for word in ("date", "time", "period", "duration")):
        return (
            f"column `{name}` holds dates or times ({dtype}), which have no coding in a model: "
            "turn it into a number (days since a start) or into text first"
        )
    return (
        f"column `{name}` has type {dtype}, which has no coding in a model: "
        "convert it to numbers or text first"
    )


def _from_nw_series(series: Any, name: str) -> Column:
    """A narwhals Series as a Column, without pyarrow."""
    import narwhals as nw

    dtype = series.dtype
    missing = series.is_null().to_numpy().astype(bool) if series.null_count() else None
    if dtype == nw.Boolean:
        return _factor(logical(series.fill_null(False).to_numpy().astype(bool), missing))
    if dtype.is_integer():
        return Column((series.fill_null(0) if missing is not None else series).to_numpy(), missing)
    if dtype.is_numeric():
        return _numeric(np.asarray(series.cast(nw.Float64).to_numpy(), dtype=float))
    if dtype in (nw.Categorical, nw.Enum):
        return _nw_categorical(series)
    if dtype == nw.String:
        return _factor(_nw_text(series))
    if dtype == nw.Object:
        return _from_objects(pd.Series(object_array(series.to_list())), name)
    if str(dtype) in ("Unknown", "Null") and series.null_count() == len(series):
        return _numeric(np.full(len(series), np.nan))
    raise DataError(_unusable(name, str(dtype)))


def _text_objects(values: NDArray[np.object_]) -> Factor:
    """Python strings as a factor; Arrow, where it is installed, halves the time."""
    try:
        import pyarrow as pa
    except ImportError:
        return factor_from_text(values)
    return _arrow_text(pa.array(values, type=pa.large_string(), from_pandas=True))


def _nw_text(series: Any) -> Factor:
    """Strings of any library; through Arrow, where it is installed, without a Python object per row."""
    try:
        import pyarrow as pa
    except ImportError:
        return factor_from_text(np.asarray(series.to_numpy(), dtype=object))
    return _arrow_text(series.to_arrow().cast(pa.large_string()))


def _arrow_text(strings: Any) -> Factor:
    encoded = strings.dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return sort_levels(codes, object_array(encoded.dictionary.to_pylist()), "text")


def _nw_categorical(series: Any) -> Column:
    """Levels in the order the library keeps; polars' Categorical has none and is sorted like text."""
    import narwhals as nw

    text = _nw_text(series.cast(nw.String))
    native = series.to_native()
    ordered = False
    if series.dtype == nw.Enum:
        labels = [str(c) for c in series.dtype.categories]
    elif hasattr(native, "unify_dictionaries"):
        ordered = bool(native.type.ordered)
        unified = native.unify_dictionaries()
        labels = [_label(c) for c in unified.chunk(0).dictionary.to_pylist()] if unified.num_chunks else []
    else:
        return _factor(text)
    position = np.append(label_index(labels, text.levels), np.int32(-1))
    return _factor(Factor(position[text.codes], object_array(labels), "ordered" if ordered else "factor"))
