"""What is done where rows lie: rows become pieces as they come, pieces a store, and sums of the store go back.

All functions give the same each time, but for the files in which rows are meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.patterns import CrossPattern
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.levels import StreamedLevels
from lmmformula.ir.streamed.narrow import Packed, packed
from lmmformula.ir.streamed.parcels import Parcel
from lmmformula.ir.streamed.parts import Block, columns_in, columns_of
from lmmformula.ir.streamed.records import Records, Span
from lmmformula.ir.streamed.sorting import Sorter
from lmmformula.ir.streamed.store import Store
from lmmformula.ir.streamed.within import Within, found_in
from lmmformula.ir.sums import Share
from lmmformula.numerics.allocation import memory_stays, memory_stays_with
from lmmformula.numerics.threads import alone

__all__ = [
    "Contents",
    "Piece",
    "Placed",
    "block",
    "contents",
    "layout_of",
    "pairs",
    "piece_of",
    "stored",
    "summed",
]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows as they came, in few bytes.

    Attributes
    ----------
    layout : Layout or None
        None if there are none.
    pieces : tuple of (Packed, Span) pairs
    records : Records
    n : int
    seen : Any
        What was summed up of them; of whoever made the rows.
    """

    layout: Layout | None
    pieces: tuple[tuple[Packed, Span], ...]
    records: Records
    n: int
    seen: Share

    def __sizeof__(self) -> int:
        return self.records.held + 1_000


def piece_of(rows: Iterable[tuple[MemoryRows, Share]]) -> Piece:
    """A piece of rows that come with what was seen of them, which adds up."""
    records, pieces, total, n = Records(), [], None, 0
    layout: Layout | None = None
    for some, seen in rows:
        total = seen if total is None else total + seen
        if layout is None:
            layout = Layout.of(some)
        if some.n:
            columns = columns_of(some, layout)
            content = packed(columns.n, [*columns.numbers, *columns.codes])
            pieces.append((Packed(content.n, content.slots, b""), records.append(content.content)))
            n += some.n
    bare = None if layout is None else layout.bare()
    return Piece(bare, tuple(pieces), records, n, total)


def layout_of(piece: Piece) -> tuple[Layout | None, int, Share]:
    """Of a piece: its layout, how many rows it has, and what was seen of them."""
    return piece.layout, piece.n, piece.seen


class Placed:
    """A store where its rows lie, with what is known of the levels that they have."""

    def __init__(self, store: Store) -> None:
        self.store = store
        memory_stays_with(self)

    def __sizeof__(self) -> int:
        return self.store.records.held + 1_000

    def __getstate__(self) -> Store:
        return self.store

    def __setstate__(self, store: Store) -> None:
        self.__init__(store)

    @cached_property
    def levels(self) -> StreamedLevels:
        """Patterns are found once."""
        return self.store.new_levels()


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a store has.

    Attributes
    ----------
    n, size : int
        Rows, and their bytes.
    within : Within
    """

    n: int
    size: int
    within: Within


def stored(layout: Layout, *pieces: Piece, compiled: bool, between: tuple[int, int] | None = None) -> Placed:
    """The rows of several pieces in the order of the largest group; `between` says which of its levels they have."""
    sorter = Sorter(sum(piece.n for piece in pieces), between=between)
    with alone(), memory_stays():
        for columns in _columns(layout, pieces):
            sorter.put(columns, layout)
        store = sorter.finish()
    within = found_in(_levels(store), [layout.terms[own[0]].m for own in layout.groups])
    return Placed(replace(store, within=within, compiled=compiled))


def _columns(layout: Layout, pieces: Iterable[Piece]) -> Iterator[Share]:
    for piece in pieces:
        for content, span in piece.pieces:
            yield columns_in(content, piece.records.read(span), len(layout.groups))


def _levels(store: Store) -> Iterator[list[Share]]:
    """Levels of each part among all."""
    groups = len(store.layout.groups)
    for one in store.blocks:
        record, more = None, one.slots[len(one.slots) - 2 * groups :]
        out: list[Share] = []
        for a, (first, count) in enumerate(one.levels):
            if first < 0 and record is None:
                record = store.records.read(one.span)
            out.append(
                slice(first, first + count) if record is None or first >= 0 else more[2 * a].of(record, count)
            )
        yield out


def contents(placed: Placed) -> Contents:
    """Of a store, for whoever adds up sums of several."""
    store = placed.store
    assert store.within is not None
    return Contents(store.n, store.records.size, store.within)


def pairs(placed: Placed, a: int, b: int) -> CrossPattern:
    """Which of the store's levels of two groups meet."""
    with alone():
        return placed.levels.pattern(a, b)


def n_pairs(placed: Placed, a: int, b: int) -> int:
    """How many of the store's levels of two groups meet."""
    return pairs(placed, a, b).nnz


def summed(placed: Placed, parcel: Parcel, *held: Share) -> tuple[Share, ...]:
    """Several sums over the rows of a store: each is its share of the sum over all."""
    sums, units = parcel.opened(held)
    with alone(), np.errstate(all="ignore"):
        return placed.store.together(sums, units, placed.levels)


def block(placed: Placed, number: int) -> tuple[Block, bytes] | None:
    """One part of a store as it is written."""
    blocks = placed.store.blocks
    if number >= len(blocks):
        return None
    return blocks[number], bytes(placed.store.records.read(blocks[number].span))
