r"""What a structure of residuals answers.

Within a group residuals have the covariance ``sigma^2 S C(phi) S``: C has a one in its first diagonal element, and in all of
them unless the structure has a variance for each position; a known matrix stands as it is given.
phi is free of bounds, so that a search may go anywhere, and free of units: distances are measured in units of what is typical
of the data.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lmmformula.typing import Array

__all__ = ["ResidualKind", "between", "falling_log_density", "logistic_log_density"]


class ResidualKind(Protocol):
    """A structure; a frozen dataclass, so that files can hold it."""

    @property
    def name(self) -> str:
        """The function of the formula language."""
        ...

    @property
    def n_phi(self) -> int: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of what :meth:`natural` gives."""
        ...

    @property
    def homogeneous(self) -> bool:
        """Whether all positions have the same variance."""
        ...

    @property
    def linear(self) -> bool:
        """Whether ``sigma^2 C`` runs through a linear space, as Kenward & Roger (1997) assume."""
        ...

    def start(self) -> Array:
        """phi to start a search from."""
        ...

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        """C and dC/dphi of positions (b, n, d): (b, n, n) and (n_phi, b, n, n)."""
        ...

    def log_reference(self, phi: Array) -> float:
        """Log density of phi, up to a constant, where no prior is stated: proper, or as the likelihood makes it."""
        ...

    def natural(self, phi: Array) -> Array:
        """phi as a reader knows it: correlations, ranges, ratios of standard deviations."""
        ...


def between(low: float, phi: Array | float) -> tuple[float, float]:
    """A number in (low, 1) as a logistic function of phi, and its derivative."""
    share = 0.5 * (1.0 + float(np.tanh(0.5 * float(np.asarray(phi)))))
    return low + (1.0 - low) * share, (1.0 - low) * share * (1.0 - share)


def logistic_log_density(phi: float) -> float:
    """Log density of phi where :func:`between` is uniform, up to a constant."""
    size = abs(float(phi))
    return -size - 2.0 * float(np.log1p(np.exp(-size)))


def falling_log_density(phi: float) -> float:
    """Log density of phi where ``exp(-exp(-phi))``, a correlation one unit of distance away, is uniform."""
    rate = float(np.exp(-phi))
    return -rate - float(phi)
