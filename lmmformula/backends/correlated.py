"""ML and REML of Gaussian models with structured residuals: the criterion by clusters, Newton steps in a trust region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from lmmformula.backends.base import Likelihood, Optimum
from lmmformula.backends.optimum import convergence, off_boundary, settle, singular_terms
from lmmformula.criteria.clusters import ByCluster, ClusterPoint
from lmmformula.engines.base import Prepared
from lmmformula.errors import FitError
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.numerics.trust_region import Minimum, Nowhere, minimise
from lmmformula.progress import Report
from lmmformula.typing import Array

__all__ = ["Correlated", "cluster_modes"]

SLACK = 1e-12
"""Share of a deviance that is rounding."""
RADIUS = 1.0
"""First step in psi, which has no unit."""


@dataclass(frozen=True, slots=True)
class Correlated(Likelihood):
    """ML or REML with a structure of residuals.

    Parameters
    ----------
    reml : bool
    tolerance : float
        Newton decrement of the deviance at which the search ends.
    max_evaluations : int
    start : array, optional
        theta to start from.
    """

    reml: bool = True
    tolerance: float = 1e-9
    max_evaluations: int = 200
    start: Array | None = None

    @property
    def restricted(self) -> bool:
        """That of REML."""
        return self.reml

    def afresh(self) -> Self:
        """Without where a search was told to begin."""
        return replace(self, start=None)

    def fit(
        self, problem: Problem, prepared: Prepared | None = None, progress: Report | None = None
    ) -> Optimum[ClusterPoint]:
        """Estimate `problem`."""
        model = ByCluster.of(problem, reml=self.reml)
        first = model.start()
        if self.start is not None:
            first[: problem.n_theta] = self.start
        return self.optimise(model, first, progress)

    def evaluate(self, problem: Problem, estimate: Estimate) -> ClusterPoint:
        """The criterion at an estimate, for a fit that was loaded."""
        return ByCluster.of(problem, reml=self.reml)(np.concatenate([estimate.theta, estimate.residual]))

    def refit(self, problem: Problem, estimate: Estimate, point: ClusterPoint) -> Optimum[ClusterPoint]:
        """The same model on another response of the same rows, whose patterns are known."""
        model = ByCluster.of(problem, reml=self.reml, layout=point.model.layout)
        return self.optimise(model, np.concatenate([off_boundary(estimate.theta), estimate.residual]))

    def without(self, point: ClusterPoint, stays: Array) -> Optimum[ClusterPoint]:
        """The same model on the rows where `stays` is one, and not where it is zero; starts from the fit of all of them."""
        model = ByCluster.of(point.model.problem.at(np.flatnonzero(stays)), reml=self.reml)
        theta, psi = point.model.split(point.omega)
        return self.optimise(model, np.concatenate([off_boundary(theta), psi]))

    def unrestricted(self, point: ClusterPoint) -> Optimum[ClusterPoint]:
        """The ML fit of the same model, starting from a REML fit's `point`."""
        theta, psi = point.model.split(point.omega)
        first = np.concatenate([off_boundary(theta), psi])
        return replace(self, reml=False, start=None).optimise(point.model.by_ml(), first)

    def optimise(
        self, model: ByCluster, first: Array, progress: Report | None = None
    ) -> Optimum[ClusterPoint]:
        """Minimise the criterion over (theta, psi)."""
        if not len(first):
            none = Convergence(Status.NOTHING_TO_OPTIMISE, 1, 0, 0.0, 0.0, self.tolerance)
            return self._solution(model(first), none)
        found = self._search(model, first, progress)
        ended = convergence(found, found.evaluations, self.max_evaluations, self.tolerance)
        theta, psi = model.split(found.x)
        settled = settle(
            model.problem,
            theta,
            found.point.value,
            lambda t: model(np.concatenate([t, psi])).value,
            SLACK * abs(found.point.value),
        )
        return self._solution(model(np.concatenate([settled, psi])), ended)

    def _search(self, model: ByCluster, first: Array, progress: Report | None) -> Minimum:
        """Steps to where nothing can be evaluated count as steps that lead upwards."""
        return minimise(
            lambda omega: _guarded(model, omega),
            first,
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
            radius=max(float(np.linalg.norm(first)), RADIUS),
            secants=3,
            callback=progress,
        )

    def _solution(self, point: ClusterPoint, ended: Convergence) -> Optimum[ClusterPoint]:
        model = point.model
        theta, psi = model.split(point.omega)
        estimate = Estimate(
            method="REML" if self.reml else "ML",
            engine="clusters",
            beta=point.beta,
            vcov=point.sigma2 * point.unscaled_vcov,
            theta=theta,
            sigma=float(np.sqrt(point.sigma2)),
            deviance=point.deviance,
            modes=cluster_modes(point),
            convergence=ended,
            singular=singular_terms(model.problem, theta),
            restricted=self.reml,
            residual=psi,
        )
        return Optimum(estimate, point)


def _guarded(model: ByCluster, omega: Array) -> ClusterPoint | Nowhere:
    """The criterion, infinite where V is singular in floating point."""
    try:
        point = model(omega)
        return point if np.isfinite(point.value) else Nowhere()
    except FitError:
        return Nowhere()


def cluster_modes(point: ClusterPoint) -> tuple[Array, ...]:
    """``Sigma Z'V^-1(y - X beta)`` of each term, (m, k)."""
    out = []
    for term, lower in zip(point.model.problem.terms, point.factors, strict=True):
        basis = np.ones((len(term.codes), 1)) if term.basis is None else term.basis
        rows = basis * point.scored[:, None]
        sums = np.column_stack([np.bincount(term.codes, r, minlength=term.m) for r in rows.T])
        out.append(sums @ (lower @ lower.T))
    return tuple(out)
