"""Sizes and origins of the columns of a matrix, of any magnitude.

A matrix is given as some of its rows after others, which are gone through as often as needed: ``[x]`` where it is in memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce as fold
from typing import TypeAlias, TypeVar

import numpy as np

from lmmformula.typing import Array, Numbers

__all__ = [
    "LARGEST",
    "SAFE",
    "Moments",
    "Parts",
    "column_sizes",
    "constant_combination",
    "over",
    "root_mean_square",
    "standardising",
    "uneven",
]

T = TypeVar("T")

Parts: TypeAlias = Iterable[Array]
"""Rows of a matrix, part by part; what has ``reduce(function, merge)`` merges what a function makes of each by itself."""

FAR = 30.0
"""A column of X whose mean is this many times its standard deviation is centred."""
UNEQUAL = 1e3
"""Columns of X whose root mean squares differ by more than this are scaled."""
LARGEST = 1e140
"""Largest size of a column or a response, and inverse of the smallest, whose square leaves room for sums and products."""
SAFE = 1e100
"""Root mean squares within 1 / SAFE and SAFE are formed from squares directly."""


def over(
    parts: Parts, function: Callable[[Array], T], merge: Callable[[Numbers, Numbers], Numbers] = operator.add
) -> T:
    """What a function makes of each part, merged, of a tuple element by element; where the rows are, if they say how."""
    reduced = getattr(parts, "reduce", None)
    if reduced is not None:
        return reduced(function, merge)
    found = [function(x) for x in parts]
    if isinstance(found[0], tuple):
        return tuple(fold(merge, column) for column in zip(*found, strict=True))  # type: ignore[return-value,arg-type]
    return fold(merge, found)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Rows, and sums and sums of squares of each column; those of two sets of rows add up to those of both."""

    n: int
    sums: Array
    squares: Array

    @classmethod
    def of(cls, x: Array) -> Moments:
        """Of these rows; not finite where squares are beyond floating-point numbers."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return cls(len(x), x.sum(axis=0), np.einsum("np,np->p", x, x))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.sums + other.sums, self.squares + other.squares)

    def at(self, columns: Sequence[int]) -> Moments:
        """Of some columns."""
        own = list(columns)
        return Moments(self.n, self.sums[own], self.squares[own])


def uneven(moments: Moments) -> bool:
    """Whether a column lies far from zero for its spread, or the columns' lengths differ widely."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        means, squares = moments.sums / moments.n, moments.squares / moments.n
        spread = squares - means**2
    rms = np.sqrt(squares[squares > 0.0])
    if not np.isfinite(squares).all() or not rms.size or len(rms) < len(squares):
        return True
    moves = spread > 1e-12 * squares
    far = (means[moves] ** 2 > FAR**2 * spread[moves]).any() or (~moves).sum() > 1
    return bool(far or rms.max() > UNEQUAL * rms.min() or rms.max() > SAFE or rms.min() < 1.0 / SAFE)


def standardising(parts: Parts, k: int, *, centred: bool) -> Array:
    """(k, k) matrix T such that the columns of x T have unit root mean square, and mean zero where a constant allows it."""
    shift, means = np.eye(k), None
    ones = constant_combination(parts, k) if centred else None
    if ones is not None:
        n, sums = over(parts, lambda x: (len(x), x.sum(axis=0)))
        means = sums / n
        means[ones != 0.0] = 0.0
        shift -= ones[:, None] * means
    sizes = column_sizes(parts, means)
    return shift / np.where(sizes > 0.0, sizes, 1.0)


def column_sizes(parts: Parts, origin: Array | None = None) -> Array:
    """Root mean square of each column about its origin, (k,)."""

    def squares_of(x: Array) -> tuple[int, Array]:
        moved = x if origin is None else x - origin
        return len(x), np.einsum("nk,nk->k", moved, moved)

    with np.errstate(over="ignore", under="ignore"):
        n, squares = over(parts, squares_of)
        direct = np.sqrt(squares / max(n, 1))
    if ((direct > 1.0 / SAFE) & (direct < SAFE)).all():
        return direct
    away = np.zeros(len(direct)) if origin is None else origin
    return np.array([_size(parts, lambda x, j=j: x[:, j] - away[j]) for j in range(len(away))])


def constant_combination(parts: Parts, k: int) -> Array | None:
    """v with x v = 1: one over a constant column, or all indicator columns if they add up to one; None if there is none."""
    some = over(parts, lambda x: x[:1], lambda one, other: one if len(one) else other)
    first = some[0] if len(some) else np.zeros(k)
    fixed = (first != 0.0) & over(parts, lambda x: (x == first).all(axis=0), np.logical_and)
    if fixed.any():
        out = np.zeros(k)
        out[np.argmax(fixed)] = 1.0 / first[np.argmax(fixed)]
        return out
    indicators = over(parts, lambda x: ((x == 0.0) | (x == 1.0)).all(axis=0), np.logical_and)
    if indicators.any():
        once = over(parts, lambda x: bool((x[:, indicators].sum(axis=1) == 1.0).all()), np.logical_and)
        return indicators.astype(float) if once else None
    return None


def root_mean_square(parts: Parts) -> float:
    """sqrt(mean of squares) of all numbers, of any magnitude."""
    return _size(parts, np.ravel)


def _size(parts: Parts, of: Callable[[Array], Array]) -> float:
    """:func:`root_mean_square` of what is made of each part."""

    def square_of(x: Array) -> tuple[int, float]:
        flat = np.ravel(of(x))
        return len(flat), float(flat @ flat)

    with np.errstate(over="ignore", under="ignore"):
        n, square = over(parts, square_of)
        direct = float(np.sqrt(square / max(n, 1)))
    if 1.0 / SAFE < direct < SAFE:
        return direct
    top = float(over(parts, lambda x: np.abs(of(x)).max(initial=0.0), np.maximum))
    if not 0.0 < top < np.inf:
        return top
    return top * float(np.sqrt(over(parts, lambda x: float(np.sum((of(x) / top) ** 2))) / n))
