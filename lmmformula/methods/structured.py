"""Plans of fits with structured residuals: REML or ML by clusters of rows."""

from __future__ import annotations

from lmmformula.backends.correlated import Correlated
from lmmformula.criteria.clusters import MOST_ROWS, largest_cluster
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.methods.options import Searched
from lmmformula.methods.plain import NO_ENGINE
from lmmformula.methods.record import Request
from lmmformula.planner.record import Plan, Planned, TermSize

__all__ = ["structured_plan"]

_TAKEN = ("tolerance", "max_evaluations")
"""Options that the search has."""
WORD = 8.0


def structured_plan(request: Request[Searched], name: str, reason: str, engine: str) -> Planned:
    """The plan of a fit by clusters.

    Raises
    ------
    PlanError
        For what the criterion by clusters does not take.
    """
    problem = request.problem
    assert problem.residual is not None
    _refuse(problem, engine)
    largest = largest_cluster(problem)
    count = problem.n_theta + problem.residual.n_psi
    memory = WORD * (largest**2 * (count + 5.0) + problem.n * (problem.p + 1.0) * 3.0)
    if problem.responses and (largest > MOST_ROWS or memory > request.limit):
        raise PlanError(
            f"several Gaussian responses are fitted by clusters of rows that random effects connect, and the largest has "
            f"{largest:,} rows (at most {MOST_ROWS:,}; {in_words(memory)} for its matrices). With independent residuals, "
            "rescor=False, method='laplace' takes effects of crossed factors too; its likelihood is exact for these responses."
        )
    if largest > MOST_ROWS or memory > request.limit:
        raise PlanError(
            f"structured residuals are fitted by clusters of rows that random effects and residual groups connect, and the "
            f"largest has {largest:,} rows (at most {MOST_ROWS:,}; {in_words(memory)} for its matrices). Give gr= a factor "
            "within the random effects, leave crossed random effects out, or write the correlation as a random effect: "
            "ar1(0 + time | group)."
        )
    given = {k: v for k, v in request.options.given().items() if k in _TAKEN}
    start = request.start.theta if isinstance(request.start, Estimate) else request.start
    backend = Correlated(reml=name == "reml", start=start, **given)
    label = problem.residual.label or "sigma ~ " + " + ".join(_variance_names(problem))
    reasons = (
        reason,
        f"residuals: {label}; the covariance matrix of the response is block diagonal, and its largest block has "
        f"{largest:,} rows",
    )
    terms = tuple(
        TermSize(t.label or t.group, t.m, t.q, "within the blocks of the response") for t in problem.terms
    )
    plan = Plan(
        name, "clusters", problem.n, problem.p, problem.q, terms, largest, 0.0, memory + _BASE, reasons
    )
    return Planned(plan, backend, NO_ENGINE.prepare(request.blocks), request.standard)


_BASE = 1e8
"""Bytes of the interpreter and its libraries."""


def _variance_names(problem: Problem) -> tuple[str, ...]:
    residual = problem.residual
    return () if residual is None or residual.variance is None else residual.variance.block.names


def _refuse(problem: Problem, engine: str) -> None:
    if engine != "auto":
        raise PlanError(
            f"engine={engine!r}: structured residuals are fitted by clusters of rows; leave it out."
        )
    if problem.family.repeated:
        raise PlanError(
            "y | weights(w) repeats rows, and repeats of correlated residuals are no rows: use weights= for precisions."
        )
    problem.refuse_elsewhere("a structure of residuals")
    if problem.responses:
        problem.refuse_coupled(
            "the criterion of several Gaussian responses",
            "Use rescor=False with method='laplace', which takes them.",
        )
    problem.refuse_coupled(
        "a structure of residuals",
        "Leave the structure of residuals out and write it as a random effect too: ar1(0 + time | group).",
    )
