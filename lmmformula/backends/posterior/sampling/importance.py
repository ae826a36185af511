r"""The posterior of a few variances without a chain: adaptive importance sampling with mixtures of t distributions.

Mode and curvature give a first proposal t; its weighted draws are fitted by a mixture of t's (population Monte Carlo,
Cappe, Douc, Guillin, Marin & Robert 2008), and so on until the weights no longer become more equal. A last sample from
the fitted mixture, with one wide component as a guard, is Pareto-smoothed (Vehtari et al. 2024) and resampled to draws
of equal weight, which are independent up to ties.

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
from lmmformula.numerics.pareto import TRUSTED_K, pareto_smooth, weights_ess
from lmmformula.numerics.student_mixture import StudentMixture, fit_mixture
from lmmformula.typing import Array, Index

__all__ = ["Folding", "Importance", "ImportanceDraws", "scales_of"]

_NEAR = 4.0
"""Standard deviations from zero below which a coordinate is folded."""
_MOST_FOLDED = 6
_STRADDLES = 1.8


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

    @property
    def efficiency(self) -> float:
        """`ess` over the draws it comes from."""
        return self.ess / self.size

    @property
    def trusted(self) -> bool:
        """Whether k is at most 0.7, so that the draws may stand for the posterior."""
        return self.pareto_k <= TRUSTED_K


@dataclass(frozen=True, slots=True)
class Importance:
    """Adaptive importance sampling.

    Parameters
    ----------
    draws : int
        Draws of equal weight to return.
    components : int
        Components of the mixture at most.
    rounds : int
        Mixtures fitted at most.
    pilot : int
        Draws of each round before the last.
    enough : float
        Efficiency (ESS over draws) at which adaptation ends.
    attempts : int
        Last samples drawn at most: one whose weights cannot be trusted is large enough to fit a better mixture to.
    """

    draws: int = 4_000
    components: int = 4
    rounds: int = 5
    pilot: int = 1_000
    enough: float = 0.85
    attempts: int = 3

    def _size(self, efficiency: float) -> int:
        """Weighted draws worth more than `draws` independent ones, within bounds."""
        return int(np.ceil(self.draws * min(10.0, max(1.5, 1.3 / max(efficiency, 1e-3)))))

    def sample(self, density: Evaluated, scale: Scale, rng: np.random.Generator) -> ImportanceDraws:
        """Draw from the posterior of the variances."""
        first = StudentMixture(np.ones(1), scale.mode[None], 1.1 * scale.half[None], 5.0)
        proposal = _Folded(density, first.with_guard(0.1, 2.0, 4.0))
        seen: list[tuple[Array, Array]] = []
        best, efficiency, spent, used = proposal, 0.0, 0, 0
        for used in range(1, self.rounds + 1):
            x, weights = proposal.weighted(self.pilot, rng, seen)
            spent += self.pilot
            smooth, _ = pareto_smooth(weights)
            now = weights_ess(smooth) / self.pilot
            if now > efficiency:
                best, gain, efficiency = proposal, now - efficiency, now
            else:
                gain = 0.0
            if efficiency >= self.enough or (used > 2 and gain < 0.03):
                break
            fitted = fit_mixture(x, np.exp(smooth), self.components if used > 1 else 1, rng)
            proposal = _Folded(density, fitted.with_guard(0.1, 1.5, 5.0))
        size = self._size(efficiency)
        attempt = 0
        while True:
            attempt += 1
            x, weights = best.weighted(size, rng, seen)
            spent += size
            smooth, k = pareto_smooth(weights)
            if k <= TRUSTED_K or attempt >= self.attempts:
                break
            size = self._size(max(0.5, weights_ess(smooth) / size))
            fitted = fit_mixture(x, np.exp(smooth), self.components, rng)
            best = _Folded(density, fitted.with_guard(0.1, 1.5, 5.0))
        top = weights.max()
        evidence = top + float(np.log(np.mean(np.exp(weights - top))))
        kept = x[_systematic(np.exp(smooth), self.draws, rng)]
        points, values = (np.concatenate(part) for part in zip(*seen, strict=True))
        return ImportanceDraws(kept, k, weights_ess(smooth), evidence, spent, used, size, points, values)


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


def _systematic(weights: Array, size: int, rng: np.random.Generator) -> Index:
    """Places of `size` draws in proportion to `weights`, by one stratified pass (Kitagawa 1996), in random order."""
    edges = np.cumsum(weights)
    points = (np.arange(size) + rng.uniform()) / size * edges[-1]
    return rng.permutation(np.minimum(np.searchsorted(edges, points), len(weights) - 1))


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
