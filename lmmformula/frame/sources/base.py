"""What a source of rows answers, and what all of them share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lmmformula import progress
from lmmformula.errors import DataError
from lmmformula.frame.table import no_such_column
from lmmformula.ir.streamed import Remote, Workers

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BATCH_ROWS",
    "RowWorkers",
    "Source",
    "ahead",
    "checked_names",
    "gathered",
    "pulled",
    "told",
    "workers_of",
]

T = TypeVar("T")

BATCH_ROWS = 131_072
"""Rows of a batch at most: columns of such a batch stay in the caches of a core, and what a batch costs by itself is hidden."""


class Source(Protocol):
    """Rows that are read a batch at a time, in an order that never changes, as often as asked; picklable if it can be.

    Attributes
    ----------
    name : str
        For messages: ``ratings/*.parquet (12 files)``, ``a DuckDB query``.
    names : tuple of str
        Columns, in order.
    n_rows : int or None
        Rows, where metadata tells without reading.
    parts : int
        Parts that can be read independently of each other, in this order.
    """

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def n_rows(self) -> int | None: ...

    @property
    def parts(self) -> int: ...

    def size(self, names: Sequence[str]) -> float | None:
        """Bytes of these columns where they lie, where metadata tells."""
        ...

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        """These columns alone, in that order, of one part or of all in order; at most :data:`BATCH_ROWS` rows a batch.

        Raises
        ------
        DataError
            For a column that is not there or is not the same in all parts, before anything is read; in the midst of it, for
            what cannot be read.
        """
        ...

    def unchanged(self) -> None:
        """Raise a DataError if the rows are not those that were there when it was opened, as far as that shows."""
        ...


class RowWorkers(Workers, Protocol):
    """Workers that have the rows of a source.

    Attributes
    ----------
    groups : tuple of tuples of int
        Parts of the source that go together, of each place.
    """

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]: ...

    def each(
        self, function: Callable[[Iterator[pa.RecordBatch]], object], names: Sequence[str]
    ) -> list[Remote]:
        """What a function makes of the batches of each part, with these columns alone, made and kept where its rows are."""
        ...

    def beginning(self, names: Sequence[str], part: int) -> Iterator[pa.RecordBatch]:
        """The first rows of a part, with these columns alone, brought here: as many as a batch has, or all."""
        ...


def workers_of(source: Source) -> RowWorkers | None:
    """Workers that have the rows, of a source that offers ``workers()``; None if rows are read here."""
    offered = getattr(source, "workers", None)
    return None if offered is None else offered()


def checked_names(names: Sequence[str], known: tuple[str, ...], source: str) -> list[str]:
    """`names` as a list of columns that are there, each once; a DataError otherwise, which suggests another."""
    for name in names:
        times = known.count(name)
        if not times:
            raise DataError(f"{no_such_column(name, known)}; the data are {source}")
        if times > 1:
            raise DataError(f"{source} has {times} columns named `{name}`: rename them so that it is clear")
    return list(names)


def gathered(batches: Iterable[pa.RecordBatch], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows` rows, the last one smaller, however they come; empty batches are left out.

    What is read in whichever pieces comes in the same batches at every pass; small pieces do not cost a batch each.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        at = 0
        while at < batch.num_rows:
            taken = batch.slice(at, rows - count)
            at += taken.num_rows
            count += taken.num_rows
            held.append(taken)
            if count == rows:
                yield _one(held)
                held, count = [], 0
    if held:
        yield _one(held)


def ahead(batches: Iterable[T], most: int = 2) -> Iterator[T]:
    """The same batches, made in a thread of their own, `most` of them before they are asked for."""
    return pulled(lambda put: all(put(batch) for batch in batches), most)


def pulled(push: Callable[[Callable[[T], bool]], object], most: int = 2) -> Iterator[T]:
    """What a call hands to its argument, one by one; the call is made in a thread of its own.

    Parameters
    ----------
    push : callable
        It is given a function that takes one item, waits as long as `most` are not asked for, and answers whether more are
        wanted. The thread ends with the call, whose error is raised here, or when nobody asks any more.
    most : int
    """
    made: Queue[_Made[T] | BaseException | None] = Queue(most)
    left = threading.Event()

    def put(item: _Made[T] | BaseException | None) -> bool:
        while not left.is_set():
            with suppress(Full):
                made.put(item, timeout=0.05)
                return True
        return False

    def make() -> None:
        try:
            push(lambda item: put(_Made(item)))
            put(None)
        except BaseException as error:  # whoever asks for the next batch learns of it
            put(error)

    thread = threading.Thread(target=make, name="lmmformula rows", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item.item
    finally:
        left.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class _Made(Generic[T]):
    item: T


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of the same columns below each other as one."""
    if len(batches) == 1:
        return batches[0]
    import pyarrow as pa

    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def told(
    batches: Iterable[pa.RecordBatch], n_rows: int | None, size: float | None, *, is_pass: bool
) -> Iterator[pa.RecordBatch]:
    """The batches, of which whoever shows the progress is told; `size` is what all `n_rows` rows take on disk."""
    if is_pass:
        progress.passing(n_rows or 0)
    each = size / n_rows if size is not None and n_rows else None
    for batch in batches:
        yield batch
        progress.passed(batch.num_rows, batch.nbytes if each is None else int(each * batch.num_rows))
