"""What every engine answers about the mixed-model matrix M = Lambda' Z' W Z Lambda + I.

`Lambda` is block diagonal with the relative Cholesky factor L_a of group a repeated for its m_a levels.
Vectors over random effects are held per group as (m_a, k_a, c) arrays.

The log-likelihood of every model here, its gradient in theta, the conditional modes and their covariances need
only these answers; see :mod:`lmmformula.criteria.profiled` for the algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.typing import Array

__all__ = ["Certain", "Engine", "Factor", "InverseBlocks", "Prepared", "Stacked"]

Stacked = tuple[Array, ...]
"""One (m_a, k_a, c) array for each group."""


class InverseBlocks(Protocol):
    """Blocks of M^-1 that an engine has without forming the inverse."""

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        ...

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of levels of a and b (a < b) that meet in a row."""
        ...


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
        """Per group the (k_a, k_a) sum over levels of the diagonal blocks of M^-1."""
        ...

    def sharpened(self) -> Factor:
        """The same M with as small a standard error of `logdet` as the engine's user asked for."""
        ...


class Certain:
    """What a factor answers about its errors if it has none."""

    @property
    def logdet_stderr(self) -> float:
        """Zero."""
        return 0.0

    def sharpened(self) -> Self:
        """The factor itself."""
        return self


class Prepared(Protocol):
    """An engine that has seen which levels meet, and is ready for any W and theta."""

    @property
    def blocks(self) -> Blocks: ...
    @property
    def dense_side(self) -> int:
        """Side of the largest dense matrix that is factorised."""
        ...

    @property
    def rough(self) -> Prepared:
        """An engine for starting values: the same, or a cheaper one that is less accurate."""
        ...

    def factor(self, gram: Gram, factors: Sequence[Array]) -> Factor:
        """Factorise M for Gram blocks `gram` and relative Cholesky factors L_a, each (k_a, k_a)."""
        ...


class Engine(Protocol):
    """A way to do the linear algebra."""

    @property
    def name(self) -> str: ...

    def prepare(self, blocks: Blocks) -> Prepared: ...
