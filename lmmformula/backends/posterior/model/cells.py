r"""Rows of a normal response that no parameter can tell apart, as one row each.

Let the rows of a cell c share every column of the mean and of log sigma = a, with responses t_r and known precisions w_r. With
``W_c = sum w_r``, ``t_c = sum w_r t_r / W_c`` and ``S_c = sum w_r (t_r - t_c)^2``::

    sum_r w_r exp(-2 a_c) (t_r - eta_c)^2 = exp(-2 a_c) [W_c (t_c - eta_c)^2 + S_c],      sum_r a_r = n_c a_c

for any eta_c and a_c: (n_c, W_c, t_c, S_c) are sufficient (Lehmann & Casella 1998, sec. 1.6), and a density of all rows is
had from the cells. An experiment with few conditions has as many cells as subjects times conditions, however often each is
repeated.

The cells then stand level by level of one group, each level filled up to the same number where that does not cost more than it
saves, so that sums over its levels are sums along an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmmformula.backends.posterior.model.starts import padded_rows
from lmmformula.ir.design import GroupBlock
from lmmformula.typing import Array, Entries, Index

__all__ = ["Cells", "cell_codes", "columns_of"]

SAVING = 0.8
"""Cells over rows above which rows stay as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Sums over cells in their order.

    Attributes
    ----------
    rows : (c,) array of int
        A row of each cell.
    of_row : (n,) array of int
        Each row's cell, before they were put in order.
    places : (c,) array of int
        The cells in order.
    mask : (c,) array
        0 for those that fill up.
    """

    rows: Index
    of_row: Index
    places: Index
    mask: Array

    @classmethod
    def of(cls, columns: Iterable[Entries], codes: Index, levels: int) -> Cells:
        """Cells of rows that agree in all `columns`, level by level of the group with `codes`."""
        cell = cell_codes(columns, len(codes))
        first = np.unique(cell, return_index=True)[1]
        places, mask = padded_rows(codes[first], levels)
        return cls(first[places], cell, places, mask)

    @classmethod
    def single(cls, n: int) -> Cells:
        """Every row by itself, as it stands."""
        every = np.arange(n)
        return cls(every, every, every, np.ones(n))

    @property
    def sizes(self) -> Array:
        """n_c; 0 where a cell fills up."""
        return self.sums(np.ones(len(self.of_row)))

    def sums(self, values: Array) -> Array:
        """Sums of (n,) over each cell, (c,)."""
        return np.bincount(self.of_row, values)[self.places] * self.mask

    def responses(self, t: Array, w: Array) -> tuple[Array, Array, Array]:
        """W_c, t_c and S_c, each (c,)."""
        total = np.bincount(self.of_row, w)
        mean = np.bincount(self.of_row, w * t) / np.where(total > 0, total, 1.0)
        spread = np.bincount(self.of_row, w * (t - mean[self.of_row]) ** 2)
        return total[self.places] * self.mask, mean[self.places], spread[self.places] * self.mask

    def term(self, term: GroupBlock) -> GroupBlock:
        """A term on one row of each cell."""
        basis = None if term.basis is None else term.basis[self.rows]
        return replace(term, codes=term.codes[self.rows], basis=basis)


def cell_codes(columns: Iterable[Entries], n: int) -> Index:
    """The cell of each of n rows; a cell for each where that saves little."""
    cell, count = np.zeros(n, dtype=np.int64), 1
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        if len(values) == 1:
            continue
        found, cell = np.unique(cell * len(values) + inverse, return_inverse=True)
        count = len(found)
        if count > SAVING * n:
            return np.arange(n)
    return cell


def columns_of(matrices: Sequence[Array], terms: Sequence[GroupBlock]) -> Iterable[Entries]:
    """Codes of terms, then columns of matrices (n, p) and of terms."""
    for term in terms:
        yield term.codes
    for matrix in (*matrices, *(t.basis for t in terms if t.basis is not None)):
        yield from matrix.T
