"""Which engine does the linear algebra: sizes, costs, and the plan that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.blocked import BlockedEngine, BlockedPrepared
from lmmformula.engines.dense import DenseEngine
from lmmformula.engines.krylov.device import DEVICES, find_device
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.planner.cost import Cost, backfitting_cost, exact_cost, krylov_cost
from lmmformula.planner.coupled import Coupled
from lmmformula.planner.record import Alternative, Plan, TermSize, seconds_in_words

__all__ = ["Chosen", "backfitted", "choose_engine", "exact_plan", "refuse_own", "too_large"]

WORTH_IT = 2.0
"""Seconds of an exact fit from which on an estimate of the likelihood may take its place."""
FASTER = 3.0
"""How many times faster it must then be."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine, its look at the problem, and the plan that says why."""

    plan: Plan
    engine: Engine
    prepared: Prepared


def choose_engine(
    problem: Problem,
    exact: BlockedPrepared,
    method: str,
    reason: str,
    limit: float,
    *,
    asked: str = "auto",
    own: Mapping[str, Any] | None = None,
    nagq: int = 1,
    seed: int | np.random.Generator | None = None,
    replaceable: bool = False,
) -> Chosen:
    """The engine asked for, or the exact one where it fits and is not much slower.

    Parameters
    ----------
    problem : Problem
    exact : BlockedPrepared
    method, reason : str
        The criterion as plans call it, and why it was chosen.
    limit : float
        Bytes that are available.
    asked : str
    own : mapping, optional
        Options of the Krylov engine.
    nagq : int
        Nodes of quadrature; more than one need an exact engine.
    seed : int or Generator, optional
    replaceable : bool
        Whether quasi-likelihood could take the likelihood's place, and so is told of.

    Raises
    ------
    PlanError
        If the fit needs more memory than there is, or options do not suit the engine.
    """
    side = problem.q if asked == "dense" else exact.dense_side
    cost = exact_cost(problem, exact, side)
    coupled = Coupled.of(exact.blocks)
    engine = krylov_engine(own or {}, seed)
    iterative = krylov_cost(problem, exact.blocks, coupled, engine.probes)
    why = _reason(exact, asked, nagq, cost, iterative, limit)
    instead = _quasi(problem, exact) if replaceable else ()
    if why is not None:
        if engine.device != DEVICES[0]:
            why += f"; products and iterations run on the {engine.device.upper()}, as asked"
        plan = _iterated(problem, exact, coupled, method, iterative, (reason, why))
        if iterative.own_memory > limit:
            raise PlanError(too_large(plan, iterative, limit))
        against = (
            "an exact likelihood, at that price" if cost.own_memory <= limit else "more memory than there is"
        )
        other = Alternative(method, "blocked", cost.seconds, cost.memory, against)
        plan = replace(plan, alternatives=(other, *instead))
        return Chosen(plan, engine, engine.prepare(exact.blocks, exact.plan))
    refuse_own(own)
    plan = exact_plan(problem, exact, method, reason, limit, engine=asked)
    if exact.plan.dense:
        against = "its likelihood is an estimate, and the exact one is within reach"
        other = Alternative(method, "krylov", iterative.seconds, iterative.memory, against)
        plan = replace(plan, alternatives=(other, *instead))
    if asked == "dense":
        return Chosen(plan, DenseEngine(), DenseEngine().prepare(exact.blocks))
    return Chosen(plan, BlockedEngine(), exact)


def refuse_own(own: Mapping[str, Any] | None) -> None:
    """Refuse options of the Krylov engine where another one works."""
    if own:
        raise PlanError(
            f"{next(iter(own))!r} is an option of engine='krylov' only; leave it out, or ask for that engine."
        )


def krylov_engine(options: Mapping[str, Any], seed: int | np.random.Generator | None) -> KrylovEngine:
    """The engine with its options; a device that is asked for must be there."""
    device = options.get("device", DEVICES[0])
    if device != DEVICES[0]:
        find_device(device)
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed or 0)
    return KrylovEngine(seed=number, **options)


def exact_plan(
    problem: Problem,
    exact: BlockedPrepared,
    method: str,
    reason: str,
    limit: float,
    *,
    engine: str = "blocked",
    instead: str = "engine='krylov', which keeps nothing dense",
) -> Plan:
    """The plan of a fit by exact factorisation, with the cost of one that maximises a likelihood.

    Raises
    ------
    PlanError
        If it needs more memory than `limit`; the message says what to do `instead`.
    """
    side = problem.q if engine == "dense" else exact.dense_side
    cost = exact_cost(problem, exact, side)
    plan = _factorised(problem, exact, method, engine, cost, side, reason)
    if cost.own_memory > limit:
        raise PlanError(too_large(plan, cost, limit, instead))
    return plan


def _reason(
    exact: BlockedPrepared, asked: str, nagq: int, cost: Cost, iterative: Cost, limit: float
) -> str | None:
    """Why the likelihood is estimated rather than factorised; None if it is not.

    Where elimination leaves nothing dense a factorisation is as fast as a step of iterations, whatever an estimate says.
    """
    if asked == "krylov":
        if nagq not in (0, 1):
            raise PlanError(f"nagq={nagq!r} needs an exact engine; leave out engine='krylov'.")
        return "engine: krylov, as asked; the likelihood is an estimate with a standard error"
    if asked != "auto" or nagq not in (0, 1):
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


def _quasi(problem: Problem, exact: BlockedPrepared) -> tuple[Alternative, ...]:
    """Backfitting in the place of a Laplace approximation."""
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


def _factorised(
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
    limit: float,
    others: tuple[Alternative, ...] = (),
    *,
    corrected: bool = False,
) -> Plan:
    """A plan that forms no dense matrix and no Schur complement; refused if even that needs more memory than `limit`."""
    terms = tuple(TermSize(t.label or t.group, t.m, t.q, "backfitted") for t in problem.terms)
    cost = backfitting_cost(problem, exact.blocks, corrected=corrected)
    why = "engine: backfitting, one grouping factor at a time; cost grows like the number of rows"
    n, p, q = problem.n, problem.p, problem.q
    plan = Plan(
        "pql", "backfitting", n, p, q, terms, 0, 0.0, cost.memory, (reason, why), cost.seconds, others
    )
    if cost.own_memory > limit:
        raise PlanError(too_large(plan, cost, limit))
    return plan


def _sizes(problem: Problem, exact: BlockedPrepared, roles: list[str]) -> tuple[TermSize, ...]:
    """Sizes of the terms in the order of the formula, with the roles of their groups."""
    found = []
    for group, role in zip(exact.blocks.groups, roles, strict=True):
        for i, _ in group.members:
            t = problem.terms[i]
            found.append((i, TermSize(t.label or t.group, t.m, t.q, role)))
    return tuple(size for _, size in sorted(found, key=lambda item: item[0]))


def too_large(
    plan: Plan, cost: Cost, limit: float, instead: str = "engine='krylov', which keeps nothing dense"
) -> str:
    """The refusal of a plan that needs more memory than `limit`, which libraries that are loaded already do not share."""
    largest = max((t for t in plan.terms if t.role == "dense"), key=lambda t: t.effects, default=None)
    need = in_words(cost.own_memory)
    if largest is None:
        return (
            f"the fit needs about {need}, and {in_words(limit)} are available. Fit on a machine with more memory, "
            "or drop fixed-effects columns."
        )
    return (
        f"the term ({largest.label}) leaves a dense part of {plan.dense:,} x {plan.dense:,}: about {need}, and "
        f"{in_words(limit)} are available. Its {largest.levels:,} levels are crossed with the eliminated factor. Use "
        f"{instead}, a machine with more memory, or a coarser grouping factor."
    )
