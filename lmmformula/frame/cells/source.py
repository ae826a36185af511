r"""Cells as rows: each stands for the n rows of the data that are equal in its columns.

A cell that holds the response among its columns is one row of weight n, which repeats it. One that holds only the moments of a
Gaussian response is at most two. Its rows enter the likelihood by n, sum y and sum y^2 alone::

    sum_r (y_r - mu)^2 = n (ybar - mu)^2 + S,    S = sum_r (y_r - ybar)^2                                    (1)

and two rows of weights n_1 + n_2 = n have the same three numbers, ``n_1 a = n_2 b`` and ``n_1 a^2 + n_2 b^2 = S``, if they
are ::

    ybar + a,  a = sqrt(S n_2 / (n_1 n)),      ybar - b,  b = sqrt(S n_1 / (n_2 n))                          (2)

so that every mu, sigma, theta has the likelihood of all rows, by REML too, which needs X'V^-1X and r^2 of the tall model
(docs/weights.md). n_1 = floor(n / 2) keeps the weights whole; one row of weight n is enough where S = 0.

Sums are of d = y - c with c the median of some rows: S = sum d^2 - (sum d)^2 / n then loses as many digits as the square of the
mean of d has more than S, which is of the order of rounding in the residual sum of squares unless the model leaves next to
nothing of the variance of y.

References
----------
Wong, Forsell, Lewis, Mao & Wardrop (2021), You only compress once: optimal data compression for estimating linear models,
arXiv:2102.11297, section 4 (sufficient statistics within groups of equal features).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.sources.base import Source, gathered, told
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FINITE", "INFINITE", "MISSING", "CellRows", "Columns"]

FINITE, MISSING, INFINITE = 0, 1, 2
"""Kinds of responses that cells tell apart: those that are added up, missing and infinite ones."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What cells are made of.

    Attributes
    ----------
    keys : tuple of str
        Columns in which the rows of a cell are equal.
    response : str
        Column of which a cell has moments; empty where it is among the keys.
    centre : float
        What is taken from the response before it is added up.
    times, kind, total, squares : str
        Names, none of which the data have: rows of a cell, what its responses are, sums of d and of d^2.
    """

    keys: tuple[str, ...]
    response: str
    centre: float
    times: str
    kind: str
    total: str
    squares: str

    @classmethod
    def of(cls, keys: Sequence[str], response: str, centre: float, taken: Sequence[str]) -> Columns:
        """With names that are not taken."""
        end = ""
        own = (".rows", ".kind", ".sum", ".squares")
        while any(name + end in taken for name in own):
            end += "_"
        return cls(tuple(keys), response, centre, *(name + end for name in own))

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns by which rows are grouped."""
        return (*self.keys, *((self.kind,) if self.response else ()))

    @property
    def sums(self) -> tuple[str, ...]:
        """What is added up."""
        return (self.total, self.squares) if self.response else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the data, and how often each row is there."""
        return (*self.keys, *((self.response,) if self.response else ()), self.times)


@dataclass(frozen=True, slots=True, eq=False)
class CellRows:
    """Cells as a :class:`lmmformula.frame.sources.Source`.

    Attributes
    ----------
    made : Source
        The cells as they were made: groups, rows of each, sums.
    columns : Columns
    rows : Source
        What they were made of.
    n_data : int
        Rows that they stand for.
    """

    made: Source
    columns: Columns
    rows: Source
    n_data: int

    @property
    def name(self) -> str:
        return self.rows.name

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns.names

    @property
    def n_rows(self) -> None:
        """Not known before they are read: a cell is one row or two."""

    @property
    def parts(self) -> int:
        return self.made.parts

    def size(self, names: Sequence[str]) -> None:
        """Not known."""

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        own = self.columns
        read = [*(name for name in own.keys if name in names), *own.sums, own.times]
        read += [own.kind] if own.response else []
        rows = (_rows(batch, own, names) for batch in self.made.batches(read, part))
        return told(gathered(rows), None, None, is_pass=part is None)

    def unchanged(self) -> None:
        self.rows.unchanged()


def _rows(batch: pa.RecordBatch, columns: Columns, names: Sequence[str]) -> pa.RecordBatch:
    """Cells as rows."""
    import pyarrow as pa

    times, made = _numbers(batch, columns.times).astype(np.int64), {}
    if columns.response:
        at, times, y = _responses(batch, columns, times)
        batch = batch.take(pa.array(at))
        made[columns.response] = pa.array(y, mask=_numbers(batch, columns.kind) == MISSING)
    made[columns.times] = pa.array(times)
    return pa.RecordBatch.from_arrays(
        [made[name] if name in made else batch.column(name) for name in names], list(names)
    )


def _responses(
    batch: pa.RecordBatch, columns: Columns, n: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """For each row the cell that it is of, its weight, and its response by (2)."""
    kind = _numbers(batch, columns.kind)
    finite = kind == FINITE
    total = np.where(finite, _numbers(batch, columns.total), 0.0)
    mean = total / n
    left = np.where(finite, _numbers(batch, columns.squares), 0.0) - total * mean
    left = np.where(n > 1, np.maximum(left, 0.0), 0.0)
    two = left > 0.0
    low = np.where(two, n // 2, n)
    high = n - low
    up = np.sqrt(left * high / (low * n))
    down = np.sqrt(left * low / (np.maximum(high, 1) * n))
    y = columns.centre + np.stack([mean + up, mean - down], axis=1)
    y[kind == INFINITE] = np.inf
    keep = np.stack([np.ones_like(two), two], axis=1)
    return np.nonzero(keep)[0], np.stack([low, high], axis=1)[keep], y[keep]


def _numbers(batch: pa.RecordBatch, name: str) -> Array:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
