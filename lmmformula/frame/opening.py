"""Data as they are given: to a table in memory, or to a source whose rows are read a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.errors import PlanError
from lmmformula.families import resolve
from lmmformula.formula.spec import ModelSpec
from lmmformula.frame.response import with_repeats
from lmmformula.frame.seeing import refuse_unseen
from lmmformula.frame.sources.registry import open_source
from lmmformula.frame.table import Table, open_table
from lmmformula.ir.problem import Problem
from lmmformula.typing import Argument, Data

if TYPE_CHECKING:
    from lmmformula.frame.entrances import Wanted
    from lmmformula.frame.sources.base import Source

__all__ = ["in_memory_entrance", "open_data", "stream"]


def open_data(data: Data) -> Table | Source:
    """A table of data in memory, or that are read into it; a source of others. What has been opened stays as it is."""
    # asked of the class: frames have attributes by the names of their columns
    if isinstance(data, Table) or hasattr(type(data), "batches"):
        return data
    source = open_source(data)
    return open_table(data) if source is None else source


def stream(spec: ModelSpec, source: Source, wanted: Wanted, **arguments: Argument) -> Problem:
    """:func:`lmmformula.frame.build.build` of rows that are read a batch at a time, or of cells that are counted where the
    rows are, whichever is `wanted`; they lie on disk from then on.
    """
    from lmmformula.frame.cells import entrance_of
    from lmmformula.frame.streamed import learn, of_rows, written

    refuse_unseen(spec.response, f"those of {source.name} are read a batch at a time")
    family = with_repeats(resolve(arguments.get("family", "gaussian")), spec.response)
    entrance = entrance_of(
        spec,
        source,
        wanted,
        family=family,
        auxiliary=arguments.get("auxiliary", ()),
        weights=arguments.get("weights"),
        offset=arguments.get("offset"),
        context=arguments.get("context") or {},
    )
    draft = learn(spec, entrance.source, times=entrance.times, **arguments)
    return written(draft, of_rows(draft, source), entrance.why)


def in_memory_entrance(entrance: str) -> None:
    """Refuse an entrance for rows that are in memory.

    Raises
    ------
    PlanError
    """
    if entrance != "auto":
        raise PlanError(
            f"entrance={entrance!r} says how rows are taken from data that are read a batch at a time (files, queries, lazy "
            "frames), and these are read into memory: leave it out."
        )
