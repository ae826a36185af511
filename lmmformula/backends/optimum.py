"""What every backend does around its search: where it starts, how it ended, and zeros that are exactly zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.interrupts import keeps
from lmmformula.ir.estimate import Convergence, Status
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import structure_parameters
from lmmformula.numerics.tall import Columns
from lmmformula.numerics.trust_region import Minimum
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.variance import Modes


__all__ = [
    "boundary_elements",
    "convergence",
    "modes",
    "off_boundary",
    "refuse_random_aux",
    "settle",
    "singular_terms",
    "undetermined_columns",
]

SINGULAR_BELOW = 1e-4
"""A diagonal element of L below this counts as zero (lme4's ``isSingular`` tolerance)."""
WIDE = 50.0
"""A standard error of the linear predictor beyond this says that a coefficient is not determined."""


def off_boundary(theta: Array) -> Array:
    """theta to start from: zero is a stationary point of every deviance and a fixed point of Schall's update."""
    return np.where(np.abs(theta) < 1e-2, 1e-2, theta)


def convergence(found: Minimum, evaluations: int, max_evaluations: int, tolerance: float) -> Convergence:
    """How a search ended; `evaluations` counts those spent before it too."""
    if found.converged:
        status = Status.CONVERGED
    else:
        limit = found.evaluations >= max_evaluations
        status = Status.EVALUATION_LIMIT if limit else Status.STALLED
    slope = float(np.abs(found.point.gradient).max(initial=0.0))
    return Convergence(status, evaluations, found.iterations, found.decrement, slope, tolerance)


def settle(
    problem: Problem, theta: Array, deviance: float, evaluate: Callable[[Array], float], slack: float
) -> Array:
    """theta on the boundary exactly where the optimum lies there.

    Elements that are zero up to the optimiser's tolerance are set to zero, shares of a structure across levels that are one up
    to it to one, and stay so if the deviance, as `evaluate` gives it, does not rise by more than `slack`.
    """
    theta = problem.canonical(theta)
    ends = [(j, 0.0) for j in np.flatnonzero(boundary_elements(problem, theta))]
    ends += [(own.at, own.limits[1]) for own in structure_parameters(problem) if np.isfinite(own.limits[1])]
    for j, end in ends:
        if not 0.0 < abs(theta[j] - end) < 1e-2:
            continue
        trial = theta.copy()
        trial[j] = end
        try:
            value = evaluate(trial)
        except KeyboardInterrupt:  # the estimates are there
            if not keeps():
                raise
            break
        if value <= deviance + slack:
            theta, deviance = trial, min(deviance, value)
    return problem.canonical(theta)


def boundary_elements(problem: Problem, theta: Array) -> NDArray[np.bool_]:
    """Which elements of theta are bounded below by zero: those that scale a diagonal element of L."""
    bounded = [role.bounded for term in problem.terms for role in term.covariance.roles]
    return np.array(bounded, dtype=bool)


def refuse_random_aux(
    problem: Problem, method: str = "maximum likelihood", instead: str = "Use method='hmc'"
) -> None:
    """Refuse random effects in the predictor of another parameter than the mean, which `method` cannot integrate out."""
    for parameter, terms in zip(problem.family.auxiliaries, problem.aux_terms, strict=False):
        if terms:
            raise PlanError(
                f"the formula of {parameter.name} has random effects ({terms[0].label}), which {method} does not integrate out "
                f"here. {instead}, or keep fixed effects only in that formula."
            )


def singular_terms(problem: Problem, theta: Array) -> tuple[str, ...]:
    """Labels of the terms with a diagonal element of L below `SINGULAR_BELOW`."""
    out = []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        diagonal = np.abs(np.diagonal(term.covariance.cholesky(theta[s])))[: term.covariance.within.rank]
        if diagonal.min(initial=1.0) < SINGULAR_BELOW:
            out.append(term.label or f"{', '.join(term.columns)} | {term.group}")
    return tuple(out)


def modes(point: Modes) -> tuple[Array, ...]:
    """B = L u for each term, (m, k)."""
    out: list[Array] = [np.empty(0)] * len(point.model.problem.terms)
    for group, factor, u in zip(point.model.prepared.blocks.groups, point.factors, point.u, strict=True):
        b = u @ factor.T
        for i, columns in group.members:
            out[i] = b[:, columns]
    return tuple(out)


def undetermined_columns(columns: Columns, n: int, information: Array) -> NDArray[np.bool_]:
    """Which coefficients move along a direction in which the linear predictor has a standard error beyond `WIDE`.

    The directions are eigenvectors of the information relative to the mean square of the linear predictor, so neither the
    units nor the centring of the columns matter.
    """
    root = np.linalg.inv(np.linalg.cholesky(columns.gram() / n))
    values, vectors = np.linalg.eigh(root @ information @ root.T)
    wide = values < 2.0 / WIDE**2
    if not wide.any():
        return np.zeros(columns.p, dtype=bool)
    moves = np.abs(root.T @ vectors[:, wide]) * columns.largest()[:, None]
    return (moves > 0.1 * moves.max(axis=0, initial=1e-300)).any(axis=1)
