"""Models without random effects: least squares and generalised linear models, by the criteria of the mixed ones.

With nothing to integrate out the likelihood is exact whichever way was asked for: Laplace's approximation and quadrature are
the likelihood, and iterations have nothing to iterate on. So the smaller model of a likelihood-ratio test takes the arguments
of the larger one: options of engines, nodes of quadrature and kinds of traces are checked and have no effect.
"""

from __future__ import annotations

from lmmformula.backends.base import AnyBackend
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.methods.record import AnyRequest
from lmmformula.planner.record import Plan, Planned

__all__ = ["NOTHING", "NO_ENGINE", "plain_plan"]

NO_ENGINE = BlockedEngine(name="none")
"""M has no rows: a factorisation of nothing."""
NOTHING = "engine: none; the formula has no random effects, such as (1 | group)"


def plain_plan(
    request: AnyRequest, name: str, reason: str, backend: AnyBackend, engine: str = "auto"
) -> Planned:
    """The plan of a model without random effects.

    Parameters
    ----------
    request : Request
        Of a problem without terms.
    name, reason : str
        The criterion, and why it is that.
    backend : Backend
    engine : str
        That was asked for, in vain.
    """
    problem, prepared = request.problem, NO_ENGINE.prepare(request.blocks)
    reasons = [reason, NOTHING]
    if engine != "auto":
        reasons.append(f"engine={engine!r} was asked for, and has nothing to do")
    cost = NO_ENGINE.survey(problem, request.blocks).cost
    n, p = problem.n, problem.p
    plan = Plan(
        name, "none", n, p, 0, (), 0, 0.0, cost.memory, tuple(reasons), cost.seconds, passes=cost.passes
    )
    return Planned(plan, backend, prepared, request.standard)
