"""When backfitting takes the place of a likelihood: models that are too large for either engine to wait for.

Corrected to Laplace's approximation (:mod:`lmmformula.criteria.pql_correction`), quasi-likelihood with diagonal traces needs
a pass or two over rows and pairs in each of about ten outer iterations: less than half the time of the iterative engine, and
less than half its memory. What diagonal traces leave out is of the order of one over the numbers of rows of the levels that
meet. Measured with two crossed factors (``benchmarks/plan_routes.py``), the estimated standard deviations of the effects lie
below those of Laplace's approximation by about 0.4 over the geometric mean of rows a level: 9 per cent at 5 rows, 1.6 at 20.
So there is less patience with the iterative engine where levels have many rows, and more where they have few.
"""

from __future__ import annotations

import numpy as np

from lmmformula.engines.blocked import BlockedPrepared
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.planner.cost import Cost, backfitting_cost, exact_cost, krylov_cost
from lmmformula.planner.coupled import Coupled
from lmmformula.planner.record import Alternative, seconds_in_words

__all__ = ["PATIENCE", "likelihood_out_of_reach", "rows_a_level"]

PATIENCE, MORE_PATIENCE = 30.0, 300.0
"""Seconds that a fit by iterations may take before backfitting takes its place; the second where levels have few rows."""
MANY_ROWS = 15.0
"""Rows a level, geometric mean over the two groups that have least, from which on they are many."""
WORTH_IT = 1.5
"""How many times less time backfitting must then take."""
PROBES = 8


def likelihood_out_of_reach(
    problem: Problem, exact: BlockedPrepared, limit: float
) -> tuple[str, tuple[Alternative, ...]] | None:
    """Why corrected quasi-likelihood takes the place of a likelihood, and the likelihoods instead; None if it does not.

    Never where the correction is not available.
    """
    if problem.aux or problem.family.auxiliaries or not problem.family.is_canonical:
        return None
    patience = PATIENCE if rows_a_level(exact.blocks) >= MANY_ROWS else MORE_PATIENCE
    factorised = exact_cost(problem, exact, exact.dense_side)
    if _bearable(factorised, patience, limit):
        return None
    iterated = krylov_cost(problem, exact.blocks, Coupled.of(exact.blocks), PROBES)
    if _bearable(iterated, patience, limit):
        return None
    quasi = backfitting_cost(problem, exact.blocks, corrected=True)
    if quasi.own_memory > limit:
        return None
    best = min((c.seconds for c in (factorised, iterated) if c.own_memory <= limit), default=float("inf"))
    if WORTH_IT * quasi.seconds > best:
        return None
    others = (("krylov", iterated), ("blocked", factorised))
    alternatives = tuple(
        Alternative("laplace", engine, c.seconds, c.memory, _against(engine, c, limit))
        for engine, c in others
    )
    return _why(iterated, limit), alternatives


def rows_a_level(blocks: Blocks) -> float:
    """Geometric mean over the two groups of most levels."""
    levels = sorted((g.m for g in blocks.groups), reverse=True)[:2]
    return blocks.n / float(np.exp(np.mean(np.log(levels))))


def _bearable(cost: Cost, patience: float, limit: float) -> bool:
    return cost.seconds <= patience and cost.own_memory <= limit


def _why(iterated: Cost, limit: float) -> str:
    if iterated.own_memory > limit:
        price = f"{in_words(iterated.own_memory)} of memory, and {in_words(limit)} are available"
    else:
        price = f"about {seconds_in_words(iterated.seconds)}"
    return (
        "method: quasi-likelihood by backfitting, corrected to Laplace's approximation: the likelihood itself would take "
        f"{price}. It has no likelihood to compare models by; method='laplace' asks for that all the same"
    )


def _against(engine: str, cost: Cost, limit: float) -> str:
    if cost.own_memory > limit:
        return "more memory than there is"
    return f"a likelihood, at that price (method='laplace', engine='{engine}')"
