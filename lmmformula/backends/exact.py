"""Exact maximum likelihood and REML: the profiled criterion, an exact engine, Newton steps in a trust region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.schall import schall_step
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_threads
from lmmformula.numerics.trust_region import minimise
from lmmformula.typing import Array

__all__ = ["Exact", "ExactSolution"]


SINGULAR_BELOW = 1e-4
"""A diagonal element of L below this counts as zero (lme4's ``isSingular`` tolerance)."""


@dataclass(frozen=True, eq=False)
class ExactSolution:
    """An estimate together with the criterion at the optimum, for inference that needs more of it."""

    estimate: Estimate
    point: ProfiledPoint


@dataclass(frozen=True, slots=True)
class _Objective:
    """A criterion's point in the optimiser's terms."""

    point: ProfiledPoint

    @property
    def value(self) -> float:
        return self.point.deviance

    @property
    def gradient(self) -> Array:
        return self.point.gradient

    @property
    def hessian(self) -> Array:
        return self.point.hessian


@dataclass(frozen=True, slots=True)
class Exact:
    """ML or REML by exact factorisation.

    Parameters
    ----------
    reml : bool
    engine : Engine
    tolerance : float
        Newton decrement of the deviance at which the search ends.
    max_evaluations : int
    start : array, optional
        theta to start from; by default L = I and one step of Schall's iteration.
    """

    reml: bool = True
    engine: Engine = field(default_factory=BlockedEngine)
    tolerance: float = 1e-9
    max_evaluations: int = 200
    start: Array | None = None

    def fit(
        self,
        problem: Problem,
        prepared: Prepared | None = None,
        progress: Callable[[int, float, float], None] | None = None,
    ) -> ExactSolution:
        """Estimate `problem`; `prepared` hands in the engine's work of an earlier fit on the same rows."""
        if prepared is None:
            prepared = self.engine.prepare(Blocks(problem.terms, problem.n))
        with blas_threads(prepared.dense_side):
            return self.optimise(
                Profiled.of(problem, self.engine, reml=self.reml, prepared=prepared), progress
            )

    def evaluate(self, problem: Problem, estimate: Estimate) -> ProfiledPoint:
        """The criterion at an estimate, for a fit that was loaded."""
        return Profiled.of(problem, self.engine, reml=self.reml)(estimate.theta, exact=True)

    def joint_vcov(self, estimate: Estimate, point: ProfiledPoint) -> None:
        """None: the covariance matrix of beta is the estimate's own, given the variances."""

    def refit(self, point: ProfiledPoint, estimate: Estimate, y: Array) -> ExactSolution:
        """The same model on another response of the same rows; starts off the boundary, which is stationary."""
        theta = np.where(np.abs(estimate.theta) < 1e-2, 1e-2, estimate.theta)
        with blas_threads(point.model.prepared.dense_side):
            return replace(self, start=theta).optimise(point.model.with_response(y))

    def optimise(
        self, model: Profiled, progress: Callable[[int, float, float], None] | None = None
    ) -> ExactSolution:
        """Minimise the criterion `model` over theta."""
        if not model.problem.n_theta:
            none = Convergence(Status.NOTHING_TO_OPTIMISE, 1, 0, 0.0, 0.0, self.tolerance)
            return self._solution(model, model(np.zeros(0), exact=True), none)
        spent = 0
        if self.start is None:
            begin = model(model.start())
            first, spent = schall_step(begin, model.n_eff / begin.r2), 1
        else:
            first = np.asarray(self.start, dtype=float)
        found = minimise(
            lambda theta: _Objective(model(theta)),
            first,
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
            radius=max(float(np.linalg.norm(first)), 0.1),
            callback=progress,
        )
        evaluations = found.evaluations + spent
        if found.converged:
            status = Status.CONVERGED
        else:
            limit = found.evaluations >= self.max_evaluations
            status = Status.EVALUATION_LIMIT if limit else Status.STALLED
        slope = float(np.abs(found.point.gradient).max())
        convergence = Convergence(
            status, evaluations, found.iterations, found.decrement, slope, self.tolerance
        )
        point = settle(model, found.x, found.point.value)
        return self._solution(model, point, convergence)

    def _solution(self, model: Profiled, point: ProfiledPoint, convergence: Convergence) -> ExactSolution:
        problem, sigma2 = model.problem, point.sigma2
        estimate = Estimate(
            method="REML" if model.reml else "ML",
            engine=self.engine.name,
            beta=point.beta,
            vcov=sigma2 * point.unscaled_vcov,
            theta=point.theta,
            sigma=float(np.sqrt(sigma2)),
            deviance=point.deviance,
            modes=modes(point),
            convergence=convergence,
            singular=singular_terms(problem, point.theta),
        )
        return ExactSolution(estimate, point)


def settle(model: Profiled, theta: Array, deviance: float) -> ProfiledPoint:
    """The optimum on the boundary exactly where it lies there.

    Elements of theta that are zero up to the optimiser's tolerance are set to zero and stay so if the deviance
    does not rise.
    """
    theta = model.canonical(theta)
    small = boundary_elements(model.problem, theta) & (np.abs(theta) < 1e-2)
    for j in np.flatnonzero(small):
        trial = theta.copy()
        trial[j] = 0.0
        point = model(trial, exact=True)
        if point.deviance <= deviance + 1e-12 * abs(deviance):
            theta, deviance = trial, min(deviance, point.deviance)
    return model(model.canonical(theta), exact=True)


def boundary_elements(problem: Problem, theta: Array) -> NDArray[np.bool_]:
    """Which elements of theta are bounded below by zero: those that scale a diagonal element of L."""
    out = np.zeros(len(theta), dtype=bool)
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        jacobian = term.covariance.jacobian(np.ones(term.n_theta))
        names = term.covariance.names(term.columns)
        diagonal = np.einsum("jii->ji", jacobian).any(axis=1)
        out[s] = [bool(d) and name != "rho" for d, name in zip(diagonal, names, strict=True)]
    return out


def singular_terms(problem: Problem, theta: Array) -> tuple[str, ...]:
    """Labels of the terms with a diagonal element of L below `SINGULAR_BELOW`."""
    out = []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        diagonal = np.abs(np.diagonal(term.covariance.cholesky(theta[s])))
        if diagonal.min(initial=1.0) < SINGULAR_BELOW:
            out.append(term.label or f"{', '.join(term.columns)} | {term.group}")
    return tuple(out)


def modes(point: Any) -> tuple[Array, ...]:
    """B = L u for each term, (m, k)."""
    out: list[Array] = [np.empty(0)] * len(point.model.problem.terms)
    for group, factor, u in zip(point.model.prepared.blocks.groups, point.factors, point.u, strict=True):
        b = u @ factor.T
        for i, columns in group.members:
            out[i] = b[:, columns]
    return tuple(out)
