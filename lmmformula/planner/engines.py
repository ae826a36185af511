"""Which engine does the linear algebra: sizes, costs, and the plan that says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine, BlockedPrepared
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.methods import ITERATED
from lmmformula.planner.cost import Cost, backfitting_cost, exact_cost, krylov_cost
from lmmformula.planner.coupled import Coupled
from lmmformula.planner.recipes import KRYLOV_TOLERANCE, krylov_engine
from lmmformula.planner.record import Alternative, Plan, TermSize, seconds_in_words

__all__ = ["backfitted", "choose_engine", "factorised", "too_large"]

WORTH_IT = 2.0
"""Seconds of an exact fit from which on an estimate of the likelihood may take its place."""
FASTER = 3.0
"""How many times faster it must then be."""


def choose_engine(
    problem: Problem,
    exact: BlockedPrepared,
    method: str,
    reason: str,
    options: dict[str, Any],
    limit: float,
    seed: int | np.random.Generator | None,
) -> tuple[Plan, Any, Prepared]:
    """The engine asked for, or the exact one where it fits and is not much slower; takes its options out of `options`."""
    name = options.pop("engine", "auto")
    side = problem.q if name == "dense" else exact.dense_side
    cost = exact_cost(problem, exact, side)
    coupled = Coupled.of(exact.blocks)
    own = {n: options.pop(n) for n in ITERATED if n in options}
    engine = krylov_engine(own, seed)
    iterative = krylov_cost(problem, exact.blocks, coupled, engine.probes)
    why = _reason(exact, method, name, options, cost, iterative, limit)
    if why is not None and engine.device != "cpu":
        why += f"; products and iterations run on the {engine.device.upper()}, as asked"
    if why is not None:
        options.setdefault("tolerance", KRYLOV_TOLERANCE)
        plan = _iterated(problem, exact, coupled, method, iterative, (reason, why))
        if iterative.own_memory > limit:
            raise PlanError(too_large(plan, iterative, limit))
        against = (
            "an exact likelihood, at that price" if cost.own_memory <= limit else "more memory than there is"
        )
        other = Alternative(method, "blocked", cost.seconds, cost.memory, against)
        plan = replace(plan, alternatives=(other, *_quasi(problem, exact, method)))
        return plan, engine, engine.prepare(exact.blocks, exact.plan)
    if own:
        raise PlanError(
            f"{next(iter(own))!r} is an option of engine='krylov' only; leave it out, or ask for that engine."
        )
    plan = factorised(problem, exact, method, name, cost, side, reason)
    if cost.own_memory > limit:
        raise PlanError(too_large(plan, cost, limit))
    if exact.plan.dense:
        against = "its likelihood is an estimate, and the exact one is within reach"
        other = Alternative(method, "krylov", iterative.seconds, iterative.memory, against)
        plan = replace(plan, alternatives=(other, *_quasi(problem, exact, method)))
    if name == "dense":
        return plan, DenseEngine(), DenseEngine().prepare(exact.blocks)
    return plan, BlockedEngine(), exact


def _reason(
    exact: BlockedPrepared,
    method: str,
    name: str,
    options: dict[str, Any],
    cost: Cost,
    iterative: Cost,
    limit: float,
) -> str | None:
    """Why the likelihood is estimated rather than factorised; None if it is not.

    Where elimination leaves nothing dense a factorisation is as fast as a step of iterations, whatever an estimate says.
    """
    if name == "krylov":
        if options.get("nagq", 1) not in (0, 1):
            raise PlanError(f"nagq={options['nagq']!r} needs an exact engine; leave out engine='krylov'.")
        return "engine: krylov, as asked; the likelihood is an estimate with a standard error"
    nagq = options.get("nagq", 1)
    if name != "auto" or method == "pql" or nagq not in (0, 1):
        return None
    if cost.own_memory > limit >= iterative.own_memory:
        return (
            f"engine: krylov; an exact factorisation would take {in_words(cost.own_memory)}, and {in_words(limit)} are "
            "available, so the likelihood is an estimate with a standard error"
        )
    if exact.plan.dense and cost.seconds > WORTH_IT and cost.seconds > FASTER * iterative.seconds:
        return (
            f"engine: krylov; an exact factorisation would take about {seconds_in_words(cost.seconds)}, iterations "
            f"about {seconds_in_words(iterative.seconds)}, so the likelihood is an estimate with a standard error "
            "(engine='blocked' makes it exact)"
        )
    return None


def _quasi(problem: Problem, exact: BlockedPrepared, method: str) -> tuple[Alternative, ...]:
    """Backfitting in the place of a Laplace approximation."""
    if method != "laplace":
        return ()
    out = []
    for corrected in (True, False):
        if corrected and (problem.aux or problem.family.auxiliaries or not problem.family.is_canonical):
            continue
        cost = backfitting_cost(problem, exact.blocks, corrected=corrected)
        against = (
            "no likelihood; correction='laplace', traces='diagonal'"
            if corrected
            else "no likelihood, and biased where levels have few rows"
        )
        name = "pql, corrected" if corrected else "pql"
        out.append(Alternative(name, "backfitting", cost.seconds, cost.memory, against))
    return tuple(out)


def factorised(
    problem: Problem, exact: BlockedPrepared, method: str, engine: str, cost: Cost, side: int, reason: str
) -> Plan:
    """The plan of an exact factorisation."""
    chosen, groups = exact.plan, exact.blocks.groups
    roles = ["eliminated level by level" if a in chosen.chain else "dense" for a in range(len(groups))]
    if engine == "dense":
        why = "engine: dense, as asked (for checking; cost grows with the cube of the random effects)"
    elif not groups:
        why = "engine: none; the formula has no random effects, such as (1 | group)"
    elif len(groups) == 1:
        why = "engine: blocked; one grouping factor, so each level is a small system of its own and nothing dense remains"
    elif not chosen.dense:
        why = "engine: blocked; every grouping factor is nested in the next, so nothing dense remains"
    else:
        inside = " in ".join(groups[a].name for a in chosen.chain)
        crossed = ", ".join(groups[a].name for a in chosen.dense)
        why = f"engine: blocked; {inside} eliminated level by level, {crossed} crossed with it and kept dense"
    name = "dense" if engine == "dense" else "blocked"
    pairs = sum(c.ragged.pairs for c in chosen.couplings)
    sizes = _sizes(problem, exact, roles)
    return Plan(
        method,
        name,
        problem.n,
        problem.p,
        problem.q,
        sizes,
        side,
        pairs,
        cost.memory,
        (reason, why),
        cost.seconds,
    )


def _iterated(
    problem: Problem,
    exact: BlockedPrepared,
    coupled: Coupled,
    method: str,
    cost: Cost,
    reasons: tuple[str, ...],
) -> Plan:
    roles = [
        "eliminated level by level" if a == coupled.group else "iterated on"
        for a in range(len(exact.blocks.groups))
    ]
    sizes = _sizes(problem, exact, roles)
    n, p, q = problem.n, problem.p, problem.q
    return Plan(method, "krylov", n, p, q, sizes, 0, coupled.pairs, cost.memory, reasons, cost.seconds)


def backfitted(
    problem: Problem,
    exact: BlockedPrepared,
    reason: str,
    others: tuple[Alternative, ...] = (),
    *,
    corrected: bool = False,
) -> Plan:
    """A plan that forms no dense matrix and no Schur complement."""
    terms = tuple(TermSize(t.label or t.group, t.m, t.q, "backfitted") for t in problem.terms)
    cost = backfitting_cost(problem, exact.blocks, corrected=corrected)
    why = "engine: backfitting, one grouping factor at a time; cost grows like the number of rows"
    n, p, q = problem.n, problem.p, problem.q
    return Plan(
        "pql", "backfitting", n, p, q, terms, 0, 0.0, cost.memory, (reason, why), cost.seconds, others
    )


def _sizes(problem: Problem, exact: BlockedPrepared, roles: list[str]) -> tuple[TermSize, ...]:
    """Sizes of the terms in the order of the formula, with the roles of their groups."""
    found = []
    for group, role in zip(exact.blocks.groups, roles, strict=True):
        for i, _ in group.members:
            t = problem.terms[i]
            found.append((i, TermSize(t.label or t.group, t.m, t.q, role)))
    return tuple(size for _, size in sorted(found, key=lambda item: item[0]))


def too_large(plan: Plan, cost: Cost, limit: float) -> str:
    """The refusal of a plan that needs more memory than `limit`, which libraries that are loaded already do not share."""
    largest = max((t for t in plan.terms if t.role == "dense"), key=lambda t: t.effects, default=None)
    need = in_words(cost.own_memory)
    if largest is None:
        return (
            f"the fit needs about {need}, and {in_words(limit)} are available. Fit on a machine with more memory, "
            "or drop fixed-effects columns."
        )
    instead = "engine='krylov', which keeps nothing dense"
    if plan.method == "hmc":
        instead = "method='krylov', a likelihood that keeps nothing dense (chains need the exact engine)"
    return (
        f"the term ({largest.label}) leaves a dense part of {plan.dense:,} x {plan.dense:,}: about {need}, and "
        f"{in_words(limit)} are available. Its {largest.levels:,} levels are crossed with the eliminated factor. Use "
        f"{instead}, a machine with more memory, or a coarser grouping factor."
    )
