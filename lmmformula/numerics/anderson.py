"""Fixed-point iterations whose last steps are combined (Anderson's mixing).

References
----------
Anderson (1965), Iterative procedures for nonlinear integral equations, J. ACM 12.
Walker & Ni (2011), Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49.
"""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Array

__all__ = ["Anderson"]


class Anderson:
    """Fixed-point iteration x = g(x) from the last few pairs (x, g(x)).

    The next x is the combination of the g(x_i) with weights that sum to one for which the same combination of the residuals
    g(x_i) - x_i is shortest (Anderson 1965; Walker & Ni 2011, eq. 2.4).

    Parameters
    ----------
    depth : int
        Differences that are kept.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._last: tuple[Array, Array] | None = None
        self._dg: list[Array] = []
        self._dr: list[Array] = []
        self._products = np.zeros((0, 0))

    def __call__(self, x: Array, gx: Array) -> Array:
        """The next x, given that the map takes `x` to `gx`. Cost O(depth size)."""
        r, last = gx - x, self._last
        self._last = (gx, r)
        if last is None:
            return gx
        self._dg.append(gx - last[0])
        self._dr.append(r - last[1])
        known = self._products
        if len(self._dr) > self.depth:
            del self._dg[0], self._dr[0]
            known = known[1:, 1:]
        row = np.array([float(d @ self._dr[-1]) for d in self._dr])
        self._products = np.block([[known, row[:-1, None]], [row[None, :-1], row[-1:, None]]])
        slope = np.array([float(d @ r) for d in self._dr])
        gamma = np.linalg.lstsq(self._products, slope, rcond=1e-12)[0]
        out = gx - sum(g * d for g, d in zip(gamma, self._dg, strict=True))
        return out if np.isfinite(out).all() else gx

    def forget(self) -> None:
        """Start anew, after a step that the map did not make."""
        self._last, self._products = None, np.zeros((0, 0))
        self._dg.clear()
        self._dr.clear()
