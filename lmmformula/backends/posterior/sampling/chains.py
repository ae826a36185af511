"""From a density of few coordinates to draws, by importance sampling or by chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.posterior.density.base import Concentrated, Sloped
from lmmformula.backends.posterior.density.interpolated import Interpolated
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.sampling.importance import Importance, scales_of
from lmmformula.backends.posterior.sampling.remembered import (
    BLOCK,
    BLOCK_DEAR,
    KeptChains,
    mode_of,
    remembered,
)
from lmmformula.backends.posterior.sampling.request import MOST_COORDINATES, Drawn, Request, tried_first
from lmmformula.checkpoints import Ongoing, left_of
from lmmformula.errors import FitError
from lmmformula.progress import stage
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.looped import Looped
    from lmmformula.backends.posterior.sampling.nuts import Nuts, Program

__all__ = ["TARGET", "WARMUP", "draw", "draw_chains", "spread_starts"]

PILOT_BETWEEN = 2_000
"""Draws of each round of importance sampling whose densities are interpolated."""
PILOT_ESS = 60.0
"""Effective pilot draws from which their covariance serves as scales of the chains."""
_PILOT_EACH, _PILOT_LEAST, _PILOT_MOST = 40, 150, 400
"""Draws of each of the two rounds of the first sample for each coordinate, at least and at most."""
WARMUP, _WARMUP_ADAPTED = 100, 500
"""Iterations before the draws: to tune the step size, and to find the scales too."""
_CHUNK_LOOPED = 500
"""Iterations of compiled loops between two looks at whether to stop: others are about to begin while the first are done."""
TARGET = 0.8
"""Acceptance to tune for. With 0.6 or 0.7 draws cost less, but chains diverge now and then (docs/bayes_measured.md)."""


def draw(density: Concentrated, request: Request) -> Drawn:
    """Draws by the sampler asked for; by chains where weights of importance sampling cannot be trusted."""
    if tried_first(request.sampler, density.d, few=True) == "nuts":
        known = None if request.before is None else request.before.scale
        if known is None and (left := left_of(request.ongoing("chains"))) is not None:
            known = left["scale"]
        return draw_chains(
            density, mode_of(density, request.ongoing("mode")) if known is None else known, request
        )
    before = request.before
    scale = mode_of(density, request.ongoing("mode")) if before is None else before.scale
    stage("importance sampling")
    options, own = request.options, [request.seed, 1, *([before.draws] if before else [])]
    rng = np.random.default_rng(np.random.SeedSequence(own))
    wanted, recorded = (
        options.chains * options.draws,
        _recorded(density, request.ongoing("importance sample")),
    )
    sampler = Importance(draws=wanted, pilot=1_000 if density.is_small else 300)
    if density.is_dear:
        between = Interpolated(recorded, scale, wanted)
        if between.holds():
            sampler = replace(sampler, pilot=PILOT_BETWEEN)
        found = sampler.sample(between, scale, rng)
        found = replace(found, evaluations=between.computed, interpolation_error=between.error)
    else:
        found = sampler.sample(recorded, scale, rng)
    if found.trusted:
        return Drawn(found.x.reshape(options.chains, options.draws, density.d), scale, importance=found)
    if before is not None:
        raise FitError(
            f"the weights of the further draws cannot be trusted (Pareto k {found.pareto_k:.2f}, {found.ess:.0f} of them "
            "effective), those of the earlier ones could: the posterior has a part that is seldom found. Fit again with "
            "sampler='nuts'."
        )
    stage("importance sampling gives way to chains")
    return replace(draw_chains(density, scale, request), importance=found)


def draw_chains(density: Concentrated, scale: Scale, request: Request) -> Drawn:
    """Chains of NUTS in coordinates where the posterior is about standard normal.

    Location and scales come from a short importance sample, which leaves only the step size to be tuned; where that sample is
    poor they are Laplace's, and a mass matrix is adapted if densities are cheap.
    """
    from lmmformula.backends.posterior.sampling.nuts import Nuts

    options, small, here = request.options, density.is_small, request.ongoing("chains")
    rng = np.random.default_rng(np.random.SeedSequence([request.seed, 0]))
    starts = None
    if (left := left_of(here)) is not None:
        scale, starts = left["scale"], np.zeros((options.chains, density.d))
    elif request.states is None and (small or density.d <= MOST_COORDINATES):
        scale, starts = _pilot(density, scale, options.chains, rng, request.ongoing("first sample"))
    adapt = small and scale.source == "hessian"
    looped = density.looped()
    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or (_WARMUP_ADAPTED if adapt else WARMUP),
        target_accept=options.target_accept or TARGET,
        max_depth=options.max_depth,
        adapt_mass=adapt,
        chunk=_CHUNK_LOOPED if looped is not None else 100 if small else 5,
        quick_compile=not small or not density.is_dense,
    )
    slope = _slope(density, scale)
    if starts is None:
        starts = spread_starts(slope, options.chains, density.d, rng)
    kept = None if here is None else KeptChains(here, scale)
    own = {"states": request.states, "progress": request.progress, "kept": kept}
    out = nuts.run(
        lambda options: _program(options, density, looped, scale), starts, slope, request.seed, **own
    )
    return out.drawn(scale.mode + out.z @ scale.half.T, scale, nuts.warmup)


def _program(nuts: Nuts, density: Concentrated, looped: Looped | None, scale: Scale) -> Program:
    """Compiled loops where the density can be stated as numbers, NumPyro's chains elsewhere."""
    if looped is not None:
        from lmmformula.backends.posterior.sampling.looped_nuts import LoopedProgram

        return LoopedProgram(nuts, looped, scale)
    from lmmformula.backends.posterior.density.traced import potential
    from lmmformula.backends.posterior.sampling.traced_nuts import TracedProgram

    return TracedProgram(nuts, potential(density, scale), density.d)


def _recorded(density: Concentrated, here: Ongoing | None) -> Sloped:
    """The density, its values kept where a checkpoint is."""
    return remembered(density, here, BLOCK if density.is_small else BLOCK_DEAR)


def _slope(density: Concentrated, scale: Scale) -> Callable[[Array], tuple[float, Array]]:
    """z -> minus the log density, and its gradient."""

    def slope(z: Array) -> tuple[float, Array]:
        value, gradient = density.value_and_gradient(scale.mode + scale.half @ z)
        return -value, -(scale.half.T @ gradient)

    return slope


def _pilot(
    density: Concentrated, scale: Scale, chains: int, rng: np.random.Generator, here: Ongoing | None
) -> tuple[Scale, Array | None]:
    """Location, scales and starts from a short importance sample; Laplace's scales alone if it is poor."""
    stage("a first sample, for the scales")
    size = min(max(_PILOT_EACH * density.d, _PILOT_LEAST), _PILOT_MOST)
    sampler = Importance(draws=size, rounds=2, pilot=size)
    if not density.is_small:
        sampler = Importance(draws=200, rounds=2, pilot=200)
    found = sampler.sample(_recorded(density, here), scale, rng)
    if not (found.ess >= PILOT_ESS and found.trusted):
        return scale, None
    scaled = scales_of(density, scale, found, rng)
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
