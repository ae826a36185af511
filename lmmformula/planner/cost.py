"""What a fit costs on each engine: counts of work from sizes alone, and the rates that turn them into seconds.

Counts are those derived at the heads of the engines: a dense part of side s costs ``s^3`` multiplications to factorise and
invert, a Schur complement its pairs twice, a conjugate-gradient step twice the nonzeros for every right-hand side. The
rates are those of :mod:`lmmformula.planner.rates`, memory is counted in :mod:`lmmformula.planner.space`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.engines.blocked import BlockedPrepared
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.problem import Problem
from lmmformula.planner.coupled import Coupled
from lmmformula.planner.rates import SECONDS
from lmmformula.planner.space import Space, backfitting_space, exact_space, is_compiled, krylov_space, way_of

__all__ = ["Cost", "Work", "backfitting_cost", "exact_cost", "krylov_cost"]

EVALUATIONS = {"linear": 6, "generalised": 8}
"""Values of the criterion that a search takes."""
NEWTON_STEPS = 3
"""Systems solved for the modes of a generalised model in one evaluation."""
FAMILY_COLUMNS = 12
"""Passes over the rows for a family's log density and derivatives."""
OUTER, SWEEPS = 9, 12
"""Outer iterations of backfitting, and sweeps in each."""
CORRECTED = 2.0
"""Passes over rows and pairs with Laplace's terms, relative to those without."""
ROUGH = 4
"""Evaluations that a search on few probes takes before, in those of all."""
SPARSE = 4.0
"""A multiplication of two sparse matrices, in those of a sparse and a dense one."""
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
class Cost:
    """A whole fit.

    Attributes
    ----------
    work : Work
    space : Space
    """

    work: Work
    space: Space

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


def exact_cost(problem: Problem, exact: BlockedPrepared, side: int) -> Cost:
    """On a factorisation whose dense part has `side` columns."""
    plan = exact.plan
    ragged = [c.ragged for c in plan.couplings]
    entries = float(sum(len(r.cols) * r.k for r in ragged))
    evaluations, systems = _evaluations(problem)
    if not problem.is_linear:
        evaluations += 2.0 * _parameters(problem)  # the Hessian, by differences of gradients
    ways = [way_of(r) for r in ragged]
    sparse = sum(float(len(r.cols) * r.k) for r, w in zip(ragged, ways, strict=True) if w == "sparse")
    cells = sum(float(r.m * r.k * r.q) for r, w in zip(ragged, ways, strict=True) if w == "dense")
    looped = sum(r.pairs for r, w in zip(ragged, ways, strict=True) if w != "dense")
    work = Work(
        calls=evaluations * systems,
        dense=evaluations * (systems + 2.0) * (float(side) ** 3 / 3.0 + cells * side),
        pairs=evaluations * (systems + 1.0) * looped,
        entries=evaluations * (systems + problem.p) * (problem.q + 2.0 * entries),
        slabs=evaluations * sparse * side,
        cells=_cells(problem, evaluations, systems),
        table=_table(problem),
    )
    return Cost(work, exact_space(problem, exact, side))


def krylov_cost(problem: Problem, blocks: Blocks, coupled: Coupled, probes: int) -> Cost:
    """On iterations with the Schur complement of the largest group."""
    evaluations, systems = _evaluations(problem)
    if not problem.is_linear:
        evaluations += ROUGH
        if not coupled.side:  # no iterations, so no error: standard errors are as those of a factorisation
            evaluations += 2.0 * _parameters(problem)
    vectors = STEPS * (systems + problem.p + problem.n_theta + probes) + VECTORS * (
        coupled.few + coupled.crowding
    )
    work = Work(
        calls=(20.0 if coupled.side else 1.0) * evaluations * systems,
        pairs=2.0 * evaluations * coupled.pairs,
        iterated=2.0 * evaluations * vectors * (coupled.entries + problem.q) * coupled.reach,
        slabs=0.0 if is_compiled(coupled) else SPARSE * evaluations * coupled.entries * coupled.width,
        cells=_cells(problem, evaluations, systems),
        table=_table(problem),
    )
    return Cost(work, krylov_space(problem, blocks, coupled, probes))


def backfitting_cost(problem: Problem, blocks: Blocks, *, corrected: bool = False) -> Cost:
    """On sweeps over one group after the other."""
    groups = blocks.groups
    met = sum(blocks.pattern(a, b).nnz for a in range(len(groups)) for b in range(a + 1, len(groups)))
    rows, passes = _columns(problem) + FAMILY_COLUMNS, CORRECTED if corrected else 1.0
    work = Work(
        calls=OUTER * SWEEPS,
        entries=passes * OUTER * SWEEPS * (2.0 * met + problem.q * (problem.p + 2)),
        cells=passes * OUTER * problem.n * rows,
        table=_table(problem),
    )
    return Cost(work, backfitting_space(problem, blocks, float(met)))


def _parameters(problem: Problem) -> int:
    """Elements of psi, in which a generalised model is searched."""
    return problem.p + problem.n_theta + sum(b.matrix.shape[1] for b in problem.aux)


def _evaluations(problem: Problem) -> tuple[float, float]:
    """Evaluations of the criterion, and systems in each."""
    if problem.is_linear:
        return float(EVALUATIONS["linear"] + (problem.n_theta > 3) * 3), 1.0
    more = sum(b.matrix.shape[1] for b in problem.aux)
    return float(EVALUATIONS["generalised"] + 2 * more), float(NEWTON_STEPS)


def _table(problem: Problem) -> float:
    """Cells of the table that are read."""
    return float(problem.n) * (problem.p + 1 + len(problem.terms))


def _columns(problem: Problem) -> float:
    """Columns that a Gram reads of each row."""
    k = sum(t.k for t in problem.terms)
    return problem.p * (k + problem.p / 8.0) + k * (k + 1.0)


def _cells(problem: Problem, evaluations: float, systems: float) -> float:
    """Cells of the rows that are read: once for a linear model, whose Gram is formed once."""
    if problem.is_linear:
        return 2.0 * problem.n * _columns(problem)
    k = sum(t.k for t in problem.terms)
    return (
        problem.n * evaluations * (systems * (FAMILY_COLUMNS + k * (k + 1.0) + problem.p) + _columns(problem))
    )
