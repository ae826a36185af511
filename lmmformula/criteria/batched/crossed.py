r"""Laplace's approximation of one response at many parameters at once, where levels of several grouping factors meet.

d(beta, L, alpha) of :mod:`lmmformula.criteria.laplace` for S draws of its parameters, each with an M of its own that is
eliminated directly (:mod:`lmmformula.criteria.batched.direct`). Modes are searched for by Newton's steps, each second one with
the M of the first, all draws together; a step that raises h is halved. With s the scores, W the observed
weights, w' = dW/deta, lev_r = z_r'Lambda M^-1 Lambda'z_r, c = Lambda'Z'(lev w') and v = M^-1 c::

    t        = -2 s + lev w' - W (Z Lambda v),             dd/dbeta = X't
    dd/dL_a  = sum_i (Z_i't) u_i' + (Z_i's) v_i' + 2 L_a^-T sum_i (I - [M^-1]_ii)                                       (1)
    dd/da_j  = -2 dl/da_j + lev dW/da_j + (ds/da_j) (Z Lambda v)

i the levels of group a, (k, k) blocks, the lower triangle of which is meant: what dL does to eta at fixed u, to the mode, and
to M, of which ``Lambda'Z'WZ Lambda M^-1 = I - M^-1``. Rows in the order of the data, draws side by side, (n, S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.criteria.batched.direct import Direct, DirectDesign
from lmmformula.criteria.batched.family import rows_side_by_side
from lmmformula.families.records import Rows
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["CrossedLaplace", "CrossedPoints", "CrossedSlopes"]

CLOSE = 1e-7
"""Newton decrement of h after which the last step of a search is made: it leaves less than 1e-4 standard deviations."""
LOST = 1e-12
"""Share of h below which a difference is rounding's."""
MAX_STEPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class CrossedSlopes:
    """Gradients: in beta (S, p), in L of each group (S, k, k), in the auxiliary predictors of the rows (n, S) each."""

    beta: Array
    lowers: Sequence[Array]
    aux: Sequence[Array]


@dataclass(frozen=True, slots=True, eq=False)
class CrossedPoints:
    """Criteria (S,), nan where there is none; modes u (q, S), weights of the rows there (n, S), and gradients if asked for."""

    value: Array
    u: Array
    weight: Array
    slopes: CrossedSlopes | None = None


@dataclass(frozen=True, eq=False)
class CrossedLaplace:
    """The criterion.

    Attributes
    ----------
    problem : Problem
        Rows in memory, of one level of each group, and a block for every auxiliary predictor.
    direct : DirectDesign
    """

    problem: Problem
    direct: DirectDesign

    def at(
        self,
        beta: Array,
        lowers: Sequence[Array],
        aux: Sequence[Array],
        start: Array,
        *,
        slopes: bool = False,
    ) -> CrossedPoints:
        """At beta (S, p), L of each group (S, k, k), auxiliary predictors (n, S); searches begin at `start` (q, S)."""
        fixed = self.problem.X.matrix @ beta.T
        if self.problem.offset is not None:
            fixed += self.problem.offset[:, None]
        u = self._found(fixed, lowers, aux, start)
        found = self._rows(fixed + self.direct.design.effects(u, lowers), aux, derivatives=slopes)
        equations = Direct(self.direct, lowers, self.direct.entries(found.weight))
        value = -2.0 * found.loglik.sum(axis=0) + np.einsum("qs,qs->s", u, u) + equations.log_det
        own = self._slopes(found, equations, u, lowers) if slopes else None
        return CrossedPoints(value, u, found.weight, own)

    def _found(self, fixed: Array, lowers: Sequence[Array], aux: Sequence[Array], start: Array) -> Array:
        """The modes (q, S); nan where the search was given up."""
        design, equations, size = self.direct.design, None, start.shape[1]
        u, before, moved = start, start, np.zeros_like(start)
        least, done = np.full(size, np.inf), np.zeros(size, dtype=bool)
        for _ in range(MAX_STEPS):
            found = self._rows(fixed + design.effects(u, lowers), aux, derivatives=False)
            h = 0.5 * np.einsum("qs,qs->s", u, u) - found.loglik.sum(axis=0)
            lower = h <= least + LOST * np.maximum(1.0, np.abs(h))
            fresh = equations is None
            if equations is None:
                equations = Direct(self.direct, lowers, self.direct.entries(found.weight))
            slope = design.to_effects(found.score, lowers) - u
            step, there = equations.solve(slope)
            far = np.einsum("qs,qs->s", slope, step)
            sound = ~done & lower & there & (far >= 0.0)
            before, moved, least = (
                np.where(sound, new, old) for new, old in ((u, before), (step, moved), (h, least))
            )
            moved = np.where(
                sound | done, moved, 0.5 * moved
            )  # a step that raised h, or ended where there is none
            u = np.where(done, u, before + moved)
            done |= sound & (far <= CLOSE)
            if done.all():
                break
            equations = equations if fresh else None
        return np.where(done, u, np.nan)

    def _slopes(self, found: Rows, equations: Direct, u: Array, lowers: Sequence[Array]) -> CrossedSlopes:
        design, score = self.direct.design, found.score
        leverage = self.direct.quadratic(equations.covariance())
        push = leverage * np.asarray(found.weight_eta)
        v, _ = equations.solve(design.to_effects(push, lowers))
        zv = design.effects(v, lowers)
        t = push - 2.0 * score - found.weight * zv
        split = design.stacked.split
        parts = zip(
            split(design.sums(t)), split(u), split(design.sums(score)), split(v), lowers, equations.blocks(),
            strict=True,
        )  # fmt: skip
        moved = []
        for zt, own_u, zs, own_v, lower, block in parts:
            out = np.einsum("mis,mjs->sij", zt, own_u) + np.einsum("mis,mjs->sij", zs, own_v)
            k, m = lower.shape[-1], block.shape[1]
            left = m * np.eye(k) - block.sum(axis=1)
            moved.append(out + 2.0 * np.linalg.solve(np.swapaxes(lower, -1, -2), left))
        pushes = zip(found.d_aux, found.weight_aux, found.score_aux, strict=True)
        aux = [leverage * weight - 2.0 * d + s * zv for d, weight, s in pushes]
        return CrossedSlopes(t.T @ self.problem.X.matrix, moved, aux)

    @cached_property
    def _constant(self) -> Array:
        """The part of the log density in y alone, (n,)."""
        problem = self.problem
        return np.broadcast_to(problem.family.constant(problem.y, problem.weights), problem.n)

    def _rows(self, eta: Array, aux: Sequence[Array], *, derivatives: bool) -> Rows:
        """The family at rows (n, S)."""
        y, constant = (np.broadcast_to(own[:, None], eta.shape) for own in (self.problem.y, self._constant))
        weights = self.problem.weights
        return rows_side_by_side(self.problem.family, y, eta, aux, weights, constant, derivatives=derivatives)
