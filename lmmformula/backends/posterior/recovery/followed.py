r"""Random effects drawn back for many draws together: modes followed from those of a few draws, noise by perturbed equations.

The modes u^(x) are smooth in x. Their quadratic in z = half^-1 (x - mode), fitted to the modes of a few draws, is so near them
that one step of Newton's ends the search, ``M delta = g``, g the gradient of the joint log density at the quadratic's u. The
same M has the noise: ``M^-1 (L'Z'W^(1/2) e_1 + e_2)`` with standard normal e has covariance M^-1 (Papandreou & Yuille 2010).
So a draw takes one pass over the rows by the family and one solution with two right-hand sides: by blocks with one grouping
factor, else by conjugate gradients, for which M at the mode of x is the preconditioner: over the posterior L and W differ
little from those.

Where the decrement ``g'delta``, the squared distance to the mode in its standard deviations, says that a step was not enough,
further ones are made. A step leaves an error of the order of the square of its length. Draws that do not settle, or have a
negative weight, are left to the search from the mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.recovery.stacked import NOISE, SOLVES, StackedEffects, in_slabs
from lmmformula.engines.base import Factor, Stacked
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.groups import Group, GroupRows, joined
from lmmformula.numerics.batched import stacked_inverse
from lmmformula.numerics.polynomial import degrees, polynomials
from lmmformula.numerics.preconditioned import preconditioned
from lmmformula.typing import Array, Index, SparseMatrix

__all__ = ["FollowedModes", "Piece"]

CELLS = 500_000
"""Rows times draws that are worked on together."""
SETTLED = 0.03
"""Squared distance to the mode, in standard deviations summed over all effects, from which one step is enough."""
STEPS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Draws `places`: modes and draws of b, and variances around the modes, per group (S, m, k); `settled` (S,)."""

    places: Index
    modes: list[Array]
    draws: list[Array]
    variances: list[Array]
    settled: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FollowedModes:
    """The modes of one density.

    Attributes
    ----------
    target : LaplaceDensity
        Settled, with rows of one level of each group.
    coefficients : (b, q) array
        Of the quadratic.
    """

    target: LaplaceDensity
    coefficients: Array

    @staticmethod
    def needed(d: int) -> int:
        """Draws whose modes the quadratic is fitted to."""
        return int(1.5 * len(degrees(d, 2, 2))) + 5

    @classmethod
    def of(cls, target: LaplaceDensity, x: Array, u: Sequence[Stacked]) -> FollowedModes:
        """From the modes u at x (S, d)."""
        values = np.array([np.concatenate([own.ravel() for own in one]) for one in u])
        columns = polynomials(target.standardised(x), degrees(target.d, 2, 2))
        return cls(target, np.linalg.lstsq(columns, values, rcond=None)[0])

    def pieces(self, x: Array, seed: np.random.SeedSequence) -> Iterator[Piece]:
        """Draws for rows of x, a slab after the other."""
        width = max(1, CELLS // self.target.model.problem.n)
        return in_slabs(lambda places, rng: self._piece(x, places, rng), len(x), width, seed)

    # -- one slab --------------------------------------------------------------------------------------------------

    def _piece(self, x: Array, places: Index, rng: np.random.Generator) -> Piece:
        own = x[places]
        columns = polynomials(self.target.standardised(own), degrees(self.target.d, 2, 2))
        u = (columns @ self.coefficients).T  # (q, S)
        lowers = joined(self._groups, self.target.mean.factors(own))
        settled, noise = np.zeros(len(own), dtype=bool), np.zeros_like(u)
        for _ in range(STEPS):
            left = np.flatnonzero(~settled)
            if not left.size:
                break
            step, kick, far = self._step(own[left], u[:, left], [low[left] for low in lowers], rng)
            sound = np.isfinite(far)
            u[:, left[sound]] += step[:, sound]
            noise[:, left[sound]] = kick[:, sound]
            settled[left] = sound & (far <= SETTLED)
        modes, kicks = self._stacked.turned(u, lowers), self._stacked.turned(noise, lowers)
        drawn: list[Array] = [a + b for a, b in zip(modes, kicks, strict=True)]
        return Piece(places, modes, drawn, [k**2 for k in kicks], settled)

    def _step(
        self, x: Array, u: Array, lowers: Sequence[Array], rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Newton's step and noise, (q, S) each, and the squared length of the step; nan where there is none."""
        score, weight = self._rows(x, u, lowers)
        with np.errstate(invalid="ignore"):
            kick = np.sqrt(weight) * rng.standard_normal(weight.shape)
        slope = self._to_effects(score, lowers) - u
        rough = self._to_effects(kick, lowers) + rng.standard_normal(u.shape)
        found, fine = self._solved(lowers, weight, np.concatenate([slope, rough], axis=1))
        step, noise = np.split(found, 2, axis=1)
        far = np.einsum("qs,qs->s", slope, step)
        return step, noise, np.where(fine & np.isfinite(noise).all(axis=0), np.abs(far), np.nan)

    def _rows(self, x: Array, u: Array, lowers: Sequence[Array]) -> tuple[Array, Array]:
        """Scores and weights (n, S)."""
        problem, target = self.target.model.problem, self.target
        eta = problem.X.matrix @ target.mean.beta(x).T
        if problem.offset is not None:
            eta += problem.offset[:, None]
        eta += self._effects(u, lowers)
        wide = eta.shape[1]
        found = problem.family.rows(
            np.repeat(problem.y, wide),
            eta.ravel(),
            tuple((p.block.matrix @ p.beta(x).T).ravel() for p in target.predictors[1:]),
            None if problem.weights is None else np.repeat(problem.weights, wide),
            derivatives=False,
            constant=0.0,
        )
        score, weight = (np.broadcast_to(v, eta.size).reshape(eta.shape) for v in (found.score, found.weight))
        return score, weight

    def _solved(self, lowers: Sequence[Array], weight: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
        """M^-1 of two right-hand sides for each draw, (q, 2 S), and of which draws."""
        size = b.shape[1] // 2
        if len(self._groups) == 1:
            (group,), (lower,) = self._groups, lowers
            turned = np.swapaxes(lower, -1, -2)[:, None]
            inverse, log_det = stacked_inverse(turned @ self._gram(weight) @ lower[:, None] + np.eye(group.k))
            sides = b.reshape(group.m, group.k, 2, size).transpose(3, 0, 1, 2)
            found = (inverse @ sides).transpose(1, 2, 3, 0).reshape(b.shape)
            return found, np.asarray(np.isfinite(log_det).all(axis=1))
        twice, both = [np.concatenate([low, low]) for low in lowers], np.tile(weight, 2)
        solution = preconditioned(
            lambda v: v + self._to_effects(both * self._effects(v, twice), twice),
            self._first,
            b,
            NOISE,
            SOLVES,
        )
        return solution.x, np.asarray(solution.converged.reshape(2, size).all(axis=0))

    # -- products --------------------------------------------------------------------------------------------------

    @property
    def _groups(self) -> Sequence[Group]:
        return self.target.model.prepared.blocks.groups

    @property
    def _own(self) -> Sequence[GroupRows]:
        blocks = self.target.model.prepared.blocks
        assert isinstance(blocks, Blocks)  # rows lie in memory
        return blocks.own

    @cached_property
    def _z(self) -> tuple[SparseMatrix, ...]:
        """Z of each group, (n, q_a)."""
        return tuple(own.design() for own in self._own)

    @cached_property
    def _stacked(self) -> StackedEffects:
        return StackedEffects(self._groups)

    def _effects(self, u: Array, lowers: Sequence[Array]) -> Array:
        """Z Lambda u, (n, S)."""
        parts = zip(self._z, self._stacked.split(self._stacked.scaled(u, lowers)), strict=True)
        return np.asarray(sum(z @ b.reshape(z.shape[1], -1) for z, b in parts))

    def _to_effects(self, r: Array, lowers: Sequence[Array]) -> Array:
        """Lambda'Z'r, (q, S)."""
        return self._stacked.pulled(np.concatenate([z.T @ r for z in self._z]), lowers)

    def _gram(self, weight: Array) -> Array:
        """Z'WZ of the one group, (S, m, k, k)."""
        (group,), (rows,) = self._groups, self._own
        out = np.empty((weight.shape[1], group.m, group.k, group.k))
        basis = np.ones((len(weight), 1)) if rows.basis is None else rows.basis
        for i in range(group.k):
            for j in range(i + 1):
                product = (basis[:, i] * basis[:, j])[:, None] * weight
                out[:, :, i, j] = out[:, :, j, i] = (self._levels @ product).T
        return out

    @cached_property
    def _levels(self) -> SparseMatrix:
        """Sums over the rows of each level of the one group, (m, n)."""
        (rows,) = self._own
        one = replace(rows.group, k=1, members=((0, slice(0, 1)),))
        return GroupRows(one, rows.codes, None).design().T

    def _first(self, r: Array) -> Array:
        """M^-1 r at the mode of x."""
        return self._stacked.solved(self._factor, r)

    @cached_property
    def _factor(self) -> Factor:
        found = self.target.found
        assert found is not None
        return self.target(found.mode).laplace.factor
