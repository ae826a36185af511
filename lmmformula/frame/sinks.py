"""Rows that are written a batch at a time, to a file that is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lmmformula.errors import ArgumentError, DataError
from lmmformula.files import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sink", "check_out", "open_sink"]

_SEPARATORS = {".csv": ",", ".txt": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")


class Sink(Protocol):
    """Where batches go."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the first batch decides the columns and their types."""
        ...


def check_out(path: str | Path) -> Path:
    """The path of a file that can be written, before any work.

    Raises
    ------
    ArgumentError
        For a suffix that says neither Parquet nor CSV.
    DataError
        If its folder is not there, or it is a folder itself.
    """
    target = Path(path)
    if target.suffix.lower() not in (*_PARQUET, *_SEPARATORS):
        raise ArgumentError(
            f"out={str(path)!r}: rows are written as .parquet (.pq), .csv or .tsv; end the name in one of those."
        )
    if target.is_dir():
        raise DataError(f"out={str(path)!r} is a folder: name a file in it.")
    if not target.absolute().parent.is_dir():
        raise DataError(f"out={str(path)!r}: the folder {target.parent} does not exist; make it first.")
    try:
        import pyarrow  # noqa: F401 - asked for before hours of work
    except ImportError as error:
        raise DataError(
            "rows are written by pyarrow, which is not installed: pip install 'lmmformula[parquet]'"
        ) from error
    return target


@contextmanager
def open_sink(path: Path) -> Iterator[Sink]:
    """Write batches within the block; the file stands at `path` when it ends well, and else is as it was."""
    with whole_file(path) as place:
        sink = _Sink(place, path.suffix.lower())
        try:
            yield sink
        finally:
            sink.close()


class _Sink:
    """A writer of Arrow's, opened by the first batch."""

    def __init__(self, place: Path, suffix: str) -> None:
        self._place, self._suffix = place, suffix
        self._writer: _Writer | None = None
        self._schema: pa.Schema | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._schema = batch.schema.remove_metadata()
            self._writer = _opened(self._place, self._suffix, self._schema)
        assert self._schema is not None
        self._writer.write_batch(_as(batch, self._schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


def _opened(place: Path, suffix: str, schema: pa.Schema) -> _Writer:
    if suffix in _PARQUET:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(place, schema)
    import pyarrow.csv as csv

    return csv.CSVWriter(place, schema, write_options=csv.WriteOptions(delimiter=_SEPARATORS[suffix]))


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of the first: a column without a value may have come as another."""
    if batch.schema.remove_metadata().equals(schema):
        return batch
    import pyarrow as pa

    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
