"""Models without random effects: least squares and generalised linear models, by the criteria of the mixed ones.

With nothing to integrate out the likelihood is exact whichever way was asked for: Laplace's approximation and quadrature are
the likelihood, and iterations have nothing to iterate on. So the smaller model of a likelihood-ratio test takes the arguments
of the larger one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine, BlockedPrepared
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.methods import ITERATED
from lmmformula.planner.cost import exact_cost
from lmmformula.planner.recipes import Backend, recipe
from lmmformula.planner.record import Plan

__all__ = ["plain_plan"]

NO_ENGINE = BlockedEngine(name="none")
"""M has no rows: a factorisation of nothing."""
_REASONS = {
    "reml": "method: least squares; sigma has n - p degrees of freedom, and logLik and AIC are restricted ones, to compare "
    "with REML fits (method='ml': those of R's lm)",
    "ml": "method: least squares, with sigma, logLik and AIC of maximum likelihood",
    "laplace": "method: maximum likelihood; there is nothing to integrate out, so the likelihood is exact",
    "pql": "method: quasi-likelihood, as asked: scores of the family, and Pearson's dispersion in the standard errors",
}


def plain_plan(
    problem: Problem, exact: BlockedPrepared, method: str, options: dict[str, Any]
) -> tuple[Plan, Backend, Prepared]:
    """The plan of a model without random effects, its backend and the engine's look at the problem.

    Options of engines, nodes of quadrature and kinds of traces are checked and have no effect: there is nothing to factorise
    or to integrate.

    Parameters
    ----------
    problem : Problem
        Without terms.
    exact : BlockedPrepared
        Of its blocks, for the estimate of the cost.
    method : {"reml", "ml", "laplace", "pql"}
    options : dict

    Raises
    ------
    PlanError
        For options that the method does not have, or values out of range.
    """
    asked = options.pop("engine", "auto")
    own = [name for name in ITERATED if name in options]
    if own and asked != "krylov":
        raise PlanError(f"{own[0]!r} is an option of engine='krylov' only; leave it out.")
    options = {name: value for name, value in options.items() if name not in own}
    if method == "pql":
        options.setdefault("traces", "diagonal")
    backend: Any = recipe(problem, method, NO_ENGINE, options)
    if method == "laplace":
        backend = replace(backend, nagq=1)
    reasons = [_REASONS[method], "engine: none; the formula has no random effects, such as (1 | group)"]
    if asked != "auto":
        reasons.append(f"engine={asked!r} was asked for, and has nothing to do")
    cost = exact_cost(problem, exact, 0)
    name = "ml" if method == "laplace" else method
    n, p = problem.n, problem.p
    plan = Plan(name, "none", n, p, 0, (), 0, 0.0, cost.memory, tuple(reasons), cost.seconds)
    return plan, backend, exact
