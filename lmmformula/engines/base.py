"""What every engine answers about the mixed-model matrix M = Lambda' Z' W Z Lambda + Q.

`Lambda` is block diagonal with the relative Cholesky factor L_a of group a repeated for its m_a levels; Q is the precision of
u = Lambda^-1 b, ``Q_a (x) I`` for group a, the identity where its levels are independent (:mod:`lmmformula.ir.across`).
Vectors over random effects are held per group as (m_a, k_a, c) arrays.

The log-likelihood of every model here, its gradient in theta, the conditional modes and their covariances need
only these answers; see :mod:`lmmformula.criteria.profiled` for the algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

from lmmformula.engines.cost import Cost
from lmmformula.errors import PlanError
from lmmformula.ir.across import Intrinsic, Precision
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Across",
    "Certain",
    "Drawless",
    "Engine",
    "Estimating",
    "Exact",
    "Factor",
    "Guided",
    "InverseBlocks",
    "Paired",
    "Prepared",
    "Sharpened",
    "Stacked",
    "Survey",
    "TraceProducts",
    "is_constrained",
    "refuse",
    "traces",
]

Stacked = tuple[Array, ...]
"""One (m_a, k_a, c) array for each group."""


Across = Sequence[Precision | None]
"""Q_a of each group, None for the identity; empty where that is so for all."""


class InverseBlocks(Protocol):
    """Blocks of M^-1 that an engine has without forming the inverse."""

    @property
    def has_pairs(self) -> bool:
        """Whether blocks of pairs count: an engine that looks at one group at a time has zeros there."""
        ...

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        ...

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of levels of a and b (a <= b) that meet in a row."""
        ...

    def against(self, a: int, q: csr_array) -> Array:
        """``sum_st q_st (M^-1)_ts`` over levels s, t of group a, (k_a, k_a), for q on the pattern of its precision."""
        ...


def traces(inverse: InverseBlocks, across: Across, groups: int) -> tuple[Array, ...]:
    """``sum_st Q_st (M^-1)_ts`` of each group, see :meth:`Factor.trace_blocks`."""
    out = []
    for a in range(groups):
        q = across[a] if across else None
        out.append(inverse.diagonal(a).sum(axis=0) if q is None else inverse.against(a, q.matrix))
    return tuple(out)


class Paired:
    """What an inverse answers that has the blocks of pairs."""

    has_pairs = True


class Uncoupled:
    """What an inverse answers whose engine refuses coupled levels."""

    def against(self, a: int, q: csr_array) -> Array:
        raise PlanError(
            f"group {a} has dependent levels, which this engine does not take; see :meth:`Engine.refuses`."
        )


def coupled(blocks: Levels, engine: str, instead: str) -> str:
    """Why an engine refuses groups whose own part of M is not block diagonal; empty if all are."""
    for group in blocks.groups:
        if not group.is_blockwise:
            why = "rows that belong to several levels" if group.several else "dependent levels"
            return (
                f"the grouping factor `{group.name}` has {why}, so its part of the mixed-model matrix is not block diagonal, "
                f"which the {engine} engine relies on. {instead}"
            )
    return ""


def is_constrained(blocks: Levels) -> bool:
    """Whether the effects of some group are constrained: factors are then those of :mod:`lmmformula.engines.constrained`."""
    return any(isinstance(group.across, Intrinsic) for group in blocks.groups)


def refuse(blocks: Levels, engine: Engine) -> None:
    """Refuse what an engine cannot work with."""
    if why := engine.refuses(blocks):
        raise PlanError(why)


class Factor(Protocol):
    """M factorised at one theta and one W."""

    @property
    def logdet(self) -> float:
        """log |M|."""
        ...

    @property
    def logdet_stderr(self) -> float:
        """Standard error of `logdet`: zero unless it is estimated."""
        ...

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs."""
        ...

    def inverse(self) -> InverseBlocks:
        """Selected blocks of M^-1; computed once."""
        ...

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group ``sum_st Q_st (M^-1)_ts``, (k_a, k_a): for independent levels the sum of the diagonal blocks of M^-1."""
        ...

    def sharpened(self) -> Sharpened:
        """The same M with as small a standard error of `logdet` as the engine's user asked for."""
        ...

    def noise(self, rng: np.random.Generator) -> Stacked:
        """One draw of N(0, M^-1), per group (m, k); of engines that :attr:`Engine.draws` says so of."""
        ...


@runtime_checkable
class TraceProducts(Protocol):
    """A factor that knows how log|M| bends when M moves."""

    def has_trace_products(self, count: int) -> bool:
        """Whether those of so many M_j are not dear."""
        ...

    def trace_products(self, moves: Sequence[Gram], factors: Sequence[Array]) -> Array:
        """tr(M^-1 M_j M^-1 M_k) for M_j = Lambda'G_j Lambda, (d, d)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sharpened:
    """A factor whose log|M| has a smaller error.

    Attributes
    ----------
    factor : Factor
    prepared : Prepared or None
        The engine that makes such factors, if their solutions differ as well; None if they are those that were known.
    """

    factor: Factor
    prepared: Prepared | None = None


class Drawless:
    """What a factor answers that cannot draw noise."""

    def noise(self, rng: np.random.Generator) -> Stacked:
        raise PlanError(
            f"{type(self).__name__} has no noise with covariance M^-1; draws take an engine that has."
        )


class Certain:
    """What a factor answers about its errors if it has none."""

    @property
    def logdet_stderr(self) -> float:
        """Zero."""
        return 0.0

    def sharpened(self: Factor) -> Sharpened:
        """The factor itself."""
        return Sharpened(self)


class Prepared(Protocol):
    """An engine that has seen which levels meet, and is ready for any W and theta."""

    @property
    def blocks(self) -> Levels: ...
    @property
    def is_exact(self) -> bool:
        """Whether all answers are exact, to rounding."""
        ...

    @property
    def dense_side(self) -> int:
        """Side of the largest dense matrix that is factorised."""
        ...

    @property
    def rough(self) -> Prepared:
        """An engine for starting values: the same, or a cheaper one that is less accurate."""
        ...

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> Factor:
        """Factorise M for Gram blocks `gram`, relative Cholesky factors L_a, each (k_a, k_a), and precisions Q_a."""
        ...


@runtime_checkable
class Guided(Protocol):
    """An engine for which a search may be led by another one."""

    @property
    def guide(self) -> Prepared | None:
        """The other: its factors, sharpened, bring the engine with which the search goes on; None where it would not pay."""
        ...


@dataclass(frozen=True, slots=True)
class Survey:
    """What a fit would take on an engine, from sizes alone, and what a plan says of it.

    Attributes
    ----------
    cost : Cost
    roles : tuple of str
        What becomes of each group.
    words : str
        The same in words, to follow the engine's name; may be empty.
    dense : int
        Side of the dense matrix that is factorised.
    pairs : float
        Multiplications to form it, for each evaluation of the criterion.
    """

    cost: Cost
    roles: tuple[str, ...]
    words: str
    dense: int = 0
    pairs: float = 0.0


class Engine(Protocol):
    """A way to do the linear algebra; :class:`Exact` and :class:`Estimating` answer most of what planners ask."""

    @property
    def name(self) -> str: ...

    is_exact: ClassVar[bool]
    """Whether likelihoods that it evaluates have no standard error."""
    draws: ClassVar[bool]
    """Whether its factors draw noise."""
    by_level: ClassVar[bool]
    """Whether it factorises M of one grouping factor level by level, so that a search may do the same in one pass."""

    def prepare(self, blocks: Levels) -> Prepared: ...

    def refuses(self, blocks: Levels) -> str:
        """Why it cannot work with these groups, and what can; empty if it can."""
        ...

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """Cost and roles; `blocks` are those of `problem`."""
        ...


class Exact:
    """What an engine answers that factorises M exactly, whatever couples its levels."""

    is_exact: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    by_level: ClassVar[bool] = False

    def refuses(self, blocks: Levels) -> str:
        """Nothing."""
        return ""


class Estimating(Exact):
    """What an engine answers that works level by level and has no exact likelihood."""

    is_exact: ClassVar[bool] = False
    instead: ClassVar[str] = 'Use method="ml" or "laplace", whose engines factorise it.'

    name: str

    def refuses(self, blocks: Levels) -> str:
        """Groups whose own part of M is not block diagonal."""
        return coupled(blocks, self.name, self.instead)
