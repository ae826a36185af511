"""From a target density to draws of the variances, by importance sampling or by chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmmformula.backends.posterior.density.variances import Laplace, Target
from lmmformula.backends.posterior.sampling.importance import Importance, ImportanceDraws, scales_of
from lmmformula.backends.posterior.sampling.surrogate import MOST_COORDINATES, fit_surrogate
from lmmformula.errors import FitError
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = ["ChainOptions", "Drawn", "Progress", "draw_chains", "draw_importance", "spread_starts"]

Progress = Callable[[int, float, float], None]

PILOT_ESS = 60.0
"""Effective pilot draws from which their covariance serves as scales of the chains."""
LEAST_ACCEPTED = 0.6
"""Share of independent draws from a surrogate that the density must accept for chains to run on it."""
_WARMUP = 60
"""Iterations that find the step size on a surrogate."""
_DEPTH, _REPEATS, _TARGET = 2, 2, 0.6
"""Depth of trees on a surrogate, trees from one exact density to the next, and the acceptance that their steps are tuned to.

Longer trees pass half a period of a standard normal, after which x is about -x: independent for means, not for spreads. Two
short ones serve both at half the steps."""


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """How many draws, and NUTS' two knobs.

    Attributes
    ----------
    chains, draws : int
    warmup : int or None
    target_accept : float
    max_depth : int
    """

    chains: int
    draws: int
    warmup: int | None
    target_accept: float
    max_depth: int


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Draws of x (chain, draw, d), and what the sampler says about them.

    Attributes
    ----------
    laplace : Laplace
        The coordinates the sampler worked in.
    states : tuple
        Last states of the chains; with `laplace` enough to go on.
    """

    x: Array
    laplace: Laplace
    statistics: Mapping[str, Array] = field(default_factory=dict)
    states: tuple[tuple[Any, ...], ...] = ()
    warmup: int = 0
    warmup_divergences: int = 0
    complete: bool = True


def draw_importance(
    target: Target, laplace: Laplace, options: ChainOptions, seed: int
) -> tuple[ImportanceDraws, Drawn]:
    """Independent draws, dealt into `chains` rows."""
    stage("importance sampling")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    sampler = Importance(draws=options.chains * options.draws, pilot=1_000 if target.is_small else 300)
    found = sampler.sample(target, laplace, rng)
    return found, Drawn(found.x.reshape(options.chains, options.draws, target.d), laplace)


def draw_chains(
    target: Target,
    laplace: Laplace,
    options: ChainOptions,
    seed: int,
    *,
    states: tuple[tuple[Any, ...], ...] | None = None,
    progress: Progress | None = None,
) -> Drawn:
    """Chains of NUTS in coordinates where the posterior is about standard normal.

    Location and scales come from a short importance sample, which leaves only the step size to be tuned; where that sample is
    poor they are Laplace's, and a mass matrix is adapted if densities are cheap. Where a density is a dense factorisation and
    the sample says enough about its shape, trajectories run on a surrogate.
    """
    from lmmformula.backends.posterior.density.traced import called_back, compiled, exact_density, stand_in
    from lmmformula.backends.posterior.sampling.nuts import Nuts
    from lmmformula.numerics.x64 import x64

    small, rng = target.is_small, np.random.default_rng(np.random.SeedSequence([seed, 0]))
    starts = None
    if states is None and (small or target.d <= MOST_COORDINATES):
        laplace, starts = _pilot(target, laplace, options.chains, rng)
    adapt, surrogate = small and laplace.source == "hessian", laplace.surrogate
    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or (_WARMUP if surrogate else 500 if adapt else 100 if small else 60),
        target_accept=_TARGET if surrogate else options.target_accept,
        max_depth=min(options.max_depth, _DEPTH) if surrogate else options.max_depth,
        repeats=_REPEATS if surrogate else 1,
        adapt_mass=adapt,
        chunk=100 if small else 5,
        quick_compile=(not small and surrogate is None) or (small and target.bordered.q_dense == 0),
    )
    with x64():
        exact = exact_density(target, laplace) if surrogate else None
        potential = stand_in(laplace) if surrogate else (compiled if small else called_back)(target, laplace)
    slope = _slope(target, laplace)
    if starts is None:
        starts = spread_starts(slope, options.chains, target.d, rng)
    out = nuts.run(potential, starts, slope, seed, states=states, progress=progress, exact=exact)
    if (out.z == out.z[:, :1]).all():
        raise FitError(
            f"none of {options.chains} chains moved in {out.z.shape[1]} draws: the density could not be evaluated away from "
            "the start. The likely cause is a column whose scale differs from the others by many orders of magnitude; "
            "rescale it."
        )
    x = laplace.mode + out.z @ laplace.half.T
    return Drawn(x, laplace, out.statistics, out.states, nuts.warmup, out.warmup_divergences, out.complete)


def _slope(target: Target, laplace: Laplace) -> Callable[[Array], tuple[float, Array]]:
    """z -> minus the log density that trajectories run on, and its gradient; of a surrogate only the value is exact.

    The gradient of a surrogate is by differences: a chain starts from it, and only speed depends on it.
    """
    if laplace.surrogate is None:

        def slope(z: Array) -> tuple[float, Array]:
            value, gradient = target.value_and_gradient(laplace.mode + laplace.half @ z)
            return -value, -(laplace.half.T @ gradient)

        return slope

    def approximate(z: Array) -> tuple[float, Array]:
        moves = np.concatenate([np.zeros((1, target.d)), 1e-5 * np.eye(target.d), -1e-5 * np.eye(target.d)])
        values = -laplace.surrogate.log_density(laplace.mode + (z + moves) @ laplace.half.T)
        return float(values[0]), (values[1 : target.d + 1] - values[target.d + 1 :]) / 2e-5

    return approximate


def _pilot(
    target: Target, laplace: Laplace, chains: int, rng: np.random.Generator
) -> tuple[Laplace, Array | None]:
    """Location, scales, starts and perhaps a surrogate from a short importance sample; Laplace's alone if it is poor."""
    stage("a first sample, for the scales")
    sampler = Importance(draws=500, rounds=3, pilot=400)
    if not target.is_small:
        sampler = Importance(draws=200, rounds=2, pilot=200)
    found = sampler.sample(target, laplace, rng)
    if not (found.ess >= PILOT_ESS and found.trusted):
        return laplace, None
    scaled = scales_of(target, laplace, found, rng)
    dense = not target.is_small or target.bordered.q_dense > 0
    if dense and target.d <= MOST_COORDINATES:
        surrogate, accepted = fit_surrogate(target, found, rng)
        if accepted >= LEAST_ACCEPTED:
            scaled = replace(scaled, surrogate=surrogate)
    x = found.x[rng.choice(len(found.x), chains, replace=False)]
    return scaled, np.linalg.solve(scaled.half, (x - scaled.mode).T).T


def spread_starts(
    slope: Callable[[Array], tuple[float, Array]], chains: int, d: int, rng: np.random.Generator
) -> Array:
    """Draws from the Laplace approximation, pulled towards the mode until the density exists there."""
    out = rng.standard_normal((chains, d))
    for z in out:
        while not np.isfinite(slope(z)[0]) and z.any():
            z *= 0.5 if np.abs(z).max() > 1e-3 else 0.0
    return out
