r"""Sweeps between two factors whose effects are centred at what predicts their levels.

Where columns of X are constant within the levels of a group (:mod:`lmmformula.ir.level_columns`), with Z_a the indicators of
its levels::

    X beta + Z b = H beta_H + sum_a Z_a gamma_a,        gamma_a = A_a alpha_a + lambda_a u_a

with H the columns of the rows and the constant one, alpha_a the coefficients of A_a, and L_a = lambda_a. The penalty of the
centred effects is ``|gamma_a - A_a alpha_a|^2 / lambda_a^2`` (hierarchical centring: Gelfand, Sahu & Carlin 1995). With
d_a = diag(Z_a'WZ_a), N = Z_a'WZ_b, S_a = Z_a'WH, s = 1 / (1 + lambda_a^2 d_a) and q = t_a - N gamma_b, where t_a = Z_a'Wz, the
solution in beta_H, alpha_a and gamma_a for given gamma_b is::

    gamma_a = s (lambda_a^2 (q - S_a beta_H) + A_a alpha_a)                                                     (1)

    [ H'WH - lambda_a^2 S_a'(s S_a)    S_a'(s A_a)    ] [ beta_H  ]   [ H'Wz - S_b'gamma_b - lambda_a^2 S_a'(s q) ]
    [ A_a'(s S_a)                      A_a'(s d A_a)  ] [ alpha_a ] = [ A_a'(s q) + g_a                           ]   (2)

g_a is what a right-hand side has for the columns of A_a beside A_a't_a: zero for those of a response z.
A sweep is (1) and (2) for a, then for b. Each group thus meets its own columns alone: a sweep costs two readings of N and of
m_a (r + p_a) numbers, where :class:`~lmmformula.engines.backfitting.clubbed.Clubbed` reads m_a p of them, and Z_a'WX is
never formed. The constant is settled with both groups: effects of one shrink towards zero, so that it would be slow to
wander from the other. Lengths are those of the fitted values, ``sum d gamma^2`` and so on.

References
----------
Gelfand, Sahu & Carlin (1995), Efficient parametrisations for normal linear mixed models, Biometrika 82.
Papaspiliopoulos, Roberts & Zanella (2020), Scalable inference for crossed random effects models, Biometrika 107.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from lmmformula.engines.backfitting.clubbed import MAX_SWEEPS, Operators, swept, symmetric_inverse
from lmmformula.engines.base import Stacked
from lmmformula.engines.equations import Solved, State
from lmmformula.ir.gram_by_level import GramByLevel
from lmmformula.ir.groups import Group
from lmmformula.numerics.cuts import even_cuts, summing_parts
from lmmformula.numerics.tall import tall_transposed
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Index

__all__ = ["Centred", "Centring", "Predicted", "centres"]

T = TypeVar("T")

SUMS = 32_000_000
"""Cells of all the partial sums of one pass together."""
ROWS = 16_384
"""Levels whose products are formed at a time."""


def centres(groups: Sequence[Group]) -> bool:
    """Whether sweeps of these groups may be those of this module."""
    return len(groups) == 2 and not any(g.has_basis or g.k > 1 for g in groups)


@dataclass(frozen=True, eq=False)
class Predicted:
    """A group at one W.

    Attributes
    ----------
    at : (p_a,) array
        Where its own columns stand in X.
    own : (m_a, p_a) array
        A_a, without a constant.
    sums : (m_a, r) array
        S_a but for the constant, whose sums are `weight`.
    weight : (m_a,) array
        d_a.
    """

    at: Index
    own: Array
    sums: Array
    weight: Array

    def shared(self, some: slice) -> Array:
        """S_a of some levels, (.., r + 1)."""
        return np.column_stack([self.sums[some], self.weight[some]])

    def matrix(self, s: Array, var: float, square: Array) -> Array:
        """That of (2)."""

        def part(i: int, j: int) -> tuple[Array, Array, Array]:
            some = slice(i, j)
            shared, own = self.shared(some), self.own[some]
            scaled = s[some, None] * own
            return (
                shared.T @ (s[some, None] * shared),
                shared.T @ scaled,
                own.T @ (self.weight[some, None] * scaled),
            )

        both, met, mine = (np.sum(v, axis=0) for v in zip(*in_parts(part, edges(len(s), ROWS)), strict=True))
        return np.block([[square - var * both, met], [met.T, mine]])


class Centring:
    """What the groups have at one W, whatever theta is."""

    def __init__(self, gram: GramByLevel) -> None:
        held = gram.held
        self.rest_at, self.constant_at, self.unit = held.rest_at, -1, 0.0
        groups = []
        for a, (values, at) in enumerate(zip(held.values, held.values_at, strict=True)):
            constant = np.flatnonzero((values == values[:1]).all(axis=0) & (values[:1] != 0.0).all(axis=0))
            if len(constant):
                self.constant_at, self.unit = int(at[constant[0]]), float(values[0, constant[0]])
                values, at = np.delete(values, constant[0], axis=1), np.delete(at, constant[0])
            own = np.ascontiguousarray(values)
            groups.append(Predicted(at, own, gram.sums[a][:, 0], np.ascontiguousarray(gram.diag[a].ravel())))
        self.groups: tuple[Predicted, ...] = tuple(groups)
        ones = groups[1].sums.sum(axis=0)
        self.square: Array = np.block([[gram.square, ones[:, None]], [ones, groups[1].weight.sum()]])

    def inverse(self, a: int, s: Array, var: float) -> Array:
        """Inverse of the matrix of (2); what it leaves undetermined, and a constant that X has not, stays zero."""
        matrix, r = self.groups[a].matrix(s, var, self.square), len(self.rest_at)
        if self.constant_at < 0:
            matrix[r], matrix[:, r] = 0.0, 0.0
        return symmetric_inverse(matrix)

    def target(self, xwz: Array) -> Array:
        """H'Wz, (r + 1,), of X'Wz."""
        return np.append(xwz[self.rest_at], xwz[self.constant_at] / self.unit if self.unit else 0.0)

    def shared(self, beta: Array) -> Array:
        """beta_H, (r + 1,)."""
        return np.append(beta[self.rest_at], beta[self.constant_at] * self.unit)

    def coefficients(self, shared: Array, alphas: Sequence[Array]) -> Array:
        """beta, (p,)."""
        out = np.zeros(len(self.rest_at) + bool(self.unit) + sum(map(len, alphas)))
        for group, alpha in zip(self.groups, alphas, strict=True):
            out[group.at] = alpha
        out[self.rest_at] = shared[:-1]
        if self.unit:
            out[self.constant_at] = shared[-1] / self.unit
        return out


@dataclass(frozen=True, eq=False)
class Centred:
    """The equations at one W and theta."""

    factor: Operators
    at: Centring

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """lambda_a."""
        return tuple(float(f[0, 0]) for f in self.factor.factors)

    @cached_property
    def s(self) -> tuple[Array, ...]:
        return tuple(np.ascontiguousarray(v.ravel()) for v in self.factor.inverses)

    @cached_property
    def inverses(self) -> tuple[Array, ...]:
        """Of the matrices of (2)."""
        return tuple(self.at.inverse(a, s, self.scales[a] ** 2) for a, s in enumerate(self.s))

    @cached_property
    def pairs(self) -> tuple[Index, Index, Array]:
        """N by compressed rows."""
        pattern = self.factor.blocks.pattern(0, 1)
        return pattern.indptr, pattern.indices, self.factor.gram.cross[0, 1].ravel()

    def over(self, part: Callable[[int, int], T]) -> list[T]:
        """Results of parts of the levels of a, cut by the problem alone."""
        width = self.factor.blocks.groups[1].m
        return in_parts(part, even_cuts(self.pairs[0], summing_parts(width, SUMS)))

    def solve(
        self, rhs: Stacked, xwz: Array, start: State, *, relative: float, inexact: float = 0.0
    ) -> Solved:
        """Sweep until the estimated error is small, see :meth:`Clubbed.solve`; of one right-hand side."""
        sweeps = CentredSweeps(self, [r.ravel() for r in rhs], xwz[:, 0], start)
        count = swept(sweeps, [sweeps.begin[1]], relative, inexact, MAX_SWEEPS)
        return Solved(*sweeps.end(), count)

    def gammas(self, beta: Array, u: Stacked) -> list[Array]:
        """gamma_a."""
        parts = zip(self.at.groups, self.scales, u, strict=True)
        return [own.own @ beta[own.at] + scale * np.ravel(v) for own, scale, v in parts]

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        """As :meth:`Clubbed.quadratic`."""
        from lmmformula.numerics.sparse_products import column_product

        at, (one, other), shared = self.at, self.gammas(beta[:, 0], u), self.at.shared(beta[:, 0])
        total = float(shared @ at.square @ shared) - 2.0 * float(np.vdot(beta, xwz))
        total -= 2.0 * sum(float(np.vdot(r, v)) for r, v in zip(rhs, u, strict=True))
        ptr, where, values = self.pairs
        shape = len(one), len(other)
        total += 2.0 * float(one @ column_product(ptr, where, values, other, shape, by_rows=True))
        for own, gamma in zip(at.groups, (one, other), strict=True):
            told = tall_transposed(own.sums, gamma) @ shared[:-1] + float(own.weight @ gamma) * shared[-1]
            total += float(gamma @ (own.weight * gamma)) + 2.0 * float(told)
        return total


class CentredSweeps:
    """Sweeps for one right-hand side, and where the last of them ended."""

    def __init__(self, system: Centred, rhs: Sequence[Array], xwz: Array, start: State) -> None:
        self._system, at = system, system.at
        self._t = [np.ascontiguousarray(r) / scale for r, scale in zip(rhs, system.scales, strict=True)]
        self._target = at.target(xwz)
        self._more = [xwz[g.at] - tall_transposed(g.own, t) for g, t in zip(at.groups, self._t, strict=True)]
        beta = start[0][:, 0]
        self.begin = [np.ascontiguousarray(v) for v in system.gammas(beta, start[1])]
        self._first = at.shared(beta)
        self._shared, self._alphas = self._first, [beta[g.at] for g in at.groups]
        self._lead, self._last = np.empty_like(self.begin[0]), self.begin[1]
        self._lengths = np.zeros(2)

    def sweep(self, rest: list[Array]) -> list[Array]:
        """(1) and (2) for a and for b, from the centred effects of b to those after."""
        from lmmformula.numerics.centred_kernels import see_levels, settle_levels

        system, (a, b) = self._system, self._system.at.groups
        (effects,), (s, s_b), (var, var_b) = rest, system.s, (scale**2 for scale in system.scales)
        r, given = a.sums.shape[1], (*system.pairs, s, a.weight)
        q = np.empty_like(self._t[0])

        def see(i: int, j: int) -> tuple[Array, Array]:
            by_shared, by_own = np.zeros(r + 1), np.zeros(a.own.shape[1])
            see_levels(i, j, *given, self._t[0], effects, a.sums, a.own, q, by_shared, by_own)
            return by_shared, by_own

        seen, mine = (np.sum(v, axis=0) for v in zip(*system.over(see), strict=True))
        told = np.append(effects @ b.sums, effects @ b.weight)
        found = system.inverses[0] @ np.append(self._target - told - var * seen, mine + self._more[0])
        shared, self._alphas[0] = found[: r + 1], np.ascontiguousarray(found[r + 1 :])

        def settle(i: int, j: int) -> tuple[Array, Array, Array]:
            g, by_shared, lengths = np.zeros(len(effects)), np.zeros(r + 1), np.zeros(2)
            which = a.sums, a.own, np.ascontiguousarray(shared), self._alphas[0], var, self.begin[0]
            settle_levels(i, j, *given, q, *which, self._lead, g, by_shared, lengths)
            return g, by_shared, lengths

        g, told, self._lengths = (np.sum(v, axis=0) for v in zip(*system.over(settle), strict=True))
        q_b = self._t[1] - g
        scaled = s_b * q_b
        seen = np.append(scaled @ b.sums, scaled @ b.weight)
        found = system.inverses[1] @ np.append(
            self._target - told - var_b * seen, scaled @ b.own + self._more[1]
        )
        self._shared, self._alphas[1] = found[: r + 1], found[r + 1 :]
        left = q_b - b.sums @ self._shared[:r] - b.weight * self._shared[r]
        self._last = s_b * (var_b * left + b.own @ self._alphas[1])
        return [self._last]

    def change(self, before: list[Array], after: list[Array]) -> float:
        """Squared length of a move of the centred effects of b."""
        return self._length(after[0] - before[0])

    def size(self) -> float:
        """Squared length of where the last sweep ended."""
        return self._of_shared(self._shared) + float(self._lengths[0]) + self._length(self._last)

    def distance(self) -> float:
        """Squared distance of that from the start."""
        gap = self._length(self._last - self.begin[1])
        return self._of_shared(self._shared - self._first) + float(self._lengths[1]) + gap

    def _of_shared(self, shared: Array) -> float:
        return float(shared @ self._system.at.square @ shared)

    def _length(self, gamma: Array) -> float:
        return float(gamma @ (self._system.at.groups[1].weight * gamma))

    def end(self) -> State:
        """Where the last sweep ended."""
        at, system = self._system.at, self._system
        parts = zip(at.groups, (self._lead, self._last), self._alphas, system.scales, strict=True)
        u = tuple(((gamma - g.own @ alpha) / scale)[:, None, None] for g, gamma, alpha, scale in parts)
        return at.coefficients(self._shared, self._alphas)[:, None], u
