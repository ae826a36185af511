r"""The posterior of a few variances without a chain: adaptive importance sampling with mixtures of t distributions.

Mode and curvature give a first proposal t; its weighted draws are fitted by a mixture of t's (population Monte Carlo,
Cappe, Douc, Guillin, Marin & Robert 2008), and so on until the weights no longer become more equal. A last sample from
the fitted mixture, with one wide component as a guard, is Pareto-smoothed (Vehtari et al. 2024) and resampled to draws
of equal weight, which are independent up to ties.

Far from the posterior a few draws have all the weight, and a mixture fitted to them has no width. There the weights are
tempered first, w^t with the largest t <= 1 at which a given number of draws is left effective (Koblents & Miguez 2015):
proposals widen and move towards the posterior, until t is 1. A last sample that cannot be trusted, since Pareto k is above
0.7 or too few draws are effective, is the sample to which a mixture of twice as many components is fitted.

Folding. The density of x is even in each folded standard deviation (see
:mod:`lmmformula.backends.posterior.model.coordinates`): 2^K equal copies. Coordinates whose proposal has mass on both sides of
zero (F, at most 6 of them) are folded: with s running over the sign changes of F the density of the folded draw is
``sum_s q(s x)``. The others are confined to x > 0, with weight zero elsewhere. Either way::

    w = 2^K p(x) / sum_s q(s x),          evidence p(y) = E w

are exact whatever F is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from lmmformula.backends.posterior.density.base import Evaluated
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.numerics.pareto import TRUSTED_K, log_sum, pareto_smooth, stratified, weights_ess
from lmmformula.numerics.student_mixture import StudentMixture, fit_mixture
from lmmformula.typing import Array

__all__ = ["Folding", "Importance", "ImportanceDraws", "scales_of", "tempered"]

_NEAR = 4.0
"""Standard deviations from zero below which a coordinate is folded."""
_MOST_FOLDED = 6
_STRADDLES = 1.8
LEAST_ESS = 400.0
"""Effective draws below which quantiles are unsteady (Vehtari et al. 2021)."""


@dataclass(frozen=True, slots=True, eq=False)
class ImportanceDraws:
    """What importance sampling found.

    Attributes
    ----------
    x : (draws, d) array
        Draws of equal weight.
    pareto_k : float
    ess : float
        How many independent draws the weighted sample is worth.
    log_evidence : float
        log p(y).
    evaluations : int
        Densities computed.
    rounds : int
        Mixtures fitted.
    size : int
        Weighted draws of the last round.
    points, log_densities : (n, d), (n,) arrays
        Where the density was computed and was above zero, and its logarithm.
    enough : bool
        Whether as many draws are effective as were asked for at least.
    interpolation_error : float
        Root mean square error of log densities that were interpolated; nan where all were computed.
    """

    x: Array
    pareto_k: float
    ess: float
    log_evidence: float
    evaluations: int
    rounds: int
    size: int
    points: Array
    log_densities: Array
    enough: bool = True
    interpolation_error: float = float("nan")

    @property
    def efficiency(self) -> float:
        """`ess` over the draws it comes from."""
        return self.ess / self.size

    @property
    def trusted(self) -> bool:
        """Whether k is at most 0.7, and enough draws are effective, so that they may stand for the posterior."""
        return self.pareto_k <= TRUSTED_K and self.enough


@dataclass(frozen=True, slots=True)
class Importance:
    """Adaptive importance sampling.

    Parameters
    ----------
    draws : int
        Draws of equal weight to return.
    components : int
        Components of the mixture at most, before a last sample.
    rounds : int
        Mixtures fitted at most before a last sample; twice as many where the posterior is far.
    pilot : int
        Draws of each round before the last.
    enough : float
        Efficiency (ESS over draws) at which adaptation ends.
    attempts : int
        Last samples drawn at most.
    """

    draws: int = 4_000
    components: int = 4
    rounds: int = 5
    pilot: int = 1_000
    enough: float = 0.85
    attempts: int = 4

    def sample(self, density: Evaluated, scale: Scale, rng: np.random.Generator) -> ImportanceDraws:
        """Draw from the posterior of the variances."""
        first = StudentMixture(np.ones(1), scale.mode[None], 1.1 * scale.half[None], 5.0)
        seen: list[tuple[Array, Array]] = []
        best, efficiency, rounds = self._adapted(_Folded(density, first.with_guard(0.1, 2.0, 4.0)), rng, seen)
        spent, components, size = rounds * self.pilot, self.components, self._size(efficiency)
        attempt = 0
        while True:
            attempt += 1
            x, weights = best.weighted(size, rng, seen)
            spent += size
            smooth, k, ess = _smoothed(weights)
            if (k <= TRUSTED_K and ess >= self._least) or attempt == self.attempts:
                break
            components, rounds = 2 * components, rounds + 1
            best = best.fitted(x, smooth, components, self.floor(density.d), rng)
            size = self._size(max(0.25, ess / size))
        evidence = log_sum(weights) - float(np.log(size)) if ess > 0.0 else -np.inf
        kept = x[rng.permutation(stratified(np.exp(smooth), self.draws, rng))]
        points, values = (np.concatenate(part) for part in zip(*seen, strict=True))
        enough = ess >= self._least
        return ImportanceDraws(kept, k, ess, evidence, spent, rounds, size, points, values, enough=enough)

    def _adapted(
        self, proposal: _Folded, rng: np.random.Generator, seen: list[tuple[Array, Array]]
    ) -> tuple[_Folded, float, int]:
        """The best of the proposals fitted by turns, its efficiency, and their number."""
        best, efficiency, rounds, floor = proposal, 0.0, 0, self.floor(proposal.density.d)
        for rounds in range(1, 2 * self.rounds + 1):
            x, weights = proposal.weighted(self.pilot, rng, seen)
            smooth, _, ess = _smoothed(weights)
            now, gain = ess / self.pilot, 0.0
            if now > efficiency:
                best, gain, efficiency = proposal, now - efficiency, now
            far = efficiency * self.pilot < floor
            if efficiency >= self.enough or (
                not far and (rounds >= self.rounds or (rounds > 2 and gain < 0.03))
            ):
                break
            proposal = proposal.fitted(x, smooth, self.components if rounds > 1 else 1, floor, rng)
        return best, efficiency, rounds

    def floor(self, d: int) -> float:
        """Effective draws that a mixture in d dimensions is fitted to at least."""
        return min(0.2 * self.pilot, 10.0 * d)

    @property
    def _least(self) -> float:
        """Effective draws below which a last sample will not do."""
        return min(LEAST_ESS, 0.5 * self.draws)

    def _size(self, efficiency: float) -> int:
        """Weighted draws worth more than `draws` independent ones, within bounds."""
        return int(np.ceil(self.draws * min(10.0, max(1.5, 1.3 / max(efficiency, 1e-3)))))


def _smoothed(log_weights: Array) -> tuple[Array, float, float]:
    """Smoothed log weights with sum 1, Pareto k and the effective number; where every density is zero all alike, inf and 0."""
    if not np.isfinite(log_weights).any():
        return np.full(len(log_weights), -np.log(len(log_weights))), np.inf, 0.0
    smooth, k = pareto_smooth(log_weights)
    return smooth, k, weights_ess(smooth)


def tempered(log_weights: Array, least: float) -> Array:
    """Weights w^t, with sum 1, at the largest t <= 1 with an effective number of at least `least`."""

    def at(t: float) -> Array:
        own = np.where(np.isfinite(log_weights), t * log_weights, -np.inf)
        return own - log_sum(own)

    least = min(least, 0.5 * float(np.isfinite(log_weights).sum()))
    low, high = 0.0, 1.0
    if weights_ess(at(1.0)) >= least:
        return np.exp(at(1.0))
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if weights_ess(at(middle)) >= least else (low, middle)
    return np.exp(at(low))


def scales_of(density: Evaluated, scale: Scale, draws: ImportanceDraws, rng: np.random.Generator) -> Scale:
    """`scale` with mean and covariance of importance draws in place of mode and curvature.

    A chain passes through sd = 0 where the posterior reaches it, so coordinates with a mean below `_STRADDLES` of their
    standard deviations (of draws folded to x > 0) get a random sign first; for a half-normal density that is 1.32.
    """
    x = draws.x.copy()
    mean, sd = x.mean(axis=0), x.std(axis=0)
    for place, cors in density.folded:
        if mean[place] < _STRADDLES * sd[place]:
            sign = np.where(rng.uniform(size=len(x)) < 0.5, -1.0, 1.0)
            x[:, [place, *cors]] *= sign[:, None]
    covariance = np.atleast_2d(np.cov(x.T)) + 1e-10 * np.eye(density.d)
    return replace(scale, mode=x.mean(axis=0), half=np.linalg.cholesky(covariance), source="pilot")


@dataclass(frozen=True, slots=True, eq=False)
class Folding:
    """In which coordinates a proposal is folded.

    Attributes
    ----------
    turned : list of (int, tuple of int)
        F: places of standard deviations, and the partial correlations that change sign with them.
    confined : list of int
        The other folded coordinates, where the proposal has next to no mass below zero.
    signs : list of (d,) arrays
        Every combination of the sign changes of F.
    """

    turned: list[tuple[int, tuple[int, ...]]]
    confined: list[int]
    signs: list[Array]

    @classmethod
    def of(cls, folded: tuple[tuple[int, tuple[int, ...]], ...], q: StudentMixture, d: int) -> Folding:
        """F: the at most six coordinates in which q is nearest to zero, within four of its scales."""
        near = np.abs(q.below_zero())
        close = sorted((f for f in folded if near[f[0]] < _NEAR), key=lambda f: near[f[0]])[:_MOST_FOLDED]
        confined = [place for place, _ in folded if place not in {f[0] for f in close}]
        return cls(close, confined, [_flipped(d, chosen) for chosen in _subsets(close)])


class _Folded:
    """A proposal q, folded at zero in the coordinates where it needs to be."""

    def __init__(self, density: Evaluated, q: StudentMixture) -> None:
        self.density, self.q = density, q
        self.copies = len(density.folded)
        self.folding = Folding.of(density.folded, q, density.d)

    def weighted(
        self, size: int, rng: np.random.Generator, seen: list[tuple[Array, Array]]
    ) -> tuple[Array, Array]:
        """Draws with x >= 0 in every folded coordinate, and their log weights; densities found are added to `seen`."""
        x = self.fold(self.q.sample(rng, size))
        density = np.logaddexp.reduce([self.q.logpdf(x * s) for s in self.folding.signs], axis=0)
        inside = (x[:, self.folding.confined] > 0).all(axis=1)
        weights = np.full(size, -np.inf)
        values = self.density.log_densities(x[inside])
        seen.append((x[inside][values > -np.inf], values[values > -np.inf]))
        weights[inside] = values - density[inside] + self.copies * np.log(2.0)
        return x, weights

    def fitted(
        self, x: Array, log_weights: Array, components: int, floor: float, rng: np.random.Generator
    ) -> _Folded:
        """The mixture of so many components fitted to weighted draws, at least `floor` of them effective, with its guard."""
        q = fit_mixture(x, tempered(log_weights, floor), components, rng)
        return _Folded(self.density, q.with_guard(0.1, 1.5, 5.0))

    def fold(self, x: Array) -> Array:
        """The same variances with x >= 0 in the coordinates of F; partial correlations turn with their signs."""
        out = x.copy()
        for place, cors in self.folding.turned:
            sign = np.where(out[:, place] < 0, -1.0, 1.0)
            out[:, place] *= sign
            for c in cors:
                out[:, c] *= sign
        return out


def _subsets(close: list[tuple[int, tuple[int, ...]]]) -> list[list[tuple[int, tuple[int, ...]]]]:
    return [
        [f for f, on in zip(close, chosen, strict=True) if on]
        for chosen in product((False, True), repeat=len(close))
    ]


def _flipped(d: int, chosen: list[tuple[int, tuple[int, ...]]]) -> Array:
    """Signs (d,) of one combination of sign changes."""
    signs = np.ones(d)
    for place, cors in chosen:
        signs[[place, *cors]] *= -1.0
    return signs
