r"""Clubbed sweeps over two groups of one column each, in which the larger is gone through once, in a compiled pass.

Names as in :mod:`lmmformula.engines.backfitting.clubbed`, for groups a, the larger, and b. L_a is a number lambda,
M_a = diag(1/s), and with X_a = Z_a'WX and N = Z_a'WZ_b::

    r   = t_a - lambda N L_b u_b,     y = s r,      u_a = y - lambda s X_a beta

so that all that the step of b needs of a is linear in beta. About any guess of beta, with y = s (r - lambda X_a guess) and
d = beta - guess::

    u_a         = y - lambda s X_a d
    C_a'u_a     = lambda X_a'y - lambda^2 X_a'(s X_a) d
    B_ba u_a    = lambda L_b' (N'y - lambda N'(s X_a) d)                                                            (1)

One reading of N and X_a gives X_a'y and N'y, where the steps of :class:`~lmmformula.engines.backfitting.clubbed.Clubbed` read
each twice and write vectors between. The guess is beta after the last sweep, so that d goes to zero, and with it all that
depends on N'(s X_a): p products for each pair, they are formed for one lambda, and serve others near it.
Sizes come from the same pass, (2), with e = y - u0, and nothing in the second is lost to rounding near the solution::

    u_a'M_a u_a               = y'y/s - 2 lambda d'X_a'y + lambda^2 d'X_a'(s X_a) d
    (u_a - u0)'M_a (u_a - u0) = e'e/s - 2 lambda d'X_a'e + lambda^2 d'X_a'(s X_a) d                                 (2)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np

from lmmformula.engines.backfitting.clubbed import Clubbed
from lmmformula.engines.base import Stacked
from lmmformula.engines.equations import State
from lmmformula.ir.groups import Group
from lmmformula.numerics.batched import flat, matmul
from lmmformula.numerics.cuts import even_cuts, summing_parts
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index, SparseMatrix

__all__ = ["PAIRS", "Leading", "Led", "LedSweeps", "leads"]

T = TypeVar("T")

PAIRS = 10_000_000
"""Pairs of levels from which on a compiled pass repays its import (0.5 s)."""
SUMS = 32_000_000
"""Cells of all the partial sums of one pass together."""
NEAR = 0.02


def leads(groups: Sequence[Group], p: int) -> bool:
    """Whether sweeps of these groups, with p columns beside them, may be those of this module."""
    if len(groups) != 2 or groups[0].m < groups[1].m or any(g.k > 1 for g in groups):
        return False
    return 2 * groups[1].q * (p + 1) <= SUMS


class Leading(Clubbed):
    """A system with its fixed columns, for one right-hand side, wherever the levels of a are."""

    @property
    def scale(self) -> float:
        """lambda."""
        return float(self.factor.factors[0][0, 0])

    def in_b(self, u: Array) -> Array:
        """L_b u_b, (q_b,)."""
        return np.ascontiguousarray(matmul(self.factor.factors[1], u).ravel())

    @cached_property
    def near(self) -> Array:
        """N'(s X_a), (q_b, p), for this lambda or one near it: s differs by less than `NEAR`, relatively."""
        return self.factor.at.near(self.scale**2, NEAR, self.through)

    def through(self) -> Array:
        """N'(s X_a), (q_b, p)."""
        raise NotImplementedError


class Pass(Protocol):
    """Passes over the levels of a for one right-hand side."""

    def sweep(self, guess: Array, effects: Array) -> tuple[Array, Array, Array]:
        """N'y, y'y / s and e'e / s, and X_a'y beside X_a'e, for a guess of beta and L_b u_b."""
        ...

    def close(self, move: Array) -> Array:
        """u_a for d, (m_a, 1, 1), after the last sweep."""
        ...


class Led(Leading):
    """With the levels of a here. Cost of a sweep: one reading of N and X_a."""

    def sweeps(self, rhs: Stacked, xwz: Array, start: State) -> LedSweeps:
        """Compiled ones."""
        return LedSweeps(self, _Here(self, rhs[0], start[1][0]), rhs, xwz, start)

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        """As :meth:`Clubbed.quadratic`."""
        from lmmformula.numerics.sweep_kernels import quadratic_of_levels

        t, effects, own = rhs[0].ravel(), self.in_b(u[1]), np.ascontiguousarray(u[0].ravel())

        def part(i: int, j: int) -> Array:
            out = np.zeros(1)
            told = np.ascontiguousarray(beta[:, 0])
            quadratic_of_levels(i, j, *self.pairs, self.x, self.s, t, self.scale, told, effects, own, out)
            return out

        total = float(np.vdot(beta, self.xwx @ beta - 2.0 * xwz)) + float(np.sum(self.over(part)))
        mine = matmul(self.factor.own[1], u[1]) - u[1]
        return total + float(np.vdot(u[1], mine - 2.0 * (rhs[1] - self.times(1, beta))))

    # -- what one theta has ----------------------------------------------------------------------------------------

    @cached_property
    def s(self) -> Array:
        return np.ascontiguousarray(self.factor.inverses[0].ravel())

    @cached_property
    def x(self) -> Array:
        """X_a, (m_a, p)."""
        return np.ascontiguousarray(flat(self.columns[0]))

    @cached_property
    def pairs(self) -> tuple[Index, Index, Array]:
        """N by compressed rows: pointers, levels of b, values."""
        n: SparseMatrix = self.factor.couplings[0, 1]
        return n.indptr, n.indices, n.data

    def over(self, part: Callable[[int, int], T]) -> list[T]:
        """Results of parts of the levels of a, cut by the problem alone."""
        width = self.factor.blocks.groups[1].q * (len(self.xwx) + 1)
        return in_parts(part, even_cuts(self.pairs[0], summing_parts(width, SUMS)))

    def through(self) -> Array:
        """N'(s X_a), (q_b, p)."""
        from lmmformula.numerics.sweep_kernels import add_products_by_pair

        shape = self.factor.blocks.groups[1].q, len(self.xwx)

        def part(i: int, j: int) -> Array:
            out = np.zeros(shape)
            add_products_by_pair(i, j, *self.pairs, self.x, self.s, out)
            return out

        return np.sum(self.over(part), axis=0)


class _Here:
    """Passes over levels that are in memory."""

    def __init__(self, system: Led, t: Array, before: Array) -> None:
        self._system = system
        self._t, self._before = (np.ascontiguousarray(v.ravel()) for v in (t, before))
        self._y = np.empty(len(self._t))

    def sweep(self, guess: Array, effects: Array) -> tuple[Array, Array, Array]:
        """Part by part; y itself is noted."""
        from lmmformula.numerics.sweep_kernels import sweep_levels

        system = self._system
        p = len(system.xwx)

        def part(i: int, j: int) -> tuple[Array, Array, Array]:
            g, sums, columns = np.zeros(len(effects)), np.zeros(2), np.zeros((2, p))
            given = system.x, system.s, self._t, self._before, guess, system.scale, effects
            sweep_levels(i, j, *system.pairs, *given, self._y, g, sums, columns)
            return g, sums, columns

        g, sums, columns = (np.sum(v, axis=0) for v in zip(*system.over(part), strict=True))
        return g, sums, columns

    def close(self, move: Array) -> Array:
        from lmmformula.numerics.sweep_kernels import close_levels

        system, u = self._system, np.empty(len(self._t))
        system.over(lambda i, j: close_levels(i, j, system.x, system.s, self._y, system.scale, move, u))
        return u[:, None, None]


class LedSweeps:
    """Sweeps for one right-hand side, and where the last of them ended."""

    def __init__(self, system: Leading, over: Pass, rhs: Stacked, xwz: Array, start: State) -> None:
        self._system, self._over, self._rhs, self._xwz, self._start = system, over, rhs, xwz, start
        self._beta, self._u = start[0], start[1][1]
        self._move = np.zeros_like(self._beta)
        self._sums, self._columns = np.zeros(2), np.zeros((2, len(self._beta)))

    def sweep(self, rest: list[Array]) -> list[Array]:
        """(2) of :mod:`lmmformula.engines.backfitting.clubbed`, from the effects of b to those after."""
        system, factor, (u,), guess = self._system, self._system.factor, rest, self._beta
        g, self._sums, self._columns = self._over.sweep(np.ascontiguousarray(guess[:, 0]), system.in_b(u))
        first, second = system.clubbed
        own = system.scale * self._columns[0][:, None]
        of_a = own + system.explained[0] @ guess
        self._move = first @ (self._xwz - system.transposed_times(1, u) - of_a) - guess
        left = g[:, None] - system.scale * (system.near @ self._move)
        coupled = system.scale * matmul(factor.factors[1].T, left.reshape(u.shape))
        y = matmul(factor.inverses[1], self._rhs[1] - coupled)
        of_a = own - system.explained[0] @ self._move
        self._beta = second @ (self._xwz - of_a - system.transposed_times(1, y))
        self._u = y - matmul(factor.inverses[1], system.times(1, self._beta))
        return [self._u]

    def change(self, before: list[Array], after: list[Array]) -> float:
        """Length of a move of the effects of b."""
        move = after[0] - before[0]
        return float(np.vdot(move, matmul(self._system.factor.own[1], move)))

    def size(self) -> float:
        """Squared length of where the last sweep ended."""
        return self._length(self._beta, self._u) + self._of_a(self._sums[0], self._columns[0])

    def distance(self) -> float:
        """Squared distance of that from the start."""
        beta, (_, u) = self._start
        return self._length(self._beta - beta, self._u - u) + self._of_a(self._sums[1], self._columns[1])

    def _of_a(self, square: float, columns: Array) -> float:
        """(2)."""
        system, d = self._system, self._move[:, 0]
        return float(square - 2.0 * system.scale * (d @ columns) + d @ system.explained[0] @ d)

    def _length(self, beta: Array, u: Array) -> float:
        own = matmul(self._system.factor.own[1], u)
        return float(np.vdot(beta, self._system.xwx @ beta)) + float(np.vdot(u, own))

    def end(self) -> State:
        """Where the last sweep ended."""
        return self._beta, (self._over.close(np.ascontiguousarray(self._move[:, 0])), self._u)
