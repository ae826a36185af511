"""Many linear models without random effects: least squares, in the form of the other criteria."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.batched.base import Evaluated
from lmmformula.criteria.batched.products import Products
from lmmformula.criteria.factors import Factors
from lmmformula.typing import Array, Index

__all__ = ["Plain", "PlainDesign"]


@dataclass(frozen=True, slots=True, eq=False)
class PlainDesign:
    """What responses share: p orthonormal columns."""

    factors: Factors
    p: int

    def of_responses(self, products: Products) -> Plain:
        """The criteria of responses with these products."""
        return Plain(self.factors, self.p, len(products.lengths))


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """The criteria of n responses, which no theta moves."""

    factors: Factors
    p: int
    n: int

    def at(self, theta: Array, which: Index) -> Evaluated:
        """See :class:`lmmformula.criteria.batched.base.Criteria`."""
        size, p = len(theta), self.p
        zero = np.zeros(size)
        unit = np.broadcast_to(np.eye(p), (size, p, p))
        none = np.zeros((size, 0))
        moves = np.zeros((size, 0, p, p))
        return Evaluated(
            zero, none, np.zeros((size, 0, 0)), zero + 1.0, np.zeros((size, p)), unit, none, moves
        )
