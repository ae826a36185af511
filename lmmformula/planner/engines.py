"""Which engine does the linear algebra: what each registered one would cost, and the plan that says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lmmformula.engines.base import Engine, Prepared, Survey
from lmmformula.engines.constrained import prepare
from lmmformula.engines.cost import Cost
from lmmformula.engines.registry import ENGINES, sweeping
from lmmformula.errors import PlanError
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.memory import in_words
from lmmformula.planner.record import Alternative, Plan, TermSize, seconds_in_words
from lmmformula.typing import Arguments

__all__ = ["Chosen", "Look", "backfitted", "choose_engine", "exact_plan", "looks", "refuse_own", "too_large"]

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
    cost: Cost


@dataclass(frozen=True, slots=True)
class Look:
    """An engine and what a fit would take on it."""

    engine: Engine
    survey: Survey

    @property
    def cost(self) -> Cost:
        return self.survey.cost

    def fits(self, limit: float) -> bool:
        """Whether `limit` bytes are enough."""
        return self.cost.own_memory <= limit

    def instead(self, method: str, against: str) -> Alternative:
        """It as an alternative."""
        return Alternative(method, self.engine.name, self.cost.seconds, self.cost.memory, against)


def looks(
    problem: Problem, blocks: Levels, *, exact: bool, own: Arguments | None = None, seed: int = 0
) -> Iterator[Look]:
    """Those of all engines, exact or not, that have a likelihood, suit, and are worth a look without being asked for."""
    for record in ENGINES.values():
        if record.has_likelihood and record.is_exact is exact and record.volunteers(blocks):
            engine = record.make({n: v for n, v in (own or {}).items() if n in record.options}, seed)
            if not engine.refuses(blocks):
                yield Look(engine, engine.survey(problem, blocks))


def best_exact(
    problem: Problem, blocks: Levels, limit: float, *, draws: bool = False
) -> tuple[Look, list[Look]]:
    """The fastest exact engine of those that fit into `limit`, else the smallest; and the others.

    Raises
    ------
    PlanError
        If no engine suits.
    """
    found = [v for v in looks(problem, blocks, exact=True) if v.engine.draws or not draws]
    if not found:
        raise PlanError("no exact engine that is registered suits this model: register one that does.")
    if len(found) == 1:
        return found[0], []
    small = [v for v in found if v.fits(limit)]
    best = min(small, key=lambda v: v.cost.seconds) if small else min(found, key=lambda v: v.cost.own_memory)
    return best, [v for v in found if v is not best]


def choose_engine(
    problem: Problem,
    blocks: Levels,
    method: str,
    reason: str,
    limit: float,
    *,
    asked: str = "auto",
    own: Arguments | None = None,
    nagq: int = 1,
    seed: int | np.random.Generator | None = None,
    replaceable: bool = False,
    estimable: bool = True,
) -> Chosen:
    """The engine asked for, or an exact one where it fits and is not much slower than an estimate.

    Parameters
    ----------
    problem : Problem
    blocks : Levels
        Of its terms.
    method, reason : str
        The criterion as plans call it, and why it was chosen.
    limit : float
        Bytes that are available.
    asked : str
    own : mapping, optional
        Options of engines.
    nagq : int
        Nodes of quadrature; more than one need an exact engine.
    seed : int or Generator, optional
    replaceable : bool
        Whether quasi-likelihood could take the likelihood's place, and so is told of.
    estimable : bool
        Whether the criterion takes engines that estimate a likelihood.

    Raises
    ------
    PlanError
        If the fit needs more memory than there is, or options do not suit the engine.
    """
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed or 0)
    best, others = best_exact(problem, blocks, limit)
    estimates: list[Look] = []
    if estimable and (best.survey.dense or not best.fits(limit)):
        mine = own if asked in ("auto", *_owners(own)) else None
        estimates = list(looks(problem, blocks, exact=False, own=mine, seed=number))
    taken, why = best, ""
    if asked != "auto":
        taken = _asked(problem, blocks, best, asked, own or {}, nagq, number)
        why = _as_asked(taken, best)
    elif nagq in (0, 1):
        taken, why = _estimate(best, estimates, limit)
    if taken.engine.is_exact:
        refuse_own({n: v for n, v in (own or {}).items() if n not in ENGINES[taken.engine.name].options})
    plan = _plan(problem, blocks, method, taken, (reason, _said(taken, why)))
    if not taken.fits(limit):
        raise PlanError(too_large(plan, taken.cost, limit, _lean(problem, blocks, estimable=estimable)))
    left = [v for v in (best, *others, *estimates) if v.engine.name != taken.engine.name]
    instead = [v.instead(method, _against(v, taken, limit)) for v in left]
    if replaceable and (best.survey.dense or not taken.engine.is_exact):
        instead += _quasi(problem, blocks)
    plan = replace(plan, alternatives=tuple(instead))
    return Chosen(plan, taken.engine, prepare(taken.engine, blocks), taken.cost)


def _owners(own: Arguments | None) -> set[str]:
    """Engines that options belong to."""
    return {record.name for record in ENGINES.values() if any(n in record.options for n in own or {})}


def _asked(
    problem: Problem,
    blocks: Levels,
    best: Look,
    asked: str,
    own: Arguments,
    nagq: int,
    seed: int,
) -> Look:
    """The engine of that name, refused where it does not suit."""
    if asked == best.engine.name:
        return best
    record = ENGINES[asked]
    engine = record.make({n: v for n, v in own.items() if n in record.options}, seed)
    if why := engine.refuses(blocks):
        raise PlanError(f"{why} Leave out engine={asked!r}.")
    if nagq not in (0, 1) and not engine.is_exact:
        raise PlanError(f"nagq={nagq!r} needs an exact engine; leave out engine={asked!r}.")
    return Look(engine, engine.survey(problem, blocks))


def _as_asked(taken: Look, best: Look) -> str:
    if taken is best:
        return ""
    return (
        "as asked"
        if taken.engine.is_exact
        else "as asked; the likelihood is an estimate with a standard error"
    )


def _said(taken: Look, why: str) -> str:
    """Engine, why it, and what it does with the groups."""
    first = f"engine: {taken.engine.name}"
    if why:
        first += f", {why}" if why.startswith("as asked") else f"; {why}"
    return f"{first}; {taken.survey.words}" if taken.survey.words else first


def _estimate(best: Look, estimates: list[Look], limit: float) -> tuple[Look, str]:
    """What evaluates the likelihood: the exact engine, or one that estimates it, and why.

    Where elimination leaves nothing dense a factorisation is as fast as a step of iterations, whatever an estimate says.
    """
    if not estimates:
        return best, ""
    other = min(estimates, key=lambda v: (not v.fits(limit), v.cost.seconds))
    if not best.fits(limit) and other.fits(limit):
        return other, (
            f"an exact factorisation would take {in_words(best.cost.own_memory)}, and {in_words(limit)} are "
            "available, so the likelihood is an estimate with a standard error"
        )
    exact, iterated = best.cost.seconds, other.cost.seconds
    if best.survey.dense and exact > WORTH_IT and exact > FASTER * iterated:
        return other, (
            f"an exact factorisation would take about {seconds_in_words(exact)}, iterations "
            f"about {seconds_in_words(iterated)}, so the likelihood is an estimate with a standard error "
            f"(engine={best.engine.name!r} makes it exact)"
        )
    return best, ""


def _against(other: Look, taken: Look, limit: float) -> str:
    """Why an engine was not taken."""
    if not other.engine.is_exact:
        return (
            "its likelihood is an estimate, and the exact one is within reach"
            if taken.engine.is_exact
            else "estimated to cost more"
        )
    if not other.fits(limit):
        return "more memory than there is"
    if not taken.engine.is_exact:
        return "an exact likelihood, at that price"
    return f"as exact (engine={other.engine.name!r})"


def refuse_own(own: Arguments | None) -> None:
    """Refuse options of an engine where another one works."""
    if own:
        name = next(iter(own))
        owner = next(record.name for record in ENGINES.values() if name in record.options)
        raise PlanError(
            f"{name!r} is an option of engine={owner!r} only; leave it out, or ask for that engine."
        )


def exact_plan(
    problem: Problem,
    blocks: Levels,
    method: str,
    reason: str,
    limit: float,
    *,
    draws: bool = False,
    instead: str = "",
) -> Chosen:
    """An exact factorisation, with the cost of a fit that maximises a likelihood.

    Parameters
    ----------
    draws : bool
        Whether random effects are to be drawn.
    instead : str
        What to do where memory does not suffice.

    Raises
    ------
    PlanError
        If it needs more memory than `limit`.
    """
    taken, _ = best_exact(problem, blocks, limit, draws=draws)
    plan = _plan(problem, blocks, method, taken, (reason, _said(taken, "")))
    if not taken.fits(limit):
        raise PlanError(too_large(plan, taken.cost, limit, instead or _lean(problem, blocks)))
    return Chosen(plan, taken.engine, prepare(taken.engine, blocks), taken.cost)


def backfitted(
    problem: Problem,
    blocks: Levels,
    reason: str,
    limit: float,
    others: tuple[Alternative, ...] = (),
    *,
    corrected: bool = False,
) -> Chosen:
    """Sweeps that form no dense matrix and no Schur complement; refused if even that needs more memory than `limit`."""
    engine = sweeping(corrected=corrected)
    prepared, taken = engine.prepare(blocks), Look(engine, engine.survey(problem, blocks))
    plan = _plan(problem, blocks, "pql", taken, (reason, _said(taken, "")))
    if not taken.fits(limit):
        raise PlanError(too_large(plan, taken.cost, limit))
    return Chosen(replace(plan, alternatives=others), engine, prepared, taken.cost)


def _quasi(problem: Problem, blocks: Levels) -> list[Alternative]:
    """Backfitting in the place of a Laplace approximation."""
    out = []
    for corrected in (True, False):
        engine = sweeping(corrected=corrected)
        if engine.refuses(blocks):
            continue
        if corrected and (problem.aux or problem.family.auxiliaries or not problem.family.is_canonical):
            continue
        against = (
            "no likelihood; correction='laplace', traces='diagonal'"
            if corrected
            else "no likelihood, and biased where levels have few rows"
        )
        name = "pql, corrected" if corrected else "pql"
        out.append(Look(engine, engine.survey(problem, blocks)).instead(name, against))
    return out


def _plan(problem: Problem, blocks: Levels, method: str, taken: Look, reasons: tuple[str, ...]) -> Plan:
    survey, found = taken.survey, []
    for group, role in zip(blocks.groups, survey.roles, strict=True):
        for i, _ in group.members:
            t = problem.terms[i]
            found.append((i, TermSize(t.label or t.group, t.m, t.q, role)))
    sizes = tuple(size for _, size in sorted(found, key=lambda item: item[0]))
    cost, n, p, q = taken.cost, problem.n, problem.p, problem.q
    return Plan(
        method,
        taken.engine.name,
        n,
        p,
        q,
        sizes,
        survey.dense,
        survey.pairs,
        cost.memory,
        reasons,
        cost.seconds,
        passes=cost.passes,
    )


def _lean(problem: Problem, blocks: Levels, *, estimable: bool = True) -> str:
    """The advice to take an engine that keeps nothing dense, of estimates where they are had; empty without one."""
    found = (
        v.engine.name
        for exact in ((False, True) if estimable else (True,))
        for v in looks(problem, blocks, exact=exact)
        if not v.survey.dense
    )
    name = next(found, "")
    return f"engine={name!r}, which keeps nothing dense" if name else ""


def too_large(plan: Plan, cost: Cost, limit: float, instead: str = "") -> str:
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
        f"{instead}{', ' if instead else ''}a machine with more memory, or a coarser grouping factor."
    )
