r"""Residuals that are alike where they are near: ``C = (1 - c0) exp(-d / r)`` off the diagonal, nlme's corExp with its nugget.

d is Euclidean distance, ``r = scale exp(phi_1)`` the range, c0 the nugget, the share of the variance that neighbours do not
have in common, however near; ``c0 = logistic(phi_2)`` (Pinheiro & Bates 2000, sec. 5.3.2). Without a nugget c0 = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.residual.base import between, falling_log_density, logistic_log_density
from lmmformula.typing import Array

__all__ = ["SpatialExponential"]


@dataclass(frozen=True, slots=True)
class SpatialExponential:
    """Exponential decay with distance.

    Attributes
    ----------
    scale : float
        Typical distance, in its units.
    nugget : bool
    """

    scale: float
    nugget: bool
    name: str = "sp_exp"
    homogeneous: bool = True
    linear: bool = False

    @property
    def n_phi(self) -> int:
        return 2 if self.nugget else 1

    @property
    def names(self) -> tuple[str, ...]:
        return ("range", "nugget") if self.nugget else ("range",)

    def start(self) -> Array:
        return np.array([-1.0, -1.0]) if self.nugget else np.array([-1.0])

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        n, square = positions.shape[1], np.zeros((*positions.shape[:2], positions.shape[1]))
        for coordinate in np.moveaxis(positions, -1, 0):
            square += (coordinate[:, :, None] - coordinate[:, None, :]) ** 2
        far = np.sqrt(square) / (self.scale * np.exp(phi[0]))
        c, own = np.exp(-far), np.eye(n, dtype=bool)
        if not self.nugget:
            return c, (far * c)[None]
        share, slope = between(0.0, phi[1])
        moves = np.stack([(1.0 - share) * far * c, np.where(own, 0.0, -slope * c)])
        return np.where(own, 1.0, (1.0 - share) * c), moves

    def log_reference(self, phi: Array) -> float:
        """Flat in the correlation at the typical distance, ``exp(-exp(-phi_1))``, and in the nugget."""
        own = falling_log_density(phi[0])
        return own + logistic_log_density(phi[1]) if self.nugget else own

    def natural(self, phi: Array) -> Array:
        found = [self.scale * float(np.exp(phi[0]))]
        return np.array([*found, between(0.0, phi[1])[0]] if self.nugget else found)
