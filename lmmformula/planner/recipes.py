"""Backends with their options, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.pql import PQL
from lmmformula.engines.krylov.device import DEVICES, find_device
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.backends.posterior.hmc import HMC

__all__ = [
    "Backend",
    "krylov_engine",
    "recipe",
    "start_theta",
]

Backend: TypeAlias = "Exact | LaplaceBackend | PQL | HMC"
KRYLOV_TOLERANCE = 1e-6
"""Newton decrement that a stochastic criterion can promise."""


def krylov_engine(options: dict[str, Any], seed: int | np.random.Generator | None) -> KrylovEngine:
    """The engine with its options; a device that is asked for must be there."""
    device = options.get("device", DEVICES[0])
    if device != DEVICES[0]:
        find_device(device)
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed or 0)
    return KrylovEngine(seed=number, **options)


def recipe(problem: Problem, method: str, engine: Any, options: dict[str, Any]) -> Backend:
    """The recipe with its options, which :mod:`lmmformula.methods` has read.

    A posterior's is :func:`lmmformula.planner.bayes.bayes_recipe`.
    """
    if method == "pql":
        if problem.family.repeated:
            raise PlanError(
                "y | weights(w) repeats rows, and method='pql' estimates a dispersion from rows, not from repeats: use "
                "method='laplace' or 'krylov', or weights= if w is the precision of a row."
            )
        return PQL(**options)
    if method != "laplace":
        return Exact(reml=method == "reml", engine=engine, **options)
    nagq = options.get("nagq", 1)
    if nagq > 1:
        groups = {t.group for t in problem.terms}
        columns = sum(t.k for t in problem.terms)
        if len(groups) > 1 or columns > 3:
            raise PlanError(
                f"nagq={nagq}: adaptive quadrature needs one grouping factor with at most 3 columns; this model has "
                f"{len(groups)} grouping factors and {columns} columns. Use nagq=1 (Laplace)."
            )
    return LaplaceBackend(engine=engine, **options)


def start_theta(problem: Problem, start: Any) -> NDArray[np.float64]:
    """Theta to start from: one finite number for each covariance parameter."""
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
    return values
