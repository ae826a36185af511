"""Plans of quasi-likelihood by backfitting."""

from __future__ import annotations

from dataclasses import replace

from lmmformula.backends.pql import PQL
from lmmformula.engines.backfitting.cost import outer_passes
from lmmformula.engines.elimination import dense_side
from lmmformula.errors import PlanError
from lmmformula.methods.options import Quasi
from lmmformula.methods.plain import plain_plan
from lmmformula.methods.record import Request
from lmmformula.planner.engines import backfitted, best_exact, exact_plan
from lmmformula.planner.record import Alternative, Planned

__all__ = ["quasi_plan"]

PQL_EXACT = 1_500
"""Side of the dense part up to which PQL takes exact traces unless told otherwise."""
_PLAIN = "method: quasi-likelihood, as asked: scores of the family, and Pearson's dispersion in the standard errors"


def quasi_plan(request: Request[Quasi], reason: str, alternatives: tuple[Alternative, ...] = ()) -> Planned:
    """The plan of a fit by quasi-likelihood, for `reason`; the `alternatives` are what it takes the place of."""
    problem, blocks = request.problem, request.blocks
    if problem.family.repeated:
        raise PlanError(
            "y | weights(w) repeats rows, and method='pql' estimates a dispersion from rows, not from repeats: use "
            "method='laplace' or 'krylov', or weights= if w is the precision of a row."
        )
    if problem.family.known:
        raise PlanError(
            "y | se(s) has known residual variances, and method='pql' estimates a dispersion: use method='reml' or 'ml'."
        )
    given = request.options.given()
    given.pop("memory_limit", None)
    if request.start is not None:
        given["start"] = request.start
    few = (
        problem.terms
        and dense_side(blocks)
        <= PQL_EXACT  # which is cheap to know, whereas a look at an engine may take as much as a fit
        and best_exact(problem, blocks, request.limit)[0].survey.dense <= PQL_EXACT
    )
    backend = PQL(**{"traces": "exact" if few else "diagonal", **given})
    if not problem.terms:
        return plain_plan(request, "pql", _PLAIN, backend)
    if backend.needs_inverse:
        chosen = exact_plan(problem, blocks, "pql", reason, request.limit)
        twice = 2.0 * outer_passes(corrected=backend.corrected)  # once with diagonal traces, and once more
        chosen = replace(chosen, plan=replace(chosen.plan, passes=twice))
    else:
        corrected = backend.corrected
        chosen = backfitted(problem, blocks, reason, request.limit, alternatives, corrected=corrected)
    return Planned(chosen.plan, backend, chosen.prepared, request.standard)
