"""Penalised quasi-likelihood by clubbed backfitting: outer iterations with Schall's variance updates.

One outer iteration forms the working response and its Gram at eta, sweeps until the error is small against the
step, and updates the variances a few times on that Gram, without touching the rows (:mod:`lmmformula.criteria.pql`).
Schall's update alone converges linearly, slowly where levels have few rows, so it is mixed over the last updates
(:mod:`lmmformula.backends.schall_steps`): the same fixed point in fewer steps.

Separation. Where a predictor splits the outcomes, its coefficient grows by about one in each outer iteration, for ever, while
the rows it moves lose their weight. Such columns are told by the information that is left (`separated`); the search then ends
when the rows that still say something stand still.

Scale. `theta` is relative to the dispersion: ``Var(b) = sigma^2 L L'`` with ``sigma^2 = phi``, as in a Gaussian model, for
every family. With ``dispersion="fixed"`` sigma is 1 and the variances are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.base import Likelihood, Optimum
from lmmformula.backends.optimum import (
    boundary_elements,
    modes,
    off_boundary,
    refuse_random_aux,
    singular_terms,
)
from lmmformula.backends.pql_search import Found, Rule, Search
from lmmformula.backends.pql_states import resumed
from lmmformula.backends.schall_steps import ZERO
from lmmformula.backends.starting import refuse_other_model
from lmmformula.checkpoints import Ongoing, left_of, ongoing
from lmmformula.criteria.family_rows import start_aux, start_eta
from lmmformula.criteria.pql import PQLPoint
from lmmformula.criteria.working import LARGE, WorkingModel
from lmmformula.criteria.working_rows import State
from lmmformula.engines.base import Prepared
from lmmformula.engines.elimination import nested_pair
from lmmformula.engines.registry import exact_engine, sweeping
from lmmformula.errors import LmmformulaWarning, PlanError, warn
from lmmformula.ir.estimate import Convergence, Estimate, Quasi
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import range_of, total
from lmmformula.numerics.threads import blas_threads
from lmmformula.progress import QUASI, Labels, Report
from lmmformula.typing import Array

__all__ = ["PQL"]

NESTED_DENSE = 4000
"""Largest dense part of the exact engine that nested factors may ask for."""


@dataclass(frozen=True, slots=True)
class PQL(Likelihood):
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
    correction : {"none", "laplace"}
        Whether the terms that the Laplace approximation has and PQL has not are added, see
        :mod:`lmmformula.criteria.pql_correction`; needs a canonical link, and holds the dispersion at 1.
    start : array or Estimate, optional
        theta to start from, or an estimate of the same problem to go on from.
    """

    traces: Literal["diagonal", "exact"] = "diagonal"
    dispersion: Literal["free", "fixed"] = "free"
    tolerance: float = 1e-8
    max_outer: int = 100
    max_inner: int = 8
    correction: Literal["none", "laplace"] = "none"
    start: Array | Estimate | None = None

    @property
    def labels(self) -> Labels:
        """Those of outer iterations."""
        return QUASI

    def afresh(self) -> Self:
        """Without where a search was told to begin."""
        return replace(self, start=None)

    @property
    def resumes(self) -> bool:
        """True."""
        return True

    @property
    def needs_inverse(self) -> bool:
        """Whether its traces are those of an exact inverse."""
        return self.traces == "exact"

    @property
    def corrected(self) -> bool:
        """Whether it is corrected to Laplace's approximation."""
        return self.correction == "laplace"

    @property
    def trust(self) -> str:
        """That of a quasi-likelihood, corrected or not."""
        return "corrected" if self.corrected else "quasi"

    def model(self, problem: Problem, prepared: Prepared | None = None) -> WorkingModel:
        """The working model of `problem`; `prepared` hands in an engine that has seen its blocks."""
        refuse_random_aux(problem, "quasi-likelihood", "Use method='laplace' or 'hmc'")
        problem.refuse_coupled(
            "penalised quasi-likelihood", 'Use method="laplace", or method="ml" for a Gaussian response.'
        )
        problem.refuse_unfree("penalised quasi-likelihood", 'Use method="laplace".')
        blocks = problem.data.levels if prepared is None else prepared.blocks
        exact = None
        if self.traces == "exact":
            exact = prepared if prepared is not None and prepared.is_exact else exact_engine().prepare(blocks)
        elif nested_pair(blocks) is not None:
            exact = _if_cheap(exact_engine().prepare(blocks))
        scale = problem.family.has_dispersion
        if scale and self.dispersion == "fixed":
            raise PlanError(
                f'dispersion="fixed" does not suit family {problem.family.name!r}, whose dispersion is a parameter; '
                "leave it out."
            )
        free = scale or (self.dispersion == "free" and not problem.family.auxiliaries)
        if self.corrected and (scale or problem.aux or not problem.family.is_canonical):
            raise PlanError(
                f"correction='laplace' needs a canonical link and no dispersion (binomial with logit, poisson with log); "
                f"{problem.family} has not. Leave it out, or use method='laplace'."
            )
        if self.corrected or (free and not scale and _rows_as_levels(problem) is not None):
            free = False
        return WorkingModel(problem, sweeping().prepare(blocks), exact, free, scale, self.corrected)

    def fit(
        self,
        problem: Problem,
        prepared: Prepared | None = None,
        progress: Report | None = None,
    ) -> Optimum[PQLPoint]:
        """Estimate `problem`; `progress` is called with (outer iteration, dispersion, change of the fits).

        Within :func:`lmmformula.interrupts.interrupts_keep` a keyboard interrupt ends the search; the solution is where it
        stood, its status says so, and ``PQL(start=solution.estimate)`` goes on from there.
        """
        model = self.model(problem, prepared)
        self._warn(model)
        return self._solve(model, progress)

    def _solve(self, model: WorkingModel, progress: Report | None) -> Optimum[PQLPoint]:
        with blas_threads(0 if model.exact is None else model.exact.dense_side):
            return self._solution(model, *self._both(model, progress))

    def _both(self, model: WorkingModel, progress: Report | None) -> tuple[Found, State | None]:
        """Where the search ended; with exact traces it begins where diagonal ones end, which is the second answer."""
        resumes, here = isinstance(self.start, Estimate), ongoing("search")
        if model.exact is None or resumes or nested_pair(model.prepared.blocks) is not None:
            return self._searched(
                model, self._first(model, here), progress, here
            ), None  # keeps no first state
        diagonal, roughly = replace(model, exact=None), ongoing("search with diagonal traces")
        rough = self._searched(diagonal, self._first(model, roughly), progress, roughly)
        if rough.stopped:
            return rough, None
        begin = rough.state
        lost = (np.abs(begin.theta) < 1e-2)[boundary_elements(model.problem, begin.theta)].any()
        if not rough.met or lost or left_of(here) is not None:
            begin = self._first(model, here)  # exact traces may keep a variance that the approximation lost
        found = self._searched(model, begin, progress, here, rough)
        if found.stopped and found.outer == rough.outer:
            return replace(rough, met=False, stopped=True), None
        return found, rough.state if rough.met and found.met else None

    def _searched(
        self,
        model: WorkingModel,
        begin: State,
        progress: Report | None,
        here: Ongoing | None,
        before: Found | None = None,
    ) -> Found:
        rule = Rule(self.tolerance, self.max_outer, self.max_inner)
        return Search(model, rule, begin, here, before).run(progress)

    def near(self, problem: Problem, prepared: Prepared) -> State:
        """Where a search ends that is told to nobody: a place for another to begin."""
        model = self.model(problem, prepared)
        found = self._searched(model, self._first(model, None), None, None)
        if found.stopped:
            raise KeyboardInterrupt
        return found.state

    def evaluate(self, problem: Problem, estimate: Estimate) -> PQLPoint:
        """The working model at an estimate, for a fit that was loaded."""
        model = self.model(problem)
        loose = np.isin(problem.X.names, estimate.undetermined)
        return PQLPoint(model, resumed(model, estimate), loose=loose)

    def refit(self, problem: Problem, estimate: Estimate, point: PQLPoint) -> Optimum[PQLPoint]:
        """The same model on another response of the same rows."""
        for chunk in problem.data.chunks():
            problem.family.check(chunk.y, chunk.weights, "y")
        started = replace(self, start=off_boundary(estimate.theta))
        prepared: Prepared = point.model.prepared if point.model.exact is None else point.model.exact
        return started._solve(started.model(problem, prepared), None)

    # -- the search --------------------------------------------------------------------------------------------

    def _first(self, model: WorkingModel, here: Ongoing | None) -> State:
        """The family's starting predictor and unit variances, or where an earlier search or run stood."""
        problem, left = model.problem, left_of(here)
        if left is not None:
            return left["standing"].state(model)
        if isinstance(self.start, Estimate):
            refuse_other_model(problem, self.start)
            return resumed(model, self.start)
        eta = _first_predictor(model)
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
            (mean,) = model.data.map(
                lambda chunk, by: (np.full(chunk.n, by),), total(model.data, eta) / problem.n
            )
            values = start_aux(problem.family, model.data, mean)
            alpha = tuple(
                np.r_[v, np.zeros(len(block.names) - 1)] for v, block in zip(values, problem.aux, strict=True)
            )
        none = tuple(np.zeros((g.m, g.k)) for g in model.prepared.blocks.groups)
        return State(eta, model.rows(eta, alpha), np.zeros(problem.p), none, theta, 1.0, alpha)

    def _solution(self, model: WorkingModel, found: Found, diagonal: State | None) -> Optimum[PQLPoint]:
        problem, state = model.problem, found.state
        point = PQLPoint(model, state, diagonal, found.loose, found.summed)
        aux = state.alpha
        if model.scale and problem.aux:
            aux = (np.array([0.5 * np.log(state.phi)]),)
        convergence = Convergence(
            found.status,
            found.outer,
            found.sweeps,
            found.change,
            float(np.abs(point.gradient[regular(problem, state.theta)]).max(initial=0.0)),
            self.tolerance,
        )
        estimate = Estimate(
            method=_name(model),
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
            undetermined=tuple(np.array(problem.X.names)[found.loose].tolist()),
            quasi=Quasi(
                free=model.free and not model.scale,
                traces="diagonal" if model.exact is None else "exact",
                gaps=None if diagonal is None else point.variance_gap,
            ),
        )
        return Optimum(estimate, point)

    def _warn(self, model: WorkingModel) -> None:
        """Say where the model is not quite the one that was asked for."""
        problem, blocks = model.problem, model.prepared.blocks
        if self.traces == "diagonal" and (pair := nested_pair(blocks)):
            inner, outer = pair
            warn(
                f"every level of `{inner}` lies within one level of `{outer}`: their effects compete for the same degrees of "
                "freedom, which traces='diagonal' ignores and gives one of them too little variance. "
                + (
                    "Use traces='exact' if the memory allows it, or drop one term."
                    if model.exact is None
                    else "Exact traces are used."
                ),
                LmmformulaWarning,
            )
        unasked = self.dispersion == "free" and not model.free
        if unasked and (own := _rows_as_levels(problem)) and not problem.family.auxiliaries:
            warn(
                f"`{own}` has one row for each of its {problem.n:,} levels, so its variance and the dispersion are one "
                'and the same: the dispersion is held at 1, as by dispersion="fixed".',
                LmmformulaWarning,
            )


def regular(problem: Problem, theta: Array) -> NDArray[np.bool_]:
    """Elements of theta of the terms that are not singular: the gradient of the others divides by zero."""
    small = boundary_elements(problem, theta) & (np.abs(theta) <= ZERO)
    out = np.ones(len(theta), dtype=bool)
    for s in problem.theta_slices():
        out[s] = not small[s].any()
    return out


def _first_predictor(model: WorkingModel) -> Array:
    """The family's start, which looks at the response alone; the offset itself where that is large and can be."""
    data, offset = model.data, model.data.offset
    eta = start_eta(model.problem.family, data)
    if offset is None or max(map(abs, range_of(data, offset))) <= LARGE or model.problem.aux:
        return eta
    with np.errstate(all="ignore"):
        rows = model.rows(offset, ())
    known = np.isfinite([*range_of(data, rows.loglik), *range_of(data, rows.weight)]).all()
    return offset if known and range_of(data, rows.weight)[1] > 0.0 else eta


def _rows_as_levels(problem: Problem) -> str | None:
    """A grouping factor that has a level for each row."""
    return next((t.group for t in problem.terms if t.m == problem.n), None)


def _if_cheap(exact: Prepared) -> Prepared | None:
    """An exact engine, unless its dense part is large."""
    return exact if exact.dense_side <= NESTED_DENSE else None


def _name(model: WorkingModel) -> str:
    """What results call the method."""
    what = [
        w for w, told in (("exact traces", model.exact is not None), ("corrected", model.corrected)) if told
    ]
    return f"PQL ({', '.join(what)})" if what else "PQL"
