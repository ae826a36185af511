r"""Residuals in the order of time: AR(1), MA(1) and ARMA(1, 1) at whole numbers, continuous AR(1) at any times.

With k the lag and all processes stationary (Box, Jenkins & Reinsel 1994, sec. 3.2-3.4)::

    ar      rho_k = a^k
    ma      rho_1 = m / (1 + m^2), 0 beyond
    arma    rho_1 = (1 + a m)(a + m) / (1 + 2 a m + m^2),   rho_k = a^(k-1) rho_1
    car1    rho(t) = exp(-t / r), nlme's Phi^t with Phi = exp(-1 / r)

a = tanh(phi_1), m = tanh(phi_2), and r = scale exp(phi) with the typical gap between neighbours for scale. Gaps in time count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.residual.base import falling_log_density, logistic_log_density
from lmmformula.typing import Array

__all__ = ["AR1", "ARMA11", "CAR1", "MA1"]


def lags(positions: Array) -> Array:
    """Distances in time of positions (b, n, 1), (b, n, n)."""
    t = positions[..., 0]
    return np.abs(t[:, :, None] - t[:, None, :])


def _power(a: float, k: Array) -> tuple[Array, Array]:
    """a^k and its derivative in a, for whole k >= 0."""
    below = np.power(a, np.maximum(k - 1.0, 0.0))
    return np.where(k > 0.0, below * a, 1.0), k * below


def _flat(phi: Array) -> float:
    """Log density of phi where tanh phi is uniform, up to a constant."""
    return sum(map(logistic_log_density, 2.0 * phi))


@dataclass(frozen=True, slots=True)
class AR1:
    """First-order autoregression."""

    name: str = "ar"
    n_phi: int = 1
    names: tuple[str, ...] = ("rho",)
    homogeneous: bool = True
    linear: bool = False

    def start(self) -> Array:
        return np.array([0.1])

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        a = float(np.tanh(phi[0]))
        c, slope = _power(a, lags(positions))
        return c, (slope * (1.0 - a * a))[None]

    def log_reference(self, phi: Array) -> float:
        """Flat on (-1, 1)."""
        return _flat(phi)

    def natural(self, phi: Array) -> Array:
        return np.tanh(phi)


@dataclass(frozen=True, slots=True)
class MA1:
    """First-order moving average."""

    name: str = "ma"
    n_phi: int = 1
    names: tuple[str, ...] = ("theta",)
    homogeneous: bool = True
    linear: bool = False

    def start(self) -> Array:
        return np.array([0.1])

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        m, k = float(np.tanh(phi[0])), lags(positions)
        rho, slope = m / (1.0 + m * m), (1.0 - m * m) ** 2 / (1.0 + m * m) ** 2
        near = (k == 1.0).astype(float)
        return (k == 0.0) + rho * near, (slope * near)[None]

    def log_reference(self, phi: Array) -> float:
        """Flat on (-1, 1)."""
        return _flat(phi)

    def natural(self, phi: Array) -> Array:
        return np.tanh(phi)


@dataclass(frozen=True, slots=True)
class ARMA11:
    """Autoregression with a moving average, both of first order."""

    name: str = "arma"
    n_phi: int = 2
    names: tuple[str, ...] = ("rho", "theta")
    homogeneous: bool = True
    linear: bool = False

    def start(self) -> Array:
        return np.array([0.1, 0.05])

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        a, m = np.tanh(phi)
        k = lags(positions)
        top, whole = (1.0 + a * m) * (a + m), 1.0 + 2.0 * a * m + m * m
        first = top / whole
        d_a = (1.0 + 2.0 * a * m + m * m) / whole - first * 2.0 * m / whole
        d_m = (1.0 + 2.0 * a * m + a * a) / whole - first * (2.0 * a + 2.0 * m) / whole
        later, slope = _power(float(a), np.maximum(k - 1.0, 0.0))
        own = k == 0.0
        c = np.where(own, 1.0, first * later)
        moves = np.stack([d_a * later + first * slope, d_m * later])
        return c, np.where(own, 0.0, moves) * (1.0 - np.array([a, m]) ** 2)[:, None, None, None]

    def log_reference(self, phi: Array) -> float:
        """Flat on (-1, 1)."""
        return _flat(phi)

    def natural(self, phi: Array) -> Array:
        return np.tanh(phi)


@dataclass(frozen=True, slots=True)
class CAR1:
    """Continuous first-order autoregression.

    Attributes
    ----------
    scale : float
        Typical gap in time, in its units.
    """

    scale: float
    name: str = "car1"
    n_phi: int = 1
    names: tuple[str, ...] = ("phi",)
    homogeneous: bool = True
    linear: bool = False

    def start(self) -> Array:
        return np.zeros(1)

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        far = lags(positions) / (self.scale * np.exp(phi[0]))
        c = np.exp(-far)
        return c, (far * c)[None]

    def log_reference(self, phi: Array) -> float:
        """Flat in the correlation of residuals one typical gap apart."""
        return falling_log_density(phi[0])

    def natural(self, phi: Array) -> Array:
        """nlme's Phi: the correlation of residuals one unit of time apart."""
        return np.exp(-np.exp(-phi) / self.scale)
