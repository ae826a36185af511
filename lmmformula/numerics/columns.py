"""Sizes and origins of the columns of a matrix, of any magnitude.

A matrix is given as some of its rows after others, which are gone through as often as needed: ``[x]`` where it is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.typing import Array

if TYPE_CHECKING:
    pass


__all__ = [
    "LARGEST",
    "SAFE",
    "column_sizes",
    "constant_combination",
    "root_mean_square",
    "standardising",
    "uneven",
]

FAR = 30.0
"""A column of X whose mean is this many times its standard deviation is centred."""
UNEQUAL = 1e3
"""Columns of X whose root mean squares differ by more than this are scaled."""
LARGEST = 1e140
"""Largest size of a column or a response, and inverse of the smallest, whose square leaves room for sums and products."""
SAFE = 1e100
"""Root mean squares within 1 / SAFE and SAFE are formed from squares directly."""


def uneven(parts: Iterable[Array]) -> bool:
    """Whether a column lies far from zero for its spread, or the columns' lengths differ widely. One pass over the rows."""
    n, sums, squares = 0, np.zeros(()), np.zeros(())
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for x in parts:
            n, sums, squares = n + len(x), sums + x.sum(axis=0), squares + np.einsum("np,np->p", x, x)
        means, squares = sums / n, squares / n
        spread = squares - means**2
    rms = np.sqrt(squares[squares > 0.0])
    if not np.isfinite(squares).all() or not rms.size or len(rms) < len(squares):
        return True
    moves = spread > 1e-12 * squares
    far = (means[moves] ** 2 > FAR**2 * spread[moves]).any() or (~moves).sum() > 1
    return bool(far or rms.max() > UNEQUAL * rms.min() or rms.max() > SAFE or rms.min() < 1.0 / SAFE)


def standardising(parts: Iterable[Array], k: int, *, centred: bool) -> Array:
    """(k, k) matrix T such that the columns of x T have unit root mean square, and mean zero where a constant allows it."""
    shift, means = np.eye(k), None
    ones = constant_combination(parts, k) if centred else None
    if ones is not None:
        n = sum(map(len, parts))
        means = sum((x.sum(axis=0) for x in parts), np.zeros(k)) / n
        means[ones != 0.0] = 0.0
        shift -= ones[:, None] * means
    sizes = column_sizes(parts, means)
    return shift / np.where(sizes > 0.0, sizes, 1.0)


def column_sizes(parts: Iterable[Array], origin: Array | None = None) -> Array:
    """Root mean square of each column about its origin, (k,)."""
    n, squares = 0, np.zeros(())
    with np.errstate(over="ignore", under="ignore"):
        for x in parts:
            moved = x if origin is None else x - origin
            n, squares = n + len(x), squares + np.einsum("nk,nk->k", moved, moved)
        direct = np.sqrt(squares / max(n, 1))
    if ((direct > 1.0 / SAFE) & (direct < SAFE)).all():
        return direct
    away = np.zeros(len(direct)) if origin is None else origin
    return np.array([root_mean_square([x[:, j] - away[j] for x in parts]) for j in range(len(away))])


def constant_combination(parts: Iterable[Array], k: int) -> Array | None:
    """v with x v = 1: one over a constant column, or all indicator columns if they add up to one; None if there is none."""
    first = next((x[0] for x in parts if len(x)), np.zeros(k))
    fixed, indicators = first != 0.0, np.ones(k, dtype=bool)
    for x in parts:
        fixed &= (x == first).all(axis=0)
    if fixed.any():
        out = np.zeros(k)
        out[np.argmax(fixed)] = 1.0 / first[np.argmax(fixed)]
        return out
    for x in parts:
        indicators &= ((x == 0.0) | (x == 1.0)).all(axis=0)
    if indicators.any() and all((x[:, indicators].sum(axis=1) == 1.0).all() for x in parts):
        return indicators.astype(float)
    return None


def root_mean_square(parts: Iterable[Array]) -> float:
    """sqrt(mean of squares) of all numbers, of any magnitude."""
    n, square = 0, 0.0
    with np.errstate(over="ignore", under="ignore"):
        for x in parts:
            flat = np.ravel(x)
            n, square = n + len(flat), square + float(flat @ flat)
        direct = float(np.sqrt(square / max(n, 1)))
    if 1.0 / SAFE < direct < SAFE:
        return direct
    top = max(float(np.abs(x).max(initial=0.0)) for x in parts)
    if not 0.0 < top < np.inf:
        return top
    return top * float(np.sqrt(sum(float(np.sum((x / top) ** 2)) for x in parts) / n))
