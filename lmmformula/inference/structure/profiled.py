r"""The ML deviance of a model with structured residuals over unconstrained coordinates, with one parameter held.

The coordinates are those of the structure (:mod:`lmmformula.inference.structure.coordinates`), x = (log sigma, psi), then those
of each term (:mod:`lmmformula.inference.profile_coordinates`): of its covariance matrix in the units of the response, so that
``Sigma = cov / sigma^2``. beta is profiled out at every point. With J the derivative of (log sigma, theta, psi) in the
coordinates, by central differences of maps that cost no likelihood, and d the deviance::

    dd/dc = J'(2 (n - r2 / sigma^2), dd/dtheta, dd/dpsi)

A fixed effect is held within beta: the constrained minimum of the weighted residual sum of squares, whose derivative in
omega is that of the deviance at the constrained beta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.criteria.clusters import ByCluster, ClusterPoint
from lmmformula.inference.parameters import Parameter
from lmmformula.inference.profile_best import Best, differenced
from lmmformula.inference.profile_coordinates import Terms
from lmmformula.inference.structure.coordinates import chart_of
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.residual import ResidualParameter, residual_parameters, residual_values
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.correlated import Correlated
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.estimate import Estimate

__all__ = ["ClusterBest", "ClusterSurface"]

FAR = 700.0
"""An element of phi that stands for infinity: where its exponential is near the end of floating-point numbers."""
STEP = 1e-6
"""Of differences of maps, whose coordinates have no unit."""


@dataclass(frozen=True, eq=False)
class Held(ClusterPoint):
    """The criterion with one fixed effect held: direction' beta_orthonormal = held.

    Attributes
    ----------
    direction : (p,) array
    held : float
    """

    direction: Array
    held: float

    @computed_once
    def beta_orthonormal(self) -> Array:
        p = self.model.problem.p
        free, along = self.unscaled @ self.products[:p, p], self.unscaled @ self.direction
        return free + along * ((self.held - self.direction @ free) / (self.direction @ along))


@dataclass(frozen=True, eq=False)
class ClusterBest(Best):
    """The optimum of a model with structured residuals; its `values` of a structure are those a reader knows, but phi's.

    Attributes
    ----------
    point : ClusterPoint
        In the units of `standard`.
    """

    point: ClusterPoint

    @classmethod
    def of(cls, fit: Fitted, values_of: Callable[[Estimate], dict[str, float]]) -> ClusterBest:
        """The optimum of a fit; `values_of` gives those of the other parameters."""
        point, standard, estimate = fit.optimum, fit.standard, fit.estimate
        if estimate.restricted:
            solution = cast("Correlated", fit.backend).unrestricted(point)
            point, estimate = solution.point, standard.outward(solution.estimate)
        residual = fit.problem.residual
        assert residual is not None
        psi = estimate.residual
        known = residual_values(residual, psi, float(np.log(estimate.sigma)))
        own = {
            p.name: float(psi[p.places[0]] if p.kind == "phi" else v)
            for p, v in zip(residual_parameters(residual), known, strict=True)
        }
        return cls(standard, estimate, {**values_of(estimate), **own}, point)

    @property
    def model(self) -> ByCluster:
        return self.point.model

    @property
    def dense_side(self) -> int:
        """Of the largest matrix that is factorised."""
        return self.model.dense_side

    def target(self, parameter: Parameter | None) -> ResidualParameter | None:
        """The parameter of the structure that this one is."""
        if parameter is None or parameter.kind != "residual":
            return None
        return residual_parameters(self.model.residual)[parameter.columns[0]]

    def surface(self, target: Parameter | None) -> ClusterSurface:
        """The deviance with `target` held."""
        return ClusterSurface(self, target)

    def shown(self, target: Parameter) -> Callable[[float], float] | None:
        """From an element of phi to what a reader knows; any other parameter is profiled as the user knows it."""
        own = self.target(target)
        if own is None or own.kind != "phi":
            return None
        kind, at, phi = self.model.residual.kind, own.places[0], self.estimate.residual.copy()

        def natural(value: float) -> float:
            moved = phi[: kind.n_phi].copy()
            moved[at] = np.clip(value, -FAR, FAR)
            with np.errstate(over="ignore"):
                found = float(kind.natural(moved)[at])
            if np.isfinite(value) or np.exp(-0.5 * FAR) < abs(found) < np.exp(0.5 * FAR):
                return found
            return 0.0 if abs(found) < 1.0 else np.inf

        return natural


class ClusterSurface:
    """The ML deviance over the coordinates, for one target."""

    def __init__(self, best: ClusterBest, target: Parameter | None) -> None:
        self.best, self.target, self.standard, self.model = best, target, best.standard, best.model
        self.own, inner = best.target(target), best.standard.inward(best.estimate)
        x = np.append(np.log(inner.sigma), inner.residual)
        is_sigma = target is not None and target.kind == "sigma"
        self.chart = chart_of(self.model.residual, x, self.own, sigma=is_sigma)
        self.inner = residual_values(self.model.residual, x[1:], float(x[0]))
        self.first = len(x)
        self.terms = Terms(best.standard, target, first=self.first)
        self.size = self.terms.stop
        self.per_unit = inner.sigma / best.sigma

    # -- the target ------------------------------------------------------------------------------------------------

    @property
    def pinned(self) -> int | None:
        """Coordinate held by the target; None for a fixed effect."""
        if self.target is None or self.target.kind == "beta":
            return None
        return self.chart.pinned if self._in_chart else self.terms.pinned

    @property
    def _in_chart(self) -> bool:
        return self.target is not None and self.target.kind in ("residual", "sigma")

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the target."""
        assert self.target is not None
        if self.target.kind == "beta":
            return (-np.inf, np.inf)
        return self.chart.limits if self._in_chart else self.terms.limits

    @property
    def reach(self) -> Array:
        """Which coordinates have an end at infinity, where the deviance is level: 1; others inf."""
        return np.where(np.arange(self.size) < self.first, np.inf, 1.0)

    def coordinate(self, value: float, sigma: float) -> float:
        """The coordinate of the target's value."""
        assert self.target is not None
        if self.target.kind == "sigma":
            return self.chart.coordinate(value * self.per_unit)
        if self.own is None:
            return self.terms.coordinate(value, sigma)
        if self.own.kind in ("phi", "cor"):
            return self.chart.coordinate(value)
        users, twins = self.best.values[self.target.name], float(self.inner[self.target.columns[0]])
        moved = value * twins / users if self.own.kind == "sd" else value - users + twins
        return self.chart.coordinate(moved)

    def step(self, estimate: float, theta: Array, sigma: float) -> float:
        """A first guess of the change of the target for one unit of zeta."""
        assert self.target is not None
        if self.target.kind == "beta":
            row = self.standard.coefficients[self.target.term]
            return (
                float(np.sqrt(row @ self.best.point.unscaled_vcov @ row))
                * sigma
                / self.standard.sigma_out(1.0)
            )
        if self.own is not None and self.own.kind in ("phi", "coefficient"):
            assert self.pinned is not None
            return float(np.sqrt(2.0 * abs(self._inverse[self.pinned, self.pinned])))
        if "cor" in (self.target.kind, self.own and self.own.kind):
            return 0.2
        unit = sigma if self._in_chart else self.terms.unit(sigma)
        return 0.25 * max(estimate, 0.1 * unit)

    # -- all of them -----------------------------------------------------------------------------------------------

    def psi_of(self, theta: Array, sigma: float, floor: float = 1e-2) -> Array:
        """The coordinates of the estimate, its variances kept off the boundary by `floor` units."""
        return np.concatenate([self.chart.centre, *self.terms.of(theta, sigma, floor)])

    def inside(self, coordinates: Array) -> tuple[float, Array]:
        """log sigma and omega in the twin's units."""
        x = self.chart.inside(coordinates[: self.first])
        users = float(np.exp(x[0])) / self.per_unit
        size = users / self.standard.sigma_out(1.0)  # what the coordinates of terms are multiples of
        return float(x[0]), np.concatenate([self.terms.theta(coordinates, size), x[1:]])

    def _jacobian(self, coordinates: Array) -> Array:
        """Derivative of (log sigma, omega)."""
        columns = []
        for move in STEP * np.eye(self.size):
            high, low = self.inside(coordinates + move), self.inside(coordinates - move)
            columns.append(np.append(high[0] - low[0], high[1] - low[1]) / (2.0 * STEP))
        return np.stack(columns, axis=1)

    def evaluate(self, psi: Array, held: float | None) -> tuple[float, Array]:
        """Deviance and its gradient; a fixed-effect target is held at `held`."""
        log_sigma, omega = self.inside(psi)
        sigma2 = float(np.exp(2.0 * log_sigma))
        point = self.model(omega)
        if held is not None and self.target is not None and self.target.kind == "beta":
            point = self._hold(point, held)
        slopes = np.append(2.0 * (self.model.n_eff - point.r2 / sigma2), point.gradient_at(sigma2))
        return point.deviance_at(sigma2) + self.standard.deviance_shift(), self._jacobian(psi).T @ slopes

    def hessian(self, psi: Array, held: float | None) -> Array:
        """Hessian of the deviance by forward differences of its gradient."""
        return differenced(lambda at: self.evaluate(at, held)[1], psi)

    @cached_property
    def _inverse(self) -> Array:
        """Of the Hessian at the estimate."""
        return np.linalg.pinv(
            self.hessian(self.psi_of(self.best.theta, self.best.sigma), None), hermitian=True
        )

    def _hold(self, point: ClusterPoint, held: float) -> ClusterPoint:
        assert self.target is not None
        row = self.standard.coefficients[self.target.term]
        direction = np.linalg.solve(self.model.triangle.T, row)
        known = {f.name: getattr(point, f.name) for f in fields(point)}
        return Held(**known, direction=direction, held=held - row @ self.model.ols)
