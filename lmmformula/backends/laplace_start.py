"""Where the search for a maximum of Laplace's approximation begins: least squares, moments, and steps of a rough engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.backends.optimum import boundary_elements
from lmmformula.criteria.family_rows import start_aux
from lmmformula.criteria.joint import FixedPart
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.engines.elimination import nested_pair
from lmmformula.errors import FitError, PlanError
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk
from lmmformula.numerics.least_squares import least_squares
from lmmformula.numerics.trust_region import Standing, newton_step
from lmmformula.typing import Array

__all__ = ["Begin", "nearer", "start_beta", "swept", "with_moments"]

NEARER = 2
"""Newton steps of a rough engine that draws: its gradients have errors of their own, which further steps do not mend."""

FAR = 0.3
"""Share of theta's length beyond which such a step is left to the search."""

DECREMENT = 1e-2
"""That of a mode search at which such a step is made."""

SWEPT_ROWS, SWEPT_SIDE = 200_000, 1_000
"""Rows, and side of the dense part of an exact engine, from which on sweeps to the start cost less than its factorisations."""

SWEPT = 1e-3
"""Relative change of the linear predictors at which these end: what they leave out of Laplace's approximation is more."""

LOST = 1e-2
"""A standard deviation below this is not a place to begin from."""


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """Where a search begins or stands: psi, the modes and beta from which the mode is searched for there, and of a search that
    is under way its coordinates S and where it stands in them. `near` is what a system nearby has of the columns of X.
    """

    psi: Array
    u: tuple[Array, ...]
    beta: Array
    scale: Array | None = None
    standing: Standing | None = None
    near: FixedPart | None = None


def start_beta(problem: Problem) -> Array:
    """Least squares of the family's starting linear predictor on X."""
    rows, family = problem.data, problem.family

    def start(chunk: Chunk) -> tuple[Array]:
        eta = family.start(chunk.y, chunk.weights)
        return (eta if chunk.offset is None else eta - chunk.offset,)

    return least_squares(rows.fixed, rows.map(start, coarse=True)[0]).coefficients


def with_moments(first: LaplacePoint) -> Array:
    """psi with the family's parameters from moments given the random effects, which a start without effects takes for noise."""
    model, psi = first.model, first.psi.copy()
    scales = start_aux(model.problem.family, model.own_rows, model.means_predictor(first))
    if model.problem.terms and np.isfinite(scales).all():
        for where, value in zip(model.layout.aux, scales, strict=True):
            psi[where.start] = value
    return psi


def swept(model: Laplace) -> Begin | None:
    """The fixed point of corrected quasi-likelihood with diagonal traces, which factorises nothing, for psi without alpha.

    It is Laplace's but for what the traces leave out (:mod:`lmmformula.criteria.pql_correction`), a share of a standard
    error. None where the model is small, where it has none, or where a variance gets lost on the way.
    """
    problem, prepared = model.problem, model.prepared
    small = problem.n < SWEPT_ROWS or prepared.dense_side < SWEPT_SIDE
    family = problem.family
    if small or not prepared.is_exact or problem.aux or family.has_dispersion or not family.is_canonical:
        return None
    from lmmformula.backends.pql import PQL  # small fits have no use for it
    from lmmformula.criteria.working import spherical

    if problem.responses or len(prepared.blocks.groups) < 2 or nested_pair(prepared.blocks) is not None:
        return None
    try:
        state = PQL(correction="laplace", tolerance=SWEPT).near(problem, prepared)
    except (FitError, PlanError, np.linalg.LinAlgError):
        return None
    if (np.abs(state.theta)[boundary_elements(problem, state.theta)] < LOST).any():
        return None
    factors = model.variances(state.theta).factors
    u = tuple(spherical(f, b) for f, b in zip(factors, state.b, strict=True))
    return Begin(np.concatenate([state.beta, state.theta]), u, state.beta)


def nearer(model: Laplace, begin: Begin) -> Begin:
    """Newton steps of the rough form of an engine that draws: each costs a quarter of one of the search."""
    rough = model.prepared.rough
    if model.prepared.is_exact or rough is model.prepared or not model.problem.n_theta:
        return begin
    criterion, near = replace(model, prepared=rough), begin.near
    for _ in range(NEARER):
        try:
            point = criterion(begin.psi, u=begin.u, beta=begin.beta, tolerance=DECREMENT, near=near)
            step = newton_step(point.hessian, point.gradient)
        except (FitError, np.linalg.LinAlgError):
            break
        if not float(np.linalg.norm(step[model.layout.theta])) <= FAR * float(np.linalg.norm(point.theta)):
            break
        psi = begin.psi + step
        begin, near = Begin(psi, point.predicted_mode(psi), point.beta, near=point.system.fixed_part), None
    return begin
