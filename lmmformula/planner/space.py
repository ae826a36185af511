"""Memory of a fit, counted: what a process holds at its peak beside the caller's table.

A fit on a small table takes what the interpreter and its libraries take, about 0.13 GB; one on many rows the model's own
columns, patterns and working arrays. Counts are bytes of one array of each kind, from sizes alone; how many such arrays
there are at the peak is measured (:mod:`lmmformula.planner.rates`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from lmmformula.engines.blocked import BlockedPrepared
from lmmformula.engines.krylov.schur import COMPILED_ENTRIES
from lmmformula.engines.krylov.stochastic import COMPILED_PAIRS
from lmmformula.ir.blocks import COMPILED_SUMS, Blocks
from lmmformula.ir.problem import Problem
from lmmformula.numerics.ragged import Ragged
from lmmformula.planner.coupled import Coupled
from lmmformula.planner.rates import BYTES

__all__ = ["Space", "backfitting_space", "exact_space", "is_compiled", "krylov_space", "way_of"]

LIBRARIES = ("process", "laplace", "krylov", "compiled")
WORD = 8.0
DENSE_CELLS, FEW_PAIRS, MANY_CELLS, BLAS_ADVANTAGE, SLAB = 4e5, 3e6, 2e8, 15.0, 4e6
"""Where :class:`lmmformula.numerics.ragged.Ragged` changes from a dense copy to sparse slabs and compiled loops."""


@dataclass(frozen=True, slots=True)
class Space:
    """Counts of what takes memory.

    Attributes
    ----------
    process, laplace, krylov, compiled : float
        1 where the process holds the interpreter with numpy, scipy and pandas (always), what Laplace's approximation and
        the Krylov engine import, numba with compiled loops.
    table : float
        Bytes of the model's own columns: X, y, codes and bases.
    family : float
        Bytes of one number a row, where a family is evaluated.
    patterns : float
        Bytes of one number a row for each pair of groups.
    entries, iterated : float
        Bytes of one number for each nonzero between groups: of a factorisation or backfitting, and of the Krylov engine.
    levels : float
        Bytes of the random effects times the right-hand sides.
    probes : float
        Bytes of the Krylov engine's vectors.
    copies : float
        Bytes of dense copies of what is sparse, where those are faster.
    dense : float
        Bytes of the dense part.
    """

    process: float = 1.0
    laplace: float = 0.0
    krylov: float = 0.0
    compiled: float = 0.0
    table: float = 0.0
    family: float = 0.0
    patterns: float = 0.0
    entries: float = 0.0
    iterated: float = 0.0
    levels: float = 0.0
    probes: float = 0.0
    copies: float = 0.0
    dense: float = 0.0

    @property
    def libraries(self) -> float:
        """Bytes that hardly depend on the size of the model."""
        return sum(BYTES[name] * getattr(self, name) for name in LIBRARIES)

    @property
    def bytes(self) -> float:
        """At the peak."""
        return sum(BYTES[f.name] * getattr(self, f.name) for f in fields(self))


def exact_space(problem: Problem, exact: BlockedPrepared, side: int) -> Space:
    """On a factorisation whose dense part has `side` columns."""
    ragged = [c.ragged for c in exact.plan.couplings]
    return _of_rows(
        problem,
        exact.blocks,
        laplace=float(not problem.is_linear),
        compiled=float(any(way_of(r) == "compiled" for r in ragged)),
        entries=WORD * sum(len(r.cols) * r.k for r in ragged),
        levels=WORD * problem.q * (problem.p + 1),
        copies=WORD * sum(_copied(r) for r in ragged),
        dense=WORD * float(side) ** 2,
    )


def krylov_space(problem: Problem, blocks: Blocks, coupled: Coupled, probes: int) -> Space:
    """On iterations with the Schur complement of the largest group."""
    compiled = is_compiled(coupled)
    return _of_rows(
        problem,
        blocks,
        laplace=float(not problem.is_linear),
        krylov=1.0,
        compiled=float(compiled),
        iterated=WORD * coupled.entries,
        levels=WORD * problem.q * (problem.p + 1),
        probes=WORD * coupled.side * (probes + 8.0),
        copies=0.0 if compiled else WORD * min(coupled.pairs, float(coupled.side) ** 2),
    )


def backfitting_space(problem: Problem, blocks: Blocks, met: float) -> Space:
    """On sweeps over groups of which `met` pairs of levels meet."""
    return _of_rows(problem, blocks, entries=WORD * met, levels=WORD * problem.q * (problem.p + 1))


def _of_rows(problem: Problem, blocks: Blocks, compiled: float = 0.0, **rest: float) -> Space:
    n, pairs = float(problem.n), len(blocks.groups) * (len(blocks.groups) - 1) / 2
    bases = sum(g.k for g in blocks.groups if g.basis is not None)
    columns = problem.p + 1 + bases + 0.5 * len(blocks.groups) + sum(b.matrix.shape[1] for b in problem.aux)
    return Space(
        compiled=max(compiled, float(_products(blocks, problem.p + 1) >= COMPILED_SUMS)),
        table=WORD * n * columns,
        family=0.0 if problem.is_linear else WORD * n,
        patterns=WORD * n * pairs,
        **rest,
    )


def is_compiled(coupled: Coupled) -> bool:
    """Whether the Krylov engine forms the moments of its operator in compiled loops."""
    return coupled.entries >= COMPILED_ENTRIES or coupled.pairs > COMPILED_PAIRS


def way_of(ragged: Ragged) -> Literal["dense", "sparse", "compiled"]:
    """How the exact engine multiplies a coupling with itself and with a dense part."""
    cells = float(ragged.m) * ragged.k * ragged.q
    if cells <= DENSE_CELLS:
        return "dense"
    if ragged.pairs < FEW_PAIRS:
        return "sparse"
    dense = cells < MANY_CELLS and cells * ragged.q < BLAS_ADVANTAGE * ragged.pairs
    return "dense" if dense else "compiled"


def _copied(ragged: Ragged) -> float:
    """Cells that a coupling is copied into."""
    cells = float(ragged.m) * ragged.k * ragged.q
    return {"dense": cells, "sparse": min(cells, SLAB), "compiled": 0.0}[way_of(ragged)]


def _products(blocks: Blocks, columns: int) -> float:
    """Products that a Gram sums, as :meth:`Blocks.gram` counts them."""
    k = [g.k for g in blocks.groups]
    pairs = (sum(k) ** 2 - sum(x * x for x in k)) / 2
    return float(blocks.n) * (sum(x * (x + columns) for x in k) + 3 * pairs)
