"""Columns, or positions, with a known covariance matrix up to a factor, anew in each group: glmmTMB's propto."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision, Settled, inverse_of
from lmmformula.ir.across.placed import batches, block_diagonal, refuse_duplicates
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    pass

__all__ = ["Proportional"]


@dataclass(frozen=True, eq=False)
class Proportional(Settled):
    """Levels of a group have the rows and columns of A that are theirs; groups are independent.

    Attributes
    ----------
    known : (a, a) array
        A, symmetric positive definite.
    places : (m,) int array
        Row of A of each level.
    groups : (m,) int array
        Group of each level.
    """

    known: Array
    places: Index
    groups: Index
    name: str = "propto"

    def __post_init__(self) -> None:
        refuse_duplicates(self.points, self.groups, self.name)

    @property
    def m(self) -> int:
        return len(self.places)

    @property
    def points(self) -> Array:
        """Rows of A as points of one coordinate."""
        return np.asarray(self.places, dtype=float)[:, None]

    def beside(self, points: Array, groups: Index) -> Proportional:
        """The same, with further levels behind those that there are.

        Raises
        ------
        DataError
            For levels without a row in A.
        """
        new = points[:, 0].astype(np.intp)
        if (absent := int((new < 0).sum())) > 0:
            raise DataError(f"{absent:,} of {len(new):,} new levels of propto() have no row in its matrix.")
        return Proportional(
            self.known, np.concatenate([self.places, new]), np.concatenate([self.groups, groups]), self.name
        )

    @cached_property
    def _given(self) -> Precision:
        parts, inverses, logdet = batches(self.groups), [], 0.0
        for part in parts:
            own = self.known[self.places[part.levels][:, :, None], self.places[part.levels][:, None, :]]
            found = [inverse_of(a, "the matrix of propto()") for a in own]
            inverses.append(np.stack([inverse for inverse, _ in found]))
            logdet += sum(own for _, own in found)
        return Precision(block_diagonal(parts, inverses, self.m), -logdet)

    def precision(self, phi: Array) -> Precision:
        return self._given
