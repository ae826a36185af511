"""What quasi-likelihood asks of an engine beside its factors: the mixed-model equations in beta and u, solved from a start.

An engine that answers this is prepared for blocks, then for one W, under which it meets many theta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lmmformula.engines.base import Engine, Factor, Prepared, Stacked
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array

__all__ = ["Equations", "EquationsEngine", "EquationsFactor", "Solved", "State", "Sweeping", "Weighted"]

State = tuple[Array, Stacked]
"""beta (p, c) and u, one (m_a, k_a, c) array for each group."""


class Solved(NamedTuple):
    """A solution, and how many sweeps over the groups it took."""

    beta: Array
    u: Stacked
    sweeps: int


class Equations(Protocol):
    """The equations at one W and theta: those of M, bordered by X'WX and L'Z'WX."""

    def solve(
        self, rhs: Stacked, xwz: Array, start: State, *, relative: float, inexact: float = 0.0
    ) -> Solved:
        """The solution for right-hand sides L'Z'Wz and X'Wz, to a share of its size or of its distance from `start`."""
        ...

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        """``x'A x - 2 x't`` for x = (beta, u), A without the I of M."""
        ...


class EquationsFactor(Factor, Protocol):
    """M at one W and theta, bordered by fixed effects on request."""

    def equations(self) -> Equations: ...

    def fixed_information(self) -> Array:
        """X'V^-1X, (p, p)."""
        ...


class Weighted(Protocol):
    """An engine at one W."""

    def factor(self, factors: Sequence[Array]) -> EquationsFactor:
        """For relative Cholesky factors L_a."""
        ...


class EquationsEngine(Prepared, Protocol):
    """An engine that is ready for any W."""

    def weighted(self, gram: Gram) -> Weighted: ...


class Sweeping(Engine, Protocol):
    """An engine that makes such ones."""

    def prepare(self, blocks: Levels) -> EquationsEngine: ...
