"""From a problem and a call's arguments to what a fit will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.memory import available_memory, in_words
from lmmformula.methods.record import Request, method_named
from lmmformula.planner.record import Planned

__all__ = ["make_plan"]


def make_plan(
    problem: Problem,
    method: str = "auto",
    options: Mapping[str, object] | None = None,
    seed: int | np.random.Generator | None = None,
    priors: Mapping[str, str] | None = None,
) -> Planned:
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
        Of a posterior, or of a penalised likelihood.

    Raises
    ------
    PlanError
        If the method does not suit, an option is unknown, or the problem would not fit in memory.
    """
    asked = method_named(method)
    if why := asked.unsuited(problem):
        raise PlanError(why)
    if not asked.structured:
        problem.refuse_responses(f"method={asked.name!r}", "Leave it to method='auto'.")
    if problem.residual is not None and not asked.structured:
        raise PlanError(
            f"{asked.name.upper()} does not take structured residuals ({problem.residual.label or 'sigma ~'}): use "
            "method='reml' or 'ml', or write the correlation as a random effect, ar1(0 + time | group)."
        )
    if problem.monotonic is not None and not asked.monotonic:
        names = ", ".join(effect.label for effect in problem.monotonic.effects)
        raise PlanError(
            f"{asked.name.upper()} does not take monotonic effects ({names}): use method='ml', 'reml' or 'laplace', or the "
            "ordered factor itself, whose contrasts have no signs."
        )
    read = asked.read(options or {}, problem.is_linear)
    limit = available_memory() if read.memory_limit is None else read.memory_limit
    _refuse_rows(problem, limit)
    standard = asked.standard(problem)
    twin = standard.problem
    blocks = twin.data.levels
    begin = read.begin(standard)
    planned = asked.plan(Request(twin, standard, blocks, read, begin, limit, seed, priors, problem))
    if priors is not None and not (asked.has_priors or asked.penalises):
        comes_to = planned.plan.method
        here = "" if comes_to == asked.name else f" (it comes to {comes_to.upper()})"
        raise PlanError(
            f"priors were given, and {asked.name.upper()} has none{here}: leave them out, ask for the posterior with "
            "method='hmc', or for its maximum with method='ml' or 'laplace'."
        )
    plan = planned.plan
    if told := problem.data.told(plan.passes):
        return replace(planned, plan=replace(plan, reasons=(*plan.reasons, told)))
    return planned


def _refuse_rows(problem: Problem, limit: float) -> None:
    """The Gram needs the pairs of levels that meet, at most one for each row; rows that are elsewhere take none themselves."""
    if not problem.data.at_hand:
        return
    columns = problem.p + 1 + sum(t.k for t in problem.terms)
    need = 8.0 * problem.n * columns
    if need > limit:
        raise PlanError(
            f"{problem.n:,} rows with {columns} columns need about {in_words(need)}, and {in_words(limit)} are "
            "available. Fit on a machine with more memory, or on a sample of the rows."
        )
