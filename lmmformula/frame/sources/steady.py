"""Rows that another library makes anew at each pass: the same ones in the same order, or an error.

Nobody but their makers knows whether a query, run again, gives its rows in the same order: results of joins and aggregations
come as threads finish. What promises an order is read as often as asked, and a few rows of every batch are compared with those
of earlier passes; what does not is copied once, when its rows are first asked for, into a Parquet file of this process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, RowWorkers, Source, ahead, checked_names, gathered, told
from lmmformula.frame.sources.parquet import ParquetRows, Unread, read_footers
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CopiedRows", "Groupable", "Maker", "SteadyRows", "source_of"]

_LOOKED_AT = 8
"""Rows of a batch that are compared from pass to pass, from its beginning; the last one is, too."""


class Maker(Protocol):
    """What makes rows: a query, a lazy frame, partitions.

    Attributes
    ----------
    name : str
    schema : pyarrow.Schema
        Of all columns.
    parts : int
    keeps_order : bool
        Whether it promises to give its rows in the same order again.
    advice : str
        How to come to rows that stay as they are.
    """

    @property
    def name(self) -> str: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def parts(self) -> int: ...

    @property
    def keeps_order(self) -> bool: ...

    @property
    def advice(self) -> str: ...

    def make(self, columns: list[str], part: int) -> Iterator[pa.RecordBatch]:
        """Rows of a part, these columns alone, in the types of `schema`; errors of the library are DataErrors."""
        ...


@runtime_checkable
class Groupable(Protocol):
    """A maker of rows that its library can group and add up where they are.

    Attributes
    ----------
    lazy : a frame that narwhals takes
        Its rows, with the types of `schema`.
    """

    @property
    def lazy(self) -> Data: ...

    def again(self, lazy: Data) -> Maker:
        """The maker of a frame of the same library."""
        ...


def source_of(maker: Maker) -> Source:
    """The rows of a maker as a source."""
    return SteadyRows(maker) if maker.keeps_order else CopiedRows(maker)


class _Made:
    """What comes of a maker is called as it is."""

    maker: Maker

    @property
    def name(self) -> str:
        return self.maker.name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.maker.schema.names)


class SteadyRows(_Made):
    """Rows made anew at each pass, as a :class:`lmmformula.frame.sources.Source`.

    Its state is what was seen of each part and column at the first pass that came to its end, and the number of rows.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self._seen: dict[tuple[int, str], list[int]] = {}
        self._rows: dict[int, int] = {}

    @property
    def parts(self) -> int:
        return self.maker.parts

    @property
    def n_rows(self) -> int | None:
        """Known once all parts were read."""
        return sum(self._rows.values()) if len(self._rows) == self.parts else None

    def size(self, names: Sequence[str]) -> None:
        checked_names(names, self.names, self.name)

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        columns = checked_names(names, self.names, self.name)
        parts = range(self.parts) if part is None else (part,)
        rows = (batch for one in parts for batch in self._compared(columns, one))
        return told(ahead(gathered(rows)), self.n_rows, None, is_pass=part is None)

    def unchanged(self) -> None:
        """Whatever changed was found when it was read."""

    def workers(self) -> RowWorkers | None:
        """Those that have the rows, where the maker knows any."""
        offered = getattr(self.maker, "workers", None)
        return None if offered is None else offered()

    def _compared(self, columns: list[str], part: int) -> Iterator[pa.RecordBatch]:
        """Rows of a part, compared with what was seen of them before."""
        seen: dict[str, list[int]] = {name: [] for name in columns}
        count = 0
        for batch in gathered(self.maker.make(columns, part)):
            for name, column in zip(columns, batch.columns, strict=True):
                seen[name].append(_look(column))
                known = self._seen.get((part, name))
                if known is not None and known[: len(seen[name])] != seen[name]:
                    raise DataError(self._changed(f"column `{name}`", count))
            count += batch.num_rows
            yield batch
        if self._rows.setdefault(part, count) != count:
            raise DataError(self._changed(f"{self._rows[part]:,} rows then, {count:,} now", 0))
        for name in columns:
            self._seen[part, name] = seen[name]

    def _changed(self, what: str, row: int) -> str:
        after = f", after row {row:,}" if row else ""
        return (
            f"{self.name} does not give the same rows in the same order at every pass ({what}{after}), and a fit needs "
            f"several: {self.maker.advice}"
        )


def _look(column: pa.Array) -> int:
    """A number that differs, almost surely, where a few entries of a column do."""
    few = [*column.slice(0, _LOOKED_AT).to_pylist(), column[-1].as_py()]
    return zlib.crc32(repr(few).encode("utf-8", "surrogatepass"))


class CopiedRows(_Made):
    """Rows whose maker promises no order, copied to a file when they are first asked for; it goes with the object."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self._copy: ParquetRows | None = None
        self._turn = threading.Lock()

    @property
    def parts(self) -> int:
        return 1

    @property
    def n_rows(self) -> int | None:
        """Known once they were copied."""
        return None if self._copy is None else self._copy.n_rows

    def size(self, names: Sequence[str]) -> float | None:
        checked_names(names, self.names, self.name)
        return None if self._copy is None else self._copy.size(names)

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        checked_names(names, self.names, self.name)
        with self._turn:
            if self._copy is None:
                self._copy = self._copied()
        return self._copy.batches(names)

    def unchanged(self) -> None:
        """The file is nobody else's."""

    def _copied(self) -> ParquetRows:
        import pyarrow.parquet as pq
        from pyarrow.fs import LocalFileSystem

        folder = tempfile.mkdtemp(prefix="lmmformula-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, "rows.parquet")
        schema = self.maker.schema
        try:
            with pq.ParquetWriter(path, schema, compression="lz4") as writer:
                for part in range(self.maker.parts):
                    for batch in ahead(gathered(self.maker.make(list(self.names), part), 8 * BATCH_ROWS)):
                        writer.write_batch(batch)
        except OSError as error:
            raise DataError(
                f"{self.name} gives its rows in no certain order, and a copy of them, which is read instead, cannot be written "
                f"to {folder}: {error}. Write it to a place of your own (.parquet) and pass its path"
            ) from error
        return read_footers(self.name, [Unread(path, {})], LocalFileSystem())

    def __getstate__(self) -> dict[str, object]:
        """Elsewhere the rows are made and copied again."""
        return {"maker": self.maker}

    def __setstate__(self, state: dict[str, Maker]) -> None:
        self.__init__(state["maker"])
