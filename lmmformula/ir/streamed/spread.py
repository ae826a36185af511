"""Rows of a model on several workers, each with a store of its own: what travels are sums over levels, never rows.

A pass sends each worker the sums that are asked for, with the effects of the levels that its rows have, and each answers with
the sums of its rows on those levels and on the pairs of them that meet. Answers are added up in the order of the stores, so
that a number does not depend on who was faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.rows import Units
from lmmformula.ir.streamed import there
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.parcels import sealed
from lmmformula.ir.streamed.parts import Part
from lmmformula.ir.streamed.store import COMPILED
from lmmformula.ir.streamed.within import Where, as_where, named, size
from lmmformula.ir.streamed.workers import Remote, Workers
from lmmformula.ir.sums import Place, Share, Sum
from lmmformula.memory import in_words
from lmmformula.progress import passed
from lmmformula.typing import Index

__all__ = ["Spread"]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A store of a worker."""

    remote: Remote
    contents: there.Contents


class Spread:
    """Rows in stores of workers, see :class:`lmmformula.ir.streamed.store.Passes`.

    Parameters
    ----------
    workers : Workers
    layout : Layout
    n : int
    groups : sequence of sequences of Remote
        Pieces (:class:`lmmformula.ir.streamed.there.Piece`) of which each place makes a store; none without rows.
    origin : object
        What read the rows, to be asked for them again in the order of the data; opaque here.
    """

    def __init__(
        self,
        workers: Workers,
        layout: Layout,
        n: int,
        groups: Sequence[Sequence[Remote]],
        origin: object = None,
    ) -> None:
        self.workers, self.layout, self.n, self.origin = workers, layout, n, origin
        bare = workers.submit(_same, layout.bare())
        make = partial(there.stored, compiled=n >= COMPILED)
        remotes = [workers.submit(make, bare, *pieces, at=at) for at, pieces in enumerate(groups) if pieces]
        told = workers.results([workers.submit(there.contents, remote) for remote in remotes])
        self.stores = [_Held(r, c) for r, c in zip(remotes, told, strict=True) if c.n]

    @property
    def told(self) -> str:
        """Which sums travel, by the levels that each store has."""
        groups = self.layout.merged()
        levels = [size(w) for s in self.stores for w in s.contents.within.levels]
        columns = 1 + self.layout.fixed
        each = [g.k * (g.k + columns) for _ in self.stores for g in groups]
        bytes_back = 8.0 * sum(m * k for m, k in zip(levels, each, strict=True))
        return (
            f"rows stay on {self.workers.name}; in a pass {in_words(bytes_back)} of sums over levels come back, and 8 bytes "
            "for each pair of levels that meet, however many rows there are"
        )

    def new_levels(self) -> SpreadLevels:
        """Groups with all of their levels."""
        return SpreadLevels(self.layout.merged(), self.n, self)

    def together(
        self, sums: Sequence[Sum[Share]], units: Sequence[Units], levels: Share
    ) -> tuple[Share, ...]:
        """One task for each store; their shares are added up in order."""
        parcel = sealed((tuple(sums), tuple(units)))
        places = [levels.place_of(number) for number in range(len(self.stores))]
        asked = [
            self.workers.submit(there.summed, s.remote, parcel.restricted(place))
            for s, place in zip(self.stores, places, strict=True)
        ]
        totals = [s.total(levels) for s in sums]
        for store, place, shares in zip(self.stores, places, self.workers.results(asked), strict=True):
            for total, share in zip(totals, shares, strict=True):
                total.add(share, place)
            passed(store.contents.n, store.contents.size)
        return tuple(total.result() for total in totals)

    def pairs(self, a: int, b: int) -> Iterator[tuple[Index, Index]]:
        """Levels, among all, of the pairs that meet in each store."""
        asked = [self.workers.submit(there.pairs, s.remote, a, b) for s in self.stores]
        for store, pattern in zip(self.stores, self.workers.results(asked), strict=True):
            within = store.contents.within.levels
            yield named(within[a], pattern.rows()), named(within[b], pattern.indices)

    def parts(self, units: Sequence[Units]) -> Iterator[Part]:
        """Rows that travel, for what looks at each of them here; two at a time."""
        for store in self.stores:
            number, ahead = 0, [self.workers.submit(there.block, store.remote, 0)]
            while (found := next(self.workers.results([ahead.pop()]))) is not None:
                number += 1
                ahead.append(self.workers.submit(there.block, store.remote, number))
                yield self._part(found, units)

    def first(self, units: Sequence[Units]) -> Part:
        """The first part of the first store, brought here."""
        (found,) = self.workers.results([self.workers.submit(there.block, self.stores[0].remote, 0)])
        return self._part(found, units)

    def _part(self, found: tuple[Share, bytes], units: Sequence[Units]) -> Part:
        own, content = found
        return Part(own, memoryview(bytearray(content)), self.layout, units, compiled=False)

    def __reduce__(self) -> str:
        raise TypeError("rows that lie on workers cannot be sent anywhere")


def _same(value: Share) -> Share:
    return value


class SpreadLevels(Levels):
    """Groups, and patterns of their pairs as the stores have them together.

    Parameters
    ----------
    groups : tuple of Group
    n : int
    rows : Spread
    """

    def __init__(self, groups: tuple[Group, ...], n: int, rows: Spread) -> None:
        super().__init__(groups, n)
        self._rows = rows
        self._places: dict[tuple[int, int], list[Where]] = {}

    def place_of(self, number: int) -> Place:
        """Where the levels and pairs of a store stand among all."""

        def pairs(a: int, b: int) -> Where:
            self.pattern(a, b)
            return self._places[a, b][number]

        return Place(self._rows.stores[number].contents.within.levels, pairs)

    def place(self, a: int, b: int, number: int, part: Part) -> Where:
        """Where the pairs of a part that was brought here stand among all."""
        del number
        pattern, own = self.pattern(a, b), part.rows.levels.pattern(a, b)
        m = self.groups[b].m
        known = pattern.rows().astype(np.int64) * m + pattern.indices
        asked = named(part.levels[a], own.rows()).astype(np.int64) * m + named(part.levels[b], own.indices)
        return np.searchsorted(known, asked)

    def _met(self, a: int, b: int) -> CrossPattern:
        """The union over stores; where these have the levels of the first group to themselves, one after the other."""
        m_a, m_b = self.groups[a].m, self.groups[b].m
        found = [row.astype(np.int64) * m_b + column for row, column in self._rows.pairs(a, b)]
        order = sorted((i for i, keys in enumerate(found) if len(keys)), key=lambda i: int(found[i][0]))
        apart = all(found[i][-1] < found[j][0] for i, j in pairwise(order))
        together = np.concatenate([*(found[i] for i in order), np.zeros(0, dtype=np.int64)])
        keys = together if apart else np.unique(together)
        self._places[a, b] = [as_where(np.searchsorted(keys, own)) for own in found]
        return pattern_of(keys // m_b, keys % m_b, m_a)
