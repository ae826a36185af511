"""Levels at points whose correlation is a function of their distance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision, full, inverse_of
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Kernel"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Levels at points, correlation a function of their distance over a range; Q is dense: O(m^3) an evaluation.

    Attributes
    ----------
    points : (m, d) array
    name : {"exp", "gau"}
        ``exp(-t)`` or ``exp(-t^2)``, t the distance over the range.
    """

    points: Array
    name: str = "exp"

    @property
    def m(self) -> int:
        return len(self.points)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.CORRELATION,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("range",)

    @cached_property
    def _distances(self) -> Array:
        """Distances over the largest one, so that the range has no unit."""
        steps = self.points[:, None, :] - self.points[None, :, :]
        out = np.sqrt((steps**2).sum(axis=2))
        near = out[~np.eye(self.m, dtype=bool)]
        if not np.isfinite(out).all() or (near <= 0.0).any():
            raise DataError(f"{self.name}() needs a different, finite point for each level.")
        return out / out.max()

    def start(self) -> Array:
        return np.array([np.log(0.3)])

    def natural(self, phi: Array) -> Array:
        """The range, in the units of the points."""
        spread = float(np.sqrt(((self.points[:, None] - self.points[None]) ** 2).sum(axis=2)).max())
        return np.exp(phi) * spread

    def _correlation(self, phi: Array) -> tuple[Array, Array]:
        """R, and dR/dphi."""
        t = self._distances * np.exp(-phi[0])
        power = 2.0 if self.name == "gau" else 1.0
        r = np.exp(-(t**power))
        return r, power * t**power * r

    def precision(self, phi: Array) -> Precision:
        inverse, logdet = inverse_of(self._correlation(phi)[0], f"the correlation matrix of {self.name}()")
        return Precision(full(inverse), -logdet)

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        """dQ = -Q dR Q; dlog|Q| = -tr(Q dR)."""
        q, dr = self.precision(phi).matrix.toarray(), self._correlation(phi)[1]
        return ((full(-q @ dr @ q), -float(np.sum(q * dr))),)
