"""What a criterion's evaluation costs on each engine: seconds and bytes from sizes alone.

The rates are those of two cores of an ordinary machine; decisions rest on ratios. The counts are those derived at the heads
of the engines: a dense part of side s costs ``s^3`` multiplications to factorise and invert, a Schur complement its pairs
twice, a conjugate-gradient step twice the nonzeros for every right-hand side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.engines.blocked import BlockedPrepared
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.problem import Problem

__all__ = ["Cost", "Coupled", "exact_cost", "krylov_cost"]

DENSE_RATE = 3.0e10
"""Multiplications per second of BLAS on a dense part."""
PAIR_RATE = 4.0e8
"""The same of a loop over pairs."""
ENTRY_RATE = 8.0e8
"""The same of a sparse product with a block of vectors."""
STEPS = 7
"""Conjugate-gradient steps of a solution."""
VECTORS = 48
"""Products with single vectors for the outliers and the probes of an evaluation."""
NEWTON_STEPS = 3
"""Systems solved for the modes of a generalised model in one evaluation."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One evaluation of a criterion with its gradient.

    Attributes
    ----------
    seconds : float
    memory : float
        Bytes at the peak.
    """

    seconds: float
    memory: float


@dataclass(frozen=True, slots=True)
class Coupled:
    """How the group of most effects meets the others.

    Attributes
    ----------
    group : int
    side : int
        Effects of the others.
    entries : float
        Nonzeros between the two.
    pairs : float
        Sum over its effects of the squared number of nonzeros.
    """

    group: int
    side: int
    entries: float
    pairs: float

    @classmethod
    def of(cls, blocks: Blocks) -> Coupled:
        groups = blocks.groups
        a = int(np.argmax([g.q for g in groups]))
        counts = np.zeros(groups[a].m)
        for b, other in enumerate(groups):
            if b != a:
                pattern = blocks.pattern(min(a, b), max(a, b))
                met = (
                    np.diff(pattern.indptr) if a < b else np.bincount(pattern.indices, minlength=groups[a].m)
                )
                counts += met * other.k
        k = groups[a].k
        side = sum(g.q for g in groups) - groups[a].q
        return cls(a, side, float(k * counts.sum()), float(k * (counts @ counts)))


def exact_cost(problem: Problem, exact: BlockedPrepared, side: int) -> Cost:
    """On a factorisation whose dense part has `side` columns."""
    plan = exact.plan
    pairs = sum(c.ragged.pairs for c in plan.couplings)
    entries = sum(len(c.ragged.cols) * c.ragged.k for c in plan.couplings)
    systems = 1 if problem.family.is_linear else NEWTON_STEPS
    seconds = systems * (side**3 / DENSE_RATE + pairs / PAIR_RATE) + pairs / PAIR_RATE + _rows(problem)
    memory = 8.0 * (2.0 * float(side) ** 2 + 6.0 * entries) + 32.0 * problem.q * (problem.p + 1)
    return Cost(seconds, memory + _row_memory(problem))


def krylov_cost(problem: Problem, coupled: Coupled, probes: int) -> Cost:
    """On iterations with the Schur complement of the largest group."""
    systems = 1 if problem.family.is_linear else NEWTON_STEPS
    vectors = systems * STEPS * (problem.p + 1) + VECTORS + STEPS * (probes + problem.n_theta)
    seconds = 2.0 * coupled.entries * vectors / ENTRY_RATE + 2.0 * coupled.pairs / PAIR_RATE + _rows(problem)
    columns = 4.0 * (problem.p + 1) + 6.0 * (probes + 8)
    memory = 72.0 * coupled.entries + 8.0 * problem.q * columns
    return Cost(seconds, memory + _row_memory(problem))


def _rows(problem: Problem) -> float:
    """Seconds for the passes over rows: none for a linear model, whose Gram is formed once."""
    return 0.0 if problem.family.is_linear else 1e-7 * problem.n * (problem.p + 8)


def _row_memory(problem: Problem) -> float:
    return 8.0 * problem.n * (2 * problem.p + 4)
