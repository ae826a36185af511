"""Where a search starts: numbers of the user's, or the estimate of an earlier fit, in the units of the search."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from lmmformula.backends.optimum import off_boundary
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

__all__ = ["refuse_other_model", "start_estimate", "start_theta"]

Start: TypeAlias = "ArrayLike | Estimate"


def start_estimate(standard: Standard, start: Start) -> Array | Estimate:
    """An earlier estimate as a whole, or theta, in the units of `standard`.

    Raises
    ------
    PlanError
        If it is that of another model, or not one finite number for each covariance parameter.
    """
    problem = standard.problem
    if isinstance(start, Estimate):
        refuse_other_model(problem, start)
        return standard.inward(start)
    try:
        values = np.asarray(start, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not problem.n_theta:
        raise PlanError(
            "start was given, and the model has no covariance parameter to start from: leave it out."
        )
    if len(values) != problem.n_theta or not np.isfinite(values).all():
        raise PlanError(
            f"start={start!r} must hold {problem.n_theta} finite numbers, one for each of "
            f"{', '.join(problem.theta_names())}."
        )
    return standard.theta_in(values)


def start_theta(standard: Standard, start: Start) -> Array:
    """Theta alone, off the boundary where it is that of an earlier estimate; raises as :func:`start_estimate`."""
    found = start_estimate(standard, start)
    return off_boundary(found.theta) if isinstance(found, Estimate) else found


def refuse_other_model(problem: Problem, start: Estimate) -> None:
    """Refuse an estimate of another model."""
    have = (len(start.beta), len(start.theta), *(m.shape for m in start.modes))
    need = (problem.p, problem.n_theta, *((t.m, t.k) for t in problem.terms))
    if have != need:
        raise PlanError(
            f"start is the estimate of another model: it has {have[0]} fixed effects, {have[1]} covariance parameters and "
            f"terms of {_sizes(have[2:])}; this one has {need[0]}, {need[1]} and {_sizes(need[2:])}. Give the estimate of a "
            "fit with the same formula and rows, or leave start out."
        )


def _sizes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(f"{m:,} x {k}" for m, k in shapes) or "no size"
