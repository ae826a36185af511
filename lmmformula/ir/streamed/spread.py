"""Rows of a model on several workers, each with a store of its own: what travels are sums over levels, never rows.

A pass sends each worker the sums that are asked for, with the effects of the levels that its rows have, and each answers with
the sums of its rows on those levels and on the pairs of them that meet. Answers are added up in an order that the stores
settle, so that a number does not depend on who was faster: here if they are few, two by two on the workers if they are many.

Where each level of the largest group is with one worker, that worker alone needs what is summed over its rows: sums that are
asked for `apart` leave it there (:mod:`lmmformula.ir.streamed.apart`), and what travels does not grow with those levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lmmformula.ir.rows import Units
from lmmformula.ir.streamed import there
from lmmformula.ir.streamed.adding import FEW, added_there, added_up
from lmmformula.ir.streamed.apart import GramApart, LevelArray, Pieces, applied
from lmmformula.ir.streamed.apart import arguments as given
from lmmformula.ir.streamed.dealing import are_few, dealt_out
from lmmformula.ir.streamed.layout import Layout
from lmmformula.ir.streamed.parcels import sealed
from lmmformula.ir.streamed.parts import Part
from lmmformula.ir.streamed.spread_levels import SpreadLevels
from lmmformula.ir.streamed.store import COMPILED
from lmmformula.ir.streamed.widening import added_tuples, joined, settled, widened
from lmmformula.ir.streamed.within import Where, named, size
from lmmformula.ir.streamed.workers import Remote, Workers
from lmmformula.ir.sums import AdjointOf, GramOf, Share, Sum
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

    Attributes
    ----------
    apart : bool
        Whether each level of the first group is with one worker, and there are enough of them to leave their sums there.
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
        dealt = dealt_out(workers, layout, bare, groups)
        self._why, remotes = dealt.why, []
        for at, pieces in enumerate(dealt.groups):
            if pieces:
                own = None if dealt.cuts is None else (int(dealt.cuts[at]), int(dealt.cuts[at + 1]))
                make = partial(there.stored, compiled=n >= COMPILED, between=own)
                remotes.append(workers.submit(make, bare, *pieces, at=at))
        told = workers.results([workers.submit(there.contents, remote) for remote in remotes])
        self.stores = [_Held(r, c) for r, c in zip(remotes, told, strict=True) if c.n]
        self.apart = self._owns_levels()
        self._wide: dict[bool, list[Remote]] = {}

    def _owns_levels(self) -> bool:
        if not self.layout.is_sorted:
            return False
        lead = self.layout.merged()[0]
        if not lead.is_blockwise or are_few(self.layout, lead.m):
            return False
        return sum(map(size, self.own_levels)) == lead.m

    @property
    def count(self) -> int:
        """How many stores."""
        return len(self.stores)

    def within(self, number: int) -> tuple[Where, ...]:
        """Levels of a store among all, of each group."""
        return self.stores[number].contents.within.levels

    @property
    def own_levels(self) -> list[Where]:
        """Levels of the first group that each store has."""
        return [s.contents.within.levels[0] for s in self.stores]

    def told(self, passes: float) -> str:
        """Which sums travel, by the levels that each store has."""
        columns, back = 1 + self.layout.fixed, 0.0
        for a, g in enumerate(self.layout.merged()):
            if a or not self.apart:
                levels = sum(size(s.contents.within.levels[a]) for s in self.stores)
                back += 8.0 * levels * g.k * (g.k + columns)
        words = [f"rows stay on {self.workers.name}"]
        if self._why:
            words.append(self._why)
        pairs = ", and 8 bytes for each pair of levels that meet, however many rows there are"
        travel = f"in a pass {in_words(back)} of sums over levels come back"
        if not self.apart:
            return "; ".join([*words, travel + pairs])
        lead = self.layout.merged()[0].name
        words.append(
            f"each level of `{lead}` is with one worker, which eliminates it for penalised quasi-likelihood"
        )
        return "; ".join([*words, f"{travel}, or those of `{lead}`, too, for other methods"])

    def new_levels(self) -> SpreadLevels:
        """Groups with all of their levels."""
        return SpreadLevels(self.layout.merged(), self.n, self)

    # -- passes --------------------------------------------------------------------------------------------------------

    def together(
        self, sums: Sequence[Sum[Share]], units: Sequence[Units], levels: SpreadLevels
    ) -> tuple[Share, ...]:
        """One task for each store; their shares are added up in order."""
        left = tuple(i for i, s in enumerate(sums) if self.apart and getattr(s, "apart", False))
        parcel = sealed((tuple(sums), tuple(units)))
        places = [levels.place_of(number) for number in range(len(self.stores))]
        asked = []
        for number, (store, place) in enumerate(zip(self.stores, places, strict=True)):
            own, held = parcel.restricted(place, number)
            asked.append(self.workers.submit(there.summed, store.remote, own, *held))
        if len(self.stores) > FEW or left:
            found = self._widely(sums, levels, asked, left)
        else:
            totals = [s.total(levels) for s in sums]
            for store, place, shares in zip(self.stores, places, self.workers.results(asked), strict=True):
                for total, share in zip(totals, shares, strict=True):
                    total.add(share, place)
                passed(store.contents.n, store.contents.size)
            found = [total.result() for total in totals]
        for i in left:
            found[i] = self._put_together(sums[i], i, found[i], asked, levels)
        return tuple(found)

    def _widely(
        self, sums: Sequence[Sum[Share]], levels: SpreadLevels, asked: Sequence[Remote], left: tuple[int, ...]
    ) -> list[Share]:
        """Sums over all levels from each store, but for what is left there, added up two by two."""
        kinds = self.workers.submit(_same, sealed(tuple(settled(s) for s in sums)))
        pairs = any(isinstance(s, GramOf) and i not in left for i, s in enumerate(sums))
        where = self._places(levels, pairs=pairs)
        wide = [
            self.workers.submit(widened, shares, kinds, place, left)
            for shares, place in zip(asked, where, strict=True)
        ]
        few = added_there(self.workers, wide, joined, kinds)
        results = list(self.workers.results(few))
        for store in self.stores:
            passed(store.contents.n, store.contents.size)
        return list(
            added_up(results, lambda a, b: tuple(s.joined(v, w) for s, v, w in zip(sums, a, b, strict=True)))
        )

    def _places(self, levels: SpreadLevels, *, pairs: bool) -> list[Remote]:
        """Where the levels of each store, and pairs of the first group if asked, stand among all; kept by the workers."""
        apart = self.apart and not pairs
        if apart not in self._wide:
            self._wide[apart] = [
                self.workers.submit(_same, levels.wide(number, apart=apart)) for number in range(self.count)
            ]
        return self._wide[apart]

    def _put_together(
        self, asked: Sum[Share], i: int, rest: Share, shares: Sequence[Remote], levels: SpreadLevels
    ) -> Share:
        """A sum of which the first group's part is where it was made."""
        own = self.each(_item, Pieces(tuple(shares)), i)
        lead = self.layout.merged()[0]
        if isinstance(asked, AdjointOf):
            return (LevelArray(self, self.each(_item, own, 0), lead.m, (lead.k,)), *rest[1:])
        assert isinstance(asked, GramOf)
        return GramApart(self, own, rest, partial(_brought, self, own, levels))

    # -- what stays with the workers -----------------------------------------------------------------------------------

    def each(self, function: Callable[..., object], *arguments: object) -> Pieces:
        """See :class:`lmmformula.ir.streamed.apart.Holders`."""
        out = []
        for number in range(self.count):
            own, held = given(arguments, number)
            out.append(self.workers.submit(applied, function, own, *held))
        return Pieces(tuple(out))

    @property
    def placed(self) -> Pieces:
        """The stores."""
        return Pieces(tuple(store.remote for store in self.stores))

    def total(self, pieces: Pieces) -> tuple[Share, ...]:
        """Tuples of arrays, added up."""
        few = added_there(self.workers, pieces.remotes, added_tuples)
        return added_up(list(self.workers.results(few)), added_tuples)

    def brought(self, pieces: Pieces) -> list[Share]:
        """What the stores have, here."""
        return list(self.workers.results(pieces.remotes))

    # -- rows ----------------------------------------------------------------------------------------------------------

    def pairs(self, a: int, b: int) -> Iterator[tuple[Index, Index]]:
        """Levels, among all, of the pairs that meet in each store."""
        asked = [self.workers.submit(there.pairs, s.remote, a, b) for s in self.stores]
        for store, pattern in zip(self.stores, self.workers.results(asked), strict=True):
            within = store.contents.within.levels
            yield named(within[a], pattern.rows()), named(within[b], pattern.indices)

    def n_pairs(self, a: int, b: int) -> list[int]:
        """How many pairs meet in each store."""
        return list(
            self.workers.results([self.workers.submit(there.n_pairs, s.remote, a, b) for s in self.stores])
        )

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


def _item(shares: Sequence[Share], i: int) -> Share:
    return shares[i]


def _brought(rows: Spread, own: Pieces, levels: SpreadLevels) -> Share:
    """A whole Gram from those of the stores."""
    total = GramOf(None).total(levels)
    for number, share in enumerate(rows.brought(own)):
        total.add(share, levels.place_of(number))
    return total.result()
