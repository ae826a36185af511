"""What the Krylov studies ask of lmmformula: fits, and the log-likelihood at given parameters with its error."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import lmmformula
from benchmarks.krylov_data import FORMULA, frame
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.methods.planning import make_plan

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.ir.problem import Problem

__all__ = ["fit_frame", "fit_problem", "log_likelihood", "noise"]

EXACT_SIDE = 2_500
"""Levels of the smaller factor up to which the exact log-likelihood stands beside the estimates."""


def fit_frame(family: str, table: pd.DataFrame) -> Callable[[], dict[str, Any]]:
    """``fit(formula, frame, method="krylov")``."""

    def fit() -> dict[str, Any]:
        return described(lmmformula.fit(FORMULA, table, family=family, method="krylov").estimate)

    return fit


def fit_problem(family: str, table: pd.DataFrame) -> Callable[[], dict[str, Any]]:
    """The backend alone, on a problem built before: patterns of levels, search and log-likelihood."""
    problem = lmmformula.build(FORMULA, table, family=family)

    def fit() -> dict[str, Any]:
        planned = make_plan(problem, "krylov")
        backend, prepared, standard = planned.backend, planned.prepared, planned.standard
        return described(standard.outward(backend.fit(standard.problem, prepared).estimate))

    return fit


def described(estimate: Any) -> dict[str, Any]:
    """Log-likelihood and estimates of an intercept of each of two factors."""
    return {
        "loglik": -0.5 * float(estimate.deviance),
        "stderr": 0.5 * float(estimate.deviance_stderr),
        "beta": np.asarray(estimate.beta).tolist(),
        "sigma2": float(estimate.sigma) ** 2,
        "variances": (np.asarray(estimate.theta) ** 2 * float(estimate.sigma) ** 2).tolist(),
        "evaluations": int(estimate.convergence.evaluations),
        "converged": bool(estimate.convergence.status.good),
    }


# -- the log-likelihood at given parameters -------------------------------------------------------------------------------


def evaluator(problem: Problem, options: dict[str, Any]) -> Callable[[Any, bool], tuple[float, float, int]]:
    """A call (engine, sharpen) that returns log-likelihood, standard error and probes at the parameters in `options`."""
    beta, sigma2 = np.array(options["beta"]), float(options["sigma2"])
    theta = np.sqrt(np.array(options["variances"]) / sigma2)
    if problem.family.is_linear:
        fresh: Profiled | None = None

        def linear(engine: Any, sharpen: bool) -> tuple[float, float, int]:
            nonlocal fresh
            if fresh is None:
                fresh = Profiled.of(problem, engine, reml=False)
            model = replace(fresh, prepared=engine.prepare(fresh.prepared.blocks))
            point = model(theta, exact=True)
            point = point.sharpened() if sharpen else point
            return -0.5 * gaussian_deviance(point, beta, sigma2), 0.5 * point.error, probes(point)

        return linear
    first: Any = None

    def laplace(engine: Any, sharpen: bool) -> tuple[float, float, int]:
        nonlocal first
        psi = np.concatenate([beta, theta])
        if first is None:
            first = Laplace.of(problem, engine)(psi, exact=True)
        model = replace(first.model, prepared=engine.prepare(first.model.prepared.blocks))
        point = model(psi, u=first.u, exact=True)
        point = point.sharpened() if sharpen else point
        return -0.5 * point.deviance, 0.5 * point.error, probes(point)

    return laplace


def probes(point: Any) -> int:
    """Of the log-determinant; zero where it is exact."""
    return getattr(getattr(point.factor, "prepared", None), "engine", KrylovEngine(probes=0)).probes


def gaussian_deviance(point: ProfiledPoint, beta: np.ndarray, sigma2: float) -> float:
    """-2 log-likelihood at beta and sigma^2 as given: profiled, plus what beta is off in the metric of X'V^-1X."""
    off = beta - point.beta
    return point.deviance_at(sigma2) + float(off @ np.linalg.solve(point.unscaled_vcov, off)) / sigma2


def log_likelihood(family: str, data: dict[str, np.ndarray], options: dict[str, Any]) -> dict[str, Any]:
    """The log-likelihood at estimates of any program, to a small error."""
    problem = lmmformula.build(FORMULA, frame(data), family=family)
    value, error, _ = evaluator(problem, options)(KrylovEngine(seed=99, accuracy=1e-5), True)
    return {"evaluated": value, "evaluated_stderr": error}


def noise(family: str, table: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihoods over seeds with stated errors: as the search sees them, and as they are reported."""
    problem = lmmformula.build(FORMULA, table, family=family)
    if "beta" not in options:
        planned = make_plan(problem, "krylov")
        backend, prepared, standard = planned.backend, planned.prepared, planned.standard
        options |= described(standard.outward(backend.fit(standard.problem, prepared).estimate))
    evaluate = evaluator(problem, options)
    evaluate(KrylovEngine(), False)  # compiles, and finds the modes
    out: dict[str, Any] = {k: options[k] for k in ("beta", "sigma2", "variances")}
    for name, sharpen in (("search", False), ("reported", True)):
        found, seconds = [], []
        for seed in range(1, options["seeds"] + 1):
            start = time.perf_counter()
            found.append(evaluate(KrylovEngine(seed=seed), sharpen))
            seconds.append(time.perf_counter() - start)
        values, errors, counts = zip(*found, strict=True)
        out[name] = {
            "values": values,
            "stderrs": errors,
            "probes": counts,
            "seconds": statistics.median(seconds),
        }
    if min(g.m for g in problem.terms) <= EXACT_SIDE:
        out["exact"] = evaluate(BlockedEngine(), False)[0]
    return out
