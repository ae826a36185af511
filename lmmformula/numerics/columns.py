"""Sizes and origins of the columns of a matrix, of any magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmmformula.typing import Array

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


def uneven(x: Array) -> bool:
    """Whether a column lies far from zero for its spread, or the columns' lengths differ widely. One pass over the rows."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        means = x.mean(axis=0)
        squares = np.einsum("np,np->p", x, x) / len(x)
        spread = squares - means**2
    rms = np.sqrt(squares[squares > 0.0])
    if not np.isfinite(squares).all() or not rms.size or len(rms) < len(squares):
        return True
    moves = spread > 1e-12 * squares
    far = (means[moves] ** 2 > FAR**2 * spread[moves]).any() or (~moves).sum() > 1
    return bool(far or rms.max() > UNEQUAL * rms.min() or rms.max() > SAFE or rms.min() < 1.0 / SAFE)


def standardising(x: Array, *, centred: bool) -> Array:
    """(k, k) matrix T such that the columns of x T have unit root mean square, and mean zero where a constant allows it."""
    shift = np.eye(x.shape[1])
    ones = constant_combination(x) if centred else None
    if ones is not None:
        means = x.mean(axis=0)
        means[ones != 0.0] = 0.0
        shift -= ones[:, None] * means
        x = x - means
    sizes = column_sizes(x)
    return shift / np.where(sizes > 0.0, sizes, 1.0)


def column_sizes(x: Array) -> Array:
    """Root mean square of each column, (k,)."""
    with np.errstate(over="ignore", under="ignore"):
        direct = np.sqrt(np.einsum("nk,nk->k", x, x) / max(len(x), 1))
    if ((direct > 1.0 / SAFE) & (direct < SAFE)).all():
        return direct
    return np.array([root_mean_square(column) for column in x.T])


def constant_combination(x: Array) -> Array | None:
    """v with x v = 1: one over a constant column, or all indicator columns if they add up to one; None if there is none."""
    first = x[0] if len(x) else np.zeros(x.shape[1])
    fixed = (x == first).all(axis=0) & (first != 0.0)
    if fixed.any():
        out = np.zeros(x.shape[1])
        out[np.argmax(fixed)] = 1.0 / first[np.argmax(fixed)]
        return out
    indicators = ((x == 0.0) | (x == 1.0)).all(axis=0)
    if indicators.any() and (x[:, indicators].sum(axis=1) == 1.0).all():
        return indicators.astype(float)
    return None


def root_mean_square(values: Any) -> float:
    """sqrt(mean of squares) of an array of any magnitude."""
    flat = np.ravel(values)
    with np.errstate(over="ignore", under="ignore"):
        direct = float(np.sqrt(flat @ flat / max(len(flat), 1)))
    if 1.0 / SAFE < direct < SAFE:
        return direct
    top = float(np.abs(flat).max(initial=0.0))
    if not 0.0 < top < np.inf:
        return top
    return top * float(np.sqrt(np.mean((flat / top) ** 2)))
