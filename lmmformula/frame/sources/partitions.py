"""Partitions of a DataFrame of Dask, each made when it is its turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS
from lmmformula.frame.sources.types import in_words, joined

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import pyarrow as pa

__all__ = ["Partitions", "batches_of"]


class Partitions:
    """Partitions in order, each computed when it is its turn; what they are made of is asked for the columns in use alone."""

    keeps_order = True
    advice = "keep it as it is (frame = frame.persist()), or write it to files (frame.to_parquet('rows')) and pass their folder"

    def __init__(self, frame: dd.DataFrame) -> None:
        self.frame = frame

    @property
    def name(self) -> str:
        return f"a Dask DataFrame ({self.parts:,} partition{'s' if self.parts > 1 else ''})"

    @property
    def parts(self) -> int:
        return self.frame.npartitions

    @cached_property
    def schema(self) -> pa.Schema:
        """As Dask describes the columns; where it does not (objects, categories that it has not seen), as they begin."""
        import pandas as pd
        import pyarrow as pa

        meta = self.frame._meta
        names = [str(name) for name in meta.columns]
        fields = dict(zip(names, _arrow(meta, "Dask's description").schema, strict=True))
        for name, kind in zip(names, meta.dtypes, strict=True):
            if pd.api.types.is_object_dtype(kind) or "__UNKNOWN_CATEGORIES__" in getattr(
                kind, "categories", ()
            ):
                fields[name] = pa.field(name, self._beginning(name))
        return pa.schema([pa.field(field.name, _wide(field.type)) for field in fields.values()])

    @property
    def lazy(self) -> dd.DataFrame:
        """What can be grouped where it is."""
        return self.frame

    def again(self, lazy: dd.DataFrame) -> Partitions:
        """What was made of it."""
        return Partitions(lazy)

    def make(self, columns: list[str], part: int, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """A partition in batches; with `rows`, no more than its first."""
        frame = self._computed(columns or list(self.schema.names[:1]), part, rows)
        return batches_of(frame, columns, self.schema, part)

    def with_columns(self, columns: Sequence[str]) -> dd.DataFrame:
        """The frame with these columns alone."""
        labels = {str(name): name for name in self.frame.columns}
        return self.frame[[labels[name] for name in columns or self.schema.names[:1]]]

    def _computed(self, columns: list[str], part: int, rows: int | None = None) -> pd.DataFrame:
        try:
            own = self.with_columns(columns).partitions[part]
            return own.compute() if rows is None else own.head(rows)
        except Exception as error:  # the graph is the user's and may raise anything
            raise DataError(
                f"Dask cannot make partition {part} of {self.parts}: {type(error).__name__}: {error}"
            ) from error

    def _beginning(self, name: str) -> pa.DataType:
        """Type of a column in the first partition that has a value of it."""
        import pyarrow as pa

        for part in range(self.parts):
            kind = _arrow(self._computed([name], part), f"partition {part}").schema.field(0).type
            if not pa.types.is_null(kind.value_type if pa.types.is_dictionary(kind) else kind):
                return kind
        return pa.null()


def batches_of(
    frame: pd.DataFrame, columns: list[str], schema: pa.Schema, part: int
) -> Iterator[pa.RecordBatch]:
    """A partition in batches, in the types of all partitions."""
    import pyarrow as pa

    table = _arrow(frame, f"partition {part}")
    wanted = pa.schema([schema.field(name) for name in table.column_names])
    cast = [_cast(table.column(field.name), field, part) for field in wanted]
    for batch in pa.table(cast, schema=wanted).to_batches(BATCH_ROWS):
        yield batch.select(columns)


def _arrow(frame: pd.DataFrame, where: str) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    except pa.ArrowException as error:
        raise DataError(
            f"{where} has a column that is neither numbers nor text throughout: {error}"
        ) from error


def _wide(kind: pa.DataType) -> pa.DataType:
    """Categories by 32 bits, as partitions have different numbers of them."""
    import pyarrow as pa

    return pa.dictionary(pa.int32(), kind.value_type, kind.ordered) if pa.types.is_dictionary(kind) else kind


def _cast(column: pa.ChunkedArray, field: pa.Field, part: int) -> pa.ChunkedArray:
    import pyarrow as pa

    if column.type.equals(field.type):
        return column
    try:
        if joined(column.type, field.type) is not None:
            return column.cast(field.type)
        why = ""
    except pa.ArrowInvalid as error:
        why = f" ({error})"
    raise DataError(
        f"column `{field.name}` is {in_words(column.type)} in partition {part} and {in_words(field.type)} by what Dask says of "
        f"all{why}: give it one type, frame.astype({{'{field.name}': ...}})"
    )
