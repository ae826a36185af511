"""Bayesian fits: what is integrated out, how the rest is sampled, and the plan that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from lmmformula.backends.posterior.hmc import HMC
from lmmformula.backends.posterior.routes.base import Route
from lmmformula.backends.posterior.routes.choose import choose_route
from lmmformula.backends.posterior.sampling.request import MOST_COORDINATES, tried_first
from lmmformula.engines.cost import Cost
from lmmformula.errors import DataError, PlanError
from lmmformula.ir.levels import Levels
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.methods.options import Sampled
from lmmformula.methods.plain import NOTHING
from lmmformula.methods.record import Request
from lmmformula.numerics.pareto import TRUSTED_K
from lmmformula.planner.bayes_cost import first_chains, sampling_cost, sampling_memory, weighing
from lmmformula.planner.engines import exact_plan
from lmmformula.planner.record import Alternative, Planned

__all__ = ["posterior_plan"]

_REASON = "method: the posterior, as asked; priors that are not given are weak (print m.priors)"

FEW = 20
"""Dimensions above which weights of importance sampling are often not trusted: with 13, k is about 0.3 and most draws count."""


def posterior_plan(request: Request[Sampled], name: str) -> Planned:
    """The plan of a posterior by the method of that name."""
    problem, blocks, limit = request.problem, request.blocks, request.limit
    backend, reasons = _recipe(request)
    instead = "method='krylov', a likelihood that keeps nothing dense (chains need the exact engine)"
    chosen = exact_plan(problem, blocks, name, _REASON, limit, draws=True, instead=instead)
    plan, cost = chosen.plan, chosen.cost
    route = backend.route(problem)
    first = _first(backend, route, route.dimensions(problem, resolve_priors(problem, request.priors)))
    seconds, memory = _estimates(problem, blocks, cost, backend, first)
    if cost.own_memory + memory > limit:
        raise PlanError(
            f"{backend.chains * backend.draws:,} draws of {problem.q:,} random effects and of the parameters, with what "
            f"sampling loads, need about {in_words(cost.own_memory + memory)}, and {in_words(limit)} are available. Ask for "
            "fewer draws or chains, or fit on a machine with more memory."
        )
    other = _other_sampler(problem, blocks, cost, backend, first, name)
    why = (_REASON, *reasons, *(plan.reasons[1:] if problem.terms else (NOTHING,)))
    if loading := first_chains(first, problem, blocks, route):
        why += (f"of the time about {loading:.0f} s load JAX and compile, once in a process",)
    if (weights := weighing(problem, route, backend.chains, backend.draws)) >= 1.0:
        why += (f"of the time about {weights:.0f} s weight draws to the exact posterior",)
    plan = replace(plan, memory=plan.memory + memory, reasons=why, seconds=seconds, alternatives=other)
    return Planned(plan, backend, chosen.prepared, request.standard)


def _estimates(
    problem: Problem, blocks: Levels, cost: Cost, backend: HMC, sampler: str
) -> tuple[float, float]:
    """Seconds of a posterior, and bytes beside those of the exact engine."""
    route = backend.route(problem)
    draws = (backend.chains, backend.draws)
    seconds = sampling_cost(problem, blocks, cost, route, sampler, *draws, backend.warmup).seconds
    seconds += first_chains(sampler, problem, blocks, route) + weighing(problem, route, *draws)
    return seconds, sampling_memory(problem, blocks, route, sampler, *draws)


def _other_sampler(
    problem: Problem, blocks: Levels, cost: Cost, backend: HMC, first: str, method: str
) -> tuple[Alternative, ...]:
    """The sampler that was not taken, where the model is one for both."""
    route = backend.route(problem)
    if not route.is_few:
        return ()
    name = "importance" if first == "nuts" else "nuts"
    against = (
        "sampler='importance': its weights may turn out not to be trusted"
        if name == "importance"
        else "sampler='nuts': chains, whose draws depend on each other"
    )
    seconds, memory = _estimates(problem, blocks, cost, backend, name)
    memory += cost.memory
    return (Alternative(method, name, seconds, memory, against),)


def _recipe(request: Request[Sampled]) -> tuple[HMC, tuple[str, ...]]:
    """The backend with its options, and the reasons for it.

    The one place that chooses between ways to a posterior.

    Raises
    ------
    PlanError
        For a family or an option that does not suit, or priors that cannot be read.
    """
    problem, priors, seed = request.problem, request.priors, request.seed
    given = request.options.given()
    for elsewhere in ("engine", "memory_limit"):
        given.pop(elsewhere, None)
    if priors is not None and not isinstance(priors, Mapping):
        raise PlanError(
            f"priors={priors!r} must map parameters to text, for example {{'b': 'normal(0, 5)'}}."
        )
    route = choose_route(problem, given.get("marginalize", "auto"), correct=given.get("correct", False))
    normal = problem.family.normal
    if normal is not None and not normal.itself:
        _refuse_one_level_per_row(problem)
    resolved = resolve_priors(problem, priors)
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else seed
    backend = HMC(priors=priors, seed=number, **given)
    if problem.terms:
        what = route.integrated_out(problem, resolved)
    else:
        what = f"nothing to integrate out: {route.reason}; the sampler moves in all parameters"
    reasons = (what, _sampler(backend, route, route.dimensions(problem, resolved)))
    return backend, reasons


def _refuse_one_level_per_row(problem: Problem) -> None:
    """The frame does so for responses that are normal themselves, which one that is normal in its logarithm is not."""
    for term in problem.terms:
        if term.q >= problem.n:
            raise DataError(
                f"({term.label or term.group}) has {term.q:,} random effects for {problem.n:,} rows, so its variance cannot be "
                "told from the residual variance; leave the term out, or use a coarser grouping factor"
            )


def _sampler(backend: HMC, route: Route, d: int) -> str:
    if backend.sample_prior == "only":
        return "draws from the priors alone, as asked: the response says nothing here but for the scale of default priors"
    if _first(backend, route, d) == "nuts":
        chains = f"sampler: NUTS, {backend.chains} chains of {backend.draws:,} draws"
        if not route.is_few:
            return chains
        if d > MOST_COORDINATES:
            return f"{chains}, which suits {d} dimensions"
        return (
            f"{chains}; in {d} dimensions sampler='auto' would take independent draws by importance sampling, which come "
            "sooner, and chains where their weights cannot be trusted"
        )
    asked = "as asked" if backend.sampler == "importance" else f"which suits {d} dimensions"
    risk = "" if d <= FEW else f"; in {d} dimensions that is likely"
    return (
        f"sampler: importance, {asked}: {backend.chains * backend.draws:,} independent draws, whose weights are checked by "
        f"Pareto k and effective number; chains of NUTS on the same density where k stays above {TRUSTED_K}{risk}"
    )


def _first(backend: HMC, route: Route, d: int) -> Literal["nuts", "importance"]:
    """The sampler that the posterior begins with."""
    return tried_first(backend.sampler, d, few=route.is_few)
