"""From a target density to draws of the variances, by importance sampling or by chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmmformula.backends.bayes.importance import Importance, ImportanceDraws, scales_of
from lmmformula.backends.bayes.target import Laplace, Target
from lmmformula.errors import FitError
from lmmformula.typing import Array

__all__ = ["ChainOptions", "Drawn", "Progress", "draw_chains", "draw_importance", "spread_starts"]

Progress = Callable[[int, float, float], None]

PILOT_ESS = 60.0
"""Effective pilot draws from which their covariance serves as scales of the chains."""


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

    For small problems location and scales come from a short importance sample, which leaves only the step size to be
    tuned; where that sample is poor they are Laplace's, and a mass matrix is adapted. Problems with expensive densities
    keep Laplace's.
    """
    from lmmformula.backends.bayes.nuts import Nuts
    from lmmformula.backends.bayes.potential import called_back, compiled, x64

    small, rng = target.is_small, np.random.default_rng(np.random.SeedSequence([seed, 0]))
    starts = None
    if states is None and small:
        laplace, starts = _pilot(target, laplace, options.chains, rng)
    adapt = small and laplace.source == "hessian"
    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or (500 if adapt else 200 if small else 60),
        target_accept=options.target_accept,
        max_depth=options.max_depth,
        adapt_mass=adapt,
        chunk=100 if small else 5,
        quick_compile=not small or target.bordered.q_dense == 0,
    )
    with x64():
        potential = (compiled if small else called_back)(target, laplace)

    def slope(z: Array) -> tuple[float, Array]:
        value, gradient = target.value_and_gradient(laplace.mode + laplace.half @ z)
        return -value, -(laplace.half.T @ gradient)

    if starts is None:
        starts = spread_starts(slope, options.chains, target.d, rng)
    out = nuts.run(potential, starts, slope, seed, states=states, progress=progress)
    if (out.z == out.z[:, :1]).all():
        raise FitError(
            f"none of {options.chains} chains moved in {out.z.shape[1]} draws: the density could not be evaluated away from "
            "the start. The likely cause is a column whose scale differs from the others by many orders of magnitude; "
            "rescale it."
        )
    x = laplace.mode + out.z @ laplace.half.T
    return Drawn(x, laplace, out.statistics, out.states, nuts.warmup, out.warmup_divergences, out.complete)


def _pilot(
    target: Target, laplace: Laplace, chains: int, rng: np.random.Generator
) -> tuple[Laplace, Array | None]:
    """Location, scales and starts from a short importance sample; Laplace's own and no starts if it is poor."""
    found = Importance(draws=500, rounds=3, pilot=400).sample(target, laplace, rng)
    if not (found.ess >= PILOT_ESS and found.trusted):
        return laplace, None
    scaled = scales_of(target, laplace, found, rng)
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
