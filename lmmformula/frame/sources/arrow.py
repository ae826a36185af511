"""A batch of Arrow as a table, whose columns are read as those of a table in memory are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from lmmformula.errors import DataError
from lmmformula.frame.columns import Column, category_labels, from_narwhals
from lmmformula.frame.sources.types import is_text
from lmmformula.frame.table import Table
from lmmformula.frame.values import Factor, missing_rows
from lmmformula.typing import Entries

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["column_of", "table_of"]


def table_of(batch: pa.RecordBatch) -> Table:
    """One batch as a :class:`lmmformula.frame.Table`; columns are made when they are asked for.

    Parameters
    ----------
    batch : pyarrow.RecordBatch

    Returns
    -------
    Table
        Numbers are views of the batch where they can be. Levels of a factor are those of this batch alone.
    """
    return Table(batch.schema.names, batch.num_rows, _BatchReader(batch))


@dataclass(frozen=True, slots=True, eq=False)
class _BatchReader:
    batch: pa.RecordBatch

    def __call__(self, name: str) -> Column:
        return column_of(self.batch.column(name), name)

    def kept(self, known: Mapping[str, Column]) -> _BatchReader:
        return self

    def session(self) -> _BatchReader:
        return self


def column_of(values: pa.Array, name: str) -> Column:
    """An array of Arrow as a Column: numbers, text and categories without an object per row, all else as narwhals reads it."""
    from pyarrow import types

    kind = values.type
    if types.is_integer(kind):
        missing = _nulls(values)
        return _numbers(values if missing is None else values.fill_null(0), missing)
    if types.is_floating(kind):
        return _numbers(values, None)
    if types.is_dictionary(kind) and not values.dictionary.null_count:
        return _categories(values, name)
    if is_text(kind):
        return _text(values, name)
    import narwhals as nw
    import pyarrow as pa

    if types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    return from_narwhals(nw.from_native(pa.chunked_array([values]), series_only=True), name)


def _nulls(values: pa.Array) -> np.ndarray | None:
    return values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None


def _numbers(values: pa.Array, missing: np.ndarray | None) -> Column:
    numbers = cast("Entries", values.to_numpy(zero_copy_only=False))
    if numbers.dtype.kind == "f":
        numbers = numbers.astype(np.float64, copy=False)
        missing = missing_rows(numbers)
    numbers.flags.writeable = False
    return Column(numbers, missing)


def _text(values: pa.Array, name: str) -> Column:
    """Levels sorted by code point, which is the order of their bytes in UTF-8."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        encoded = values.cast(pa.large_string()).dictionary_encode()
        order = pc.array_sort_indices(encoded.dictionary)  # type: ignore[attr-defined]
        levels = encoded.dictionary.take(order).to_numpy(zero_copy_only=False)
    except (UnicodeError, pa.ArrowException) as error:
        raise DataError(
            f"column `{name}` holds text that is not Unicode ({error}): write it again in UTF-8"
        ) from error
    position = np.empty(len(levels) + 1, dtype=np.int32)
    position[order.to_numpy()] = np.arange(len(levels), dtype=np.int32)
    position[-1] = -1
    codes = encoded.indices.cast(pa.int32())
    if codes.null_count:
        codes = codes.fill_null(-1)
    factor = Factor(position[codes.to_numpy()], np.asarray(levels, dtype=object), "text")
    return Column(factor, missing_rows(factor))


def _categories(values: pa.DictionaryArray, name: str) -> Column:
    """Levels in the order of the dictionary."""
    import pyarrow as pa

    codes = values.indices.cast(pa.int32())
    if codes.null_count:
        codes = codes.fill_null(-1)
    levels = category_labels(pd.Index(values.dictionary.to_pylist(), dtype=object), name)
    factor = Factor(codes.to_numpy(), levels, "ordered" if values.type.ordered else "factor")
    return Column(factor, missing_rows(factor))
