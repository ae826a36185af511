"""A column of any table as numbers or a factor, with R's coding of each type, in memory of its own."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.values import (
    Factor,
    factor_from_text,
    label_index,
    labels_of,
    logical,
    missing_rows,
    number_label,
    object_array,
    sort_levels,
    take,
)
from lmmformula.typing import Data, Entries

__all__ = ["Column", "category_labels", "from_narwhals", "from_pandas"]


Dtype: TypeAlias = Any
"""What pandas takes for a type of its columns: its own extension types, those of NumPy, and their names."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column, in memory of its own: later changes of the caller's table do not reach it.

    Attributes
    ----------
    values : (n,) array, read-only, or Factor
    missing : (n,) bool array or None
        Rows where it is missing, None if nowhere.
    dtype : pandas dtype or None
        Of the pandas column it was read from.
    """

    values: Entries | Factor
    missing: NDArray[np.bool_] | None
    dtype: Dtype = None

    def at(self, rows: NDArray[np.int64] | None) -> Entries | Factor:
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

    def as_given(self, rows: NDArray[np.int64]) -> Data:
        """Entries at `rows` in the pandas type of the table; where it had none, numbers, or labels with None for missing."""
        values, dtype = self.at(rows), self.dtype
        if isinstance(values, Factor):
            if isinstance(dtype, pd.CategoricalDtype):
                return pd.Categorical.from_codes(values.codes, dtype=dtype)
            labels = labels_of(values)
            if values.kind == "logical":
                labels = object_array(None if v is None else v == "TRUE" for v in labels)
                dtype = dtype or (object if (values.codes < 0).any() else bool)
            return labels if dtype is None else pd.array(labels, dtype=dtype)
        if dtype is None or dtype == values.dtype:
            return values
        if isinstance(dtype, np.dtype):
            return values.astype(dtype)
        out = pd.array(cast("Entries", self.values)[rows], dtype=dtype)
        if self.missing is not None:
            out[self.missing[rows]] = pd.NA  # type: ignore[call-overload]
        return out


def _numeric(values: Entries, missing: NDArray[np.bool_] | None = None, dtype: Dtype = None) -> Column:
    """A column of numbers with a copy of `values`."""
    values = np.array(values, dtype=np.float64 if values.dtype.kind == "f" else values.dtype)
    values.flags.writeable = False
    if missing is None:
        missing = missing_rows(values)
    return Column(values, missing, dtype)


def _factor(factor: Factor, name: str, dtype: Dtype = None) -> Column:
    """A column of categories; labels must be text that can be written."""
    factor.codes.flags.writeable = False
    plain = "".join(factor.levels).isascii()  # at once: there may be many
    for level in () if plain else factor.levels:
        if any("\ud800" <= c <= "\udfff" for c in level):
            raise DataError(
                f"column `{name}` holds text that is not Unicode, {level!a}: half of a character (a lone surrogate). The "
                "likely cause is text that was read in another encoding than it was written in; read it again with "
                "encoding='latin-1' or the like"
            )
    return Column(factor, missing_rows(factor), dtype)


def from_pandas(series: pd.Series, name: str) -> Column:
    """A pandas Series as a Column."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "fiu":
            return _numeric(series.to_numpy(), dtype=dtype)
        if dtype.kind == "b":
            return Column(logical(series.to_numpy()), None, dtype)
        if dtype.kind == "O":
            return _from_objects(series, name)
        raise DataError(_unusable(name, str(dtype)))
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.array(cast("pd.Categorical", series.array).codes, dtype=np.int32)
        labels = category_labels(dtype.categories, name)
        return _factor(Factor(codes, labels, "ordered" if dtype.ordered else "factor"), name, dtype)
    if pd.api.types.is_bool_dtype(dtype):
        missing = np.asarray(series.isna())
        return _factor(logical(series.to_numpy(dtype=bool, na_value=False), missing), name, dtype)
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return _nullable_number(series)
    if pd.api.types.is_string_dtype(dtype):
        return _factor(factor_from_text(series.array), name, dtype)
    return _from_extension(series, name)


def _nullable_number(series: pd.Series) -> Column:
    missing = np.asarray(series.isna())
    if pd.api.types.is_integer_dtype(series.dtype):
        # Identifiers of 19 digits must stay integers, which hold no NaN.
        wide = np.uint64 if pd.api.types.is_unsigned_integer_dtype(series.dtype) else np.int64
        return _numeric(
            series.to_numpy(dtype=wide, na_value=0), missing if missing.any() else None, series.dtype
        )
    return _numeric(series.to_numpy(dtype=float, na_value=np.nan), dtype=series.dtype)


def _from_extension(series: pd.Series, name: str) -> Column:
    """Rarer pandas types: decimals, pyarrow dictionaries, dates."""
    text = str(series.dtype)
    if text.startswith("dictionary"):
        return from_pandas(series.astype("category"), name)
    if text.startswith("decimal"):
        return _numeric(series.to_numpy(dtype=float, na_value=np.nan))
    raise DataError(_unusable(name, text))


def category_labels(categories: pd.Index, name: str) -> NDArray[np.object_]:
    """Texts of the categories of the column `name`, in their order."""
    items = np.asarray(categories, dtype=object)
    if categories.inferred_type == "string":
        return items
    labels = object_array(map(_label, items))
    if len(set(labels)) < len(labels):
        twice = next(label for label, times in Counter(labels).items() if times > 1)
        alike = ", ".join(
            f"{i!r} ({type(i).__name__})" for i, label in zip(items, labels, strict=True) if label == twice
        )
        raise DataError(
            f"column `{name}` has categories that read alike: {alike}; make them one, or give them other names"
        )
    return labels


def _label(item: object) -> str:
    if isinstance(item, bool | np.bool_):
        return "TRUE" if item else "FALSE"
    if isinstance(item, int | float | np.number):
        return number_label(item)  # type: ignore[arg-type]
    return str(item)


def _from_objects(series: pd.Series, name: str) -> Column:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "string":
        return _factor(_text_objects(series.to_numpy()), name, series.dtype)
    missing = np.asarray(series.isna())
    if kind == "boolean":
        return _factor(logical(series.where(~missing, False).to_numpy(dtype=bool), missing), name)
    if kind == "integer":
        values = np.where(missing, 0, series.to_numpy())
        for wide in (np.int64, np.uint64):
            with suppress(OverflowError):
                return _numeric(np.array(values, dtype=wide), missing if missing.any() else None)
        texts = (None if m else str(v) for v, m in zip(values, missing, strict=True))
        return _factor(factor_from_text(object_array(texts)), name)
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


def from_narwhals(series: Data, name: str) -> Column:
    """A narwhals Series as a Column, without pyarrow."""
    import narwhals as nw

    dtype = series.dtype
    missing = series.is_null().to_numpy().astype(bool) if series.null_count() else None
    if dtype == nw.Boolean:
        return _factor(logical(series.fill_null(False).to_numpy().astype(bool), missing), name)
    if dtype.is_integer():
        return _numeric((series.fill_null(0) if missing is not None else series).to_numpy(), missing)
    if dtype.is_numeric():
        return _numeric(np.asarray(series.cast(nw.Float64).to_numpy(), dtype=float))
    if dtype in (nw.Categorical, nw.Enum):
        return _nw_categorical(series, name)
    if dtype == nw.String:
        return _factor(_nw_text(series), name)
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
    try:
        strings = pa.array(values, type=pa.large_string(), from_pandas=True)
    except UnicodeError:
        return factor_from_text(values)
    return _arrow_text(strings)


def _nw_text(series: Data) -> Factor:
    """Strings of any library; through Arrow, where it is installed, without a Python object per row."""
    try:
        import pyarrow as pa
    except ImportError:
        return factor_from_text(np.asarray(series.to_numpy(), dtype=object))
    return _arrow_text(series.to_arrow().cast(pa.large_string()))


def _arrow_text(strings: Data) -> Factor:
    encoded = strings.dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return sort_levels(codes, object_array(encoded.dictionary.to_pylist()), "text")


def _nw_categorical(series: Data, name: str) -> Column:
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
        return _factor(text, name)
    position = np.append(label_index(labels, text.levels), np.int32(-1))
    factor = Factor(position[text.codes], object_array(labels), "ordered" if ordered else "factor")
    return _factor(factor, name)
