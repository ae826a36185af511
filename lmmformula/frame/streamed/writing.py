"""A formula on rows that are read batch by batch, to a problem whose rows lie on disk in the canonical form.

A first pass, or a few where functions learn from whole columns, learn what the coding needs; the next one encodes every row and
writes it down. From then on the source is not read again: later passes read what was written, which is smaller, in order, and
needs no decoding of text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lmmformula.errors import DataError, PlanError
from lmmformula.frame.sources import RowWorkers, workers_of
from lmmformula.frame.streamed.draft import Coding, Draft, Kept
from lmmformula.frame.streamed.seen import Seen
from lmmformula.ir import streamed
from lmmformula.ir.problem import Problem
from lmmformula.ir.streamed import Sorter, Spread, StreamedRows, there
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.parts import Columns, columns_of
from lmmformula.ir.streamed.store import Reading
from lmmformula.numerics.threads import in_order
from lmmformula.progress import passing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["written"]


def written(draft: Draft, origin: Draft | None = None, entrance: str = "") -> Problem:
    """The problem of a draft, its rows encoded and written. Two passes over them, about twice their bytes on disk meanwhile.

    Parameters
    ----------
    draft : Draft
    origin : Draft, optional
        Reads the rows of the data later on, where those of `draft` are cells of them.
    entrance : str
        How rows came in, for the plan.

    Raises
    ------
    DataError
        As :func:`lmmformula.frame.build.build`; and if the data changed while they were read.
    PlanError
        For random effects of an auxiliary predictor.
    """
    if any(draft.coding.aux_terms):
        raise PlanError(
            "random effects of an auxiliary predictor need all rows in memory, and those of this model are read a batch at a "
            "time. Leave them out, read the data into memory, or a sample of them."
        )
    workers = workers_of(draft.source)
    if workers is not None:
        return _spread(draft, workers)
    begun, sorter = time.perf_counter(), Sorter(draft.n)
    total: Seen | None = None
    passing(draft.n)

    def made(batch: pa.RecordBatch) -> tuple[Columns, Layout, Seen]:
        rows, seen = draft.encode(batch)
        layout = Layout.of(rows)
        return columns_of(rows, layout), layout, seen

    for columns, layout, seen in in_order(made, draft.source.batches(draft.columns)):
        sorter.put(columns, layout)
        total = seen if total is None else total + seen
    if total is None:
        raise DataError(f"{draft.source.name} has no rows")
    problem, kept = draft.finish(total)
    source, spent = draft.source, time.perf_counter() - begun
    reading = Reading(source.name, source.size(draft.columns), spent)
    store = sorter.finish().keeping(_kept(kept, total, problem), draft if origin is None else origin, reading)
    draft.source.unchanged()
    return replace(problem, held=StreamedRows(replace(store, entrance=entrance)))


def _spread(draft: Draft, workers: RowWorkers) -> Problem:
    """The problem of a draft whose rows are encoded, and stay, where they are."""
    pieces = workers.each(partial(_piece, draft.coding), draft.columns)
    told = list(workers.results([workers.submit(there.layout_of, piece) for piece in pieces]))
    total = sum(seen for _, _, seen in told if seen is not None)
    layouts = [layout for layout, n, _ in told if layout is not None]
    if not isinstance(total, Seen):
        raise DataError(f"{draft.source.name} has no rows")
    problem, kept = draft.finish(total)
    layout = replace(layouts[0], kept=_kept(kept, total, problem))
    groups = [[pieces[i] for i in group if told[i][1]] for group in workers.groups]
    return replace(problem, held=StreamedRows(Spread(workers, layout, total.n, groups, draft)))


def _kept(kept: Kept, seen: Seen, problem: Problem) -> streamed.Kept:
    """Which columns the model has, and what was seen of them."""
    moments = (m.at(own) for m, own in zip(seen.moments, (kept.fixed, *kept.aux), strict=True))
    return streamed.Kept(kept.fixed, kept.aux, kept.terms, problem.terms, tuple(moments))


def _piece(coding: Coding, batches: Iterator[pa.RecordBatch]) -> there.Piece:
    return there.piece_of(map(coding.encode, batches))
