"""Where the search for a maximum of Laplace's approximation begins: least squares, moments, and steps of a rough engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.criteria.family_rows import start_aux
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.errors import FitError
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk
from lmmformula.numerics.least_squares import least_squares
from lmmformula.numerics.trust_region import Standing, newton_step
from lmmformula.typing import Array

__all__ = ["Begin", "nearer", "start_beta", "with_moments"]

NEARER = 2
"""Newton steps of a rough engine that draws: its gradients have errors of their own, which further steps do not mend."""

FAR = 0.3
"""Share of theta's length beyond which such a step is left to the search."""

DECREMENT = 1e-2
"""That of a mode search at which such a step is made."""


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """Where a search begins or stands: psi, the modes and beta from which the mode is searched for there, and of a search that
    is under way its coordinates S and where it stands in them.
    """

    psi: Array
    u: tuple[Array, ...]
    beta: Array
    scale: Array | None = None
    standing: Standing | None = None


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


def nearer(model: Laplace, begin: Begin) -> Begin:
    """Newton steps of the rough form of an engine that draws: each costs a quarter of one of the search."""
    rough = model.prepared.rough
    if model.prepared.is_exact or rough is model.prepared or not model.problem.n_theta:
        return begin
    criterion = replace(model, prepared=rough)
    for _ in range(NEARER):
        try:
            point = criterion(begin.psi, u=begin.u, beta=begin.beta, tolerance=DECREMENT)
            step = newton_step(point.hessian, point.gradient)
        except (FitError, np.linalg.LinAlgError):
            break
        if not float(np.linalg.norm(step[model.layout.theta])) <= FAR * float(np.linalg.norm(point.theta)):
            break
        psi = begin.psi + step
        begin = Begin(psi, point.predicted_mode(psi), point.beta)
    return begin
