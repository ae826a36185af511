"""The search of penalised quasi-likelihood: one working model after the other, until fits and variances stand still.

A working model is solved with its variances (:mod:`lmmformula.criteria.pql`), and the next one is made where its solution
lies. With given variances that is scoring, which soon takes one step for all. The variances, and the terms that a correction
adds, are those of the last model, so that what is left shrinks by a ratio from then on: the model's solution is then gone
past, to where such steps lead (:class:`lmmformula.numerics.geometric.SteadySteps`). It is taken back if the penalised
likelihood falls.

The search ends when what is left is small: the change of the fits times ``r / (1 - r)``, if the last changes shrank by r, and
the change itself if they shrank slowly; of a step that went where a series leads, what the ratio may be off by of that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.pql_states import Standing, separated, settled, tell
from lmmformula.backends.schall_steps import SchallSteps
from lmmformula.checkpoints import Ongoing, left_of
from lmmformula.criteria.pql_correction import shift
from lmmformula.criteria.working import WorkingModel, spherical
from lmmformula.criteria.working_rows import State, Step, Summed
from lmmformula.interrupts import keeps
from lmmformula.ir.estimate import Status
from lmmformula.numerics.geometric import SteadySteps, beyond
from lmmformula.progress import Report
from lmmformula.typing import Array

__all__ = ["Found", "Rule", "Search"]

INEXACT = 0.03
"""Error of the sweeps as a share of the step."""
SHARE = 0.05
"""The variances of a working model are moved until a move is this share of the first."""
SEPARATED = 1e-6
"""Change at which a search ends that leaves columns undetermined: their weights soon drown in rounding."""
ROUGH = 0.02
"""Change of the fits that makes the next working model a rough one."""
SURE = 0.1
"""Smallest share of the last change that may be left, however fast the changes shrank."""
LONGEST = 0.5
"""Farthest that a logarithm of a standard deviation is moved past the solution."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a search ends.

    Attributes
    ----------
    tolerance : float
        Relative change of the fitted linear predictors that may be left.
    max_outer, max_inner : int
        Working models, and variance updates in each.
    """

    tolerance: float
    max_outer: int
    max_inner: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where a search ended: its state, the sums there if at hand, columns of X that are undetermined there, outer iterations
    and sweeps, the last change, whether it met its goal, and whether the user stopped it.
    """

    state: State
    summed: Summed | None
    loose: NDArray[np.bool_]
    outer: int
    sweeps: int
    change: float
    met: bool
    stopped: bool

    @property
    def status(self) -> Status:
        if self.stopped:
            return Status.INTERRUPTED
        return Status.CONVERGED if self.met else Status.OUTER_LIMIT


class Search:
    """One search, which holds the sums over rows of the state where it stands.

    Parameters
    ----------
    model : WorkingModel
    rule : Rule
    state : State
        Where to begin.
    here : Ongoing or None
        Who keeps where it stands, and may know where an earlier run has left it.
    before : Found or None
        A search whose counts go on.
    """

    def __init__(
        self, model: WorkingModel, rule: Rule, state: State, here: Ongoing | None, before: Found | None = None
    ) -> None:
        self._model, self._rule, self._here = model, rule, here
        self._linear = model.problem.family.is_linear
        self._state, self._summed, self._loglik = state, None, np.nan
        self._loose = np.zeros(model.problem.p, dtype=bool)
        self._change, self._met, self._past = np.inf, False, False
        self._steps, self._steady = SchallSteps(model), SteadySteps()
        self._outer, self._sweeps = (0, 0) if before is None else (before.outer, before.sweeps)
        self._last = self._outer + rule.max_outer
        if (left := left_of(here)) is not None:
            at: Standing = left["standing"]
            self._outer, self._sweeps, self._change, self._met = at.outer, at.sweeps, at.change, at.met
            self._loose, self._steps.lifts, self._steady = at.loose, np.array(at.lifts), replace(at.pace)

    def run(self, progress: Report | None) -> Found:
        """Working models until the rule is met; an interrupt ends it where it stands, if interrupts are kept."""
        stopped = False
        try:
            while self._outer < self._last and not self._met:
                self._iterate()
                if progress is not None:
                    progress(self._outer, self._state.phi, self._change)
                self._tell()
        except KeyboardInterrupt:
            if not (self._outer and keeps()):
                raise
            stopped, self._summed = True, None
        end = settled(self._model, self._state) if self._met else self._state
        summed = None if self._linear else self._summed
        return Found(end, summed, self._loose, self._outer, self._sweeps, self._change, self._met, stopped)

    def _iterate(self) -> None:
        """One working model solved, and its solution taken."""
        model = self._model
        if self._summed is None:
            self._summed, _ = model.summed(self._state)
            self._loglik = self._summed.loglik
        model.refuse_weightless(self._summed, self._state.rows.weight)
        self._loose = separated(model, self._summed)
        rough = self._change > ROUGH and not self._linear
        self._steps.begin(self._steps.of(self._state.theta, self._state.phi), rough=rough)
        step, after, moved = self._solved()
        if not self._linear:
            self._summed = None  # it may be large, and two of them need not stand at once
        self._past = False
        if not (self._linear or model.has_own or self._loose.any()):
            step, after = self._gone_past(step, after)
        again = not (self._linear or model.has_own)
        taken = model.accepted(self._state, self._loglik, step, again=again, weighted=bool(self._loose.any()))
        self._outer += 1
        self._state = replace(taken.state, theta=after[0], phi=after[1])
        self._loglik = taken.loglik
        if not self._linear:
            self._summed = taken.summed
        self._met = self._meets(taken.change, moved)
        self._change = taken.change
        if not self._met:
            self._state = model.own_parameters(self._state)

    def _solved(self) -> tuple[Step, tuple[Array, float], float]:
        """The working model solved, its variances included: the step, theta and phi, and their first move."""
        model, state, rule, steps, summed = self._model, self._state, self._rule, self._steps, self._summed
        assert summed is not None
        gram, added = summed.gram, shift(model, state, summed.gram)
        system, theta, phi = model.working(summed, added), state.theta, state.phi
        beta, b, solved_at, first = state.beta, state.b, theta, 0.0
        for count in range(rule.max_inner):
            solved_at = theta
            beta, b, residual, used = system.solve(theta, beta, b, 0.01 * rule.tolerance, INEXACT)
            here = steps.of(theta, phi)
            there = steps.target(here, *model.variances(theta, b, gram, residual, moved=added))
            moved = float(np.abs(there - here).max(initial=0.0))
            self._sweeps += used
            first = moved if count == 0 else first
            done = moved <= max(rule.tolerance, SHARE * first if count else 0.0)
            theta, phi = steps.back(there if done else steps(here, there))
            if done:
                break
        return Step(beta, b, solved_at, added), (theta, phi), first

    def _gone_past(self, step: Step, after: tuple[Array, float]) -> tuple[Step, tuple[Array, float]]:
        """The step, and theta and phi, as far as a series of such steps leads; themselves if the steps are no series."""
        state, steps = self._state, self._steps
        further = self._steady.further(_length(self._model.factors(step.theta), step.b, state.b))
        if not further:
            return step, after
        beta = step.beta + further * (step.beta - state.beta)
        b = tuple(new + further * (new - old) for new, old in zip(step.b, state.b, strict=True))
        x = steps.of(*after)
        x = x + np.clip(further * (x - steps.of(state.theta, state.phi)), -LONGEST, LONGEST)
        self._past = True
        return replace(step, beta=beta, b=b), steps.back(x)

    def _meets(self, change: float, moved: float) -> bool:
        """Whether what is left of the fits and of the variances is small."""
        tolerance = self._rule.tolerance
        goal = max(tolerance, SEPARATED) if self._loose.any() else tolerance
        left = min(max(beyond(change / self._change), SURE), 1.0) * (SURE if self._past else 1.0)
        return left * change <= goal and moved <= 100.0 * goal

    def _tell(self) -> None:
        if self._here is None:
            return
        counts = self._outer, self._sweeps, self._change
        told = Standing.of(self._state, self._steps.lifts, self._steady, self._loose, *counts, met=self._met)
        tell(self._here, told)


def _length(factors: tuple[Array, ...], new: tuple[Array, ...], old: tuple[Array, ...]) -> float:
    """|u - u'|: the length of a step of the random effects, in their standard deviations."""
    moves = (spherical(f, b - a) for f, b, a in zip(factors, new, old, strict=True))
    return float(np.sqrt(sum(float(np.vdot(u, u)) for u in moves)))
