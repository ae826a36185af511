"""What sweeps over one group after the other cost."""

from __future__ import annotations

from lmmformula.engines.cost import FAMILY_COLUMNS, WORD, Cost, Space, Work, columns, space_of_rows, table
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem

__all__ = ["backfitting_cost", "outer_passes"]

OUTER, SWEEPS = 8, 7
"""Outer iterations of backfitting, and sweeps in each."""
IN_ORDER = 0.1
"""A multiplication of numbers that are read in order, level after level, in those of pairs."""
CORRECTED = 2.0
"""Passes over rows with Laplace's terms, relative to those without; columns of X are summed in the latter alone."""


def backfitting_cost(problem: Problem, blocks: Levels, *, corrected: bool = False) -> Cost:
    """On sweeps over one group after the other."""
    groups = blocks.groups
    met = sum(blocks.pattern(a, b).nnz for a in range(len(groups)) for b in range(a + 1, len(groups)))
    times = CORRECTED if corrected else 1.0
    width = columns(problem) + times * FAMILY_COLUMNS
    work = Work(
        calls=OUTER * SWEEPS,
        entries=OUTER * SWEEPS * (2.0 * met + IN_ORDER * problem.q * (problem.p + 2)),
        cells=OUTER * problem.n * width,
        table=table(problem),
    )
    return Cost(work, _space(problem, blocks, float(met)), outer_passes(corrected=corrected))


def outer_passes(*, corrected: bool) -> float:
    """Passes over the rows: one before, and in each outer iteration one, or two with Laplace's terms."""
    return 1.0 + OUTER * (CORRECTED if corrected else 1.0)


def _space(problem: Problem, blocks: Levels, met: float) -> Space:
    """On sweeps over groups of which `met` pairs of levels meet."""
    return space_of_rows(problem, blocks, entries=WORD * met, levels=WORD * problem.q * (problem.p + 1))
