"""Numbers of the largest group's levels that stay with the workers that have these levels to themselves.

Where each level of the first group has all of its rows with one worker, what is summed over its rows is known there: only
that worker need have it. An engine that eliminates the group asks for products and norms, which are as large as the other
groups or a few numbers, and effects of its levels are made, kept and used where its rows are.

:class:`LevelArray` has what arithmetic of effects takes, done by the worker that has them; whatever else is asked of it, it is
brought here first, so that results never depend on where it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, SupportsIndex, TypeAlias, TypeVar, cast

import numpy as np

from lmmformula.ir.blocks import Gram
from lmmformula.ir.streamed.within import Where
from lmmformula.ir.streamed.workers import Remote
from lmmformula.ir.sums import Share
from lmmformula.typing import Argument, Array, Numbers

__all__ = [
    "GramApart",
    "Holders",
    "LevelArray",
    "Noted",
    "Pieces",
    "Same",
    "Transposed",
    "applied",
    "arguments",
    "whole",
]

T = TypeVar("T")

Operand: TypeAlias = "LevelArray | Array | float"


class Holders(Protocol):
    """Stores of workers, each with levels of the first group of its own."""

    @property
    def own_levels(self) -> Sequence[Where]:
        """Levels of each store among all."""
        ...

    @property
    def placed(self) -> Pieces:
        """The stores."""
        ...

    def each(self, function: Callable[..., object], *arguments: object) -> Pieces:
        """What a function makes of arguments at each store; of :class:`Pieces` it is given the store's."""
        ...

    def total(self, pieces: Pieces) -> tuple[Share, ...]:
        """Tuples of arrays that add up, one of each store, added up here."""
        ...

    def brought(self, pieces: Pieces) -> list[Share]:
        """What the stores have, brought here."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Something of which each store has a piece."""

    remotes: tuple[Remote, ...]


class LevelArray:
    """Numbers of each level of the first group, (m, k) or (m, k, c), that lie with the workers.

    What is computed of them is noted, and done with whatever is next asked of a worker.

    Parameters
    ----------
    holders : Holders
    what : Pieces or Noted
        The numbers of each store's own levels, in their order.
    m : int
    tail : tuple of int
        (k,) or (k, c).
    """

    __array_ufunc__ = None
    """Arithmetic with an array is this class's."""

    def __init__(self, holders: Holders, what: Pieces | Noted, m: int, tail: tuple[int, ...]) -> None:
        self.holders, self.what, self.tail, self._m = holders, what, tail, m
        self._here: Array | None = None

    # -- as an array ---------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._m, *self.tail)

    @property
    def ndim(self) -> int:
        return 1 + len(self.tail)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype[np.float64]:
        return np.dtype(np.float64)

    def __len__(self) -> int:
        return self._m

    def __array__(self, dtype: Argument = None, copy: bool | None = None) -> Array:
        """All of them, brought here."""
        del copy
        if self._here is None:
            out = np.empty(self.shape)
            for where, own in zip(self.holders.own_levels, self.holders.brought(self.pieces), strict=True):
                out[where] = own
            self._here = out
        return self._here if dtype is None else self._here.astype(dtype)

    def __reduce__(self) -> tuple[Callable[[Array], Array], tuple[Array]]:
        return np.asarray, (np.asarray(self),)

    def __getitem__(self, key: Argument) -> Argument:
        if key == (Ellipsis, None) and len(self.tail) == 1:
            return self._noted(_column, self, tail=(*self.tail, 1))
        if key == (Ellipsis, 0) and len(self.tail) == 2:
            return self._noted(_first_column, self, tail=self.tail[:1])
        return np.asarray(self)[key]

    def __array_function__(
        self, function: Argument, types: Argument, args: Argument, kwargs: Argument
    ) -> Argument:
        if function in (np.ndim, np.shape, np.size):
            return {np.ndim: self.ndim, np.shape: self.shape, np.size: self.size}[function]
        if function is np.vdot and all(isinstance(a, LevelArray) for a in args):
            return float(self.holders.total(self.holders.each(_vdot, *args))[0])
        return function(*map(_brought, args), **kwargs)

    # -- arithmetic, where they are ------------------------------------------------------------------------------------

    @property
    def pieces(self) -> Pieces:
        """The numbers of each store, made."""
        if isinstance(self.what, Noted):
            self.what = self.holders.each(_same, self)
        return self.what

    def piece(self, number: int) -> Remote:
        """The numbers of one store."""
        return self.pieces.remotes[number]

    def _noted(
        self, function: Callable[..., Array], *operands: Operand, tail: tuple[int, ...] | None = None
    ) -> LevelArray:
        noted = Noted(function, tuple(map(self._operand, operands)))
        return LevelArray(self.holders, noted, self._m, self.tail if tail is None else tail)

    def _operand(self, v: Operand) -> object:
        if isinstance(v, np.ndarray) and v.ndim and v.shape[0] == self._m:
            return _Each([v[where] for where in self.holders.own_levels]) if v.any() else 0.0
        return v

    def __add__(self, other: Operand) -> LevelArray:
        return self._noted(operator.add, self, other)

    def __radd__(self, other: Operand) -> LevelArray:
        return self._noted(operator.add, other, self)

    def __sub__(self, other: Operand) -> LevelArray:
        return self._noted(operator.sub, self, other)

    def __rsub__(self, other: Operand) -> LevelArray:
        return self._noted(operator.sub, other, self)

    def __mul__(self, other: Operand) -> LevelArray:
        return self._noted(operator.mul, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> LevelArray:
        return self._noted(operator.truediv, self, other)

    def __matmul__(self, other: Array) -> LevelArray:
        """The same matrix for each level, (m, k) times (k, k')."""
        if len(self.tail) != 1:
            return np.asarray(self) @ other  # type: ignore[return-value]
        return self._noted(_times, self, Same(other), tail=(other.shape[1],))  # type: ignore[arg-type]

    @property
    def T(self) -> Transposed:
        return Transposed(self)

    def any(self) -> bool:
        return bool(self.holders.total(self.holders.each(_squares, self))[0])

    def with_inverse(self, factor: Array) -> LevelArray:
        """L^-1 b of each level, (m, k)."""
        return self._noted(_solved, self, Same(factor))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """A function of operands that a worker will apply: arrays of levels, pieces, and what is the same for all."""

    function: Callable[..., Array]
    operands: tuple[object, ...]


class Same:
    """An array that is the same for each store."""

    def __init__(self, value: Array | tuple[Array, ...]) -> None:
        self.value = value


class _Each:
    """Arrays, one for each store."""

    def __init__(self, values: Sequence[Array]) -> None:
        self.values = values


@dataclass(frozen=True, slots=True)
class _Slot:
    """One of the values that the store has."""

    number: int


def arguments(values: Sequence[object], number: int) -> tuple[tuple[object, ...], list[Remote]]:
    """What the store of this number is given: as it is noted, and what the store has of it."""
    held: list[Remote] = []
    known: dict[int, _Slot] = {}

    def own(value: object) -> object:
        if isinstance(value, LevelArray):
            return own(value.what)
        if isinstance(value, Pieces):
            if id(value) not in known:
                known[id(value)] = _Slot(len(held))
                held.append(value.remotes[number])
            return known[id(value)]
        if isinstance(value, Noted):
            return Noted(value.function, tuple(map(own, value.operands)))
        if isinstance(value, _Each):
            return value.values[number]
        return value.value if isinstance(value, Same) else value

    return tuple(map(own, values)), held


def applied(function: Callable[..., Share], values: tuple[object, ...], *held: Share) -> Share:
    """What a function makes of :func:`arguments`, at the worker."""

    def own(value: object) -> object:
        if isinstance(value, _Slot):
            return held[value.number]
        return value.function(*map(own, value.operands)) if isinstance(value, Noted) else value

    return function(*map(own, values))


@dataclass(frozen=True, eq=False)
class Transposed:
    """u' of (m, k) numbers."""

    of: LevelArray

    def __matmul__(self, other: LevelArray) -> Array:
        """u'v, (k, k')."""
        own = self.of
        return own.holders.total(own.holders.each(_inner, own, other))[0]

    def __array__(self, dtype: Argument = None, copy: bool | None = None) -> Array:
        del copy
        return np.asarray(self.of, dtype).T

    def __getitem__(self, key: SupportsIndex) -> Array:
        return np.asarray(self)[key]


@dataclass(frozen=True, eq=False)
class GramApart:
    """[Z V]'W[Z V], of which the blocks of the first group are with the workers that have its levels.

    Attributes
    ----------
    holders : Holders
    shares : Pieces
        The Gram of each store, of its own levels.
    rest : Gram
        Of all other groups, and V'WV; nothing of the first.
    bring : callable
        The whole Gram in one place.
    """

    holders: Holders
    shares: Pieces
    rest: Gram
    bring: Callable[[], Gram]
    _known: dict[object, Share] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What has been made of it for one purpose, made once."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    @property
    def vv(self) -> Array:
        return self.rest.vv

    @cached_property
    def here(self) -> Gram:
        """All of it, brought here."""
        return self.bring()


def whole(gram: Gram | GramApart) -> Gram:
    """All of a Gram, here."""
    return gram.here if isinstance(gram, GramApart) else gram


# -- where the numbers are ---------------------------------------------------------------------------------------------


def _brought(value: Argument) -> Argument:
    """An argument of a function of numpy, here."""
    if isinstance(value, list | tuple):
        return type(value)(map(_brought, value))
    return np.asarray(value) if isinstance(value, LevelArray) else value


def _same(value: Array) -> Array:
    return value


def _column(v: Array) -> Array:
    return v[..., None]


def _first_column(v: Array) -> Array:
    return v[..., 0]


def _times(v: Array, matrix: Array) -> Array:
    return v * matrix[0, 0] if matrix.shape == (1, 1) else v @ matrix


def _solved(v: Array, factor: Array) -> Array:
    return v / factor[0, 0] if len(factor) == 1 else np.linalg.solve(factor, v.T).T


def _vdot(a: Array, b: Array) -> tuple[Numbers]:
    return (np.vdot(a, b),)


def _squares(a: Array) -> tuple[Numbers]:
    return (np.vdot(a, a),)


def _inner(a: Array, b: Array) -> tuple[Array]:
    return (cast("Array", a.T @ b),)
