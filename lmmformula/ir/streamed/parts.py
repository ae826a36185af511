"""A part of the rows in memory: its columns, the few levels that it has, and where these stand among all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.groups import Group, GroupRows
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.rows import Units
from lmmformula.ir.streamed.apart import LevelArray
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.narrow import Packed, Slot, codes_for, filled, full, narrowed, packed
from lmmformula.ir.streamed.records import Span
from lmmformula.ir.streamed.within import Within
from lmmformula.ir.sums import Place, Share
from lmmformula.numerics.tall import beside
from lmmformula.typing import Array, Entries, Index

__all__ = ["Block", "Columns", "Part", "block_of", "columns_in", "columns_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of some rows as they are written: numbers in the order of a :class:`Layout`, and levels of each group."""

    n: int
    numbers: tuple[Entries | float, ...]
    codes: tuple[Entries, ...]

    def at(self, rows: Index) -> Columns:
        """Some of the rows, in an order."""
        numbers = tuple(v[rows] if isinstance(v, np.ndarray) else v for v in self.numbers)
        return Columns(len(rows), numbers, tuple(c[rows] for c in self.codes))

    def between(self, start: int, stop: int) -> Columns:
        """Neighbouring rows."""
        rows = slice(start, stop)
        numbers = tuple(v[rows] if isinstance(v, np.ndarray) else v for v in self.numbers)
        return Columns(stop - start, numbers, tuple(c[rows] for c in self.codes))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Where a part lies, and what is in it.

    Attributes
    ----------
    n : int
    span : Span
    slots : tuple of Slot
        Numbers; then of each group the levels that there are, unless they are neighbours, and their place in each row.
    levels : tuple of (int, int) pairs
        Of each group the first of its levels here if they are neighbours, else -1, and how many.
    """

    n: int
    span: Span
    slots: tuple[Slot, ...]
    levels: tuple[tuple[int, int], ...]


def columns_of(rows: MemoryRows, layout: Layout) -> Columns:
    """Rows as columns, each in few bytes."""
    return Columns(rows.n, tuple(map(narrowed, layout.numbers(rows))), tuple(layout.codes(rows)))


def columns_in(content: Packed, record: memoryview, groups: int) -> Columns:
    """What :func:`packed` made of columns, read again."""
    values = [slot.of(record, content.n) for slot in content.slots]
    numbers, codes = values[: len(values) - groups], values[len(values) - groups :]
    return Columns(content.n, tuple(numbers), tuple(codes))  # type: ignore[arg-type]


def block_of(columns: Columns, layout: Layout) -> tuple[Packed, tuple[tuple[int, int], ...]]:
    """Rows as they are written, with their levels renumbered."""
    sizes, more = [], []
    for codes, own in zip(columns.codes, layout.groups, strict=True):
        first, levels, local = _renumbered(codes, layout.terms[own[0]].m)
        count = len(levels) if first < 0 else int(levels)
        sizes.append((first, count))
        more.append(0.0 if first >= 0 else levels)
        more.append(local.astype(codes_for(0, count), copy=False))
    numbers = [narrowed(v) if isinstance(v, np.ndarray) else v for v in columns.numbers]
    return packed(columns.n, [*numbers, *more]), tuple(sizes)


def _renumbered(codes: Entries, m: int) -> tuple[int, Share, Entries]:
    """First level and their number if the levels here are neighbours, else -1 and the levels; and each row's among them."""
    low, high = int(codes.min()), int(codes.max())
    span = high - low + 1
    if span <= max(64, len(codes) // 4):
        return low, span, codes - low
    if span <= 8 * codes.size + 65_536:
        present = np.zeros(span, dtype=bool)
        present[codes - low] = True
        found = np.flatnonzero(present)
        if 2 * len(found) >= span:
            return low, span, codes - low
        number = np.zeros(span, dtype=np.int32)
        number[found] = np.arange(len(found), dtype=np.int32)
        return -1, (found + low).astype(np.int32), number[codes - low]
    found, local = np.unique(codes, return_inverse=True)
    return -1, found.astype(np.int32), local.reshape(codes.shape)


class _Local(Blocks):
    """Levels of a part. Rows that lie by two groups have the pairs of these in their order, which saves finding them."""

    def __init__(self, own: Sequence[GroupRows], n: int, *, ordered: bool, compiled: bool) -> None:
        super().__init__((), n, own)
        self._compiled = compiled
        self._ordered = ordered and len(own) > 1 and own[1].shares is None

    def _met(self, a: int, b: int) -> CrossPattern:
        if (a, b) != (0, 1) or not self._ordered:
            return super()._met(a, b)
        first, second = self.own[0].codes, self.own[1].codes
        new = np.ones(self.n, dtype=bool)
        new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        self._slots[a, b] = np.cumsum(new) - 1
        return pattern_of(first[new], second[new], self.groups[0].m)

    def level_columns(self, v: Array, *, look: bool = True) -> None:
        """None: a part is seen once in a pass."""

    def gram(self, weights: Array | None, v: Array, more: Sequence[Array] = ()) -> Gram:
        """In compiled passes over the rows as they lie, if there are many parts of them."""
        if not self._compiled or any(g.several for g in self.groups):
            return super().gram(weights, v, more)
        from lmmformula.numerics.row_sums import PartSums

        sums = PartSums(weights, beside(v, more))
        levels = [sums.levels(rows.codes, rows.group.m, rows.basis) for rows in self.own]
        pairs = {}
        for a, b in self.pairs():
            slots, nnz = self.slots(a, b), self.pattern(a, b).nnz
            pairs[a, b] = sums.pairs(slots, nnz, self.own[a].basis, self.own[b].basis)
        return Gram(tuple(d for d, _ in levels), pairs, tuple(r for _, r in levels), sums.products())


class Part:
    """Rows of a block, as sums and functions see them; what is not asked for is not read.

    Attributes
    ----------
    levels : list of slices or arrays
        Where these stand among all, or among those that are `within` this store.
    memo : dict
        What has been computed of these rows in this pass.
    stands_in : bool
        Whether it is asked for the kind of what a function gives alone.
    """

    stands_in = False

    def __init__(
        self,
        block: Block,
        record: memoryview,
        layout: Layout,
        units: Sequence[Units],
        *,
        compiled: bool,
        within: Within | None = None,
    ) -> None:
        self.memo: dict[Hashable, Share] = {}
        self._rows: MemoryRows | None = None
        self.n = n = block.n
        self._block, self._record, self._layout, self._units = block, record, layout, units
        self._compiled = compiled
        groups = len(layout.groups)
        self._slots = block.slots[: len(block.slots) - 2 * groups]
        more = block.slots[len(self._slots) :]
        self._among_all, self._codes = [], []
        for a, (first, count) in enumerate(block.levels):
            here = slice(first, first + count) if first >= 0 else more[2 * a].of(record, count)
            self._among_all.append(here)
            self._codes.append(full(more[2 * a + 1].of(record, n), n, np.int32))
        self.levels = self._among_all if within is None else within.local(self._among_all)

    @cached_property
    def y(self) -> Array:
        """The response."""
        return self._number(0, [u.response for u in self._units])

    @cached_property
    def weights(self) -> Array | None:
        """Prior weights."""
        return self._number(1, [u.precision for u in self._units]) if self._layout.weighted else None

    @cached_property
    def offset(self) -> Array | None:
        """Known part of the linear predictor."""
        at = 1 + self._layout.weighted
        return self._number(at, [u.slope for u in self._units]) if self._layout.shifted else None

    def _number(self, at: int, units: Sequence[float]) -> Array:
        values = full(self._slots[at].of(self._record, self.n), self.n)
        for unit in units:
            values = values if unit == 1.0 else values / unit
        return values

    @cached_property
    def met(self) -> Blocks:
        """Which of the part's levels meet, for which no column is read."""
        groups = self._layout.merged()
        if any(g.several for g in groups):
            return self.rows.levels
        own = [
            GroupRows(replace(g, m=m), codes, None)
            for g, codes, (_, m) in zip(groups, self._codes, self._block.levels, strict=True)
        ]
        return _Local(own, self.n, ordered=self._layout.is_sorted, compiled=False)

    @property
    def rows(self) -> MemoryRows:
        """All columns, with the levels of the part alone."""
        if self._rows is None:
            self._rows = self._read()
        return self._rows

    def _read(self) -> MemoryRows:
        n, layout, kept, codes = self.n, self._layout, self._layout.kept, self._codes
        coming = iter(self._slots[1 + layout.weighted + layout.shifted :])

        def some(count: int, own: Sequence[int] | None = None) -> Array:
            columns = [next(coming) for _ in range(count)]
            columns = columns if own is None else [columns[j] for j in own]
            return filled(self._record, columns, n, compiled=self._compiled)

        x = some(layout.fixed, kept and kept.fixed)
        aux = [some(p, kept and kept.aux[j]) for j, p in enumerate(layout.aux)]
        bases = [
            None if t.basis is None else some(t.k, kept and kept.terms[i]) for i, t in enumerate(layout.terms)
        ]
        shares = [None if t.shares is None else some(t.shares.shape[1]) for t in layout.terms]
        of_term = {i: a for a, own in enumerate(layout.groups) for i in own}
        terms = [
            replace(
                term,
                levels=np.broadcast_to(np.array(None, dtype=object), self._block.levels[of_term[i]][1]),
                codes=codes[of_term[i]],
                basis=bases[i],
                shares=shares[i],
            )
            for i, term in enumerate(layout.own_terms)
        ]
        rows = MemoryRows(self.y, self.weights, self.offset, x, aux, terms)
        for unit in self._units:
            rows = rows.scaled(replace(unit, response=1.0, slope=1.0, precision=1.0))
        own = [
            _group_rows(replace(g, m=m), rows.terms)
            for g, (_, m) in zip(layout.merged(), self._block.levels, strict=True)
        ]
        return rows.over(_Local(own, n, ordered=layout.is_sorted, compiled=self._compiled))

    @property
    def chunk(self) -> _View:
        """The rows as mapped functions see them: with levels among all."""
        return _View(
            self
        )  # not kept: a circle of the two would hold the rows until somebody looks for circles

    def place(self, pairs: Share) -> Place:
        """Where the part's levels stand; `pairs` says it of pairs."""
        return Place(tuple(self.levels), pairs)

    def effects(self, effects: Sequence[Array]) -> list[Array]:
        """Of all levels those of the part."""
        if self.stands_in:  # numbers that lie with workers need not be brought for it
            sizes = [m for _, m in self._block.levels]
            return [
                np.zeros((m, *own.tail)) if isinstance(own, LevelArray) else own[where]
                for own, where, m in zip(effects, self.levels, sizes, strict=True)
            ]
        return [own[where] for own, where in zip(effects, self.levels, strict=True)]

    @cached_property
    def global_terms(self) -> tuple[GroupBlock, ...]:
        """The terms with levels among all."""
        out = list(self._layout.own_terms)
        for where, own in zip(self._among_all, self._layout.groups, strict=True):
            local = self.rows.terms[own[0]].codes
            codes = local + np.int32(where.start) if isinstance(where, slice) else where[local]
            for i in own:
                out[i] = replace(
                    out[i], codes=codes, basis=self.rows.terms[i].basis, shares=self.rows.terms[i].shares
                )
        return tuple(out)


class _View:
    """The rows of a part as a function sees them."""

    aux_terms: tuple[tuple[GroupBlock, ...], ...] = ()

    def __init__(self, part: Part) -> None:
        self._part, self.n = part, part.n

    @property
    def y(self) -> Array:
        return self._part.y

    @property
    def weights(self) -> Array | None:
        return self._part.weights

    @property
    def offset(self) -> Array | None:
        return self._part.offset

    @property
    def fixed(self) -> Array:
        return self._part.rows.fixed.matrix

    @property
    def aux(self) -> tuple[Array, ...]:
        return tuple(block.matrix for block in self._part.rows.aux)

    @property
    def terms(self) -> tuple[GroupBlock, ...]:
        """With levels among all."""
        return self._part.global_terms


def _group_rows(group: Group, terms: Sequence[GroupBlock]) -> GroupRows:
    """Rows of a group with the columns of all its terms."""
    own = [terms[i] for i, _ in group.members]
    if len(own) == 1:
        return GroupRows(group, own[0].codes, own[0].basis, own[0].shares)
    ones = np.ones((len(own[0].codes), 1))
    return GroupRows(group, own[0].codes, np.hstack([ones if t.basis is None else t.basis for t in own]))
