"""What a block factorisation costs, and what a plan says of it.

A dense part of side s costs ``s^3`` multiplications to factorise and invert, at a pace that grows with s, a Schur complement
its pairs twice.
"""

from __future__ import annotations

from lmmformula.engines.base import Survey
from lmmformula.engines.cost import (
    WORD,
    Asked,
    Cost,
    Space,
    Work,
    cells,
    passes,
    searched,
    space_of_rows,
    standard_errors,
    table,
)
from lmmformula.engines.elimination import Elimination
from lmmformula.ir.problem import Problem
from lmmformula.numerics.ragged import SLAB, RaggedSize

__all__ = ["SINGLE", "exact_cost", "survey"]

SINGLE = 1_000
"""Side of the dense part from which on a search of a linear model is guided by those of single precision, of half the price."""
HALVED = 1_000.0
"""Side of a dense part that is factorised at half the pace of a large one."""
LED = 4.0
"""Evaluations of such a search, of which the last is in double precision; all have traces from one inverse, in single."""
SOLVED = 60.0
"""Columns that each of them solves for."""
TOGETHER = 0.25
"""A multiplication with one of several columns at once, in those with a single one."""
LOOPED = 0.5
"""A multiplication of ragged blocks, which stay in the cache, in those of other loops over pairs."""

ELIMINATED, DENSE = "eliminated level by level", "dense"


def survey(problem: Problem, plan: Elimination) -> Survey:
    """The chain of nested groups eliminated, all others kept in one dense part."""
    groups = plan.blocks.groups
    roles = tuple(ELIMINATED if a in plan.chain else DENSE for a in range(len(groups)))
    if len(groups) == 1 and plan.chain:
        words = "one grouping factor, so each level is a small system of its own and nothing dense remains"
    elif not plan.dense:
        words = "every grouping factor is nested in the next, so nothing dense remains"
    elif not plan.chain:
        kept = ", ".join(g.name for g in groups)
        words = f"{kept} kept dense: levels that depend on each other cannot be eliminated one by one"
    else:
        inside = " in ".join(groups[a].name for a in plan.chain)
        crossed = ", ".join(groups[a].name for a in plan.dense)
        words = f"{inside} eliminated level by level, {crossed} crossed with it and kept dense"
    pairs = sum(size.pairs for size in plan.sizes)
    return Survey(exact_cost(problem, plan, plan.q_dense), roles, words, plan.q_dense, pairs)


def exact_cost(problem: Problem, plan: Elimination, side: int) -> Cost:
    """On a factorisation whose dense part has `side` columns."""
    ragged = plan.sizes
    entries = float(sum(r.entries * r.k for r in ragged))
    asked = searched(problem) + standard_errors(problem, plan.blocks)
    thirds = asked.solved + 2.0 * asked.inverted
    if problem.is_linear and side >= SINGLE:
        asked = Asked(LED, 1.0)
        thirds = 1.0 + 0.5 * (LED - 1.0) + 0.5 * 2.0 + 3.0 * SOLVED * LED / side
    ways = [r.way() for r in ragged]
    sparse = sum(float(r.entries * r.k) for r, w in zip(ragged, ways, strict=True) if w == "sparse")
    copied = sum(float(r.m * r.k * r.q) for r, w in zip(ragged, ways, strict=True) if w == "dense")
    looped = sum(r.pairs for r, w in zip(ragged, ways, strict=True) if w != "dense")
    work = Work(
        calls=asked.solved,
        dense=thirds * (float(side) ** 2 * (side + HALVED) / 3.0 + copied * side),
        pairs=LOOPED * (asked.solved + asked.inverted) * looped,
        entries=(asked.solved + TOGETHER * problem.p * asked.inverted) * (problem.q + 2.0 * entries),
        slabs=asked.inverted * sparse * side,
        cells=cells(problem, asked),
        table=table(problem),
    )
    return Cost(work, _space(problem, plan, side), passes(problem, asked))


def _space(problem: Problem, plan: Elimination, side: int) -> Space:
    """On a factorisation whose dense part has `side` columns."""
    ragged = plan.sizes
    return space_of_rows(
        problem,
        plan.blocks,
        laplace=float(not problem.is_linear),
        compiled=float(any(r.way() == "compiled" for r in ragged)),
        entries=WORD * sum(r.entries * r.k for r in ragged),
        levels=WORD * problem.q * (problem.p + 1),
        copies=WORD * sum(_copied(r) for r in ragged),
        dense=WORD * float(side) ** 2,
    )


def _copied(ragged: RaggedSize) -> float:
    """Cells that a coupling is copied into."""
    cells = float(ragged.m) * ragged.k * ragged.q
    return {"dense": cells, "sparse": min(cells, SLAB), "compiled": 0.0}[ragged.way()]
