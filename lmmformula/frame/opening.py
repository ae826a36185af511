"""Data as they are given: to a table in memory, or to a source whose rows are read a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.formula.spec import ModelSpec
from lmmformula.frame.sources.registry import open_source
from lmmformula.frame.table import Table, open_table
from lmmformula.ir.problem import Problem
from lmmformula.typing import Argument, Data

if TYPE_CHECKING:
    from lmmformula.frame.sources.base import Source

__all__ = ["open_data", "stream"]


def open_data(data: Data) -> Table | Source:
    """A table of data in memory, or that are read into it; a source of others. What has been opened stays as it is."""
    # asked of the class: frames have attributes by the names of their columns
    if isinstance(data, Table) or hasattr(type(data), "batches"):
        return data
    source = open_source(data)
    return open_table(data) if source is None else source


def stream(spec: ModelSpec, source: Source, **arguments: Argument) -> Problem:
    """:func:`lmmformula.frame.build.build` of rows that are read a batch at a time; they lie on disk from then on."""
    from lmmformula.frame.streamed import learn, written

    return written(learn(spec, source, **arguments))
