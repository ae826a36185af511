"""From a density of few coordinates to draws, by importance sampling or by chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmmformula.backends.posterior.density.base import Concentrated, Evaluated
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.sampling.importance import Importance, scales_of
from lmmformula.backends.posterior.sampling.remembered import (
    BLOCK,
    BLOCK_DEAR,
    KeptChains,
    mode_of,
    remembered,
)
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.backends.posterior.sampling.surrogate import MOST_COORDINATES, fit_surrogate
from lmmformula.checkpoints import Ongoing, left_of
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = ["WARMUP", "WARMUP_LARGE", "draw", "draw_chains", "spread_starts"]

PILOT_ESS = 60.0
"""Effective pilot draws from which their covariance serves as scales of the chains."""
LEAST_ACCEPTED = 0.6
"""Share of independent draws from a surrogate that the density must accept for chains to run on it."""
WARMUP, WARMUP_LARGE, _WARMUP_ADAPTED = 100, 60, 500
"""Iterations before the draws: of small densities, of those on a surrogate or without batches, and to find the scales."""
_DEPTH, _REPEATS, _TARGET = 2, 2, 0.6
"""Depth of trees on a surrogate, trees from one exact density to the next, and the acceptance that their steps are tuned to.

Longer trees pass half a period of a standard normal, after which x is about -x: independent for means, not for spreads. Two
short ones serve both at half the steps."""


def draw(density: Concentrated, request: Request) -> Drawn:
    """Draws by the sampler asked for; by chains where weights of importance sampling cannot be trusted."""
    if request.sampler != "importance":
        known = None if request.before is None else request.before.scale
        if known is None and (left := left_of(request.ongoing("chains"))) is not None:
            known = left["scale"]
        return draw_chains(
            density, mode_of(density, request.ongoing("mode")) if known is None else known, request
        )
    scale = mode_of(density, request.ongoing("mode"))
    stage("importance sampling")
    options, rng = request.options, np.random.default_rng(np.random.SeedSequence([request.seed, 1]))
    sampler = Importance(draws=options.chains * options.draws, pilot=1_000 if density.is_small else 300)
    found = sampler.sample(_recorded(density, request.ongoing("importance sample")), scale, rng)
    if found.trusted:
        return Drawn(found.x.reshape(options.chains, options.draws, density.d), scale, importance=found)
    return replace(draw_chains(density, scale, request), importance=found)


def draw_chains(density: Concentrated, scale: Scale, request: Request) -> Drawn:
    """Chains of NUTS in coordinates where the posterior is about standard normal.

    Location and scales come from a short importance sample, which leaves only the step size to be tuned; where that sample is
    poor they are Laplace's, and a mass matrix is adapted if densities are cheap. Where a density is a dense factorisation and
    the sample says enough about its shape, trajectories run on a surrogate.
    """
    from lmmformula.backends.posterior.density.traced import exact_density, potential, stand_in
    from lmmformula.backends.posterior.sampling.nuts import Nuts
    from lmmformula.numerics.x64 import x64

    options, small, here = request.options, density.is_small, request.ongoing("chains")
    rng = np.random.default_rng(np.random.SeedSequence([request.seed, 0]))
    starts = None
    if (left := left_of(here)) is not None:
        scale, starts = left["scale"], np.zeros((options.chains, density.d))
    elif request.states is None and (small or density.d <= MOST_COORDINATES):
        scale, starts = _pilot(density, scale, options.chains, rng, request.ongoing("first sample"))
    adapt, surrogate = small and scale.source == "hessian", scale.surrogate
    usual = WARMUP_LARGE if surrogate or not small else _WARMUP_ADAPTED if adapt else WARMUP
    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or usual,
        target_accept=_TARGET if surrogate else options.target_accept,
        max_depth=min(options.max_depth, _DEPTH) if surrogate else options.max_depth,
        repeats=_REPEATS if surrogate else 1,
        adapt_mass=adapt,
        chunk=100 if small else 5,
        quick_compile=(not small and surrogate is None) or (small and not density.is_dense),
    )
    with x64():
        exact = exact_density(density, scale) if surrogate else None
        energy = stand_in(surrogate, scale) if surrogate else potential(density, scale)
    slope = _slope(density, scale)
    if starts is None:
        starts = spread_starts(slope, options.chains, density.d, rng)
    kept = None if here is None else KeptChains(here, scale)
    own = {"states": request.states, "progress": request.progress, "kept": kept}
    out = nuts.run(energy, starts, slope, request.seed, exact=exact, **own)
    return out.drawn(scale.mode + out.z @ scale.half.T, scale, nuts.warmup)


def _recorded(density: Concentrated, here: Ongoing | None) -> Evaluated:
    """The density, its values kept where a checkpoint is."""
    return remembered(density, here, BLOCK if density.is_small else BLOCK_DEAR)


def _slope(density: Concentrated, scale: Scale) -> Callable[[Array], tuple[float, Array]]:
    """z -> minus the log density that trajectories run on, and its gradient; of a surrogate only the value is exact.

    The gradient of a surrogate is by differences: a chain starts from it, and only speed depends on it.
    """
    surrogate = scale.surrogate
    if surrogate is None:

        def slope(z: Array) -> tuple[float, Array]:
            value, gradient = density.value_and_gradient(scale.mode + scale.half @ z)
            return -value, -(scale.half.T @ gradient)

        return slope

    def approximate(z: Array) -> tuple[float, Array]:
        moves = np.concatenate(
            [np.zeros((1, density.d)), 1e-5 * np.eye(density.d), -1e-5 * np.eye(density.d)]
        )
        values = -surrogate.log_density(scale.mode + (z + moves) @ scale.half.T)
        return float(values[0]), (values[1 : density.d + 1] - values[density.d + 1 :]) / 2e-5

    return approximate


def _pilot(
    density: Concentrated, scale: Scale, chains: int, rng: np.random.Generator, here: Ongoing | None
) -> tuple[Scale, Array | None]:
    """Location, scales, starts and perhaps a surrogate from a short importance sample; Laplace's alone if it is poor."""
    stage("a first sample, for the scales")
    sampler = Importance(draws=500, rounds=3, pilot=400)
    if not density.is_small:
        sampler = Importance(draws=200, rounds=2, pilot=200)
    found = sampler.sample(_recorded(density, here), scale, rng)
    if not (found.ess >= PILOT_ESS and found.trusted):
        return scale, None
    scaled = scales_of(density, scale, found, rng)
    if density.is_dense and density.d <= MOST_COORDINATES:
        surrogate, accepted = fit_surrogate(density, found, rng)
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
