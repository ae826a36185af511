"""What a fit costs: counts of work and memory from sizes alone, and the rates that turn them into seconds and bytes.

Every engine counts what its own algebra takes, as derived at its head; what a criterion asks of any of them - values, systems
solved in each, passes over the rows - is counted here. The rates are those of :mod:`lmmformula.engines.rates`.

A fit on a small table takes what the interpreter and its libraries take, about 0.13 GB; one on many rows the model's own
columns, patterns and working arrays. Memory is counted in bytes of one array of each kind; how many such arrays there are at
the peak is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.engines.rates import BYTES, SECONDS
from lmmformula.ir.gram_ways import are_compiled, arranged_group
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem

__all__ = [
    "EVALUATIONS",
    "FAMILY_COLUMNS",
    "FEW_ROWS",
    "WORD",
    "Asked",
    "Cost",
    "Space",
    "Work",
    "cells",
    "columns",
    "passes",
    "searched",
    "space_of_rows",
    "standard_errors",
    "table",
]

EVALUATIONS = {"linear": 6, "generalised": 8}
"""Values of the criterion that a search takes."""
NEWTON_STEPS = 3
"""Systems solved for the modes of a generalised model in one evaluation."""
FEW_ROWS = 50_000
"""Rows up to which a factorisation for each fixed effect costs less than sums over the rows do for all of them."""
FAMILY_COLUMNS = 12
"""Passes over the rows for a family's log density and derivatives."""
LIBRARIES = ("process", "laplace", "krylov", "compiled")
WORD = 8.0


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
    entries, iterated : float
        Multiplications in sparse products: of exact engines and backfitting, and of the Krylov engine.
    slabs : float
        Multiplications of a sparse coupling with a dense part, and of sparse products that are not compiled.
    cells : float
        Rows times the columns that are read of each.
    table : float
        Cells of the table that become columns of the model, once.
    """

    calls: float = 0.0
    dense: float = 0.0
    pairs: float = 0.0
    entries: float = 0.0
    iterated: float = 0.0
    slabs: float = 0.0
    cells: float = 0.0
    table: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(rate * getattr(self, name) for name, rate in SECONDS.items())


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
        return sum(rate * getattr(self, name) for name, rate in BYTES.items())


@dataclass(frozen=True, slots=True)
class Cost:
    """A whole fit.

    Attributes
    ----------
    work : Work
    space : Space
    passes : float
        Over the rows, which their cells are counted for already; said of rows that are not in memory.
    """

    work: Work
    space: Space
    passes: float = 1.0

    @property
    def seconds(self) -> float:
        return self.work.seconds

    @property
    def memory(self) -> float:
        """Bytes of the process at its peak, the caller's table left out."""
        return self.space.bytes

    @property
    def own_memory(self) -> float:
        """The same without interpreter and libraries: what has yet to be found when a plan is made."""
        return self.space.bytes - self.space.libraries


def space_of_rows(problem: Problem, blocks: Levels, compiled: float = 0.0, **rest: float) -> Space:
    """Of what every engine holds - the model's columns, patterns of pairs - and the `rest`, which are its own counts.

    Of rows that are not in memory a pass holds few; of their pairs there are the levels, not a place for each row.
    """
    n, pairs = float(problem.n), len(blocks.groups) * (len(blocks.groups) - 1) / 2
    held = n if problem.data.at_hand else 0.0
    bases = sum(g.k for g in blocks.groups if g.has_basis)
    columns = 1 + bases + 0.5 * len(blocks.groups) + sum(len(b.names) for b in problem.aux)
    many = are_compiled(blocks.groups, blocks.n, problem.p + 1)
    if many and not problem.is_linear and arranged_group(blocks.groups, problem.p) is not None:
        columns += problem.data.varying
    fixed = float(sum(a.size for a in problem.X.arrays)) if held else 0.0
    return Space(
        compiled=max(compiled, float(many)),
        table=WORD * (fixed + held * columns),
        family=0.0 if problem.is_linear else WORD * held,
        patterns=(WORD if held else 0.5 * WORD) * n * pairs,
        **rest,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a criterion asks of an engine in a whole fit.

    Attributes
    ----------
    solved : float
        Factorisations with a system solved in each: of values, and of the steps to the modes of a generalised model.
    inverted : float
        Inverses of M within a pattern, each with a gradient: one for each value.
    """

    solved: float
    inverted: float

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.solved + other.solved, self.inverted + other.inverted)


def searched(problem: Problem, more: float = 0.0) -> Asked:
    """Of the search for an optimum, which evaluates the criterion `more` often than usual."""
    if problem.is_linear:
        count = EVALUATIONS["linear"] + (problem.n_theta > 3) * 3 + more
        return Asked(count, count)
    further = sum(len(b.names) for b in problem.aux)
    count = EVALUATIONS["generalised"] + 2 * further + more
    return Asked(count * NEWTON_STEPS, count)


def standard_errors(problem: Problem, blocks: Levels) -> Asked:
    """Of the Hessian of a generalised model by differences of gradients, one factorisation for each element of psi.

    Nothing is searched there: modes are followed. The elements of fixed effects alone come from sums over rows where those are
    cheaper; :mod:`lmmformula.criteria.fixed_curvature`.
    """
    if problem.is_linear:
        return Asked(0.0, 0.0)
    groups = blocks.groups
    by_rows = problem.n >= FEW_ROWS or not groups or (len(groups) == 1 and groups[0].is_blockwise)
    count = 1.0 + problem.n_theta + sum(len(b.names) for b in problem.aux) + (0 if by_rows else problem.p)
    return Asked(count, count)


def table(problem: Problem) -> float:
    """Cells of the table that become columns of the model."""
    return float(problem.n) * (problem.data.varying + 1 + len(problem.terms))


def columns(problem: Problem) -> float:
    """Columns that a Gram reads of each row; one that is held by level takes pairs with the effects of the other groups."""
    k, varying = sum(t.k for t in problem.terms), problem.data.varying
    held = problem.p - varying
    return held * (k - 1.0) + varying * (k + varying / 8.0) + k * (k + 1.0)


def cells(problem: Problem, asked: Asked) -> float:
    """Cells of the rows that are read: once for a linear model, whose Gram is formed once."""
    if problem.is_linear:
        return 2.0 * problem.n * columns(problem)
    k = sum(t.k for t in problem.terms)
    width = FAMILY_COLUMNS + k * (k + 1.0) + problem.data.varying
    return problem.n * (asked.solved * width + asked.inverted * columns(problem))


def passes(problem: Problem, asked: Asked) -> float:
    """Passes over the rows: the Gram's for a linear model, else one for each system of the mode, and one for the value."""
    return 1.0 if problem.is_linear else asked.solved + asked.inverted
