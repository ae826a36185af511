"""Penalised quasi-likelihood by clubbed backfitting: outer iterations with Schall's variance updates.

One outer iteration forms the working response and its Gram at eta, sweeps until the error is small against the
step, and updates the variances a few times on that Gram, without touching the rows (:mod:`lmmformula.criteria.pql`).
Schall's update alone converges linearly, slowly where levels have few rows, so the logarithms of the variances are mixed over
the last updates (:class:`lmmformula.engines.backfitting.Anderson`): the same fixed point in fewer steps.

Scale. `theta` is relative to the dispersion: ``Var(b) = sigma^2 L L'`` with ``sigma^2 = phi``, as in a Gaussian model, for
every family. With ``dispersion="fixed"`` sigma is 1 and the variances are absolute.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lmmformula.backends.optimum import boundary_elements, modes, off_boundary, singular_terms
from lmmformula.criteria.pql import PQLPoint
from lmmformula.criteria.working import State, WorkingModel, has_free_scale
from lmmformula.engines.backfitting import Anderson, BackfittingPrepared
from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import LmmformulaWarning, PlanError
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

__all__ = ["PQL", "PQLSolution"]

FLOOR = 1e-5
"""Standard deviation, relative, below which a variance counts as zero at the end."""
LONGEST = 2.0
"""Longest step in a log standard deviation that mixing may add."""
INEXACT = 0.03
"""Error of the sweeps as a share of the step."""
NESTED_DENSE = 4000
"""Largest dense part of the exact engine that nested factors may ask for."""
SHARE = 0.05
"""The variances of a working model are moved until a move is this share of the first."""


@dataclass(frozen=True, eq=False)
class PQLSolution:
    """An estimate together with the working model there."""

    estimate: Estimate
    point: PQLPoint


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Where a search ended: its state, outer iterations and sweeps, the last change, and whether it met its goal."""

    state: State
    outer: int
    sweeps: int
    change: float
    met: bool
    stopped: bool


@dataclass(frozen=True, slots=True)
class PQL:
    """PQL by backfitting.

    Parameters
    ----------
    traces : {"diagonal", "exact"}
        Effective degrees of freedom of each factor: from its own operator alone, O(N), or from the exact inverse.
    dispersion : {"free", "fixed"}
        Whether phi is estimated. Always for families whose own parameter it is (gaussian, gamma, ...), never for
        those with other parameters (nbinom2, beta, ...), which are estimated by maximum likelihood at the modes.
    tolerance : float
        Relative change of the fitted linear predictors at which the search ends.
    max_outer, max_inner : int
        Outer iterations, and variance updates in each.
    start : array or Estimate, optional
        theta to start from, or an estimate of the same problem to go on from.
    """

    traces: Literal["diagonal", "exact"] = "diagonal"
    dispersion: Literal["free", "fixed"] = "free"
    tolerance: float = 1e-8
    max_outer: int = 100
    max_inner: int = 8
    start: Array | Estimate | None = None

    def __post_init__(self) -> None:
        if self.traces not in ("diagonal", "exact"):
            raise PlanError(f"traces={self.traces!r}: give 'diagonal' (O(N)) or 'exact'.")
        if self.dispersion not in ("free", "fixed"):
            raise PlanError(f"dispersion={self.dispersion!r}: give 'free' (estimated) or 'fixed' (1).")
        if not self.tolerance > 0.0 or self.max_outer < 1:
            raise PlanError(
                f"tolerance={self.tolerance!r}, max_outer={self.max_outer!r}: both must be above zero."
            )

    def model(self, problem: Problem, prepared: Prepared | None = None) -> WorkingModel:
        """The working model of `problem`; `prepared` hands in an engine that has seen its blocks."""
        blocks = Blocks(problem.terms, problem.n) if prepared is None else prepared.blocks
        exact = None
        if self.traces == "exact":
            known = prepared is not None and not isinstance(prepared, BackfittingPrepared)
            exact = prepared if known else BlockedEngine().prepare(blocks)
        elif pair := _nested(blocks):
            exact = _for_nested(blocks, *pair)
        scale = has_free_scale(problem)
        if scale and self.dispersion == "fixed":
            raise PlanError(
                f'dispersion="fixed" does not suit family {problem.family.name!r}, whose dispersion is a parameter; '
                "leave it out."
            )
        free = scale or (self.dispersion == "free" and not problem.family.auxiliaries)
        if free and not scale and (own := [g.name for g in blocks.groups if g.m == problem.n]):
            free = False
            warnings.warn(
                f"`{own[0]}` has one row for each of its {problem.n:,} levels, so its variance and the dispersion are one "
                'and the same: the dispersion is held at 1, as by dispersion="fixed".',
                LmmformulaWarning,
                stacklevel=3,
            )
        return WorkingModel(problem, BackfittingPrepared(blocks), exact, free, scale)

    def fit(
        self,
        problem: Problem,
        prepared: Prepared | None = None,
        progress: Callable[[int, float, float], None] | None = None,
    ) -> PQLSolution:
        """Estimate `problem`; `progress` is called with (outer iteration, dispersion, change of the fits).

        A keyboard interrupt ends the search; the solution is where it stood, its status says so, and
        ``PQL(start=solution.estimate)`` goes on from there.
        """
        model = self.model(problem, prepared)
        with blas_threads(0 if model.exact is None else model.exact.dense_side):
            return self._fit(model, progress)

    def _fit(self, model: WorkingModel, progress: Callable[[int, float, float], None] | None) -> PQLSolution:
        state = self._first(model)
        if model.exact is None:
            found = self._search(model, state, progress)
            return self._solution(model, found, None)
        if isinstance(self.start, Estimate) or _nested(model.prepared.blocks) is not None:
            return self._solution(model, self._search(model, state, progress), None)
        rough = self._search(replace(model, exact=None), state, progress)
        begin = rough.state if rough.met else state
        if (np.abs(begin.theta) < 1e-2)[boundary_elements(model.problem, begin.theta)].any():
            begin = state  # the approximation lost a variance that exact traces may keep
        found = rough if rough.stopped else self._search(model, begin, progress)
        found = replace(found, outer=found.outer + rough.outer, sweeps=found.sweeps + rough.sweeps)
        return self._solution(model, found, rough.state)

    def evaluate(self, problem: Problem, estimate: Estimate) -> PQLPoint:
        """The working model at an estimate, for a fit that was loaded."""
        model = self.model(problem)
        return PQLPoint(model, resumed(model, estimate))

    def joint_vcov(self, estimate: Estimate, point: PQLPoint) -> None:
        """None: the covariance of beta is the sandwich in `estimate`, at the estimated variances."""

    def refit(self, point: PQLPoint, estimate: Estimate, y: Array) -> PQLSolution:
        """The same model on another response of the same rows."""
        problem = replace(point.model.problem, y=y)
        problem.family.check(y, problem.weights, "y")
        started = replace(self, start=off_boundary(estimate.theta))
        prepared: Any = point.model.prepared if point.model.exact is None else point.model.exact
        return started.fit(problem, prepared)

    # -- the search --------------------------------------------------------------------------------------------

    def _first(self, model: WorkingModel) -> State:
        """The family's starting predictor and unit variances, or where an earlier search stood."""
        problem = model.problem
        if isinstance(self.start, Estimate):
            return resumed(model, self.start)
        eta = problem.family.start(problem.y, problem.weights)
        if self.start is None:
            theta = np.concatenate([np.zeros(0), *(t.covariance.start() for t in problem.terms)])
        else:
            theta = np.asarray(self.start, dtype=float)
            if theta.shape != (problem.n_theta,):
                raise PlanError(f"start has shape {theta.shape}, but theta has {problem.n_theta} elements.")
            bounded = boundary_elements(problem, theta)
            theta = np.where(
                bounded & (np.abs(theta) < 1e-2), 1e-2, theta
            )  # zero is a fixed point of Schall's update
        alpha: tuple[Array, ...] = ()
        if problem.aux and not model.scale:
            values = problem.family.start_aux(problem.y, np.full(problem.n, eta.mean()), problem.weights)
            alpha = tuple(
                np.r_[v, np.zeros(block.matrix.shape[1] - 1)]
                for v, block in zip(values, problem.aux, strict=True)
            )
        none = tuple(np.zeros((g.m, g.k)) for g in model.prepared.blocks.groups)
        return State(eta, model.rows(eta, alpha), np.zeros(problem.p), none, theta, 1.0, alpha)

    def _search(
        self,
        model: WorkingModel,
        state: State,
        progress: Callable[[int, float, float], None] | None,
    ) -> _Found:
        """Outer iterations until both the fits and the variances stand still."""
        outer, sweeps, change, met, stopped = 0, 0, np.inf, False, False
        coordinates, gram = Coordinates(model), None
        try:
            while outer < self.max_outer and not met:
                if gram is None or not model.problem.family.is_linear:
                    gram = model.gram(state.rows.weight)
                new, moved, count = self._inner(model, state, gram, coordinates)
                scale = max(float(np.linalg.norm(new.eta)), 1e-300)
                change = float(np.linalg.norm(new.eta - state.eta)) / scale
                outer, sweeps, state = outer + 1, sweeps + count, new
                met = change <= self.tolerance and moved <= 100.0 * self.tolerance
                if not met:
                    state = model.own_parameters(state)
                if progress is not None:
                    progress(outer, state.phi, change)
        except KeyboardInterrupt:
            stopped = True
        return _Found(settled(model, state) if met else state, outer, sweeps, change, met, stopped)

    def _inner(
        self, model: WorkingModel, state: State, gram: Gram, coordinates: Coordinates
    ) -> tuple[State, float, int]:
        """Fit the working model at `state.eta`, its variances included: the new state, the first move, and the sweeps."""
        system, mixer = model.working(state, gram), Anderson(4)
        theta, phi, beta, b = state.theta, state.phi, state.beta, state.b
        solved_at, first, last, sweeps = theta, 0.0, np.inf, 0
        for count in range(self.max_inner):
            solved_at = theta
            beta, b, residual, used = system.solve(theta, beta, b, 0.01 * self.tolerance, INEXACT)
            here = coordinates.of(theta, phi)
            there = coordinates.of(*model.variances(theta, b, gram, residual))
            moved = float(np.abs(there - here).max(initial=0.0))
            sweeps += used
            first = moved if count == 0 else first
            done = moved <= max(self.tolerance, SHARE * first if count else 0.0)
            if not done:
                if moved > 2.0 * last:
                    mixer.forget()
                reach = min(LONGEST, 10.0 * moved)
                there = np.clip(mixer(here, there), there - reach, there + reach)
            last = moved
            theta, phi = coordinates.back(there)
            if done:
                break
        accepted = model.accepted(state, beta, b, solved_at)
        return replace(accepted, theta=theta, phi=phi), first, sweeps

    def _solution(self, model: WorkingModel, found: _Found, diagonal: State | None) -> PQLSolution:
        problem, state, point = model.problem, found.state, PQLPoint(model, found.state, diagonal)
        aux = state.alpha
        if model.scale and problem.aux:
            aux = (np.array([0.5 * np.log(state.phi)]),)
        convergence = Convergence(
            Status.CONVERGED if found.met else Status.EVALUATION_LIMIT,
            found.outer,
            found.sweeps,
            found.change,
            float(np.abs(point.gradient).max(initial=0.0)),
            self.tolerance,
        )
        estimate = Estimate(
            method="PQL" if model.exact is None else "PQL (exact traces)",
            engine="backfitting",
            beta=state.beta,
            vcov=point.vcov,
            theta=state.theta,
            sigma=float(np.sqrt(state.phi)),
            deviance=float("nan"),
            modes=modes(point),
            convergence=convergence,
            singular=singular_terms(problem, state.theta),
            aux=aux,
        )
        return PQLSolution(estimate, point)


def _nested(blocks: Blocks) -> tuple[str, str] | None:
    """Names of a first pair of groups, the one nested in the other: each of its levels meets one level of the other."""
    groups = blocks.groups
    for a in range(len(groups)):
        for b in range(a + 1, len(groups)):
            nnz = blocks.pattern(a, b).nnz
            if nnz == groups[a].m:
                return groups[a].name, groups[b].name
            if nnz == groups[b].m:
                return groups[b].name, groups[a].name
    return None


def _for_nested(blocks: Blocks, inner: str, outer: str) -> Prepared | None:
    """Exact traces where diagonal ones mean little, if they cost little; says so."""
    exact = BlockedEngine().prepare(blocks)
    cheap = exact.plan.q_dense <= NESTED_DENSE
    warnings.warn(
        f"every level of `{inner}` lies within one level of `{outer}`: their effects compete for the same degrees of freedom, "
        "which traces='diagonal' ignores and gives one of them too little variance. "
        + (
            "Exact traces are used."
            if cheap
            else "Use traces='exact' if the memory allows it, or drop one term."
        ),
        LmmformulaWarning,
        stacklevel=4,
    )
    return exact if cheap else None


def resumed(model: WorkingModel, estimate: Estimate) -> State:
    """The state that `estimate` was made of."""
    groups = model.prepared.blocks.groups
    b = tuple(np.hstack([estimate.modes[i] for i, _ in g.members]) for g in groups)
    eta = model.predictor(estimate.beta, b)
    alpha = () if model.scale else estimate.aux
    rows = model.rows(eta, alpha)
    return State(eta, rows, estimate.beta, b, estimate.theta, estimate.sigma**2, alpha)


def settled(model: WorkingModel, state: State) -> State:
    """Standard deviations that the iteration has driven to the floor are set to zero, with their effects."""
    bounded = boundary_elements(model.problem, state.theta) & (np.abs(state.theta) <= 10 * FLOOR)
    if not bounded.any():
        return state
    return replace(state, theta=model.problem.canonical(np.where(bounded, 0.0, state.theta)))


class Coordinates:
    """Unbounded coordinates of (theta, phi) in which a mixture of iterates makes sense."""

    def __init__(self, model: WorkingModel) -> None:
        self._bounded = boundary_elements(model.problem, np.ones(model.problem.n_theta))
        self._free = model.free

    def of(self, theta: Array, phi: float) -> Array:
        """log of absolute standard deviations, other elements as they are, log phi last."""
        low = np.maximum(np.abs(theta), FLOOR)
        x = np.where(self._bounded, np.log(low), theta)
        return np.append(x, 0.5 * np.log(phi)) if self._free else x

    def back(self, x: Array) -> tuple[Array, float]:
        """theta and phi."""
        inside = x[:-1] if self._free else x
        with np.errstate(over="ignore"):
            theta = np.where(self._bounded, np.maximum(np.exp(inside), FLOOR), inside)
        return theta, float(np.exp(2.0 * x[-1])) if self._free else 1.0
