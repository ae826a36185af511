"""Plans of fits that maximise a likelihood: the criterion, the engine that evaluates it, or what takes its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.backends.base import AnyBackend
from lmmformula.backends.exact import Exact
from lmmformula.engines.base import Engine
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.ir.stacked import has_several
from lmmformula.methods.options import Quasi, Searched
from lmmformula.methods.plain import NO_ENGINE, plain_plan
from lmmformula.methods.record import Request
from lmmformula.planner.engines import choose_engine, refuse_own
from lmmformula.planner.record import Planned

if TYPE_CHECKING:
    from lmmformula.backends.laplace import LaplaceBackend
    from lmmformula.typing import Arguments


__all__ = ["CRITERIA", "Criterion", "likelihood_plan"]

KRYLOV_TOLERANCE = 1e-6
"""Newton decrement that a stochastic criterion can promise."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """A likelihood.

    Attributes
    ----------
    backend : callable
        (problem, engine, options that are given) -> what maximises it.
    plain_name, plain : str
        Without random effects: what it is called, and the reason for it.
    is_approximate : bool
        Whether quasi-likelihood may take its place, which is as approximate.
    """

    backend: Callable[[Problem, Engine, Arguments], AnyBackend]
    plain_name: str
    plain: str
    is_approximate: bool = False


def _restricted(problem: Problem, engine: Engine, given: Arguments) -> Exact:
    return Exact(reml=True, engine=engine, **given)


def _full(problem: Problem, engine: Engine, given: Arguments) -> Exact:
    return Exact(reml=False, engine=engine, **given)


def _laplace(problem: Problem, engine: Engine, given: Arguments) -> LaplaceBackend:
    """Laplace's approximation or quadrature, which has nothing to do without random effects."""
    from lmmformula.backends.laplace import LaplaceBackend

    nagq = given.get("nagq", 1)
    if has_several(problem):
        from lmmformula.backends.several import SeveralBackend

        return SeveralBackend(engine=engine, **given)
    if nagq > 1:
        problem.refuse_coupled("adaptive quadrature", "Use nagq=1 (Laplace).")
    groups = {t.group for t in problem.terms}
    columns = sum(t.k for t in problem.terms)
    if nagq > 1 and (len(groups) > 1 or columns > 3):
        raise PlanError(
            f"nagq={nagq}: adaptive quadrature needs one grouping factor with at most 3 columns; this model has "
            f"{len(groups)} grouping factors and {columns} columns. Use nagq=1 (Laplace)."
        )
    return LaplaceBackend(engine=engine, **{**given, "nagq": nagq if groups else 1})


CRITERIA: Mapping[str, Criterion] = {
    "reml": Criterion(
        _restricted,
        "reml",
        "method: least squares; sigma has n - p degrees of freedom, and logLik and AIC are restricted ones, to compare "
        "with REML fits (method='ml': those of R's lm)",
    ),
    "ml": Criterion(_full, "ml", "method: least squares, with sigma, logLik and AIC of maximum likelihood"),
    "laplace": Criterion(
        _laplace,
        "ml",
        "method: maximum likelihood; there is nothing to integrate out, so the likelihood is exact",
        is_approximate=True,
    ),
}
"""Name in plans -> criterion."""


def likelihood_plan(
    request: Request[Searched], name: str, reason: str, engine: str, *, gives_way: bool
) -> Planned:
    """The plan of a fit that maximises a criterion.

    Parameters
    ----------
    request : Request
    name, reason : str
        Of the criterion, and why it is that.
    engine : str
        That is asked for, or "auto".
    gives_way : bool
        Whether quasi-likelihood may take its place where it would take too long.
    """
    problem, blocks, criterion = request.problem, request.blocks, CRITERIA[name]
    given = request.options.given()
    own = {n: given.pop(n) for n in list(given) if request.options.engine_of(n)}
    for elsewhere in ("engine", "memory_limit", "start"):
        given.pop(elsewhere, None)
    if request.start is not None:
        given["start"] = request.start
    if not problem.terms:
        refuse_own({n: v for n, v in own.items() if request.options.engine_of(n) != engine})
        backend = criterion.backend(problem, NO_ENGINE, given)
        return plain_plan(request, criterion.plain_name, criterion.plain, backend, engine)
    # quasi-likelihood counts no repeats, and has random effects in the mean alone
    several = has_several(problem)
    gives_way &= not (problem.family.repeated or several or problem.monotonic is not None)
    if gives_way and criterion.is_approximate and not (given or own or engine != "auto"):
        from lmmformula.planner.quasi import likelihood_out_of_reach

        found = likelihood_out_of_reach(problem, blocks, request.limit)
        if found is not None:
            from lmmformula.methods.quasi import quasi_plan

            options = Quasi(traces="diagonal", correction="laplace")
            quasi = Request(problem, request.standard, blocks, options, None, request.limit)
            return quasi_plan(quasi, *found)
    chosen = choose_engine(
        problem,
        blocks,
        name,
        reason,
        request.limit,
        asked=engine,
        own=own,
        nagq=given.get("nagq", 1),
        seed=request.seed,
        replaceable=criterion.is_approximate and not several,
        estimable=not several,
    )
    if not chosen.engine.is_exact:
        given.setdefault("tolerance", KRYLOV_TOLERANCE)
    backend = criterion.backend(problem, chosen.engine, given)
    return Planned(chosen.plan, backend, chosen.prepared, request.standard)
