"""Exact maximum likelihood and REML: the profiled criterion, an exact engine, Newton steps in a trust region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from lmmformula.backends.base import Likelihood, Optimum
from lmmformula.backends.moments import moment_start
from lmmformula.backends.optimum import convergence, modes, off_boundary, settle, singular_terms
from lmmformula.backends.schall import schall_covariance, schall_step, with_covariance
from lmmformula.backends.stretched import Stretch
from lmmformula.checkpoints import Ongoing, left_of, ongoing
from lmmformula.criteria.one_factor import OneFactor
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.criteria.remaining import Remaining
from lmmformula.engines.base import Engine, Guided, Prepared
from lmmformula.engines.constrained import prepare
from lmmformula.engines.registry import exact_engine
from lmmformula.interrupts import keeps
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import RowVector
from lmmformula.numerics.threads import blas_held
from lmmformula.numerics.trust_region import Minimum, Point, corrected, minimise, newton_step
from lmmformula.progress import Report
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.batched import Batch

__all__ = ["Exact"]

ROUNDING = 1e-9
"""Share of theta's length up to which a last step is not worth an evaluation."""
SHORT = 3e-7
"""The same of one after which no other is needed: a step leaves about a hundredth of the error."""
MOST_LAST = 3
"""Last steps of a search."""
CHEAP = 1_000
"""Random effects up to which they are taken: responses of such designs may be fitted together, by a search that ends there."""
NEAR = 0.3
"""Share of theta's length up to which a step from moments is taken without looking at the criterion there."""
LED = 1e-2
"""Decrement at which a guide leaves a search: a tenth of a standard error, of which a step leaves less than a guide errs by."""
SLACK = 1e-12
"""Share of a deviance that is rounding."""


@dataclass(frozen=True, slots=True)
class Exact(Likelihood):
    """ML or REML by exact factorisation.

    Parameters
    ----------
    reml : bool
    engine : Engine
    tolerance : float
        Newton decrement of the deviance at which the search ends.
    max_evaluations : int
    start : array, optional
        theta to start from; by default what one of Schall's steps gives from L = I, or second moments of the residual.
    """

    reml: bool = True
    engine: Engine = field(default_factory=exact_engine)
    tolerance: float = 1e-9
    max_evaluations: int = 200
    start: Array | None = None

    @property
    def restricted(self) -> bool:
        """That of REML."""
        return self.reml

    @property
    def resumes(self) -> bool:
        """True."""
        return True

    @property
    def probed(self) -> int | None:
        """That of an engine that draws."""
        return None if self.engine.is_exact else getattr(self.engine, "seed", None)

    def afresh(self) -> Self:
        """Without where a search was told to begin."""
        return replace(self, start=None)

    @property
    def trust(self) -> str:
        """As exact as its engine."""
        return "exact" if self.engine.is_exact else "krylov"

    def fit(
        self,
        problem: Problem,
        prepared: Prepared | None = None,
        progress: Report | None = None,
    ) -> Optimum[ProfiledPoint]:
        """Estimate `problem`; `prepared` hands in the engine's work of an earlier fit on the same rows."""
        if prepared is None:
            prepared = prepare(self.engine, problem.data.levels)
        with blas_held(prepared.dense_side):
            return self.optimise(
                Profiled.of(problem, self.engine, reml=self.reml, prepared=prepared), progress
            )

    def evaluate(self, problem: Problem, estimate: Estimate) -> ProfiledPoint:
        """The criterion at an estimate, for a fit that was loaded."""
        return Profiled.of(problem, self.engine, reml=self.reml)(estimate.theta, exact=True)

    def refit(self, problem: Problem, estimate: Estimate, point: ProfiledPoint) -> Optimum[ProfiledPoint]:
        """The same model on another response of the same rows; starts off the boundary, which is stationary."""
        with blas_held(point.model.prepared.dense_side):
            started = replace(self, start=off_boundary(estimate.theta))
            return started.optimise(point.model.with_response(problem.data.y))

    def batch(self, point: ProfiledPoint) -> Batch | None:
        """By :mod:`lmmformula.backends.batched`, where the engine is exact and the design suits."""
        from lmmformula.backends.batched import Batch, unbatched

        return None if not self.engine.is_exact or unbatched(point.model) else Batch.of(point.model)

    def without(self, point: ProfiledPoint, stays: RowVector) -> Optimum[ProfiledPoint]:
        """The same model on the rows where `stays` is one, and not where it is zero; starts from the fit of all of them."""
        with blas_held(point.model.prepared.dense_side):
            started = replace(self, start=off_boundary(point.theta))
            return started.optimise(Remaining.of_rows(point.model, stays))

    def unrestricted(self, point: ProfiledPoint) -> Optimum[ProfiledPoint]:
        """The ML fit of the same model, starting from a REML fit's `point`."""
        by_ml = replace(self, reml=False, start=off_boundary(point.theta))
        return by_ml.optimise(replace(point.model, reml=False))

    def optimise(self, model: Profiled, progress: Report | None = None) -> Optimum[ProfiledPoint]:
        """Minimise the criterion `model` over theta."""
        if not model.problem.n_theta:
            none = Convergence(Status.NOTHING_TO_OPTIMISE, 1, 0, 0.0, 0.0, self.tolerance)
            return self._solution(model, model(np.zeros(0), exact=True), none)
        here = ongoing("search")
        left = left_of(here)
        if self.engine.by_level and OneFactor.suits(model):
            return self._by_level(model, OneFactor.of(model), progress, here)
        led = model
        if left is None:
            led, first, spent = self._led(model, *self._first(model))
        else:
            first, spent = left["standing"].x, left["spent"]
        found = self._search(led, model, first, progress, spent, here)
        last = cast("ProfiledPoint", found.point).sharpened()
        if led is not model:
            last = replace(last, model=model)
        elif last.model is not model:
            spent, model = spent + found.evaluations, last.model
            found = self._search(model, model, found.x, progress, spent, ongoing("sharper search"))
            last = cast("ProfiledPoint", found.point)
        if found.converged and not last.error and model.problem.q <= CHEAP:
            found, last = _onwards(model, found, last)
        return self._settled(model, found, last, spent)

    def _by_level(
        self, model: Profiled, criterion: OneFactor, progress: Report | None, here: Ongoing | None
    ) -> Optimum[ProfiledPoint]:
        """The search with a criterion that gives everything in one pass, and Newton's last step, which its Hessian allows."""
        first, spent = self.start, 0
        if (left := left_of(here)) is not None:
            first, spent = left["standing"].x, left["spent"]
        if first is None:
            (group,), begin = model.prepared.blocks.groups, criterion(model.start())
            sigma, spent = schall_covariance(begin.lower, *begin.schall), 1
            first = with_covariance(model.problem, begin.theta, group, sigma)
        found = self._search(criterion, model, np.asarray(first, dtype=float), progress, spent, here)
        x = found.x
        if found.converged:
            x = x + newton_step(found.point.hessian, found.point.gradient)
        return self._settled(model, replace(found, x=x), _found(model, x), spent)

    def _settled(
        self, model: Profiled, found: Minimum, last: ProfiledPoint, spent: int
    ) -> Optimum[ProfiledPoint]:
        """The solution, of the point `last` where a search ended, with zeros that are exactly zero."""
        ended = convergence(found, found.evaluations + spent, self.max_evaluations, self.tolerance)
        deviance = last.deviance
        theta = settle(
            model.problem, found.x, deviance, lambda t: model(t, exact=True).deviance, SLACK * abs(deviance)
        )
        if not last.is_exact or (theta != found.x).any():
            last = model(theta, exact=True).sharpened()
        return self._solution(model, last, ended)

    def _first(self, model: Profiled) -> tuple[Array, int]:
        """theta to start from, and the evaluations it took.

        Where evaluations are dear enough for an engine to have a rough one beside it, by moments where they give it, and a
        Newton step of the rough one if it guides no search; else by one of Schall's steps from L = I, for which a rough engine
        does, too.
        """
        if self.start is not None:
            return np.asarray(self.start, dtype=float), 0
        rough = model.prepared.rough
        roughly = replace(model, prepared=rough)
        first = moment_start(model) if rough is not model.prepared else None
        if first is None:
            begin = roughly(model.start())
            return schall_step(begin, begin.kappa), 1
        if _guide(model) is not None:
            return first, 0
        point = roughly(first)
        step = newton_step(point.hessian, point.gradient)
        near = float(np.linalg.norm(step)) <= NEAR * float(np.linalg.norm(first))
        return first + step if near else first, 1

    def _led(self, model: Profiled, first: Array, spent: int) -> tuple[Profiled, Array, int]:
        """The criterion to search with, and where to begin: a Newton step, with exact traces, from where guides have led."""
        led = model
        while (guide := _guide(led)) is not None:
            found = minimise(
                replace(led, prepared=guide),
                first,
                tolerance=LED,
                max_evaluations=self.max_evaluations,
                radius=max(float(np.linalg.norm(first)), 0.1),
            )
            spent += found.evaluations
            last = cast("ProfiledPoint", found.point).sharpened()
            first = found.x + newton_step(found.curvature, last.gradient)
            if last.model.prepared is guide:
                break
            led = last.model
        return led, first, spent

    def _search(
        self,
        evaluate: Callable[[Array], Point],
        model: Profiled,
        first: Array,
        progress: Report | None,
        spent: int,
        here: Ongoing | None,
    ) -> Minimum:
        """The minimum from `first`, after `spent` evaluations, or from where an earlier run stood."""
        left, stretch = left_of(here), Stretch.of(model.problem)
        radius = max(float(np.linalg.norm(first)), 0.1)
        if stretch is not None:
            evaluate = stretch.over(evaluate, _rounding)
            first, radius = stretch.inward(first), 1.0
        found = minimise(
            evaluate,
            first,
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
            radius=radius,
            secants=0
            if all(t.is_blockwise for t in model.problem.terms)
            else 3,  # of phi the curvature is rougher
            callback=progress,
            standing=None if left is None else left["standing"],
            keep=None
            if here is None
            else lambda standing, ended: here.offer(
                lambda: {"standing": standing, "spent": spent}, at_once=ended
            ),
        )
        return found if stretch is None else stretch.restored(found)

    def _solution(self, model: Profiled, point: ProfiledPoint, ended: Convergence) -> Optimum[ProfiledPoint]:
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
            convergence=ended,
            singular=singular_terms(problem, point.theta),
            deviance_stderr=point.error,
            restricted=model.reml,
        )
        return Optimum(estimate, point)


def _guide(model: Profiled) -> Prepared | None:
    """The engine that leads a search, if any does."""
    return model.prepared.guide if isinstance(model.prepared, Guided) else None


def _rounding(point: Point) -> float:
    """Of a point's deviance, where levels depend on each other."""
    return point.variances.rounding if isinstance(point, ProfiledPoint) else 0.0


def _found(model: Profiled, x: Array) -> ProfiledPoint:
    """The criterion where a search ended; an interrupt that comes now is too late to lose it."""
    try:
        return model(x)
    except KeyboardInterrupt:
        if not keeps():
            raise
        return model(x)


def _onwards(model: Profiled, found: Minimum, last: ProfiledPoint) -> tuple[Minimum, ProfiledPoint]:
    """Last steps with the curvature that the search has seen, until they are rounding or lead upwards by more."""
    curvature, used = found.curvature, found.evaluations
    x, gradient = found.x, last.gradient
    for _ in range(MOST_LAST):
        step = newton_step(curvature, gradient)
        size = float(np.linalg.norm(x))
        length = float(np.linalg.norm(step)) / size if size else 0.0
        if not length > ROUNDING:
            break
        point, used = model(x + step), used + 1
        if point.deviance > last.deviance + SLACK * abs(last.deviance):
            break
        x, last = x + step, point
        if length <= SHORT:
            break
        curvature = corrected(curvature, [(step, point.gradient - gradient)])
        gradient = point.gradient
    return replace(found, x=x, evaluations=used), last
