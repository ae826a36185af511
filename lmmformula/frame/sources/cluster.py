"""Workers of Dask that have the partitions of a DataFrame: rows stay with them.

Partitions that are in memory somewhere (``frame.persist()``) are worked on there; others are made where they are worked on,
each place with neighbours. What a task makes stays with its worker; if that dies, the scheduler has it made again, by another
worker, of what it was made of. So nothing is scattered: what travels is part of a task.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, Source, checked_names, gathered
from lmmformula.frame.sources.partitions import Partitions, batches_of
from lmmformula.frame.sources.steady import source_of
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from distributed import Client, Future

__all__ = ["DaskFrame", "DaskWorkers", "open_frame", "workers_of"]

AT_A_TIME = 8
"""Results that come here at a time."""

Made: TypeAlias = Any
"""What a task returns."""


def open_frame(data: Data) -> Source | None:
    """Rows of a Dask DataFrame; None for anything else of Dask's."""
    import dask.dataframe as dd

    return source_of(DaskFrame(data)) if isinstance(data, dd.DataFrame) else None


class DaskFrame(Partitions):
    """Partitions with the workers of whatever client the user has."""

    def workers(self) -> DaskWorkers | None:
        """None if there is no client."""
        return workers_of(self)


def workers_of(partitions: Partitions) -> DaskWorkers | None:
    """Workers of the client in use; None without one, or if it has no workers yet."""
    distributed = sys.modules.get("distributed")  # whoever has a client has imported it
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    if client.asynchronous or client.status != "running":
        return None
    known = client.scheduler_info(n_workers=-1)["workers"]
    places = [address for address, one in known.items() for _ in range(max(1, one["nthreads"]))]
    return DaskWorkers(partitions, client, places) if places else None


class DaskWorkers:
    """Workers of a client, see :class:`lmmformula.frame.sources.base.RowWorkers`.

    Parameters
    ----------
    partitions : Partitions
    client : distributed.Client
    places : list of str
        Address of a worker for each of its threads.
    """

    def __init__(self, partitions: Partitions, client: Client, places: list[str]) -> None:
        self.partitions, self.client = partitions, client
        groups = _where_they_lie(partitions, client, places) or _neighbours(partitions.parts, places)
        self.places = tuple(place for place, _ in groups)
        self.groups = tuple(parts for _, parts in groups)
        # workers of this machine are reached by themselves; others perhaps by the scheduler alone
        self._direct = True if all("://127.0.0.1:" in place for place in self.places) else None

    @property
    def name(self) -> str:
        n = len(set(self.places))
        return f"{n:,} worker{'s' if n > 1 else ''} of Dask"

    def submit(self, function: Callable[..., object], *arguments: object, at: int | None = None) -> Future:
        where = {} if at is None else {"workers": [self.places[at]], "allow_other_workers": True}
        with _large_tasks():
            return self.client.submit(function, *arguments, pure=False, **where)

    def each(
        self, function: Callable[[Iterator[pa.RecordBatch]], object], names: Sequence[str]
    ) -> list[Future]:
        from dask.delayed import delayed

        own = self.partitions
        columns = checked_names(names, tuple(own.schema.names), own.name)
        parts = own.with_columns(columns).to_delayed()
        given, run = self.submit(_same, function), delayed(_run, pure=False)
        out: dict[int, Future] = {}
        for place, group in zip(self.places, self.groups, strict=True):
            tasks = [run(given, parts[i], columns, own.schema, i) for i in group]
            with _large_tasks():
                made: Made = self.client.compute(tasks, workers=[place], allow_other_workers=True)
            out.update(zip(group, made, strict=True))
        return [out[i] for i in range(own.parts)]

    def beginning(self, names: Sequence[str], part: int) -> Iterator[pa.RecordBatch]:
        own = self.partitions
        return own.make(checked_names(names, tuple(own.schema.names), own.name), part, BATCH_ROWS)

    def results(self, remotes: Sequence[Future]) -> Iterator[Made]:
        for start in range(0, len(remotes), AT_A_TIME):
            try:
                some = list(remotes[start : start + AT_A_TIME])
                found: Made = self.client.gather(some, direct=self._direct)
            except Exception as error:
                if type(error).__module__.startswith("lmmformula."):
                    raise
                # of the user's graph, or of the cluster
                raise DataError(
                    f"{self.name} cannot do their part of {self.partitions.name}: {type(error).__name__}: {error}"
                ) from error
            yield from found


def _same(value: Made) -> Made:
    return value


def _run(
    function: Callable[[Iterator[pa.RecordBatch]], Made],
    frame: pd.DataFrame,
    columns: list[str],
    schema: pa.Schema,
    part: int,
) -> Made:
    return function(gathered(batches_of(frame, columns, schema, part)))


@contextmanager
def _large_tasks() -> Iterator[None]:
    """Without Dask's advice to scatter what is large: that is lost with the worker that has it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        yield


def _neighbours(parts: int, places: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """As many partitions for each place, in order."""
    count = min(parts, len(places))
    cuts = [round(parts * i / count) for i in range(count + 1)]
    return [(places[i], tuple(range(cuts[i], cuts[i + 1]))) for i in range(count)]


def _where_they_lie(
    partitions: Partitions, client: Client, places: Sequence[str]
) -> list[tuple[str, tuple[int, ...]]] | None:
    """Partitions by the workers that have them; None unless all are in memory."""
    from distributed import futures_of

    futures = futures_of(partitions.frame)
    by_part = {f.key[-1]: f.key for f in futures if isinstance(f.key, tuple)}
    if len(futures) != partitions.parts or set(by_part) != set(range(partitions.parts)):
        return None
    holders: Made = client.who_has(futures)
    found = [holders.get(by_part[part], ()) for part in range(partitions.parts)]
    if not all(found):
        return None
    own: dict[str, list[int]] = {}
    for part, addresses in enumerate(found):
        own.setdefault(min(addresses), []).append(part)
    out = []
    for address, parts in own.items():
        threads = min(max(1, places.count(address)), len(parts))
        cuts = [round(len(parts) * i / threads) for i in range(threads + 1)]
        out += [(address, tuple(parts[cuts[i] : cuts[i + 1]])) for i in range(threads)]
    return sorted(out, key=lambda group: group[1])
