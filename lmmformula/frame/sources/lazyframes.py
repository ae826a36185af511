"""A LazyFrame of polars, whose rows its streaming engine makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, Source, pulled
from lmmformula.frame.sources.steady import source_of
from lmmformula.typing import Data

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Lazy", "open_lazyframe"]

_NO_ORDER = re.compile(r"\b(AGGREGATE|JOIN|UNIQUE|SORT|TOP_K|GROUP_BY|ASOF|SAMPLE)\b")
"""What results in rows whose order, or that of rows with equal keys, polars does not promise."""


def open_lazyframe(data: Data) -> Source | None:
    """Rows of a LazyFrame; None for anything else of polars'."""
    import polars as pl

    if not isinstance(data, pl.LazyFrame):
        return None
    if not hasattr(data, "sink_batches"):
        raise DataError(
            f"a LazyFrame is read in batches from polars 1.34 on, and this is {pl.__version__}: pip install -U polars"
        )
    return source_of(Lazy(data))


class Lazy:
    """A query of polars that is run anew at each pass, with the columns asked for pushed down to what it scans."""

    parts = 1
    name = "a polars LazyFrame"
    advice = "write it to a file (frame.sink_parquet('rows.parquet')) and pass its path, or .collect() it"

    def __init__(self, frame: pl.LazyFrame) -> None:
        self.frame = frame

    @cached_property
    def schema(self) -> pa.Schema:
        return _to_arrow(self._prepared(self._names()).limit(0).collect()).schema

    @property
    def keeps_order(self) -> bool:
        import polars as pl

        try:
            return not _NO_ORDER.search(self.frame.explain())
        except pl.exceptions.PolarsError as error:
            raise DataError(_failed(error)) from error

    @property
    def lazy(self) -> pl.LazyFrame:
        """What can be grouped where it is; categories are text there, as they are in its rows."""
        return self._prepared(self._names())

    def again(self, lazy: pl.LazyFrame) -> Lazy:
        """What was made of it."""
        return Lazy(lazy)

    def make(self, columns: list[str], part: int) -> Iterator[pa.RecordBatch]:
        import polars as pl

        asked = self._prepared(columns or self._names()[:1])

        def push(put: Callable[[pl.DataFrame], bool]) -> None:
            # collect_batches() ended without an error where the query failed, before polars 2
            asked.sink_batches(
                lambda frame: not put(frame), chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"
            )

        try:
            for frame in pulled(push, 1):
                for batch in _to_arrow(frame).to_batches():
                    yield batch.select(columns)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(_failed(error)) from error

    def _names(self) -> list[str]:
        import polars as pl

        try:
            return self.frame.collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(_failed(error)) from error

    def _prepared(self, columns: list[str]) -> pl.LazyFrame:
        """Categories without an order of their own are text, as they are in a DataFrame."""
        import polars as pl

        schema = self.frame.collect_schema()
        return self.frame.select(
            pl.col(name).cast(pl.String) if schema[name] == pl.Categorical else pl.col(name)
            for name in columns
        )


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    """In the oldest types of Arrow; an Enum has levels in its order, and is no ordered factor."""
    import polars as pl
    import pyarrow as pa

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = pa.dictionary(kind.index_type, kind.value_type, ordered=False)
        fields.append(pa.field(field.name, kind))
    columns = [
        column if column.type.equals(field.type) else _unordered(column, field.type)
        for column, field in zip(table.columns, fields, strict=True)
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _unordered(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary, ordered=False)
            for chunk in column.chunks
        ],
        type=kind,
    )


def _failed(error: Exception) -> str:
    return f"polars cannot run the LazyFrame: {error}"
