"""Where an iteration of quasi-likelihood stands: kept and gone on from, and what separation has done to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.optimum import boundary_elements, undetermined_columns
from lmmformula.backends.schall_steps import ZERO
from lmmformula.checkpoints import Ongoing
from lmmformula.criteria.working import WorkingModel
from lmmformula.criteria.working_rows import State, Summed
from lmmformula.ir.estimate import Estimate
from lmmformula.numerics.geometric import SteadySteps
from lmmformula.typing import Array, Index

__all__ = ["Standing", "resumed", "separated", "settled", "tell"]

VANISHING = 1e-6
"""Smallest working weight, as a share of the largest, without which separation is not looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a search stands after an outer iteration: all it takes to go on, without what has an entry for each row.

    Attributes
    ----------
    beta, b, theta, phi, alpha
        As of :class:`lmmformula.criteria.working.State`.
    lifts : (x,) array
        How often each variance has been lifted off zero.
    pace : SteadySteps
        How the last steps shrank.
    loose : (p,) array
        Columns of X that are undetermined.
    outer, sweeps : int
    change : float
    met : bool
        Whether the search has met its goal.
    """

    beta: Array
    b: tuple[Array, ...]
    theta: Array
    phi: float
    alpha: tuple[Array, ...]
    lifts: Index
    pace: SteadySteps
    loose: NDArray[np.bool_]
    outer: int
    sweeps: int
    change: float
    met: bool

    @classmethod
    def of(
        cls,
        state: State,
        lifts: Index,
        pace: SteadySteps,
        loose: NDArray[np.bool_],
        outer: int,
        sweeps: int,
        change: float,
        *,
        met: bool,
    ) -> Standing:
        """What stays of a state without its rows."""
        own = state.beta, state.b, state.theta, state.phi, state.alpha
        return cls(*own, np.array(lifts), replace(pace), loose, outer, sweeps, change, met)

    def state(self, model: WorkingModel) -> State:
        """The same with its rows: a pass over them."""
        return _with_rows(model, self.beta, self.b, self.theta, self.phi, self.alpha)


def tell(here: Ongoing, standing: Standing) -> None:
    """Say where a search stands; a function of its own, which holds no rows."""
    here.offer(lambda: {"standing": standing}, at_once=standing.met)


def resumed(model: WorkingModel, estimate: Estimate) -> State:
    """The state that `estimate` was made of."""
    groups = model.prepared.blocks.groups
    b = tuple(np.hstack([estimate.modes[i] for i, _ in g.members]) for g in groups)
    alpha = () if model.scale else estimate.aux
    return _with_rows(model, estimate.beta, b, estimate.theta, estimate.sigma**2, alpha)


def _with_rows(
    model: WorkingModel, beta: Array, b: tuple[Array, ...], theta: Array, phi: float, alpha: tuple[Array, ...]
) -> State:
    eta = model.data.apply(beta, b)
    return State(eta, model.rows(eta, alpha), beta, b, theta, phi, alpha)


def separated(model: WorkingModel, summed: Summed) -> NDArray[np.bool_]:
    """Which columns of X the rows hardly say anything about any more: those along which eta has run off."""
    none = np.zeros(model.problem.p, dtype=bool)
    if not model.problem.p or not model.problem.family.runs_off:
        return none
    if summed.low > VANISHING * summed.high:
        return none
    try:
        return undetermined_columns(model.data.fixed, model.data.n, 2.0 * summed.gram.vv)
    except np.linalg.LinAlgError:  # columns all but collinear: another matter
        return none


def settled(model: WorkingModel, state: State) -> State:
    """Standard deviations that the iteration has driven to the floor are set to zero, with their effects."""
    bounded = boundary_elements(model.problem, state.theta) & (np.abs(state.theta) <= ZERO)
    if not bounded.any():
        return state
    return replace(state, theta=model.problem.canonical(np.where(bounded, 0.0, state.theta)))
