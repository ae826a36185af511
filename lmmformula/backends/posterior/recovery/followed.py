r"""Random effects drawn back for many draws together: modes and weights followed from those of a few draws.

The modes u^(x) are smooth in x, and so are the weights W there, with which M = L'Z'WZ L + I is the precision of the noise
(:mod:`lmmformula.backends.posterior.recovery.equations`). Quadratics in z = half^-1 (x - mode) are fitted to the modes and log
W of a few draws. Their errors are those at each of these draws of the quadratics without it (Allen 1974). Where their root
mean square, in standard deviations of the effects and in log W, is at most 1/sqrt(draws), the Monte Carlo error of a mean,
modes and weights of all draws are the quadratics', and the family is not asked for rows. Where M is eliminated directly, W
itself may be as nearly quadratic, by errors that are shares of its mean; then so is Z'WZ, which is a sum of them, and the
quadratics are those of its entries: no draw sees the rows.

Else quadratics are where the search for a mode begins, and one step of Newton's ends it, ``M delta = g``, g the gradient of
the joint log density there, which takes a pass over the rows for each draw. Where the decrement ``g'delta``, the squared
distance to the mode in its standard deviations, says that a step was not enough, further ones are made. A step leaves an
error of the order of the square of its length. Draws that do not settle, or have a negative weight, are left to the search
from the mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.effects import KEPT_BYTES
from lmmformula.backends.posterior.recovery.equations import Iterated
from lmmformula.backends.posterior.recovery.stacked import in_slabs
from lmmformula.criteria.batched.direct import Direct, Entries, Equations
from lmmformula.criteria.batched.family import rows_side_by_side
from lmmformula.engines.base import Factor
from lmmformula.ir.groups import Group, joined
from lmmformula.numerics.polynomial import degrees, polynomials
from lmmformula.typing import Array, Index

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
        Of the quadratic of the modes.
    of_weights : (b, n) array or None
        Of the quadratic of log W.
    of_entries : tuple of (b, .) arrays or None
        Of those of Z'WZ. Where there is neither, draws are to make steps of their own.
    """

    target: LaplaceDensity
    coefficients: Array
    of_weights: Array | None = None
    of_entries: Entries | None = None

    @staticmethod
    def needed(d: int) -> int:
        """Draws whose modes the quadratic is fitted to."""
        return 2 * len(degrees(d, 2, 2)) + 5

    @classmethod
    def of(cls, target: LaplaceDensity, x: Array, draws: int) -> FollowedModes:
        """From the modes at x (S, d), which are of the posterior; for so many draws."""
        columns = polynomials(target.standardised(x), degrees(target.d, 2, 2))
        fit, n = _Quadratic.of(columns), target.model.problem.n
        u, weights = target.searched(x, weighted=8.0 * columns.shape[1] * n <= KEPT_BYTES)
        modes, near = cls(target, fit.coefficients(u)), draws**-0.5
        middle = target(x[0]).laplace
        inverse = middle.factor.inverse()
        sd = np.sqrt(
            np.concatenate([inverse.diagonal(a).diagonal(0, 1, 2).ravel() for a in range(len(middle.u))])
        )
        if weights is None or not (weights > 0.0).all() or not fit.error(u / sd) <= near:
            return modes
        direct = target.direct
        if direct is not None and fit.error(weights / weights.mean(axis=0)) <= near:
            a, c, d = (fit.coefficients(own) for own in direct.entries(np.ascontiguousarray(weights.T)))
            return replace(modes, of_entries=(a, c, d))
        logs = np.log(weights)
        return replace(modes, of_weights=fit.coefficients(logs)) if fit.error(logs) <= near else modes

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
        direct, entries = self.target.direct, self.of_entries
        if direct is not None and entries is not None:
            a, c, d = (columns @ of for of in entries)
            noise, settled = Direct(direct, lowers, (a, c, d)).noise(rng)
        elif self.of_weights is None:
            noise, settled = self._stepped(own, u, lowers, rng)
        else:
            weight = np.exp(columns @ self.of_weights).T
            noise, settled = self._equations(lowers, weight).noise(rng)
        modes, kicks = (self.target.design.stacked.turned(v, lowers) for v in (u, noise))
        drawn: list[Array] = [a + b for a, b in zip(modes, kicks, strict=True)]
        return Piece(places, modes, drawn, [k**2 for k in kicks], settled)

    def _stepped(
        self, x: Array, u: Array, lowers: Sequence[Array], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Noise (q, S), and of which draws the modes u, which are moved in their place, were found."""
        settled, noise = np.zeros(len(x), dtype=bool), np.zeros_like(u)
        for _ in range(STEPS):
            left = np.flatnonzero(~settled)
            if not left.size:
                break
            step, kick, far = self._step(x[left], u[:, left], [low[left] for low in lowers], rng)
            sound = np.isfinite(far)
            u[:, left[sound]] += step[:, sound]
            noise[:, left[sound]] = kick[:, sound]
            settled[left] = sound & (far <= SETTLED)
        return noise, settled

    def _step(
        self, x: Array, u: Array, lowers: Sequence[Array], rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Newton's step and noise, (q, S) each, and the squared length of the step; nan where there is none."""
        score, weight = self._rows(x, u, lowers)
        slope, equations = self.target.design.to_effects(score, lowers) - u, self._equations(lowers, weight)
        step, there = equations.solve(slope)
        noise, drawn = equations.noise(rng)
        far = np.einsum("qs,qs->s", slope, step)
        return step, noise, np.where(there & drawn & np.isfinite(noise).all(axis=0), np.abs(far), np.nan)

    def _rows(self, x: Array, u: Array, lowers: Sequence[Array]) -> tuple[Array, Array]:
        """Scores and weights (n, S)."""
        problem, target = self.target.model.problem, self.target
        eta = problem.X.matrix @ target.mean.beta(x).T
        if problem.offset is not None:
            eta += problem.offset[:, None]
        eta += self.target.design.effects(u, lowers)
        y = np.broadcast_to(problem.y[:, None], eta.shape)
        aux = [p.block.matrix @ p.beta(x).T for p in target.predictors[1:]]
        nothing = np.broadcast_to(0.0, eta.shape)
        found = rows_side_by_side(problem.family, y, eta, aux, problem.weights, nothing, derivatives=False)
        return found.score, found.weight

    # -- equations -------------------------------------------------------------------------------------------------

    def _equations(self, lowers: Sequence[Array], weight: Array) -> Equations:
        direct = self.target.direct
        if direct is not None:
            return Direct(direct, lowers, direct.entries(weight))
        return Iterated(self.target.design, self._factor, lowers, weight)

    @property
    def _groups(self) -> Sequence[Group]:
        return self.target.model.prepared.blocks.groups

    @cached_property
    def _factor(self) -> Factor:
        """Of M at the mode of x."""
        found = self.target.found
        assert found is not None
        return self.target(found.mode).laplace.factor


@dataclass(frozen=True, slots=True, eq=False)
class _Quadratic:
    """Least squares on columns (S, b) = q r, and what values without a row of them would have been off by there."""

    q: Array
    r: Array

    @classmethod
    def of(cls, columns: Array) -> _Quadratic:
        return cls(*np.linalg.qr(columns))

    def coefficients(self, values: Array) -> Array:
        """Of values (S, c), (b, c)."""
        return np.linalg.solve(self.r, self.q.T @ values)

    def error(self, values: Array) -> float:
        """Root mean square of the errors at rows that were left out."""
        left = 1.0 - (self.q**2).sum(axis=1)
        missed = (values - self.q @ (self.q.T @ values)) / left[:, None]
        return float(np.sqrt((missed**2).mean()))
