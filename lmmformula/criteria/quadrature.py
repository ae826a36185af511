r"""Adaptive Gauss-Hermite quadrature for models with one grouping factor.

Given its effects u_s in k <= 3 dimensions the rows of level s do not depend on other levels, so the likelihood is a product of
k-dimensional integrals. With the mode u_s, C_s C_s' = (M^-1)_ss, and Gauss-Hermite nodes x_j for the weight exp(-|x|^2/2)
(Liu & Pierce 1994; Pinheiro & Bates 1995, sec. 2.4)::

    L_s = (2 pi)^(-k/2) |C_s| sum_j w_j exp(|x_j|^2 / 2) exp(-h_s(u_s + C_s x_j)),      d = -2 sum_s log L_s

One node gives the Laplace approximation. The gradient is by central differences; the curvature offered to the optimiser is
Laplace's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.by_cluster import clusters_of_levels
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.mode import TOLERANCE
from lmmformula.ir.groups import merge_terms
from lmmformula.typing import Array

__all__ = ["Quadrature", "QuadraturePoint"]

STEP = 1e-4


@lru_cache(maxsize=16)
def nodes(count: int, k: int) -> tuple[Array, Array]:
    """Nodes (count^k, k) and log of w exp(|x|^2/2) (2 pi)^(-k/2)."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    grid = np.array(list(product(x, repeat=k)))
    logs = np.log(w) + 0.5 * x**2 - 0.5 * np.log(2 * np.pi)
    return grid, np.array([sum(c) for c in product(logs, repeat=k)])


@dataclass(frozen=True, eq=False)
class Quadrature:
    """The criterion with `count` nodes in each dimension; psi and layout are those of `laplace`."""

    laplace: Laplace
    count: int

    def __call__(
        self,
        psi: Array,
        *,
        u: tuple[Array, ...] | None = None,
        beta: Array | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
    ) -> QuadraturePoint:
        return self.point(self.laplace(psi, u=u, beta=beta, exact=exact, tolerance=tolerance))

    def point(self, laplace: LaplacePoint) -> QuadraturePoint:
        """The criterion where the modes are known."""
        return QuadraturePoint(self, laplace)


@dataclass(frozen=True, eq=False)
class QuadraturePoint:
    """The criterion at one psi."""

    model: Quadrature
    laplace: LaplacePoint

    @property
    def psi(self) -> Array:
        return self.laplace.psi

    @property
    def error(self) -> float:
        """Zero: one grouping factor is always factorised exactly."""
        return 0.0

    def sharpened(self) -> QuadraturePoint:
        """The point itself."""
        return self

    @cached_property
    def deviance(self) -> float:
        """-2 times the log-likelihood."""
        return float(-2.0 * self.levels.sum())

    @cached_property
    def levels(self) -> Array:
        """log L_s of each level, (m,)."""
        point = self.laplace
        group = point.model.prepared.blocks.groups[0]
        u, factor = point.u[0], point.factors[0]
        spread = np.linalg.cholesky(point.factor.inverse().diagonal(0))
        grid, logs = nodes(self.model.count, group.k)
        terms = np.empty((len(grid), group.m))
        for j, x in enumerate(grid):
            moved = u + spread @ x
            eta = point.model.predictor(point.beta, [factor], [moved])
            rows = point.model.rows(eta, point.aux, "observed", derivatives=False).loglik
            own = point.model.data.level_sums(0, rows)
            terms[j] = logs[j] + own - 0.5 * np.einsum("mk,mk->m", moved, moved)
        top = terms.max(axis=0)
        return (
            top + np.log(np.exp(terms - top).sum(axis=0)) + np.log(np.einsum("mkk->mk", spread)).sum(axis=1)
        )

    @cached_property
    def gradient(self) -> Array:
        """Central differences, in units of the parameters' standard errors."""
        return np.array([(high.deviance - low.deviance) / width for high, low, width in self._sides()])

    def _sides(self) -> Iterator[tuple[QuadraturePoint, QuadraturePoint, float]]:
        """A point on either side for each parameter, and how far they are apart."""
        for j, h in enumerate(STEP * step_scale(self.laplace.hessian)):
            move = np.zeros(len(self.psi))
            move[j] = h
            high, low = (
                self.model(self.psi + d, u=self.laplace.u, beta=self.laplace.beta) for d in (move, -move)
            )
            yield high, low, 2.0 * float(h)

    def gradient_by(self, codes: NDArray[np.intp], count: int) -> Array:
        """Gradient in psi of the deviance of each of `count` clusters of rows, which share no level, (count, d)."""
        (group,) = merge_terms(self.laplace.model.problem.terms)
        cluster = clusters_of_levels(group, codes)
        out = np.zeros((count, len(self.psi)))
        for j, (high, low, width) in enumerate(self._sides()):
            out[:, j] = np.bincount(cluster, -2.0 * (high.levels - low.levels) / width, count)
        return out

    @property
    def hessian(self) -> Array:
        return self.laplace.hessian


def step_scale(hessian: Array) -> Array:
    """About one standard error of each parameter, from a Hessian of the deviance."""
    diagonal = np.diagonal(hessian)
    top = max(float(np.abs(diagonal).max(initial=0.0)), 1e-300)
    return np.sqrt(2.0 / np.maximum(np.abs(diagonal), 1e-12 * top))
