"""Levels with neighbours: areas on a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision, Share
from lmmformula.ir.across.naturals import Natural, Portion
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Car"]


@dataclass(frozen=True, eq=False)
class Car(Share):
    """Proper conditional autoregression: Q = D - alpha W, W the weights of neighbours, D = diag(W 1) (Besag 1974).

    Attributes
    ----------
    neighbours : (m, m) csr_array
        W, symmetric, not negative, with a zero diagonal; every level has a neighbour.
    """

    neighbours: csr_array
    name: str = "car"

    def __post_init__(self) -> None:
        w = self.neighbours
        alone = np.flatnonzero(self._degree <= 0.0)
        if (w.data < 0.0).any() or (w.diagonal() != 0.0).any() or alone.size or abs(w - w.T).sum() > 0.0:
            raise DataError(
                "the adjacency matrix of car() must be symmetric with weights >= 0, a zero diagonal, and a neighbour for every "
                f"level ({alone.size:,} levels have none)."
            )

    @property
    def m(self) -> int:
        return len(self._degree)

    @property
    def names(self) -> tuple[str, ...]:
        return ("alpha",)

    @property
    def naturals(self) -> tuple[Natural, ...]:
        """alpha."""
        return (Portion(),)

    @property
    def at_one(self) -> str:
        return (
            "the effects are those of an intrinsic autoregression, whose level in each part of the map cannot be told "
            "from the intercept. Standard errors of what holds a constant over the map grow without bound; other estimates "
            'stand. Use type = "icar", whose effects sum to zero, or type = "bym2", which has an independent part too'
        )

    @cached_property
    def _degree(self) -> Array:
        return np.asarray(self.neighbours.sum(axis=1), dtype=float).ravel()

    @cached_property
    def _roots(self) -> tuple[Array, float]:
        """Eigenvalues of D^-1/2 W D^-1/2, and log|D|; O(m^3), once."""
        d = self._degree
        scaled = self.neighbours.toarray() / np.sqrt(d[:, None] * d)
        return np.linalg.eigvalsh(scaled), float(np.log(d).sum())

    def precision(self, phi: Array) -> Precision:
        from scipy.sparse import csr_array, diags_array

        (alpha, _), (roots, log_d) = self.held(phi), self._roots
        d = self._degree
        matrix = csr_array(diags_array(d) - alpha * self.neighbours)
        return Precision(matrix, log_d + float(np.log1p(-alpha * roots).sum()))

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        (alpha, _), roots, slope = self.held(phi), self._roots[0], self.slope(phi)
        return ((-slope * self.neighbours, -slope * float((roots / (1.0 - alpha * roots)).sum())),)
