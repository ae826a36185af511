r"""A covariance matrix of reduced rank: Sigma = Lambda Lambda', Lambda (k, d), the factor-analytic part of glmmTMB's rr.

Lambda is free up to a rotation; the one with zeros above its diagonal is taken (Anderson 2003, sec. 14.2.2), so that theta is
the lower trapezoid of L, column by column, and L = [Lambda 0]. k effects of a level are combinations of d latent ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.ir.covariance.unstructured import Unstructured
from lmmformula.ir.covariance_roles import Role, Transformations
from lmmformula.typing import Array

__all__ = ["ReducedRank"]


@dataclass(frozen=True)
class ReducedRank(Unstructured):
    """A covariance matrix of rank `d`.

    Attributes
    ----------
    d : int
        Number of latent effects; k where it is larger.
    """

    name = "rr"
    description = "a covariance matrix of reduced rank"
    linear = False  # it is, but searches that take it for an unrestricted matrix must not
    unfree = "a covariance matrix of reduced rank has no coordinates by standard deviations and correlations"

    d: int = 2

    @property
    def closed_under(self) -> Transformations:
        return "columns"

    @property
    def rank(self) -> int:
        return min(self.d, self.k)

    @property
    def unit_form(self) -> None:
        """It has no correlation parameters."""
        return None

    @property
    def _index(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the trapezoid, column by column."""
        cols, rows = np.triu_indices(self.k)
        kept = cols < self.rank
        return rows[kept], cols[kept]

    @property
    def n_theta(self) -> int:
        return self.rank * self.k - self.rank * (self.rank - 1) // 2

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(Role.DIAGONAL if i == j else Role.LOWER for i, j in zip(*self._index, strict=True))

    @property
    def directions(self) -> None:
        """Matrices of one rank are no linear space."""
        return None

    def start(self) -> Array:
        """Columns of 1 and of alternating signs below the diagonal, so that no loading begins where its slope is zero."""
        rows, cols = self._index
        signs = np.where((rows // (cols + 1)) % 2 == 0, 1.0, -1.0)
        return np.where(rows == cols, 1.0, np.where(cols == 0, 0.9, 0.3 * signs))

    def jacobian(self, theta: Array) -> Array:
        out = np.zeros((self.n_theta, self.k, self.k))
        out[np.arange(self.n_theta), *self._index] = 1.0
        return out

    def from_covariance(self, sigma: Array) -> Array:
        """Theta of the matrix of rank d nearest to `sigma` (Eckart & Young 1936)."""
        values, vectors = np.linalg.eigh(sigma)
        kept = vectors[:, -self.rank :] * np.sqrt(np.maximum(values[-self.rank :], 0.0))
        return self._turned(kept)

    def canonical(self, theta: Array) -> Array:
        loadings = self.cholesky(theta)[:, : self.rank]
        diagonal = np.diagonal(loadings)
        if (diagonal > 0.0).all():
            return theta
        if not diagonal.all():
            return self._turned(loadings)
        return (loadings * np.where(diagonal < 0.0, -1.0, 1.0))[self._index]

    def transformed(self, theta: Array, a: Array) -> Array:
        return self._turned(a @ self.cholesky(theta)[:, : self.rank])

    def _turned(self, loadings: Array) -> Array:
        """Theta of loadings (k, d) after the rotation that makes them a trapezoid with a diagonal that is not negative."""
        turned = np.asarray(np.linalg.qr(loadings.T, mode="r")).T
        signs = np.where(np.diagonal(turned) < 0.0, -1.0, 1.0)
        return (turned * signs)[self._index]

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        raise PlanError(
            "rr() has no step of quasi-likelihood, which moves a covariance matrix of full rank. Use method='laplace'."
        )

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{columns[i]}.{j + 1}" for i, j in zip(*self._index, strict=True))
