r"""Conditional modes of the random effects of a generalised model: penalised Newton with step halving.

For fixed theta and auxiliary parameters the mode minimises

    h(u[, beta]) = - sum_r l_r(eta_r) + u'Qu / 2,      eta = X beta + Z Lambda u + offset

over u (Laplace) or over u and beta together (the fast approximation lme4 calls nAGQ = 0). With row scores s = dl/deta and
weights w = -d2l/deta2 the Newton equations are those of a weighted linear mixed model (penalised IRLS, Bates et al. 2015
and Breslow & Clayton 1993, eq. 2.10)::

    [ M               Lambda'Z'WX ] [ du    ]   [ Lambda'Z's - Qu ]
    [ X'W Z Lambda    X'WX        ] [ dbeta ] = [ X's             ],       M = Lambda'Z'WZ Lambda + Q

The observed weights are tried first; where they do not give a positive definite M (densities that are not log-concave in eta)
a step is made with the expected ones. M is factorised again only when steps with the old factor converge too slowly (the chord
method). The search ends when the Newton decrement, the drop of 2 h that a full step promises, is
below a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.criteria.joint import FixedPart, JointSystem
from lmmformula.criteria.rowmodel import RowModel
from lmmformula.criteria.variance import Variances
from lmmformula.engines.base import Stacked
from lmmformula.errors import FitError, PlanError
from lmmformula.families.records import Rows
from lmmformula.ir.rows import RowVector
from lmmformula.ir.sums import AdjointOf, TransposedOf, least_of, total_of
from lmmformula.typing import Array

__all__ = ["Mode", "find_mode", "follow_mode"]

TOLERANCE = 1e-15
"""Newton decrement of 2 h; Newton's steps square it, so it is soon far below."""
CHORD = 0.02
"""A factor is kept for further steps as long as each shrinks the decrement to this share: solves cost far less."""
NOTHING = 1e-22
"""Decrement of a step after which the next would be one of rounding."""
FOLLOWED = 2
"""Steps by which a mode is followed: from an error of order t in the place, each multiplies it by another t."""
MAX_STEPS = 100
MAX_HALVINGS = 30
LOST = 1e-12
"""Share of h below which a difference is rounding's."""


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """Where the search ended.

    Attributes
    ----------
    u : tuple of (m, k) arrays
    beta : (p,) array
    eta : RowVector
    objective : float
        h at the mode.
    steps : int
    decrement : float
    system : JointSystem or None
        The Newton system with the weights of the mode itself, if the search met it.
    columns : FixedPart or None
        What a search that was passing had of the columns of X.
    """

    u: tuple[Array, ...]
    beta: Array
    eta: RowVector
    objective: float
    steps: int
    decrement: float
    system: JointSystem | None = None
    columns: FixedPart | None = None


@np.errstate(over="ignore", invalid="ignore")  # a place without a finite value is seen by that
def find_mode(
    model: RowModel,
    variances: Variances,
    beta: Array,
    aux: tuple[RowVector, ...],
    start: tuple[Array, ...],
    *,
    joint: bool,
    tolerance: float = TOLERANCE,
    passing: bool = False,
) -> Mode:
    """Minimise h over u, or over (u, beta) if `joint`, from `start`, until the decrement is below `tolerance`.

    `passing` says that the place leads to another only: all steps then have the columns of X at the weights of the first.
    """
    u, steps = start, 0
    here = _evaluate(model, variances, beta, aux, u, joint=joint)
    if not np.isfinite(here.value):
        u = tuple(np.zeros_like(v) for v in u)
        here = _evaluate(model, variances, beta, aux, u, joint=joint)
    if not np.isfinite(here.value):
        raise FitError(
            "the log-likelihood is not finite at the start of the mode search: a linear predictor lies outside the "
            "range of the link. Centre and scale the predictors, or use another link."
        )
    fresh, newton, last = True, False, np.inf
    system = _working(model, variances, here, aux)
    columns = system.fixed_part if joint and passing else None
    while True:
        du, dbeta, decrement = _direction(variances, system, u, here)
        if decrement < 0:  # M is definite but the system with beta is not: expected weights make both so
            fresh, system = True, _expected(model, variances, here, aux)
            du, dbeta, decrement = _direction(variances, system, u, here)
        if decrement <= tolerance or steps >= MAX_STEPS:
            break
        if fresh and newton and 0.5 * last < decrement <= _slack(variances, here.value):
            break  # a step of Newton's would have squared it: what is left is rounding
        moved = None
        if fresh or decrement <= CHORD * last:
            moved = _line_search(model, variances, beta, aux, u, (du, dbeta), here)
        if moved is None:
            if fresh:
                break
            # steps with the old one no longer pay
            fresh, system = True, replace(_working(model, variances, here, aux), near=columns)
            continue
        u, beta, here = moved
        fresh, newton, last, steps = False, fresh, decrement, steps + 1
    value = here.value
    if decrement > max(tolerance, 1e-4 * max(1.0, abs(value))):
        raise FitError(
            f"the mode of the random effects was not found: after {steps} Newton steps a further step still promises "
            f"{decrement:.2g} of the penalised deviance. The likely cause is complete separation or a predictor on a very "
            "large scale; centre and scale the predictors, or simplify the model."
        )
    met = system if system.weights is here.rows.weight and system.near is None else None
    return Mode(u, beta, here.eta, value, steps, decrement, met, columns)


def follow_mode(
    model: RowModel,
    variances: Variances,
    beta: Array,
    aux: tuple[RowVector, ...],
    start: tuple[Array, ...],
    system: JointSystem,
) -> Mode:
    """The mode at parameters a distance t from those of `system`, which is kept: nothing is factorised, nothing searched.

    A chord step leaves (I - M_0^-1 M_t) of the error, and M_t - M_0 = O(t); from a start off by O(t) two of them leave
    O(t^3). The objective is not evaluated, nan.
    """
    u, decrement = start, np.inf
    for _ in range(FOLLOWED):
        rows = model.rows(model.predictor(beta, variances.factors, u), aux, "observed", derivatives=False)
        sums = model.to_effects(variances.factors, rows.score)
        slope = tuple(s - v for s, v in zip(sums, variances.times(u), strict=True))
        step, _ = system.solve(slope, np.zeros(0))
        u = tuple(a + b for a, b in zip(u, step, strict=True))
        decrement = sum(float(np.vdot(a, b)) for a, b in zip(slope, step, strict=True))
        if decrement <= NOTHING:
            break
    return Mode(u, beta, model.predictor(beta, variances.factors, u), np.nan, FOLLOWED, decrement)


@dataclass(frozen=True, slots=True, eq=False)
class _Evaluated:
    """What one pass over the rows tells of a point: eta, its rows with observed weights and the least of these, h, and the
    slopes of -h + u'Qu / 2 in u and in beta (empty unless it moves).
    """

    eta: RowVector
    rows: Rows
    least: float
    value: float
    slopes: Stacked
    beta_slope: Array


def _evaluate(
    model: RowModel,
    variances: Variances,
    beta: RowVector,
    aux: tuple[RowVector, ...],
    u: tuple[Array, ...],
    *,
    joint: bool,
) -> _Evaluated:
    """All that is asked of the rows at a point; where it is not finite the value says so."""
    eta = model.predictor(beta, variances.factors, u)
    rows = model.rows(eta, aux, "observed", derivatives=False)
    of_beta = (TransposedOf(rows.score),) if joint else ()
    loglik, least, sums, *slope = model.data.together(
        total_of(rows.loglik),
        least_of(rows.weight),
        AdjointOf(rows.score),
        *of_beta,
    )
    value = -float(loglik) + 0.5 * variances.quadratic(u)
    slopes = tuple(s @ f for s, f in zip(sums, variances.factors, strict=True))
    return _Evaluated(eta, rows, float(least), value, slopes, slope[0] if joint else np.zeros(0))


def _working(
    model: RowModel, variances: Variances, here: _Evaluated, aux: tuple[RowVector, ...]
) -> JointSystem:
    """The Newton system with observed weights, or with expected ones where those do not give a definite M."""
    if here.least < 0:
        try:
            return model.system(variances, here.rows.weight)
        except FitError:
            return _expected(model, variances, here, aux)
    return model.system(variances, here.rows.weight)


def _expected(
    model: RowModel, variances: Variances, here: _Evaluated, aux: tuple[RowVector, ...]
) -> JointSystem:
    """The Newton system with weights that are not negative: expected ones, else the positive part of observed ones.

    Either makes M definite, and every step of such a system goes downhill.
    """
    try:
        weight = model.rows(here.eta, aux, "expected", derivatives=False).weight
    except PlanError:
        (weight,) = model.data.map(lambda chunk, w: (np.maximum(w, 0.0),), here.rows.weight)
    return model.system(variances, weight)


def _direction(
    variances: Variances, system: JointSystem, u: Stacked, here: _Evaluated
) -> tuple[Stacked, Array, float]:
    """Newton step and decrement."""
    slope = tuple(s - v for s, v in zip(here.slopes, variances.times(u), strict=True))
    step, beta_step = system.solve(slope, here.beta_slope)
    decrement = sum(float(np.vdot(a, b)) for a, b in zip(slope, step, strict=True)) + float(
        here.beta_slope @ beta_step
    )
    return step, beta_step, decrement


def _slack(variances: Variances, h: float) -> float:
    """What rounding makes of differences of h."""
    return max(LOST * max(1.0, abs(h)), variances.rounding)


def _line_search(
    model: RowModel,
    variances: Variances,
    beta: Array,
    aux: tuple[RowVector, ...],
    u: tuple[Array, ...],
    direction: tuple[Stacked, Array],
    here: _Evaluated,
) -> tuple[Stacked, Array, _Evaluated] | None:
    """The first of the halved steps that does not raise h; None if none does."""
    du, dbeta = direction
    slack = _slack(variances, here.value)
    for halving in range(MAX_HALVINGS):
        t = 0.5**halving
        trial = tuple(a + t * b for a, b in zip(u, du, strict=True))
        moved = beta + t * dbeta if dbeta.size else beta
        new = _evaluate(model, variances, moved, aux, trial, joint=bool(dbeta.size))
        if new.value <= here.value + slack:
            return trial, moved, new
    return None
