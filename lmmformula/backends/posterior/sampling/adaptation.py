r"""Coordinates of a chain that are found while it warms up: the mass matrix as a linear map.

With ``x = mode + half T z`` and masses of one in z, T T' is the inverse mass matrix in the coordinates that a chain was given
(Neal 2011, sec. 5.4.1). It is estimated as in Stan (Stan Reference Manual, "HMC algorithm parameters"): after an interval that
finds the bulk, from the draws of windows each twice as long as the one before, the last of which leaves an interval in which
the step size alone is tuned. Of n draws with covariance S it is shrunk towards the unit matrix,

    (n S + 5 * 10^-3 I) / (n + 5)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array

__all__ = ["Windows", "map_of"]

_FIRST, _BASE, _LAST = 75, 25, 50
_DRAWS, _SIZE = 5.0, 1e-3
"""How many draws of which variance the shrinkage counts as."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows of the warm-up end.

    Attributes
    ----------
    begin : int
        Iteration at which the first one begins.
    ends : tuple of int
    """

    begin: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, warmup: int) -> Windows:
        """Those of so many iterations; none where there are fewer than twenty."""
        if warmup < 20:
            return cls(warmup, ())
        first, width, last = _FIRST, _BASE, _LAST
        if warmup < first + width + last:
            first, last = int(0.15 * warmup), int(0.1 * warmup)
            width = warmup - first - last
        ends, at, stop = [], first, warmup - last
        while at < stop:
            at = stop if at + 3 * width > stop else at + width
            ends.append(at)
            width *= 2
        return cls(first, tuple(ends))

    def next(self, at: int) -> int | None:
        """Where what iteration `at` belongs to ends; None after the last window."""
        return next((end for end in (self.begin, *self.ends) if end > at), None)


def map_of(draws: Array) -> Array:
    """The factor of the shrunk covariance of draws (n, d)."""
    n, gaps = len(draws), draws - draws.mean(axis=0)
    spread = gaps.T @ gaps * (n / max(n - 1.0, 1.0)) + _DRAWS * _SIZE * np.eye(draws.shape[1])
    return np.linalg.cholesky(spread / (n + _DRAWS))
