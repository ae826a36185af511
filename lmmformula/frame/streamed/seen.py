"""What is summed up of the rows of a model while they are encoded, from which the rest of its form is decided."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.columns import Moments
from lmmformula.typing import Array

__all__ = ["Seen", "column_gram", "columns_that_meet", "counted_gram", "counted_moments"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Sums over rows; those of two sets of rows add up to those of both.

    Attributes
    ----------
    n : int
        Complete rows.
    grams : tuple of (p, p) arrays
        X'X of the mean and of each auxiliary predictor, all columns.
    moments : tuple of Moments
        Of the same columns.
    bases : tuple of (k, k) arrays
        B'B of each random-effects term's columns, those of auxiliary predictors last.
    met : tuple of (k, k) bool arrays
        For each term which columns are known to be both present in some level.
    low, high : float
        Smallest and largest response.
    negative, zero : int
        Rows with such prior weights.
    doubtful : int
        Batches whose response or weights the family may refuse.
    """

    n: int
    grams: tuple[Array, ...]
    moments: tuple[Moments, ...]
    bases: tuple[Array, ...]
    met: tuple[NDArray[np.bool_], ...]
    low: float
    high: float
    negative: int
    zero: int
    doubtful: int

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.n + other.n,
            tuple(a + b for a, b in zip(self.grams, other.grams, strict=True)),
            tuple(a + b for a, b in zip(self.moments, other.moments, strict=True)),
            tuple(a + b for a, b in zip(self.bases, other.bases, strict=True)),
            tuple(a | b for a, b in zip(self.met, other.met, strict=True)),
            min(self.low, other.low),
            max(self.high, other.high),
            self.negative + other.negative,
            self.zero + other.zero,
            self.doubtful + other.doubtful,
        )

    def __radd__(self, other: int) -> Seen:
        """So that :func:`sum` adds up what many batches gave."""
        return self if other == 0 else NotImplemented

    def __reduce__(self) -> tuple[type[Seen], tuple[object, ...]]:
        return Seen, tuple(getattr(self, f.name) for f in fields(self))


def column_gram(matrix: Array) -> Array:
    """X'X, infinite or nan where squares are beyond floating-point numbers."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return matrix.T @ matrix


def counted_gram(matrix: Array, times: NDArray[np.int64] | None) -> Array:
    """X'X of rows each of which is there `times` many times."""
    return column_gram(matrix if times is None else matrix * np.sqrt(times)[:, None])


def counted_moments(matrix: Array, times: NDArray[np.int64] | None) -> Moments:
    """Moments of the columns of such rows."""
    if times is None:
        return Moments.of(matrix)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return Moments(int(times.sum()), times @ matrix, times @ matrix**2)


def columns_that_meet(basis: Array, codes: NDArray[np.int32], m: int) -> NDArray[np.bool_]:
    """Pairs of columns that are both present in a row, or, if there is none, in a level of these rows; (k, k)."""
    present = basis != 0.0
    counts = present.astype(np.float64)
    met = (counts.T @ counts) > 0.0
    if (met & ~np.eye(len(met), dtype=bool)).any():
        return met
    rows = np.flatnonzero(present.any(axis=1))
    column = present[rows].argmax(axis=1)
    first = np.zeros(m, dtype=np.int32)  # pages of levels that no row has stay untouched
    first[codes[rows]] = column + 1
    other = first[codes[rows]] - 1
    met[other, column] = True
    met[column, other] = True
    return met
