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

from lmmformula.engines.registry import sweeping
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.planner.engines import Look, looks
from lmmformula.planner.record import Alternative, seconds_in_words

__all__ = ["PATIENCE", "likelihood_out_of_reach", "rows_a_level"]

PATIENCE, MORE_PATIENCE = 30.0, 300.0
"""Seconds that a fit by iterations may take before backfitting takes its place; the second where levels have few rows."""
MANY_ROWS = 15.0
"""Rows a level, geometric mean over the two groups that have least, from which on they are many."""
WORTH_IT = 1.5
"""How many times less time backfitting must then take."""


def likelihood_out_of_reach(
    problem: Problem, blocks: Levels, limit: float
) -> tuple[str, tuple[Alternative, ...]] | None:
    """Why corrected quasi-likelihood takes the place of a likelihood, and the likelihoods instead; None if it does not.

    Never where the correction is not available.
    """
    if problem.aux or problem.family.auxiliaries or not problem.family.is_canonical:
        return None
    patience = PATIENCE if rows_a_level(blocks) >= MANY_ROWS else MORE_PATIENCE
    likelihoods: list[Look] = []
    for exact in (True, False):
        for look in looks(problem, blocks, exact=exact):
            if look.fits(limit) and look.cost.seconds <= patience:
                return None
            likelihoods.append(look)
    engine = sweeping(corrected=True)
    if engine.refuses(blocks):
        return None
    quasi = engine.survey(problem, blocks).cost
    best = min((v.cost.seconds for v in likelihoods if v.fits(limit)), default=float("inf"))
    if quasi.own_memory > limit or WORTH_IT * quasi.seconds > best:
        return None
    alternatives = tuple(v.instead("laplace", _against(v, limit)) for v in reversed(likelihoods))
    return _why(likelihoods, limit), alternatives


def rows_a_level(blocks: Levels) -> float:
    """Geometric mean over the two groups of most levels."""
    levels = sorted((g.m for g in blocks.groups), reverse=True)[:2]
    return blocks.n / float(np.exp(np.mean(np.log(levels))))


def _why(likelihoods: list[Look], limit: float) -> str:
    small = [v.cost.seconds for v in likelihoods if v.fits(limit)]
    if small:
        price = f"about {seconds_in_words(min(small))}"
    else:
        least = min(v.cost.own_memory for v in likelihoods)
        price = f"{in_words(least)} of memory, and {in_words(limit)} are available"
    return (
        "method: quasi-likelihood by backfitting, corrected to Laplace's approximation: the likelihood itself would take "
        f"{price}. It has no likelihood to compare models by; method='laplace' asks for that all the same"
    )


def _against(look: Look, limit: float) -> str:
    if not look.fits(limit):
        return "more memory than there is"
    return f"a likelihood, at that price (method='laplace', engine='{look.engine.name}')"
