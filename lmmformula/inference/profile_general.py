r"""The deviance of a generalised model over unconstrained coordinates, with one parameter held.

The coordinates are those of :mod:`lmmformula.inference.profile_coordinates` for each term, then steps from the estimated
gamma = (beta, alpha), fixed effects and coefficients of auxiliary predictors, in which their average information H is 2 I::

    gamma = gamma_hat + B c,     B = H^-1/2 sqrt(2) Q,     Q orthogonal with first column along (H^-1/2)' r

For a target r'gamma only the first of them moves it, by one standard error a unit: it is the one that is held, and the search
over the others does not care for units and origins. The deviance is the one that was minimised, Laplace's approximation or
adaptive quadrature, evaluated in the fit's standard units: :func:`GeneralSurface.inside` is where coordinates become the
criterion's psi. With J its derivative, exact for gamma and by central differences of the map, which cost no likelihood, for the
terms::

    dd/dc = J' dd/dpsi,        Hessian ~ J' H J
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.criteria.quadrature import step_scale
from lmmformula.errors import PlanError
from lmmformula.inference.parameters import Parameter, structure_of
from lmmformula.inference.profile_best import Best
from lmmformula.inference.profile_coordinates import Terms
from lmmformula.ir.structured import across_elements
from lmmformula.typing import AnyFunction, Array

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmmformula.inference.fitted import Fitted

__all__ = ["GeneralBest", "GeneralSurface"]

_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class GeneralBest(Best):
    """The optimum of a generalised model.

    Attributes
    ----------
    criterion : callable
        psi in standard units -> point: Laplace's approximation or quadrature.
    point : LaplacePoint
        At the optimum.
    """

    criterion: AnyFunction
    point: LaplacePoint

    @classmethod
    def of(cls, fit: Fitted, values: dict[str, float]) -> GeneralBest:
        """The optimum of a fit.

        Raises
        ------
        PlanError
            If beta was found together with the modes, or the likelihood is an estimate.
        """
        criterion = fit.backend.profiled(fit.optimum)
        if fit.estimate.deviance_stderr:
            raise PlanError(
                f"a profile needs differences of the log-likelihood that are exact, and here it is an estimate with a standard "
                f"error of {fit.llf_stderr:.2g}: use conf_int() for Wald intervals, or fit with engine='blocked'."
            )
        return cls(fit.standard, fit.estimate, values, criterion, fit.optimum)

    @property
    def dense_side(self) -> int:
        """Of the engine's dense part."""
        return self.point.model.prepared.dense_side

    def surface(self, target: Parameter | None) -> GeneralSurface:
        """The deviance with `target` held."""
        return GeneralSurface(self, target)

    def shown(self, target: Parameter) -> Callable[[float], float] | None:
        """From an auxiliary coefficient to the user's value, where it is the only one of its predictor."""
        if target.kind != "aux":
            return super().shown(target)
        if len(self.estimate.aux[target.term]) > 1:
            return None
        value = self.standard.problem.family.auxiliaries[target.term].value
        return lambda v: float(value(v))


class GeneralSurface:
    """The deviance over the coordinates of the terms and of (beta, alpha, phi), for one target."""

    def __init__(self, best: GeneralBest, target: Parameter | None) -> None:
        self.best, self.target = best, target
        self.terms = Terms(best.standard, target, first=0)
        inner, layout = best.standard.inward(best.estimate), best.point.model.layout
        across = across_elements(best.standard.problem)
        self.centre = np.concatenate([inner.beta, *inner.aux, inner.theta[across]])
        self.size = self.terms.stop + len(self.centre)
        self.u = best.point.u
        self._information = best.criterion(best.point.psi, u=best.point.u).hessian
        beside = [np.arange(layout.beta.stop), np.arange(layout.theta.stop, layout.size)]
        self.loose = np.concatenate([*beside, layout.theta.start + across])
        self.row = self._row()
        self.basis = _basis(self._information[np.ix_(self.loose, self.loose)], self.row)
        self.error = 1.0 if self.row is None else float(self.row @ self.basis[:, 0])

    def _row(self) -> Array | None:
        """Derivative of the target in (beta~, alpha~, phi); None for a parameter of a term."""
        if self.target is None or self.target.kind not in ("beta", "aux", "phi"):
            return None
        standard, estimate = self.best.standard, self.best.estimate
        out, p = np.zeros(len(self.centre)), len(estimate.beta)
        if self.target.kind == "phi":
            across = across_elements(standard.problem)
            at = structure_of(standard.problem, self.target).at
            out[len(out) - len(across) + int(np.flatnonzero(across == at)[0])] = 1.0
            return out
        if self.target.kind == "beta":
            out[:p] = standard.coefficients[self.target.term]
            return out
        j, own = self.target.term, len(estimate.aux[self.target.term])
        zero = standard.aux_out(j, np.zeros(own))
        columns = np.column_stack([standard.aux_out(j, e) - zero for e in np.eye(own)])
        at = p + sum(map(len, estimate.aux[:j]))
        out[at : at + own] = columns[self.target.columns[0]]
        return out

    # -- one parameter ---------------------------------------------------------------------------------------------

    @property
    def pinned(self) -> int | None:
        """Coordinate held by the target."""
        if self.target is None:
            return None
        return self.terms.pinned if self.row is None else self.terms.stop

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the target."""
        if self.target is not None and self.target.kind == "phi":
            return structure_of(self.best.standard.problem, self.target).limits
        return self.terms.limits if self.row is None else (-np.inf, np.inf)

    @property
    def reach(self) -> Array:
        """Which coordinates have an end at infinity, where the deviance is level: 1; others inf."""
        return np.where(np.arange(self.size) < self.terms.stop, 1.0, np.inf)

    def coordinate(self, value: float, sigma: float) -> float:
        """The coordinate of the target's value."""
        if self.row is None or self.target is None:
            return self.terms.coordinate(value, sigma)
        return float((value - self.best.values[self.target.name]) / self.error)

    def step(self, estimate: float, theta: Array, sigma: float) -> float:
        """A first guess of the change of the target for one unit of zeta."""
        if self.row is not None:
            return self.error
        correlation = self.target is not None and self.target.kind == "cor"
        return 0.2 if correlation else 0.25 * max(estimate, 0.1 * self.terms.unit(sigma))

    # -- all of them -----------------------------------------------------------------------------------------------

    def psi_of(self, theta: Array, sigma: float, floor: float = 1e-2) -> Array:
        """The coordinates of the estimate, its variances kept off the boundary by `floor` units."""
        return np.concatenate([*self.terms.of(theta, sigma, floor), np.zeros(len(self.centre))])

    def inside(self, coordinates: Array) -> Array:
        """The criterion's psi."""
        layout = self.best.point.model.layout
        out = np.empty(layout.size)
        out[layout.theta] = self.terms.theta(coordinates)
        out[self.loose] = self.centre + self.basis @ coordinates[self.terms.stop :]
        return out

    def _jacobian(self, coordinates: Array) -> Array:
        """J."""
        layout, stop = self.best.point.model.layout, self.terms.stop
        out = np.zeros((layout.size, self.size))
        out[self.loose, stop:] = self.basis
        for j in range(stop):
            move = np.zeros(self.size)
            move[j] = _STEP
            rise = self.terms.theta(coordinates + move) - self.terms.theta(coordinates - move)
            out[layout.theta, j] = rise / (2.0 * _STEP)
        return out

    def hessian(self, psi: Array, held: float | None = None) -> Array:
        """Hessian of the deviance at the estimate, by the average information; `held` does not matter."""
        jacobian = self._jacobian(psi)
        return jacobian.T @ self._information @ jacobian

    def evaluate(self, psi: Array, held: float | None = None) -> tuple[float, Array]:
        """Deviance and its gradient; what is held is in psi."""
        point = self.best.criterion(self.inside(psi), u=self.u)
        value = float(point.deviance)
        if np.isfinite(value):
            self.u = getattr(point, "laplace", point).u
        return value + self.best.standard.deviance_shift(), self._jacobian(psi).T @ point.gradient


def _basis(information: Array, row: Array | None) -> Array:
    """B with B'HB = 2 I, of which only the first column moves row'gamma."""
    if not len(information):
        return information
    unit = step_scale(information)
    values, vectors = np.linalg.eigh(information * np.outer(unit, unit))
    root = unit[:, None] * vectors * np.sqrt(2.0 / np.maximum(values, 1e-10 * values[-1]))
    if row is None:
        return root
    along = root.T @ row
    turned = np.linalg.qr(np.column_stack([along, np.eye(len(along))]))[0]
    return root @ turned * np.append(np.sign(turned[:, 0] @ along), np.ones(len(along) - 1))
