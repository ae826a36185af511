"""Rows dealt out among workers by the levels of the largest group, so that each level's rows are with one of them.

Sums over such levels need not be added up across workers, and a worker can eliminate them by itself
(:mod:`lmmformula.ir.streamed.apart`). Where partitions have the levels to themselves (sorted files, a shuffled table) nothing
moves. Otherwise rows in their narrow form, some tens of bytes each, travel once between workers, if that is less than what the
sums over shared levels would take in the passes of a search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import Group
from lmmformula.ir.patterns import counting_order
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.narrow import Packed, packed
from lmmformula.ir.streamed.parts import Columns, columns_in
from lmmformula.ir.streamed.records import Records, Span
from lmmformula.ir.streamed.there import Piece
from lmmformula.ir.streamed.workers import Remote, Workers
from lmmformula.memory import in_words
from lmmformula.typing import Index

__all__ = ["Dealt", "are_few", "dealt_out"]

LITTLE = 1e6
"""Bytes of sums in a pass that may as well travel."""
PASSES = 10
"""Passes of a search."""
BINS = 16_384
"""Ranges of levels of which rows are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """Pieces of each place, and in words why they are there; which levels each has, if they were dealt out."""

    groups: list[list[Remote]]
    why: str
    cuts: Index | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """Of the rows of a place: how many levels of the largest group they have, their bytes, and how many are in each bin."""

    levels: int
    size: int
    rows: NDArray[np.int64]


def are_few(layout: Layout, levels: int) -> bool:
    """Whether sums over so many levels of the largest group may as well travel."""
    return travelling(layout, levels) < LITTLE


def travelling(layout: Layout, levels: int) -> float:
    """Bytes that the sums over levels of the largest group, and its effects, take in a pass."""
    k = layout.merged()[0].k
    return 8.0 * levels * k * (k + layout.fixed + 1 + 2)


def dealt_out(workers: Workers, layout: Layout, bare: Remote, groups: Sequence[Sequence[Remote]]) -> Dealt:
    """The pieces of each place, as they are or dealt out anew.

    Parameters
    ----------
    workers : Workers
    layout : Layout
    bare : Remote
        The same, without names of levels.
    groups : sequence of sequences of Remote
        Pieces of each place.
    """
    as_they_are = [list(group) for group in groups]
    places = [at for at, group in enumerate(groups) if group]
    if not layout.is_sorted:
        return Dealt(as_they_are, "")
    lead = layout.merged()[0]
    if are_few(layout, lead.m * len(places)):
        return Dealt(as_they_are, f"`{lead.name}` has few levels, whose sums travel")
    asked = [workers.submit(met, bare, *groups[at], at=at) for at in places]
    found: list[Met] = list(workers.results(asked))
    held = sum(one.levels for one in found)
    if held == lead.m:
        return Dealt(as_they_are, "")
    share = 1.0 - 1.0 / len(places)
    moves, saves = share * sum(one.size for one in found), PASSES * travelling(layout, held)
    met_by = f"its workers have the {lead.m:,} levels of `{lead.name}` {held / lead.m:.2g} times"
    if moves >= saves:
        why = f"{met_by}, whose sums travel, as rows would be more ({in_words(moves)})"
        return Dealt(as_they_are, why)
    cuts = _cuts(sum(one.rows for one in found), lead.m, len(places))  # type: ignore[arg-type]
    dealt = [workers.submit(deal, bare, cuts, *groups[at], at=at) for at in places]
    for number, at in enumerate(places):
        none = cuts[number] == cuts[number + 1]
        as_they_are[at] = [] if none else [workers.submit(picked, one, number) for one in dealt]
    why = f"as {met_by}, rows ({in_words(moves)}) were dealt out by it once"
    return Dealt([group for at, group in enumerate(as_they_are) if at in places], why, cuts)


def _cuts(rows: NDArray[np.int64], m: int, places: int) -> Index:
    """First level of each place, and their number: about as many rows for each."""
    so_far = np.cumsum(rows)
    goals = so_far[-1] * np.arange(1, places) / places
    bins = np.searchsorted(so_far, goals) + 1
    return np.array([0, *(-(-bins.astype(np.int64) * m // len(rows))), m])


# -- where rows lie --------------------------------------------------------------------------------------------------


def met(layout: Layout, *pieces: Piece) -> Met:
    """Levels of the largest group in the rows of a place."""
    m = _lead(layout).m
    bins = min(BINS, m)
    present, rows = np.zeros(m, dtype=bool), np.zeros(bins, dtype=np.int64)
    for columns in _columns(layout, pieces):
        lead = columns.codes[0]
        present[lead] = True
        rows += np.bincount(lead.astype(np.int64) * bins // m, minlength=bins)
    return Met(int(present.sum()), sum(piece.records.size for piece in pieces), rows)


def deal(layout: Layout, cuts: Index, *pieces: Piece) -> tuple[Piece, ...]:
    """The rows of a place in pieces of levels between cuts, in their order."""
    places = len(cuts) - 1
    records = [Records() for _ in range(places)]
    out: list[list[tuple[Packed, Span]]] = [[] for _ in range(places)]
    counts = [0] * places
    for columns in _columns(layout, pieces):
        goes = (np.searchsorted(cuts, columns.codes[0], side="right") - 1).astype(np.int32)
        ordered = columns.at(counting_order(goes, places))
        ends = np.cumsum([0, *np.bincount(goes, minlength=places)])
        for i in range(places):
            if ends[i] < ends[i + 1]:
                own = ordered.between(int(ends[i]), int(ends[i + 1]))
                content = packed(own.n, [*own.numbers, *own.codes])
                out[i].append((Packed(content.n, content.slots, b""), records[i].append(content.content)))
                counts[i] += own.n
    return tuple(Piece(None, tuple(own), r, n, None) for own, r, n in zip(out, records, counts, strict=True))


def picked(dealt: tuple[Piece, ...], number: int) -> Piece:
    """What one place gets."""
    return dealt[number]


def _lead(layout: Layout) -> Group:
    return layout.merged()[0]


def _columns(layout: Layout, pieces: Sequence[Piece]) -> Iterator[Columns]:
    for piece in pieces:
        for content, span in piece.pieces:
            yield columns_in(content, piece.records.read(span), len(layout.groups))
