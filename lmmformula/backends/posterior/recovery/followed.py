r"""Random effects drawn back for many draws together: modes and weights followed from those of a few draws.

The modes u^(x) are smooth in x, and so are the weights W there, with which M = L'Z'WZ L + I is the precision of the noise
(:mod:`lmmformula.backends.posterior.recovery.equations`). Quadratics in z = half^-1 (x - mode) are fitted to the modes and log
W of a few draws. Their errors are those at each of these draws of the quadratics without it (Allen 1974). Where their root
mean square, in standard deviations of the effects and in log W, is at most 1/sqrt(draws), the Monte Carlo error of a mean,
modes and weights of all draws are the quadratics', and the family is not asked for rows.

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
from lmmformula.backends.posterior.recovery.equations import (
    Design,
    Direct,
    DirectDesign,
    Equations,
    Iterated,
    direct_design,
)
from lmmformula.backends.posterior.recovery.stacked import in_slabs
from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Factor
from lmmformula.ir.blocks import Blocks
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
        Of the quadratic of log W; None where draws are to make steps of their own.
    """

    target: LaplaceDensity
    coefficients: Array
    of_weights: Array | None = None

    @staticmethod
    def needed(d: int) -> int:
        """Draws whose modes the quadratic is fitted to."""
        return int(1.5 * len(degrees(d, 2, 2))) + 5

    @classmethod
    def of(
        cls, target: LaplaceDensity, x: Array, points: Sequence[LaplacePoint], draws: int
    ) -> FollowedModes:
        """From the points of the likelihood at x (S, d), which are of the posterior; for so many draws."""
        columns = polynomials(target.standardised(x), degrees(target.d, 2, 2))
        fit = _Quadratic.of(columns)
        u = np.array([np.concatenate([own.ravel() for own in p.u]) for p in points])
        modes = cls(target, fit.coefficients(u))
        middle = points[0].factor.inverse()
        sd = np.sqrt(
            np.concatenate([middle.diagonal(a).diagonal(0, 1, 2).ravel() for a in range(len(points[0].u))])
        )
        if (
            not fit.error(u / sd) <= draws**-0.5
            or 8.0 * columns.shape[1] * target.model.problem.n > KEPT_BYTES
        ):
            return modes
        weights = np.array([_weights(p) for p in points])
        if not (weights > 0.0).all():
            return modes
        logs = np.log(weights)
        return replace(modes, of_weights=fit.coefficients(logs)) if fit.error(logs) <= draws**-0.5 else modes

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
        if self.of_weights is None:
            noise, settled = self._stepped(own, u, lowers, rng)
        else:
            weight = np.exp(columns @ self.of_weights).T
            noise, settled = self._equations(lowers, weight).noise(rng)
        modes, kicks = (self._design.stacked.turned(v, lowers) for v in (u, noise))
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
        slope, equations = self._design.to_effects(score, lowers) - u, self._equations(lowers, weight)
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
        eta += self._design.effects(u, lowers)
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

    # -- equations -------------------------------------------------------------------------------------------------

    def _equations(self, lowers: Sequence[Array], weight: Array) -> Equations:
        if self._direct is not None:
            return Direct(self._direct, lowers, weight)
        return Iterated(self._design, self._factor, lowers, weight)

    @property
    def _groups(self) -> Sequence[Group]:
        return self.target.model.prepared.blocks.groups

    @cached_property
    def _design(self) -> Design:
        blocks = self.target.model.prepared.blocks
        assert isinstance(blocks, Blocks)  # rows lie in memory
        return Design(blocks.own)

    @cached_property
    def _direct(self) -> DirectDesign | None:
        return direct_design(self._design)

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


def _weights(point: LaplacePoint) -> Array:
    """Observed weights at the modes, (n,), in the order of the data."""
    model = point.model
    found = model.rows(point.mode.eta, point.aux, "observed", derivatives=False)
    return np.broadcast_to(model.data.whole(found.weight), model.problem.n)
