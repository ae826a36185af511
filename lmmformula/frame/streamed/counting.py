"""What the first passes count, where the rows are: part by part, what each place has together, and that of all places here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lmmformula.formula.spec import Expr
from lmmformula.frame.sources import RowWorkers
from lmmformula.frame.streamed.coding import Member, crossed
from lmmformula.frame.streamed.distinct import DistinctNumbers
from lmmformula.frame.streamed.tally import Tally
from lmmformula.frame.streamed.variables import BatchRows, Variables

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Combinations", "combined_there", "tallied_there"]


M = TypeVar("M", "Combinations", Tally)


class Combinations:
    """Combinations of crossed factors that occur, by group."""

    def __init__(self, groups: Sequence[tuple[Expr, ...]]) -> None:
        self.found = {group: DistinctNumbers() for group in groups}

    def add(self, members: Mapping[Expr, Member], rows: BatchRows) -> None:
        """Take in a batch."""
        for group, combinations in self.found.items():
            combinations.add(crossed(tuple(members[e] for e in group), rows))

    def merge(self, other: Combinations) -> None:
        """Take in what others had passed by."""
        for group, combinations in self.found.items():
            combinations.merge(other.found[group])


def tallied_there(workers: RowWorkers, variables: Variables, members: frozenset[Expr], into: Tally) -> Tally:
    """`into` with what is counted of all rows."""
    begin = partial(Tally, members, variables)
    return _merged_here(workers, partial(_tally, begin, variables), variables, begin, into)


def combined_there(
    workers: RowWorkers, variables: Variables, members: Mapping[Expr, Member], into: Combinations
) -> Combinations:
    """`into` with the combinations of all rows."""
    begin = partial(Combinations, tuple(into.found))
    count = partial(_combine, begin, variables, members)
    return _merged_here(workers, count, variables, begin, into)


def _merged_here(
    workers: RowWorkers,
    count: Callable[[Iterator[pa.RecordBatch]], M],
    variables: Variables,
    begin: Callable[[], M],
    into: M,
) -> M:
    parts = workers.each(count, variables.names)
    own = [
        workers.submit(partial(_together, begin), *(parts[i] for i in group), at=at)
        for at, group in enumerate(workers.groups)
    ]
    for some in workers.results(own):
        into.merge(some)
    return into


def _together(begin: Callable[[], M], *counted: M) -> M:
    out = begin()
    for some in counted:
        out.merge(some)
    return out


def _tally(begin: Callable[[], Tally], variables: Variables, batches: Iterator[pa.RecordBatch]) -> Tally:
    out = begin()
    for batch in batches:
        out.add(variables.of(batch))
    return out


def _combine(
    begin: Callable[[], Combinations],
    variables: Variables,
    members: Mapping[Expr, Member],
    batches: Iterator[pa.RecordBatch],
) -> Combinations:
    out = begin()
    for batch in batches:
        out.add(members, variables.of(batch))
    return out
