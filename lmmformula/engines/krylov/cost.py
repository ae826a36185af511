"""What iterations cost, and what a plan says of them.

Half of a Schur complement costs its pairs, a conjugate-gradient step twice the nonzeros of what is eliminated and once those
between the groups that are iterated on, for every right-hand side.
"""

from __future__ import annotations

from lmmformula.engines.base import Survey
from lmmformula.engines.cost import (
    WORD,
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
from lmmformula.engines.krylov.coupled import Coupled
from lmmformula.engines.krylov.lean import is_lean
from lmmformula.engines.krylov.moments import COMPILED_PAIRS, MAX_PAIRS
from lmmformula.engines.krylov.schur import are_compiled
from lmmformula.engines.krylov.schur_pattern import are_alike
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem

__all__ = ["krylov_cost", "survey"]

ROUGH = 4
"""Evaluations that a search on few probes takes before, in those of all."""
SPARSE = 4.0
"""A multiplication of two sparse matrices, in those of a sparse and a dense one."""
STEPS = 7
"""Conjugate-gradient steps of a solution beside one other group; with several, which only their own blocks precondition, as
many times more by the square of their number: the spectrum is wider, and its outliers are more."""
LEAN, INNER = 0.5, 7_000.0
"""A product that reads every pair once, in products with vectors that stay in the cache, and effects of the other group from
which on what it adds to does not: 25,000,000 pairs with 59,000 levels take nine times as long each.
"""
ALIKE = 0.35
"""A product of groups of columns that are multiplied four at a time, and a multiplication to form half of K, in others."""
VECTORS = 48
"""Products with single vectors for the outliers of an evaluation."""


def survey(problem: Problem, blocks: Levels, probes: int, words: str) -> Survey:
    """The largest group eliminated, all others iterated on."""
    coupled, lean = blocks.once(Coupled.of), is_lean(blocks)
    roles = tuple(
        "eliminated level by level" if a == coupled.group else "iterated on"
        for a in range(len(blocks.groups))
    )
    pairs = 0.0 if lean else coupled.pairs
    return Survey(krylov_cost(problem, blocks, coupled, probes, lean=lean), roles, words, 0, pairs)


def krylov_cost(
    problem: Problem, blocks: Levels, coupled: Coupled, probes: int, *, lean: bool = False
) -> Cost:
    """On iterations with the Schur complement of the largest group; `lean` if pairs are held once, and without moments."""
    asked = searched(problem, 0.0 if problem.is_linear else ROUGH)
    if not coupled.side:  # no iterations, so no error: standard errors are as those of a factorisation
        asked += standard_errors(problem, blocks)
    steps = STEPS * max(coupled.others, 1) ** 2
    vectors = asked.solved * steps
    vectors += asked.inverted * (
        steps * (problem.p + problem.n_theta + probes) + VECTORS * (coupled.few + coupled.crowding)
    )
    nonzeros = coupled.entries + 0.5 * coupled.between + problem.q
    alike = ALIKE if are_alike(blocks.groups) else 1.0
    reach = LEAN * (1.0 + coupled.side / INNER) if lean else alike * coupled.reach
    formed = not lean and coupled.pairs * blocks.groups[coupled.group].k <= MAX_PAIRS
    work = Work(
        calls=(20.0 if coupled.side else 1.0) * asked.solved,
        pairs=alike * asked.inverted * coupled.pairs if formed else 0.0,
        iterated=2.0 * vectors * nonzeros * reach,
        slabs=0.0 if is_compiled(coupled) else SPARSE * asked.inverted * coupled.entries * coupled.width,
        cells=cells(problem, asked),
        table=table(problem),
    )
    return Cost(work, _space(problem, blocks, coupled, probes, lean=lean), passes(problem, asked))


def _space(problem: Problem, blocks: Levels, coupled: Coupled, probes: int, *, lean: bool) -> Space:
    """On iterations with the Schur complement of the largest group."""
    compiled = is_compiled(coupled)
    return space_of_rows(
        problem,
        blocks,
        laplace=float(not problem.is_linear),
        krylov=1.0,
        compiled=float(compiled),
        iterated=0.0 if lean else WORD * coupled.entries,
        levels=WORD * problem.q * (problem.p + 1),
        probes=WORD * coupled.side * (probes + 8.0),
        copies=0.0 if compiled else WORD * min(coupled.pairs, float(coupled.side) ** 2),
    )


def is_compiled(coupled: Coupled) -> bool:
    """Whether the Krylov engine forms the moments of its operator in compiled loops."""
    return are_compiled(coupled.entries) or coupled.pairs > COMPILED_PAIRS
