r"""Independent residuals, and exchangeable ones, whose common correlation may be negative.

n exchangeable residuals have a positive definite correlation matrix if and only if ``-1 / (n - 1) < rho < 1``, so rho is a
logistic function of phi on that interval for the largest group; phi starts at rho = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.residual.base import between, logistic_log_density
from lmmformula.typing import Array

__all__ = ["Exchangeable", "Independent"]


@dataclass(frozen=True, slots=True)
class Independent:
    """No correlation: a variance function alone."""

    name: str = "independent"
    n_phi: int = 0
    names: tuple[str, ...] = ()
    homogeneous: bool = True
    linear: bool = True

    def start(self) -> Array:
        return np.zeros(0)

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        b, n = positions.shape[:2]
        return np.broadcast_to(np.eye(n), (b, n, n)), np.zeros((0, b, n, n))

    def log_reference(self, phi: Array) -> float:
        return 0.0

    def natural(self, phi: Array) -> Array:
        return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Exchangeable:
    """Compound symmetry.

    Attributes
    ----------
    largest : int
        Rows of the largest group.
    """

    largest: int
    name: str = "cosy"
    n_phi: int = 1
    names: tuple[str, ...] = ("rho",)
    homogeneous: bool = True
    linear: bool = True

    @property
    def low(self) -> float:
        """Least correlation."""
        return -1.0 / max(self.largest - 1, 1)

    def start(self) -> Array:
        return np.array([np.log(-self.low)])

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        b, n = positions.shape[:2]
        rho, slope = between(self.low, phi[0])
        apart = 1.0 - np.eye(n)
        c = np.broadcast_to(np.eye(n) + rho * apart, (b, n, n))
        return c, np.broadcast_to(slope * apart, (1, b, n, n))

    def log_reference(self, phi: Array) -> float:
        """A flat correlation."""
        return logistic_log_density(phi[0])

    def natural(self, phi: Array) -> Array:
        return np.array([between(self.low, phi[0])[0]])
