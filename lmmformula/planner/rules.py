"""Ordered rules from a problem to a plan that prints its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.pql import PQL
from lmmformula.engines.backfitting import BackfittingPrepared
from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine, BlockedPrepared
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import PlanError
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.planner.memory import available_memory, in_words

__all__ = ["Plan", "TermSize", "make_plan"]

Backend: TypeAlias = Exact | LaplaceBackend | PQL
METHODS = ("auto", "reml", "ml", "laplace", "pql", "krylov", "hmc")
ENGINES = {"blocked": BlockedEngine, "dense": DenseEngine}
PQL_EXACT = 1_500
"""Side of the dense part up to which PQL takes exact traces unless told otherwise."""
PQL_OPTIONS = ("traces", "dispersion", "max_outer", "max_inner")
OPTIONS = (
    *PQL_OPTIONS,
    "engine",
    "tolerance",
    "max_evaluations",
    "start",
    "memory_limit",
    "nagq",
    "information",
)


@dataclass(frozen=True, slots=True)
class TermSize:
    """Size of one random-effects term, and what becomes of it in the factorisation."""

    label: str
    levels: int
    effects: int
    role: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fit will do. Printing it shows sizes and reasons.

    Attributes
    ----------
    method : str
        "reml", "ml", "laplace" or "pql".
    engine : str
    n, p, q : int
        Rows, fixed effects, random effects.
    terms : tuple of TermSize
    dense : int
        Side of the dense matrix that remains after elimination.
    pairs : float
        Multiplications to form it, for each evaluation of the criterion.
    memory : float
        Bytes at the peak, estimated.
    reasons : tuple of str
    """

    method: str
    engine: str
    n: int
    p: int
    q: int
    terms: tuple[TermSize, ...]
    dense: int
    pairs: float
    memory: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"Plan: {self.method.upper()} on the {self.engine} engine",
            f"  {self.n:,} rows, {self.p} fixed effects, {self.q:,} random effects",
        ]
        lines += [f"  ({t.label}): {t.levels:,} levels, {t.effects:,} effects, {t.role}" for t in self.terms]
        lines.append(
            f"  dense part {self.dense:,} x {self.dense:,}, about {in_words(self.memory)} at the peak"
        )
        lines += [f"  - {reason}" for reason in self.reasons]
        return "\n".join(lines)


def make_plan(
    problem: Problem, method: str = "auto", options: Mapping[str, Any] | None = None
) -> tuple[Plan, Backend, Prepared]:
    """Choose backend and engine for `problem`.

    Returns
    -------
    plan : Plan
    backend : Exact, LaplaceBackend or PQL
        Ready to fit.
    prepared : Prepared
        The engine's look at the problem, to be handed to the backend.

    Raises
    ------
    PlanError
        If the method does not suit, an option is unknown, or the problem would not fit in memory.
    """
    options = dict(options or {})
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise PlanError(f"unknown option {unknown[0]!r}; known: {', '.join(OPTIONS)}.")
    method, reason = _method(problem, method)
    if not problem.terms:
        kind, call = ("linear", "ols") if problem.family.is_linear else ("generalised linear", "glm")
        raise PlanError(
            f"the formula has no random-effects term, so this is an ordinary {kind} model. Add a term such as "
            f"(1 | group), or fit it with statsmodels.formula.api.{call}."
        )
    if options.get("start") is not None and not (method == "pql" and isinstance(options["start"], Estimate)):
        options["start"] = _start(problem, options["start"])
    limit = float(options.pop("memory_limit", available_memory()))
    engine_name = options.pop("engine", "blocked")
    if engine_name not in ENGINES:
        raise PlanError(f"unknown engine {engine_name!r}; known: {', '.join(ENGINES)}.")
    engine = ENGINES[engine_name]()
    _refuse_rows(problem, limit)
    blocks = Blocks(problem.terms, problem.n)
    exact = BlockedEngine().prepare(blocks)
    if method == "pql":
        options.setdefault("traces", "exact" if exact.dense_side <= PQL_EXACT else "diagonal")
        if options["traces"] == "diagonal":
            return (
                _backfitted(problem, reason),
                _backend(problem, method, engine, options),
                BackfittingPrepared(blocks),
            )
    plan = _sized(problem, exact, method, engine_name, reason)
    if plan.memory > limit:
        raise PlanError(_too_large(plan, limit))
    prepared = exact if engine_name == "blocked" else engine.prepare(blocks)
    return plan, _backend(problem, method, engine, options), prepared


_LATER = ("krylov", "hmc")


def _method(problem: Problem, method: str) -> tuple[str, str]:
    """The method to use, lower case, and why."""
    if not isinstance(method, str) or method.lower() not in METHODS:
        raise PlanError(f"unknown method {method!r}; known: {', '.join(METHODS)}.")
    method = method.lower()
    linear = problem.family.is_linear and not problem.aux
    if method in _LATER:
        instead = "method='reml' or 'ml', which are exact here" if linear else "method='laplace'"
        raise PlanError(f"method {method!r} is not available in this version; use {instead}.")
    if method == "pql":
        return (
            "pql",
            "method: penalised quasi-likelihood by backfitting, as asked; it has no likelihood to compare",
        )
    if linear:
        if method == "auto":
            return (
                "reml",
                "method: REML, the usual choice for a Gaussian response (use 'ml' to compare fixed effects)",
            )
        if method == "laplace":
            return "ml", "method: ML, which Laplace's approximation equals for a Gaussian response"
        return method, f"method: {method.upper()}, as asked"
    if method == "reml":
        raise PlanError(
            f"REML is defined for Gaussian responses with identity link; for {problem.family} use method='laplace'."
        )
    asked = "as asked" if method == "laplace" else "maximum likelihood for a response that is not Gaussian"
    return "laplace", f"method: Laplace approximation, {asked}"


def _backend(problem: Problem, method: str, engine: Any, options: dict[str, Any]) -> Backend:
    """The recipe with its options, checked."""
    if method == "pql":
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


def _start(problem: Problem, start: Any) -> NDArray[np.float64]:
    """Theta to start from: one finite number for each covariance parameter."""
    try:
        values = np.asarray(start, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if len(values) != problem.n_theta or not np.isfinite(values).all():
        raise PlanError(
            f"start={start!r} must hold {problem.n_theta} finite numbers, one for each of "
            f"{', '.join(problem.theta_names())}."
        )
    return values


def _refuse_rows(problem: Problem, limit: float) -> None:
    """The Gram needs the pairs of levels that meet, at most one for each row."""
    columns = problem.p + 1 + sum(t.k for t in problem.terms)
    need = 8.0 * problem.n * columns
    if need > limit:
        raise PlanError(
            f"{problem.n:,} rows with {columns} columns need about {in_words(need)}, and {in_words(limit)} are "
            "available. Fit on a machine with more memory, or on a sample of the rows."
        )


def _sized(problem: Problem, exact: BlockedPrepared, method: str, engine: str, reason: str) -> Plan:
    chosen, groups = exact.plan, exact.blocks.groups
    pairs = sum(c.ragged.pairs for c in chosen.couplings)
    entries = sum(len(c.ragged.cols) * c.ragged.k for c in chosen.couplings)
    side = problem.q if engine == "dense" else chosen.q_dense
    solved = 8.0 * problem.q * (problem.p + 1)
    memory = 8.0 * (2.0 * side**2 + 6.0 * entries) + 4.0 * solved + 8.0 * problem.n * (2 * problem.p + 4)
    terms = []
    for a, group in enumerate(groups):
        role = "eliminated level by level" if a in chosen.chain else "dense"
        for i, _ in group.members:
            t = problem.terms[i]
            terms.append((i, TermSize(t.label or t.group, t.m, t.q, role)))
    why = (
        "engine: blocked; "
        + (
            "every grouping factor is nested in the next, so nothing dense remains"
            if not chosen.dense
            else f"{' in '.join(groups[a].name for a in chosen.chain)} eliminated level by level, "
            f"{', '.join(groups[a].name for a in chosen.dense)} crossed with it and kept dense"
        )
        if engine == "blocked"
        else "engine: dense, as asked (for checking; cost grows with the cube of the random effects)"
    )
    ordered = tuple(size for _, size in sorted(terms, key=lambda item: item[0]))
    return Plan(method, engine, problem.n, problem.p, problem.q, ordered, side, pairs, memory, (reason, why))


def _backfitted(problem: Problem, reason: str) -> Plan:
    """A plan that forms no dense matrix and no Schur complement."""
    terms = tuple(TermSize(t.label or t.group, t.m, t.q, "backfitted") for t in problem.terms)
    pairs = len(problem.terms) * (len(problem.terms) - 1) / 2
    memory = 8.0 * problem.n * (2 * problem.p + 6 + 3 * pairs) + 48.0 * problem.q * (problem.p + 1)
    why = "engine: backfitting, one grouping factor at a time; cost grows like the number of rows"
    return Plan("pql", "backfitting", problem.n, problem.p, problem.q, terms, 0, 0.0, memory, (reason, why))


def _too_large(plan: Plan, limit: float) -> str:
    largest = max((t for t in plan.terms if t.role == "dense"), key=lambda t: t.effects, default=None)
    need = in_words(plan.memory)
    if largest is None:
        return (
            f"the fit needs about {need}, and {in_words(limit)} are available. Fit on a machine with more memory, "
            "or drop fixed-effects columns."
        )
    return (
        f"the term ({largest.label}) leaves a dense part of {plan.dense:,} x {plan.dense:,}: about {need}, and "
        f"{in_words(limit)} are available. Its {largest.levels:,} levels are crossed with the eliminated factor. Use a "
        "machine with more memory, or a coarser grouping factor; an iterative engine for such problems does not exist "
        "in this version."
    )
