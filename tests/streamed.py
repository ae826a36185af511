"""Problems whose rows are on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.streamed import Sorter, StreamedRows


def streamed(problem: Problem, size: int = 37, batch: int = 50) -> Problem:
    """The problem with its rows in parts of about `size`, written `batch` at a time."""
    sorter = Sorter(problem.n, size)
    for start in range(0, problem.n, batch):
        sorter.add(cast("MemoryRows", problem.at(slice(start, start + batch)).data))
    return replace(
        problem.at(slice(0, 0)), rows=problem.rows, held=cast("Any", StreamedRows(sorter.finish()))
    )
