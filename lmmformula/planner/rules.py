"""Ordered rules from a problem to a plan that prints its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmmformula.backends.optimum import off_boundary
from lmmformula.backends.pql import refuse_other_model
from lmmformula.engines.backfitting.engine import BackfittingPrepared
from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.memory import available_memory, in_words
from lmmformula.methods import Method, criterion_of, method_named, read_options
from lmmformula.planner.cost import backfitting_cost
from lmmformula.planner.engines import backfitted, choose_engine, too_large
from lmmformula.planner.plain import plain_plan
from lmmformula.planner.quasi import CORRECTED, likelihood_out_of_reach
from lmmformula.planner.recipes import Backend, recipe, start_theta
from lmmformula.planner.record import Plan

__all__ = ["make_plan"]

PQL_EXACT = 1_500
"""Side of the dense part up to which PQL takes exact traces unless told otherwise."""


def make_plan(
    problem: Problem,
    method: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int | np.random.Generator | None = None,
    priors: Mapping[str, str] | None = None,
) -> tuple[Plan, Backend, Prepared, Standard]:
    """Choose backend and engine for `problem`.

    Parameters
    ----------
    problem : Problem
    method : str
    options : mapping, optional
        See :func:`lmmformula.fit`.
    seed : int or Generator, optional
        Of engines that draw probes (zero if not given) and of draws from a posterior.
    priors : mapping, optional
        Of a posterior.

    Returns
    -------
    plan : Plan
    backend : Exact, LaplaceBackend, PQL or HMC
        Ready to fit.
    prepared : Prepared
        The engine's look at the problem, to be handed to the backend.
    standard : Standard
        The problem in the units in which the backend fits it.

    Raises
    ------
    PlanError
        If the method does not suit, an option is unknown, or the problem would not fit in memory.
    """
    asked = method_named(method)
    method = criterion_of(asked, problem.is_linear, problem.family)
    if priors is not None and not asked.has_priors:
        name = asked.name if asked.name == "krylov" else method
        raise PlanError(
            f"priors were given, and {name.upper()} has none: leave them out, or ask for the posterior with method='hmc'."
        )
    options = read_options(asked, method, options or {})
    reason = _reason(asked, method)
    if asked.name == "krylov":
        if options.get("engine", "auto") not in ("auto", "krylov"):
            raise PlanError(f"method='krylov' is the krylov engine; leave out engine={options['engine']!r}.")
        options["engine"] = "krylov"
    limit = float(options.pop("memory_limit", None) or available_memory())
    _refuse_rows(problem, limit)
    standard = Standard.of_columns(problem) if method == "hmc" else Standard.of(problem)
    problem = standard.problem
    _place_start(standard, method, options)
    blocks = Blocks(problem.terms, problem.n)
    exact = BlockedEngine().prepare(blocks)
    if method == "hmc":
        from lmmformula.planner.bayes import bayes_plan

        return *bayes_plan(problem, exact, reason, options, limit, priors, seed), standard
    if not problem.terms:
        return *plain_plan(problem, exact, method, options), standard
    found = None
    if asked.name == "auto" and method == "laplace":
        found = likelihood_out_of_reach(problem, exact, options, limit)
    if method == "pql" or found is not None:
        reason, others = (reason, ()) if found is None else found
        options = options if found is None else dict(CORRECTED)
        options.setdefault("traces", "exact" if exact.dense_side <= PQL_EXACT else "diagonal")
        if options["traces"] == "diagonal":
            corrected = options.get("correction", "none") == "laplace"
            plan = backfitted(problem, exact, reason, others, corrected=corrected)
            cost = backfitting_cost(problem, blocks, corrected=corrected)
            if cost.own_memory > limit:
                raise PlanError(too_large(plan, cost, limit))
            return plan, recipe(problem, "pql", None, options), BackfittingPrepared(blocks), standard
    plan, engine, prepared = choose_engine(problem, exact, method, reason, options, limit, seed)
    return plan, recipe(problem, method, engine, options), prepared, standard


def _place_start(standard: Standard, method: str, options: dict[str, Any]) -> None:
    """Where a search starts, checked, in the twin's units; quasi-likelihood goes on from an estimate, others from its theta."""
    start = options.get("start")
    if isinstance(start, Estimate):
        refuse_other_model(standard.problem, start)
        start = standard.inward(start)
        options["start"] = start if method == "pql" else off_boundary(start.theta)
    elif start is not None:
        options["start"] = standard.theta_in(start_theta(standard.problem, start))


def _reason(asked: Method, criterion: str) -> str:
    """Why the fit is by `criterion`."""
    if criterion == "hmc":
        return "method: the posterior, as asked; priors that are not given are weak (print m.priors)"
    if criterion == "pql":
        return "method: penalised quasi-likelihood by backfitting, as asked; it has no likelihood to compare"
    if asked.name == "krylov":
        what = "maximum likelihood" if criterion == "ml" else "Laplace approximation"
        return f"method: {what} by iterative linear algebra, as asked"
    if criterion == "laplace":
        why = (
            "as asked"
            if asked.name == criterion
            else "maximum likelihood for a response that is not Gaussian"
        )
        return f"method: Laplace approximation, {why}"
    if asked.name == "auto":
        return "method: REML, the usual choice for a Gaussian response (use 'ml' to compare fixed effects)"
    if asked.name == "laplace":
        return "method: ML, which Laplace's approximation equals for a Gaussian response"
    return f"method: {criterion.upper()}, as asked"


def _refuse_rows(problem: Problem, limit: float) -> None:
    """The Gram needs the pairs of levels that meet, at most one for each row."""
    columns = problem.p + 1 + sum(t.k for t in problem.terms)
    need = 8.0 * problem.n * columns
    if need > limit:
        raise PlanError(
            f"{problem.n:,} rows with {columns} columns need about {in_words(need)}, and {in_words(limit)} are "
            "available. Fit on a machine with more memory, or on a sample of the rows."
        )
