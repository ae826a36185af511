"""Where the parameters of a generalised model stand in the vector that is optimised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmmformula.ir.design import FixedBlock

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where beta, theta and alpha stand in psi."""

    beta: slice
    theta: slice
    aux: tuple[slice, ...]

    @property
    def size(self) -> int:
        return self.aux[-1].stop if self.aux else self.theta.stop

    @classmethod
    def of(cls, p: int, n_theta: int, aux: Sequence[FixedBlock]) -> Layout:
        """One after the other: p coefficients, theta, and those of each auxiliary predictor."""
        at = p + n_theta
        ends = np.cumsum([at, *(len(block.names) for block in aux)])
        return cls(slice(0, p), slice(p, at), tuple(slice(int(a), int(b)) for a, b in pairwise(ends)))
