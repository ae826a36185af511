"""Sums over rows that are asked for together, so that rows which are dear to read are read once.

Rows may lie in parts, each with levels of its own: the few of all levels that its rows have. A sum is then formed part by part
on those levels, and each part's share is added where a :class:`Place` says. Parts are added in their order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.ir.memory_rows import MemoryRows
    from lmmformula.ir.rows import Chunk, Rows, RowVector, Stacked

__all__ = [
    "AdjointOf",
    "GramOf",
    "LevelSums",
    "Place",
    "Reduced",
    "Share",
    "SomeRows",
    "Sum",
    "Total",
    "TransposedOf",
    "least_of",
    "most_of",
    "total_of",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Where: TypeAlias = "slice | Index"
Share: TypeAlias = Any
"""What one part has of a sum: known to the sum alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where the levels of a part stand among all of each group, and its pairs of levels among all of two groups."""

    levels: tuple[Where, ...]
    pairs: Callable[[int, int], Where]


class SomeRows(Protocol):
    """A part of the rows."""

    @property
    def rows(self) -> MemoryRows:
        """With levels of their own."""
        ...

    @property
    def chunk(self) -> Chunk:
        """The same rows as functions see them, with levels among all."""
        ...


class Total(Protocol[T_co]):
    """A sum so far."""

    def add(self, share: Share, place: Place) -> None: ...
    def result(self) -> T_co: ...


class Sum(Protocol[T_co]):
    """A sum over rows."""

    @property
    def vectors(self) -> tuple[RowVector | float | None, ...]:
        """What it takes of every row."""
        ...

    def of(self, rows: Rows) -> T_co:
        """The sum, by an operation of the rows."""
        ...

    def share(self, part: SomeRows, values: Sequence[Array | float | None]) -> Share:
        """Of a part, with the numbers of `vectors` there."""
        ...

    def total(self, levels: Levels) -> Total[T_co]:
        """Nothing yet."""
        ...

    def joined(self, one: Share, other: Share) -> Share:
        """The sum over the rows of two sums over different rows, of the same levels."""
        ...


class _Folded(Generic[T]):
    """A sum of shares that know no levels; of a tuple element by element."""

    def __init__(self, merge: Callable[[Share, Share], Share]) -> None:
        self._merge, self._any = merge, False
        self._so_far: Share = None

    def add(self, share: Share, place: Place) -> None:
        del place
        if not self._any:
            self._so_far, self._any = share, True
        elif isinstance(share, tuple):
            self._so_far = tuple(map(self._merge, self._so_far, share))
        else:
            self._so_far = self._merge(self._so_far, share)

    def result(self) -> T:
        return self._so_far


@dataclass(frozen=True, slots=True, eq=False)
class Reduced(Generic[T]):
    """:meth:`lmmformula.ir.rows.Rows.reduce`."""

    function: Callable[..., T]
    vectors: tuple[RowVector | float | None, ...]
    merge: Callable[[Share, Share], Share] = operator.add

    def of(self, rows: Rows) -> T:
        return rows.reduce(self.function, *self.vectors, merge=self.merge)

    def share(self, part: SomeRows, values: Sequence[Array | float | None]) -> T:
        return self.function(part.chunk, *values)

    def total(self, levels: Levels) -> Total[T]:
        del levels
        return _Folded(self.merge)

    def joined(self, one: Share, other: Share) -> Share:
        if isinstance(one, tuple):
            return tuple(map(self.merge, one, other))
        return self.merge(one, other)


def total_of(values: RowVector) -> Reduced[float]:
    """Sum over rows."""
    return Reduced(_total, (values,))


def least_of(values: RowVector) -> Reduced[float]:
    """Smallest entry; nan if any is."""
    return Reduced(_least, (values,), np.minimum)


def most_of(values: RowVector) -> Reduced[float]:
    """Largest entry; nan if any is."""
    return Reduced(_most, (values,), np.maximum)


def _total(chunk: Chunk, values: Array) -> float:
    return float(values.sum())


def _least(chunk: Chunk, values: Array) -> float:
    return float(values.min(initial=np.inf))


def _most(chunk: Chunk, values: Array) -> float:
    return float(values.max(initial=-np.inf))


@dataclass(frozen=True, slots=True, eq=False)
class TransposedOf:
    """X'Wr, (p,), of the fixed columns or of those of an auxiliary predictor."""

    r: RowVector
    weights: RowVector | None = None
    aux: int | None = None

    @property
    def vectors(self) -> tuple[RowVector | None, ...]:
        return self.r, self.weights

    def of(self, rows: Rows) -> Array:
        columns = rows.fixed if self.aux is None else rows.aux[self.aux]
        return columns.transposed(self.r, self.weights)

    def share(self, part: SomeRows, values: Sequence[Share]) -> Array:
        rows = part.rows
        r, weights = values
        columns = rows.fixed if self.aux is None else rows.aux[self.aux]
        return columns.transposed(np.broadcast_to(r, rows.n), weights)

    def total(self, levels: Levels) -> Total[Array]:
        del levels
        return _Folded(operator.add)

    def joined(self, one: Array, other: Array) -> Array:
        return one + other


class _OnLevels:
    """Sums for each level of each group."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._so_far = tuple(map(np.zeros, shapes))

    def add(self, share: Sequence[Array], place: Place) -> None:
        for total, own, where in zip(self._so_far, share, place.levels, strict=True):
            total[where] += own

    def result(self) -> Stacked:
        return self._so_far


@dataclass(frozen=True, slots=True, eq=False)
class AdjointOf:
    """Z'r; `apart` as of :class:`GramOf`."""

    r: RowVector
    apart: bool = False

    @property
    def vectors(self) -> tuple[RowVector, ...]:
        return (self.r,)

    def of(self, rows: Rows) -> Stacked:
        return rows.adjoint(self.r)

    def share(self, part: SomeRows, values: Sequence[Share]) -> Stacked:
        rows = part.rows
        return rows.adjoint(np.broadcast_to(values[0], rows.n))

    def total(self, levels: Levels) -> Total[Stacked]:
        return _OnLevels([(g.m, g.k) for g in levels.groups])

    def joined(self, one: Stacked, other: Stacked) -> Stacked:
        return tuple(map(operator.add, one, other))


class _OneGroup:
    """Sums for each level of one group."""

    def __init__(self, a: int, m: int) -> None:
        self._a, self._so_far = a, np.zeros(m)

    def add(self, share: Array, place: Place) -> None:
        self._so_far[place.levels[self._a]] += share

    def result(self) -> Array:
        return self._so_far


@dataclass(frozen=True, slots=True, eq=False)
class LevelSums:
    """Sum of r over the rows of each level of group a."""

    a: int
    r: RowVector

    @property
    def vectors(self) -> tuple[RowVector, ...]:
        return (self.r,)

    def of(self, rows: Rows) -> Array:
        return rows.level_sums(self.a, self.r)

    def share(self, part: SomeRows, values: Sequence[Share]) -> Array:
        rows = part.rows
        return rows.level_sums(self.a, np.broadcast_to(values[0], rows.n))

    def total(self, levels: Levels) -> Total[Array]:
        return _OneGroup(self.a, levels.groups[self.a].m)

    def joined(self, one: Array, other: Array) -> Array:
        return one + other


class _Grams:
    """A Gram in blocks."""

    def __init__(self, levels: Levels) -> None:
        groups = levels.groups
        self._diag = tuple(np.zeros((g.m, g.k, g.k)) for g in groups)
        self._cross: dict[tuple[int, int], Array] = {
            (a, b): np.zeros((levels.pattern(a, b).nnz, groups[a].k, groups[b].k)) for a, b in levels.pairs()
        }
        self._rhs: tuple[Array, ...] | None = None
        self._vv: Array | None = None
        self._groups = groups

    def add(self, share: Gram, place: Place) -> None:
        if self._rhs is None or self._vv is None:
            c = len(share.vv)
            self._rhs = tuple(np.zeros((g.m, g.k, c)) for g in self._groups)
            self._vv = np.zeros((c, c))
        for a, where in enumerate(place.levels):
            self._diag[a][where] += share.diag[a]
            self._rhs[a][where] += share.rhs[a]
        for (a, b), total in self._cross.items():
            total[place.pairs(a, b)] += share.cross[a, b]
        self._vv += share.vv

    def result(self) -> Gram:
        assert self._rhs is not None
        assert self._vv is not None
        return Gram(self._diag, self._cross, self._rhs, self._vv)


@dataclass(frozen=True, slots=True, eq=False)
class GramOf:
    """:meth:`lmmformula.ir.rows.Rows.gram`.

    Attributes
    ----------
    apart : bool
        Whoever asks knows what to do if the part on levels of the first group stays with the workers that have these levels,
        see :mod:`lmmformula.ir.streamed.apart`.
    """

    weights: RowVector | None
    fixed: bool = False
    more: tuple[RowVector, ...] = ()
    apart: bool = False

    @property
    def vectors(self) -> tuple[RowVector | None, ...]:
        return self.weights, *self.more

    def of(self, rows: Rows) -> Gram:
        return rows.gram(self.weights, fixed=self.fixed, more=self.more)

    def share(self, part: SomeRows, values: Sequence[Share]) -> Gram:
        rows = part.rows
        weights, *more = values
        full = partial(np.broadcast_to, shape=(rows.n,))
        weights = None if weights is None else full(weights)
        return rows.gram(weights, fixed=self.fixed, more=[full(v) for v in more])

    def total(self, levels: Levels) -> Total[Gram]:
        return _Grams(levels)

    def joined(self, one: Gram, other: Gram) -> Gram:
        cross: dict[tuple[int, int], Array] = {
            pair: values + other.cross[pair] for pair, values in one.cross.items()
        }
        diag, rhs = (
            tuple(map(operator.add, a, b)) for a, b in ((one.diag, other.diag), (one.rhs, other.rhs))
        )
        return Gram(diag, cross, rhs, one.vv + other.vv)
