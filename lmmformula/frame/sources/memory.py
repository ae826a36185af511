"""A table in memory as a source: what a sample is, and what tests compare others with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, checked_names, told
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryRows", "rows_in_memory"]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryRows:
    """A table of Arrow as a :class:`lmmformula.frame.sources.Source`.

    Attributes
    ----------
    table : pyarrow.Table
    rows : int
        Rows of a batch; each batch is a part.
    name : str
    """

    table: pa.Table
    rows: int = BATCH_ROWS
    name: str = "a table"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    @property
    def parts(self) -> int:
        return -(-self.n_rows // self.rows)

    def size(self, names: Sequence[str]) -> float:
        return float(self.table.select(checked_names(names, self.names, self.name)).nbytes)

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        table = self.table.select(checked_names(names, self.names, self.name))
        parts = range(self.parts) if part is None else (part,)
        cut = (
            _one(table.slice(k * self.rows, self.rows), min(self.rows, self.n_rows - k * self.rows))
            for k in parts
        )
        return told(cut, self.n_rows, self.size(names), is_pass=part is None)

    def unchanged(self) -> None:
        """It is nobody else's."""


def rows_in_memory(data: Data, rows: int = BATCH_ROWS) -> MemoryRows:
    """An eager frame of any library, or a dict of columns, cut into batches of `rows` rows.

    Raises
    ------
    DataError
        If Arrow has no type for a column.
    """
    import narwhals as nw
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame(data) if isinstance(data, dict) else data
    try:
        if isinstance(frame, pd.DataFrame):
            return MemoryRows(
                pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(), rows
            )
        return MemoryRows(nw.from_native(frame, eager_only=True).to_arrow(), rows)
    except pa.ArrowException as error:
        raise DataError(f"a table cannot be cut into batches: {error}") from error


def _one(table: pa.Table, rows: int) -> pa.RecordBatch:
    """A table of `rows` rows as one batch; one without columns does not know how many it has."""
    import pyarrow as pa

    if not table.column_names:
        return pa.record_batch([pa.nulls(rows)], ["rows"]).select([])
    return table.unify_dictionaries().combine_chunks().to_batches()[0]
