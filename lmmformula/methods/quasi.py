"""Plans of quasi-likelihood by backfitting."""

from __future__ import annotations

from lmmformula.backends.pql import PQL
from lmmformula.engines.backfitting.engine import BackfittingPrepared
from lmmformula.errors import PlanError
from lmmformula.methods.options import Quasi
from lmmformula.methods.plain import plain_plan
from lmmformula.methods.record import Request
from lmmformula.planner.engines import backfitted, exact_plan
from lmmformula.planner.record import Alternative, Planned

__all__ = ["quasi_plan"]

PQL_EXACT = 1_500
"""Side of the dense part up to which PQL takes exact traces unless told otherwise."""
_PLAIN = "method: quasi-likelihood, as asked: scores of the family, and Pearson's dispersion in the standard errors"


def quasi_plan(request: Request[Quasi], reason: str, alternatives: tuple[Alternative, ...] = ()) -> Planned:
    """The plan of a fit by quasi-likelihood, for `reason`; the `alternatives` are what it takes the place of."""
    problem, exact = request.problem, request.exact
    if problem.family.repeated:
        raise PlanError(
            "y | weights(w) repeats rows, and method='pql' estimates a dispersion from rows, not from repeats: use "
            "method='laplace' or 'krylov', or weights= if w is the precision of a row."
        )
    given = request.options.given()
    given.pop("memory_limit", None)
    if request.start is not None:
        given["start"] = request.start
    few = problem.terms and exact.dense_side <= PQL_EXACT
    backend = PQL(**{"traces": "exact" if few else "diagonal", **given})
    if not problem.terms:
        return plain_plan(request, "pql", _PLAIN, backend)
    if backend.needs_inverse:
        plan = exact_plan(problem, exact, "pql", reason, request.limit)
        return Planned(plan, backend, exact, request.standard)
    plan = backfitted(
        problem, exact, reason, request.limit, alternatives, corrected=backend.correction == "laplace"
    )
    return Planned(plan, backend, BackfittingPrepared(exact.blocks), request.standard)
