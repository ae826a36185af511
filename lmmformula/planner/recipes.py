"""Backends with their options, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.pql import PQL
from lmmformula.engines.device import DEVICES, find_device
from lmmformula.engines.krylov import PRECONDITIONERS, KrylovEngine
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.backends.bayes.hmc import HMC

__all__ = [
    "HMC_OPTIONS",
    "KRYLOV_OPTIONS",
    "OPTIONS",
    "PQL_OPTIONS",
    "Backend",
    "krylov_engine",
    "recipe",
    "start_theta",
]

Backend: TypeAlias = "Exact | LaplaceBackend | PQL | HMC"
HMC_OPTIONS = ("sampler", "chains", "draws", "warmup", "target_accept", "max_depth", "marginalize")
PQL_OPTIONS = ("traces", "dispersion", "correction", "max_outer", "max_inner")
KRYLOV_OPTIONS = ("accuracy", "probes", "max_steps", "preconditioner", "device")
OPTIONS = (
    *PQL_OPTIONS,
    *KRYLOV_OPTIONS,
    *HMC_OPTIONS,
    "engine",
    "tolerance",
    "max_evaluations",
    "start",
    "memory_limit",
    "nagq",
    "information",
)
KRYLOV_TOLERANCE = 1e-6
"""Newton decrement that a stochastic criterion can promise."""


def krylov_engine(options: dict[str, Any], seed: int | np.random.Generator | None) -> KrylovEngine:
    """The engine with its options, checked."""
    for name, low in (("probes", 4), ("max_steps", 1)):
        value = options.get(name, low)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise PlanError(f"{name}={value!r} must be a whole number from {low} on.")
    accuracy = options.get("accuracy", 1.0)
    if not isinstance(accuracy, (int, float)) or not accuracy > 0.0:
        raise PlanError(
            f"accuracy={accuracy!r} must be above zero: the standard error of the log-likelihood in units of sqrt(n)."
        )
    preconditioner = options.get("preconditioner", PRECONDITIONERS[0])
    if preconditioner not in PRECONDITIONERS:
        raise PlanError(f"unknown preconditioner {preconditioner!r}; known: {', '.join(PRECONDITIONERS)}.")
    device = options.get("device", DEVICES[0])
    if device not in DEVICES:
        raise PlanError(f"unknown device {device!r}; known: {', '.join(DEVICES)}.")
    if device != DEVICES[0]:
        find_device(device)
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed or 0)
    return KrylovEngine(seed=number, **options)


def recipe(problem: Problem, method: str, engine: Any, options: dict[str, Any]) -> Backend:
    """The recipe with its options, checked; a posterior's is :func:`lmmformula.planner.bayes.bayes_recipe`."""
    if foreign := [n for n in options if n in HMC_OPTIONS]:
        raise PlanError(f"{foreign[0]!r} is an option of method='hmc' only; leave it out.")
    if method == "pql":
        if problem.family.repeated:
            raise PlanError(
                "y | weights(w) repeats rows, and method='pql' estimates a dispersion from rows, not from repeats: use "
                "method='laplace' or 'krylov', or weights= if w is the precision of a row."
            )
        if foreign := [n for n in options if n not in (*PQL_OPTIONS, "tolerance", "start")]:
            raise PlanError(
                f"{foreign[0]!r} is no option of method='pql'; it has {', '.join(PQL_OPTIONS)}, tolerance, start."
            )
        return PQL(**options)
    if foreign := [n for n in options if n in PQL_OPTIONS]:
        raise PlanError(f"{foreign[0]!r} is an option of method='pql' only; leave it out.")
    if method != "laplace":
        for name in ("nagq", "information"):
            if name in options:
                raise PlanError(
                    f"{name}={options[name]!r} has no meaning for a Gaussian response, whose likelihood is exact; leave it out."
                )
        return Exact(reml=method == "reml", engine=engine, **options)
    nagq = options.get("nagq", 1)
    if not isinstance(nagq, int) or isinstance(nagq, bool) or not 0 <= nagq <= 100:
        raise PlanError(f"nagq={nagq!r} must be a whole number from 0 to 100.")
    if options.get("information", "observed") not in ("observed", "expected"):
        raise PlanError(f"information={options['information']!r} is unknown; use 'observed' or 'expected'.")
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
