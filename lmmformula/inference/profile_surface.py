r"""The ML deviance of a Gaussian model over unconstrained coordinates, with one parameter held.

A profile minimises the deviance over psi: log sigma, then the coordinates of :mod:`lmmformula.inference.profile_coordinates` of
each term. With K of :mod:`lmmformula.criteria.profiled` (equation 2) at kappa = 1 / sigma^2 and Sigma_a relative to sigma^2::

    dd/dpsi = sum_a <K_a, L_a^-1 (dSigma_a/dpsi) L_a^-T>,     and for log sigma also  2 (n - r2 / sigma^2)    (1)

dSigma/dpsi by complex steps, exact to rounding. A fixed effect is held at b within each evaluation: at given variances the
constrained minimum moves along C e_j, ``r2(b) = r2 + (b - beta_j)^2 / C_jj`` with C = (X'V^-1X)^-1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.inference.parameters import Parameter, structure_of
from lmmformula.inference.profile_best import Best, differenced
from lmmformula.inference.profile_coordinates import ZERO, Terms
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.standard import Standard
from lmmformula.ir.structured import across_elements
from lmmformula.typing import Array

__all__ = ["GaussianBest", "GaussianSurface", "Held", "Parameter"]


@dataclass(frozen=True, eq=False)
class GaussianBest(Best):
    """The optimum of a Gaussian model.

    Attributes
    ----------
    model : Profiled
        The criterion, by ML, in the units of `standard`.
    """

    model: Profiled

    @property
    def dense_side(self) -> int:
        """Of the engine's dense part."""
        return self.model.prepared.dense_side

    def surface(self, target: Parameter | None) -> GaussianSurface:
        """The deviance with `target` held."""
        return GaussianSurface(self.model, target, self.standard)


@dataclass(frozen=True, eq=False)
class Held(ProfiledPoint):
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
        free = np.linalg.solve(self.r_x, np.linalg.solve(self.r_x.T, self._cross))
        along = np.linalg.solve(self.r_x, np.linalg.solve(self.r_x.T, self.direction))
        return free + along * ((self.held - self.direction @ free) / (self.direction @ along))

    @property
    def _cross(self) -> Array:
        p = self.model.problem.p
        return self._solution[1][:p, p]

    @computed_once
    def r2(self) -> float:
        p, b = self.model.problem.p, self.beta_orthonormal
        fitted = self.r_x @ b
        return float(self._solution[1][p, p] - 2.0 * self._cross @ b + fitted @ fitted)


class GaussianSurface:
    """The ML deviance over psi in the user's units, for one order of columns.

    Parameters
    ----------
    model : Profiled
        The criterion, by ML, in the units of `standard`.
    target : Parameter or None
        The parameter to hold.
    standard : Standard, optional
        The way from those units to the user's; by default they are the same.
    """

    def __init__(self, model: Profiled, target: Parameter | None, standard: Standard | None = None) -> None:
        self.model, self.target = model, target
        self.standard = Standard.identity(model.problem) if standard is None else standard
        self.terms = Terms(self.standard, target, first=1)
        self.maps, self.slices = self.terms.maps, self.terms.slices
        self.across = across_elements(model.problem)
        self.size = self.terms.stop + len(self.across)

    @property
    def pinned(self) -> int | None:
        """Coordinate held by the target; None for a fixed effect."""
        if self.target is None or self.target.kind == "beta":
            return None
        if self.target.kind == "phi":
            at = structure_of(self.model.problem, self.target).at
            return self.terms.stop + int(np.flatnonzero(self.across == at)[0])
        return 0 if self.target.kind == "sigma" else self.terms.pinned

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the target."""
        assert self.target is not None
        if self.target.kind == "sigma":
            return 0.0, np.inf
        if self.target.kind == "phi":
            return structure_of(self.model.problem, self.target).limits
        return (-np.inf, np.inf) if self.target.kind == "beta" else self.terms.limits

    @property
    def reach(self) -> Array:
        """Which coordinates have an end at infinity, where the deviance is level: 1; others inf."""
        return np.where(np.arange(self.size) < self.terms.stop, 1.0, np.inf)

    def coordinate(self, value: float, sigma: float) -> float:
        """The psi of the target's value."""
        if self.target is not None and self.target.kind == "phi":
            return value
        if self.target is not None and self.target.kind != "sigma":
            return self.terms.coordinate(value, sigma)
        return float(np.log(max(value, ZERO * sigma)))

    def step(self, estimate: float, theta: Array, sigma: float) -> float:
        """A first guess of the change of the target for one unit of zeta."""
        assert self.target is not None
        if self.target.kind == "beta":
            return self.spread(theta, sigma)
        if self.target.kind in ("cor", "phi"):
            return 0.2
        unit = sigma if self.target.kind == "sigma" else self.terms.unit(sigma)
        return 0.25 * max(estimate, 0.1 * unit)

    def psi_of(self, theta: Array, sigma: float, floor: float = 1e-2) -> Array:
        """The psi of an estimate, kept off the boundary by `floor` units."""
        return np.concatenate([np.log([sigma]), *self.terms.of(theta, sigma, floor), theta[self.across]])

    def hessian(self, psi: Array, held: float | None) -> Array:
        """Hessian of the deviance by forward differences of its gradient."""
        held = held if self.target is not None and self.target.kind == "beta" else None
        out = differenced(lambda at: self.evaluate(at, held)[1], psi)
        if self.model.problem.family.known:
            out[0, 0] = 1.0
        return out

    def evaluate(self, psi: Array, held: float | None) -> tuple[float, Array]:
        """Deviance and its gradient (1); a fixed-effect target is held at `held`."""
        model, problem = self.model, self.model.problem
        sigma2 = float(np.exp(2.0 * psi[0])) / self.standard.sigma_out(1.0) ** 2
        steps = [psi[s] + 1e-30j * np.eye(m.size) for s, m in zip(self.slices, self.maps, strict=True)]
        complexes = [
            [a @ (m.covariance(row) / sigma2) @ a.T for row in rows]
            for m, rows, a in zip(self.maps, steps, self.terms.inverses, strict=True)
        ]
        theta = np.zeros(problem.n_theta)
        for term, rows, s in zip(problem.terms, complexes, problem.theta_slices(), strict=True):
            theta[s] = term.covariance.from_covariance(rows[0].real)
        theta[self.across] = psi[self.terms.stop :]
        point = model(theta)
        if held is not None and self.target is not None:
            point = self._hold(point, held)
        slopes = np.zeros(self.size)
        slopes[0] = 2.0 * (problem.n_observed - point.r2 / sigma2)
        ks = point.k_matrices(1.0 / sigma2)
        for a, group in enumerate(model.prepared.blocks.groups):
            for i, columns in group.members:
                inverse = np.linalg.inv(point.factors[a][columns, columns])
                gamma = inverse.T @ ks[a][columns, columns] @ inverse
                slopes[self.slices[i]] = [np.sum(gamma * row.imag) * 1e30 for row in complexes[i]]
                slopes[0] -= 2.0 * np.sum(gamma * complexes[i][0].real)
        if problem.family.known:
            slopes[0] = 0.0  # sigma stays where it is
        if len(self.across):
            slopes[self.terms.stop :] = point.gradient_at(sigma2)[self.across]
        return point.deviance_at(sigma2) + self.standard.deviance_shift(), slopes

    def spread(self, theta: Array, sigma: float) -> float:
        """Standard error of the fixed effect that is the target, at (theta, sigma)."""
        assert self.target is not None
        row = self.standard.coefficients[self.target.term]
        vcov = self.model(self.standard.theta_in(theta)).unscaled_vcov
        return float(np.sqrt(row @ vcov @ row)) * sigma / self.standard.sigma_out(1.0)

    def _hold(self, point: ProfiledPoint, held: float) -> ProfiledPoint:
        assert self.target is not None
        ols, row = self.model.ols, self.standard.coefficients[self.target.term]
        direction = np.linalg.solve(ols.r.T, row)
        known = {f.name: getattr(point, f.name) for f in fields(point)}
        return Held(**known, direction=direction, held=held - row @ ols.coefficients)
