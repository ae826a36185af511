"""Where rows lie that are not in memory, and how sums over them are made: part by part, on the threads of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from lmmformula.ir.levels import Levels
from lmmformula.ir.rows import Units
from lmmformula.ir.streamed.layout import Kept, Layout
from lmmformula.ir.streamed.levels import StreamedLevels
from lmmformula.ir.streamed.parts import Block, Part
from lmmformula.ir.streamed.records import Records
from lmmformula.ir.streamed.vectors import values_at
from lmmformula.ir.streamed.within import Within
from lmmformula.ir.sums import Share, Sum
from lmmformula.memory import in_words
from lmmformula.numerics.threads import in_order
from lmmformula.progress import passed

__all__ = ["COMPILED", "Passes", "Reading", "Store"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What it took to read rows where they came from.

    Attributes
    ----------
    source : str
        Its name.
    size : float or None
        Bytes of the columns that are read, in one pass; None where nobody knows.
    seconds : float
        Of the pass that encoded them.
    """

    source: str
    size: float | None
    seconds: float

    @property
    def told(self) -> str:
        each = "" if self.size is None else f" ({in_words(self.size)} of columns in each)"
        return (
            f" from {self.source} in two passes or a few more{each}, the last of them in {self.seconds:.2g} s"
        )


COMPILED = 1_000_000
"""Rows from which on compiled sums repay their import (0.5 s)."""


class Passes(Protocol):
    """Rows that lie somewhere, and are gone through from the first to the last for each sum.

    Attributes
    ----------
    layout : Layout
    n : int
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def n(self) -> int: ...

    def told(self, passes: float) -> str:
        """Where they lie and what so many passes cost, for the plan; empty if there is nothing to say."""
        ...

    def new_levels(self) -> Levels:
        """Their groups, and patterns of pairs, which are found when they are asked for."""
        ...

    def together(
        self, sums: Sequence[Sum[Share]], units: Sequence[Units], levels: Share
    ) -> tuple[Share, ...]:
        """Several sums over the rows in some units, in one pass; the levels are those of :meth:`new_levels`."""
        ...

    def parts(self, units: Sequence[Units]) -> Iterator[Part]:
        """One part after the other, brought here."""
        ...

    def first(self, units: Sequence[Units]) -> Part:
        """Some rows, which tell what a function gives."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """Rows that have been written on this machine.

    Attributes
    ----------
    layout : Layout
    blocks : tuple of Block
    records : Records
    n : int
    whole_levels : bool
        Whether the rows of each level of the first group lie in one part.
    within : Within or None
        Which of all levels they have, and sums over them are of; None for all.
    compiled : bool or None
        Whether sums are compiled; None decides by the number of rows.
    origin : object
        What read them, to be asked for them again in the order of the data; opaque here.
    reading : Reading or None
        What it took to read them.
    entrance : str
        How they came in, for the plan.
    """

    layout: Layout
    blocks: tuple[Block, ...]
    records: Records
    n: int
    whole_levels: bool
    within: Within | None = None
    compiled: bool | None = None
    origin: object = None
    reading: Reading | None = None
    entrance: str = ""

    def told(self, passes: float) -> str:
        """How large they are and where, and what is read of them."""
        size = float(self.records.size)
        first = "" if self.reading is None else self.reading.told
        again = "which every pass reads"
        if np.isfinite(passes):
            times = (
                f"about {passes:,.0f} times ({in_words(passes * size)})" if passes > 1.0 else "once or twice"
            )
            again = f"which the search reads {times}"
        held = f"held as {in_words(size)} in {self.records.place}, {again}"
        return f"rows: {self.n:,}, read a batch at a time{first}; {held}{'; ' if self.entrance else ''}{self.entrance}"

    def keeping(self, kept: Kept, origin: object = None, reading: Reading | None = None) -> Store:
        """The same rows with some of their columns."""
        return replace(self, layout=replace(self.layout, kept=kept), origin=origin, reading=reading)

    def new_levels(self) -> StreamedLevels:
        """Of the levels that the rows have."""
        groups = self.layout.merged()
        if self.within is not None:
            groups = self.within.of(groups)
        return StreamedLevels(groups, self.n, partial(_each, self), whole_levels=self.whole_levels)

    def part(self, block: Block, units: Sequence[Units]) -> Part:
        """The rows of a block, in memory."""
        record = self.records.read(block.span)
        compiled = self.n >= COMPILED if self.compiled is None else self.compiled
        out = Part(block, record, self.layout, units, compiled=compiled, within=self.within)
        passed(block.n, block.span.size)
        return out

    def together(
        self, sums: Sequence[Sum[Share]], units: Sequence[Units], levels: Share
    ) -> tuple[Share, ...]:
        """A share of each sum by part, several parts at a time, added up in their order."""
        totals = [s.total(levels) for s in sums]

        def shares(item: tuple[int, Block]) -> tuple[list[Share], Share]:
            number, block = item
            part = self.part(block, units)
            pairs = partial(levels.place, number=number, part=part)
            own = [s.share(part, values_at(s.vectors, part, pairs)) for s in sums]
            return own, part.place(pairs)

        for own, place in in_order(shares, enumerate(self.blocks)):
            for total, share in zip(totals, own, strict=True):
                total.add(share, place)
        return tuple(total.result() for total in totals)

    def parts(self, units: Sequence[Units]) -> Iterator[Part]:
        """Read ahead by several threads."""
        return in_order(lambda block: self.part(block, units), self.blocks)

    def first(self, units: Sequence[Units]) -> Part:
        """The first part."""
        return self.part(self.blocks[0], units)


def _each(store: Store, function: Callable[[Part], T]) -> Iterator[T]:
    """What a function makes of one part after the other."""
    return in_order(lambda block: function(store.part(block, ())), store.blocks)
