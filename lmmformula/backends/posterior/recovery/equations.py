r"""Solutions with M = Lambda'Z'WZ Lambda + I of many draws, and noise N(0, M^-1), where elimination leaves too large a part.

By conjugate gradients with one M as preconditioner for all; noise is ``M^-1 (Lambda'Z'W^(1/2) e_1 + e_2)`` with standard normal
e (Papandreou & Yuille 2010). By elimination: :mod:`lmmformula.criteria.batched.direct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.backends.posterior.recovery.stacked import NOISE, SOLVES
from lmmformula.criteria.batched.direct import Design, Equations, Found
from lmmformula.engines.base import Factor
from lmmformula.numerics.preconditioned import preconditioned
from lmmformula.typing import Array

__all__ = ["Iterated"]


@dataclass(frozen=True, eq=False)
class Iterated(Equations):
    """By conjugate gradients.

    Attributes
    ----------
    design : Design
    factor : Factor
        Of the preconditioner.
    lowers : sequence of (S, k, k) arrays
    weight : (n, S) array
    """

    design: Design
    factor: Factor
    lowers: Sequence[Array]
    weight: Array

    def solve(self, b: Array) -> Found:
        own = self.design

        def product(v: Array) -> Array:
            return v + own.to_effects(self.weight * own.effects(v, self.lowers), self.lowers)

        found = preconditioned(product, lambda r: own.stacked.solved(self.factor, r), b, NOISE, SOLVES)
        return found.x, found.converged

    def noise(self, rng: np.random.Generator) -> Found:
        with np.errstate(invalid="ignore"):
            rough = np.sqrt(self.weight) * rng.standard_normal(self.weight.shape)
        rough = self.design.to_effects(rough, self.lowers)
        return self.solve(rough + rng.standard_normal(rough.shape))
