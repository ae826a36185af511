"""Vectors over rows that are somewhere else: recipes, followed part by part when a sum asks for their numbers.

A recipe holds what it is made of, never a number for each row. What several sums of one pass have in common is computed once
for each part (`Part.memo`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lmmformula.ir.streamed.apart import LevelArray
from lmmformula.ir.streamed.parts import Part
from lmmformula.ir.streamed.workers import Remote
from lmmformula.ir.sums import Place, Share
from lmmformula.typing import Array

__all__ = [
    "Applied",
    "Called",
    "Field",
    "OfColumns",
    "OnLevels",
    "Output",
    "Quadratic",
    "Vector",
    "values_at",
]

Value: TypeAlias = "Array | float | None"


class OnLevels(Protocol):
    """A vector that holds numbers of all levels, of which some rows need few."""

    def restricted(self, place: Place, number: int, held: list[Remote]) -> OnLevels:
        """For the rows of a store; numbers that it has are put to those that are `held` there."""
        ...

    def filled(self, held: Sequence[Share]) -> OnLevels:
        """With the numbers that the store has."""
        ...


class Vector(Protocol):
    """A number for each row."""

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        """The numbers of a part; `place` says where its pairs of levels stand among all."""
        ...


def values_at(vectors: Sequence[Share], part: Part, place: Callable[[int, int], Share]) -> list[Value]:
    """Numbers of several vectors; a number stands for itself."""
    out: list[Value] = []
    for v in vectors:
        if not hasattr(v, "at"):
            out.append(v)
            continue
        if v not in part.memo:
            part.memo[v] = v.at(part, place)
        out.append(part.memo[v])
    return out


@dataclass(frozen=True, slots=True)
class Field:
    """y, weights or offset."""

    name: str

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        del place
        return getattr(part, self.name)


@dataclass(frozen=True, slots=True)
class _Held:
    """Numbers that the store has."""

    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """X beta + Z b [+ offset]."""

    beta: Array | None
    effects: tuple[Array, ...]
    offset: bool

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        del place
        own = part.effects(self.effects) if self.effects else ()
        return part.rows.apply(self.beta, own, offset=self.offset)

    def restricted(self, place: Place, number: int, held: list[Remote]) -> Applied:
        """The same for rows whose levels stand at a place among all."""
        own: list[Share] = []
        for e, where in zip(self.effects, place.levels, strict=False):
            if isinstance(e, LevelArray):
                own.append(_Held(len(held)))
                held.append(e.piece(number))
            else:
                own.append(e[where])
        return Applied(self.beta, tuple(own), self.offset)

    def filled(self, held: Sequence[Share]) -> Applied:
        """With the numbers that the store has."""
        own = tuple(held[e.number] if isinstance(e, _Held) else e for e in self.effects)
        return Applied(self.beta, own, self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """z_r'C z_r."""

    own: tuple[Array, ...]
    pairs: dict[tuple[int, int], Array]

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        pairs = {pair: values[place(*pair)] for pair, values in self.pairs.items()}
        return part.rows.row_quadratic(part.effects(self.own), pairs)

    def restricted(self, place: Place, number: int, held: list[Remote]) -> Quadratic:
        """The same for rows whose levels stand at a place among all."""
        del number, held
        own = tuple(v[where] for v, where in zip(self.own, place.levels, strict=True))
        return Quadratic(own, {pair: values[place.pairs(*pair)] for pair, values in self.pairs.items()})

    def filled(self, held: Sequence[Share]) -> Quadratic:
        """The same: all its numbers come along."""
        del held
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """All that a function makes of the rows."""

    function: Callable[..., Sequence[Value]]
    vectors: tuple[Share, ...]

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Share:
        return self.function(part.chunk, *values_at(self.vectors, part, place))


@dataclass(frozen=True, slots=True)
class Output:
    """One vector of those that a function makes."""

    call: Called
    index: int

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        (all_of_them,) = values_at([self.call], part, place)
        return all_of_them[self.index]  # type: ignore[index]


@dataclass(frozen=True, slots=True, eq=False)
class OfColumns:
    """A x, y - A x, or a column of WA, for the columns A of a linear predictor."""

    columns: Callable[[Part], Share]
    make: Callable[..., Array]
    vectors: tuple[Share, ...] = ()

    def at(self, part: Part, place: Callable[[int, int], Share]) -> Value:
        return self.make(self.columns(part), *values_at(self.vectors, part, place))
