"""What a fit costs on each engine: counts of work from sizes alone, and the rates that turn them into seconds.

Counts are those derived at the heads of the engines: a dense part of side s costs ``s^3`` multiplications to factorise and
invert, a Schur complement its pairs twice, a conjugate-gradient step twice the nonzeros for every right-hand side. Rates
were fitted to measured fits on two cores (``benchmarks/plan_study.py``); other machines differ by a factor that is common to
all of them, so that choices by ratios hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.engines.blocked import BlockedPrepared
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.problem import Problem

__all__ = ["RATES", "Cost", "Coupled", "Work", "backfitting_cost", "exact_cost", "krylov_cost"]

RATES = {"calls": 1.9e-4, "dense": 2.3e-11, "pairs": 1.0e-8, "entries": 2.0e-10, "cells": 5.5e-9}
"""Seconds for one unit of each count."""
EVALUATIONS = {"linear": 6, "generalised": 8}
"""Values of the criterion that a search takes."""
NEWTON_STEPS = 3
"""Systems solved for the modes of a generalised model in one evaluation."""
FAMILY_COLUMNS = 12
"""Passes over the rows for a family's log density and derivatives."""
OUTER, SWEEPS = 9, 12
"""Outer iterations of backfitting, and sweeps in each."""
STEPS = 7
"""Conjugate-gradient steps of a solution."""
VECTORS = 48
"""Products with single vectors for the outliers of an evaluation."""


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of what takes time.

    Attributes
    ----------
    calls : float
        Evaluations or iterations, for what each costs whatever the size.
    dense : float
        Multiplications on a dense part.
    pairs : float
        The same in loops over pairs of nonzeros.
    entries : float
        Multiplications in sparse products.
    cells : float
        Rows times the columns that are read of each.
    """

    calls: float = 0.0
    dense: float = 0.0
    pairs: float = 0.0
    entries: float = 0.0
    cells: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(rate * getattr(self, name) for name, rate in RATES.items())


@dataclass(frozen=True, slots=True)
class Cost:
    """A whole fit.

    Attributes
    ----------
    work : Work
    memory : float
        Bytes at the peak beside the data.
    """

    work: Work
    memory: float

    @property
    def seconds(self) -> float:
        return self.work.seconds


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
    evaluations, systems = _evaluations(problem)
    work = Work(
        calls=evaluations * systems,
        dense=evaluations * (systems + 2.0) / 3.0 * float(side) ** 3,
        pairs=evaluations * (systems + 1.0) * pairs,
        entries=evaluations * systems * (problem.p + 1) * (problem.q + 2.0 * entries),
        cells=_cells(problem, evaluations, systems),
    )
    memory = 40.0 * float(side) ** 2 + 96.0 * entries + 48.0 * problem.q * (problem.p + 1)
    return Cost(work, memory + _row_memory(problem))


def krylov_cost(problem: Problem, coupled: Coupled, probes: int) -> Cost:
    """On iterations with the Schur complement of the largest group."""
    evaluations, systems = _evaluations(problem)
    vectors = STEPS * (systems + problem.p + problem.n_theta + probes) + VECTORS
    work = Work(
        calls=20.0 * evaluations * systems,
        pairs=2.0 * evaluations * coupled.pairs,
        entries=2.0 * evaluations * vectors * (coupled.entries + problem.q),
        cells=_cells(problem, evaluations, systems),
    )
    columns = 3.0 * (problem.p + 1) + 5.0 * (probes + 8)
    memory = 72.0 * coupled.entries + 8.0 * problem.q * columns + 100.0 * min(coupled.pairs, 1e6)
    return Cost(work, memory + _row_memory(problem))


def backfitting_cost(problem: Problem, blocks: Blocks) -> Cost:
    """On sweeps over one group after the other."""
    groups = blocks.groups
    met = sum(blocks.pattern(a, b).nnz for a in range(len(groups)) for b in range(a + 1, len(groups)))
    pairs = len(groups) * (len(groups) - 1) / 2
    work = Work(
        calls=OUTER * SWEEPS,
        entries=OUTER * SWEEPS * (2.0 * met + problem.q * (problem.p + 2)),
        cells=OUTER * problem.n * (_columns(problem) + FAMILY_COLUMNS),
    )
    memory = 24.0 * problem.n * pairs + 48.0 * problem.q * (problem.p + 1) + 48.0 * met
    return Cost(work, memory + 8.0 * problem.n * 10)


def _evaluations(problem: Problem) -> tuple[float, float]:
    """Evaluations of the criterion, and systems in each."""
    if problem.family.is_linear and not problem.aux:
        return float(EVALUATIONS["linear"] + (problem.n_theta > 3) * 3), 1.0
    more = sum(b.matrix.shape[1] for b in problem.aux)
    return float(EVALUATIONS["generalised"] + 2 * more), float(NEWTON_STEPS)


def _columns(problem: Problem) -> float:
    """Columns that a Gram reads of each row."""
    k = sum(t.k for t in problem.terms)
    return problem.p * (k + problem.p / 8.0) + k * (k + 1.0)


def _cells(problem: Problem, evaluations: float, systems: float) -> float:
    """Cells of the rows that are read: once for a linear model, whose Gram is formed once."""
    if problem.family.is_linear and not problem.aux:
        return 2.0 * problem.n * _columns(problem)
    k = sum(t.k for t in problem.terms)
    return (
        problem.n * evaluations * (systems * (FAMILY_COLUMNS + k * (k + 1.0) + problem.p) + _columns(problem))
    )


def _row_memory(problem: Problem) -> float:
    linear = problem.family.is_linear and not problem.aux
    return 8.0 * problem.n * (2 * problem.p + 8 if linear else problem.p + 30)
