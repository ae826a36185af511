"""Rows as they come to rows in the order of the largest grouping factor, with memory for a few of them at a time.

Rows of one level then lie together, with the levels of the next group in order within it: sums over levels and pairs of levels
are of neighbours, and a part has few levels of its own. A first pass puts rows into bins of neighbouring levels, a second
sorts each bin by counting: O(n) in time, one bin for each thread in memory, about twice the rows on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.patterns import counting_order
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.narrow import Packed, packed
from lmmformula.ir.streamed.parts import Block, Columns, block_of, columns_in, columns_of
from lmmformula.ir.streamed.records import Records, Span, refuse_full_disk
from lmmformula.ir.streamed.store import Store
from lmmformula.numerics.threads import in_order
from lmmformula.typing import Index

__all__ = ["ROWS", "Sorter"]

CELLS = 262_144
"""Cells of a part's columns, 2 MB: they and what is made of them fit the cache of one core."""
ROWS = 32_768
"""Rows of a part at most."""
BIN = 32e6
"""Bytes that are sorted at a time; about four times as many are held for it, by each thread."""
UNKNOWN = 50_000_000
"""Rows that are expected where nobody knows."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows of a bin."""

    packed: Packed
    span: Span


class Sorter:
    """Takes rows as they come, and gives them in order.

    Parameters
    ----------
    expected : int or None
        How many there will be, for the number of bins.
    rows : int, optional
        Rows of a part; by default what suits the number of columns.
    between : (int, int), optional
        The levels of the largest group that there are: from, and up to.
    """

    def __init__(
        self,
        expected: int | None = None,
        rows: int | None = None,
        between: tuple[int, int] | None = None,
    ) -> None:
        self._between = between
        self._expected, self._rows = expected, rows or ROWS
        self._given = rows is not None
        self._count = 0
        self._layout: Layout | None = None
        self._bins: list[list[_Piece]] = []
        self._pieces = Records()
        self._edges: Index = np.zeros(0, dtype=np.int64)

    def add(self, rows: MemoryRows) -> None:
        """Rows with codes among all levels."""
        layout = self._layout or Layout.of(rows)
        self.put(columns_of(rows, layout), layout)

    def put(self, columns: Columns, layout: Layout) -> None:
        """Rows as columns in the order of a layout, which is the same each time."""
        if self._layout is None:
            self._begin(layout, columns)
        if not columns.n:
            return
        self._count += columns.n
        if len(self._bins) == 1:
            self._write(0, columns)
            return
        own = np.searchsorted(self._edges, columns.codes[0], side="right").astype(np.int16)
        order = np.argsort(own, kind="stable")
        ordered, ends = columns.at(order), np.searchsorted(own[order], np.arange(len(self._bins) + 1))
        for b, (start, stop) in enumerate(pairwise(ends.tolist())):
            if stop > start:
                self._write(b, ordered.between(start, stop))

    def _begin(self, layout: Layout, columns: Columns) -> None:
        """Decide the bins, by what a row of the first ones takes."""
        self._layout = layout
        if not self._given:
            self._rows = int(np.clip(CELLS // max(len(columns.numbers), 1), ROWS // 8, ROWS))
        m = layout.terms[layout.groups[0][0]].m if layout.is_sorted else 1
        size = sum(c.nbytes for c in (*columns.numbers, *columns.codes) if isinstance(c, np.ndarray))
        whole = (self._expected or UNKNOWN) * size / max(columns.n, 1)
        if self._expected:
            refuse_full_disk(2.0 * whole)
        low, high = self._between or (0, m)
        count = int(np.clip(np.ceil(whole / BIN), 1, min(high - low, 4096)))
        self._edges = np.linspace(low, high, count + 1).round().astype(np.int64)[1:-1]
        self._bins = [[] for _ in range(count)]

    def _write(self, b: int, columns: Columns) -> None:
        content = packed(columns.n, [*columns.numbers, *columns.codes])
        span = self._pieces.append(content.content)
        self._bins[b].append(_Piece(Packed(content.n, content.slots, b""), span))

    def finish(self) -> Store:
        """All rows in order."""
        layout = self._layout
        assert layout is not None
        out, blocks, whole = Records(), [], True
        filled = [pieces for pieces in self._bins if pieces]
        for parts, uncut in in_order(self._sorted, filled):
            whole &= uncut
            for content, levels in parts:
                span = out.append(content.content)
                blocks.append(Block(content.n, span, content.slots, levels))
        self._pieces.close()
        return Store(layout, tuple(blocks), out, self._count, whole)

    def _sorted(
        self, pieces: Sequence[_Piece]
    ) -> tuple[list[tuple[Packed, tuple[tuple[int, int], ...]]], bool]:
        """The parts of one bin, and whether none of them ends within a level."""
        layout = self._layout
        assert layout is not None
        groups = len(layout.groups)
        columns = _joined([columns_in(p.packed, self._pieces.read(p.span), groups) for p in pieces])
        if not layout.is_sorted:
            cuts, whole = [*range(0, columns.n, self._rows), columns.n], True
        else:
            columns = columns.at(_order(columns))
            cuts, whole = _cuts(columns.codes[0], self._rows)
        return [block_of(columns.between(i, j), layout) for i, j in pairwise(cuts) if j > i], whole


def _joined(pieces: Sequence[Columns]) -> Columns:
    """Rows of several pieces below each other."""
    if len(pieces) == 1:
        return pieces[0]
    sizes = [p.n for p in pieces]

    def column(values: Sequence[Index | float]) -> Index | float:
        held = [v for v in values if isinstance(v, np.ndarray)]
        if not held:
            if len(set(values)) == 1:
                return values[0]
            return np.repeat(np.array(values, dtype=float), sizes)
        if any(v.dtype.kind == "f" for v in held) or len(held) < len(values):
            kind = np.result_type(*held, np.float64 if len(held) < len(values) else held[0])
        else:
            kind = np.result_type(*held)
        shape = held[0].shape[1:]
        out, at = np.empty((sum(sizes), *shape), dtype=kind), 0
        for v, n in zip(values, sizes, strict=True):
            out[at : at + n] = v
            at += n
        return out

    numbers = tuple(column(v) for v in zip(*(p.numbers for p in pieces), strict=True))
    codes = tuple(column(v) for v in zip(*(p.codes for p in pieces), strict=True))
    return Columns(sum(sizes), numbers, codes)  # type: ignore[arg-type]


def _order(columns: Columns) -> Index:
    """Rows by the first group, and within it by the second where rows have one level of that."""
    lead, *others = columns.codes
    by = [lead, *(c for c in others[:1] if c.ndim == 1)]
    order: Index | None = None
    for codes in reversed(by):
        low = int(codes.min())
        keys = (codes - low) if order is None else codes[order] - low
        step = counting_order(keys.astype(np.int32, copy=False), int(keys.max()) + 1)
        order = step if order is None else order[step]
    assert order is not None
    return order


def _cuts(lead: Index, rows: int) -> tuple[list[int], bool]:
    """Where parts of about `rows` rows begin: between levels, unless a level has many times as many."""
    starts = np.flatnonzero(np.r_[True, lead[1:] != lead[:-1]])
    ends = np.append(starts[1:], len(lead))
    cuts, whole, at = [0], True, 0
    if int((ends - starts).max()) > 8 * rows:
        return [*range(0, len(lead), rows), len(lead)], False
    while at < len(lead):
        stop = int(np.searchsorted(ends, at + rows))
        at = int(ends[min(stop, len(ends) - 1)])
        cuts.append(at)
    return cuts, whole
