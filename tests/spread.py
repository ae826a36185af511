"""Workers in this process, which pickle what comes and goes as processes elsewhere do; problems whose rows they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import cloudpickle

from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.streamed import Spread, StreamedRows, there


@dataclass(frozen=True, slots=True)
class Here:
    """A value of such a worker."""

    value: Any


class Local:
    """Workers that run everything at once."""

    name = "workers in this process"

    def submit(self, function: Callable[..., Any], *arguments: Any, at: int | None = None) -> Here:
        del at
        given = (a if isinstance(a, Here) else cloudpickle.loads(cloudpickle.dumps(a)) for a in arguments)
        return Here(function(*(a.value if isinstance(a, Here) else a for a in given)))

    def results(self, remotes: Sequence[Here]) -> Iterator[Any]:
        return (cloudpickle.loads(cloudpickle.dumps(remote.value)) for remote in remotes)


def spread(problem: Problem, stores: int = 3, batch: int = 17) -> Problem:
    """The problem with its rows dealt out to stores of workers, batch after batch."""
    workers = Local()
    batches = [
        cast("MemoryRows", problem.at(slice(start, start + batch)).data)
        for start in range(0, problem.n, batch)
    ]
    pieces = [Here(there.piece_of([(rows, 0)])) for rows in batches]
    groups = [pieces[i::stores] for i in range(stores)]
    layout = pieces[0].value.layout
    return replace(
        problem.at(slice(0, 0)),
        rows=problem.rows,
        held=cast("Any", StreamedRows(Spread(workers, layout, problem.n, groups))),
    )
