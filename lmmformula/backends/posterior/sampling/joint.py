"""Chains over parameters and random effects together, in coordinates that a first fit makes nearly standard normal."""

from __future__ import annotations

import numpy as np

from lmmformula.backends.posterior.density.base import Joint
from lmmformula.backends.posterior.sampling.chains import TARGET, spread_starts
from lmmformula.backends.posterior.sampling.remembered import KeptChains, mode_of
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.checkpoints import left_of
from lmmformula.progress import stage
from lmmformula.typing import Numbers, Record

__all__ = ["WARMUP", "draw_joint"]

WARMUP = 500
"""Iterations that tune the step size and one scale for each coordinate."""


def draw_joint(density: Joint, request: Request) -> Drawn:
    """Chains of NUTS, from the scales of an earlier posterior where there is one; draws hold u in place of v."""
    import jax
    import jax.numpy as jnp

    from lmmformula.backends.posterior.sampling.nuts import Nuts
    from lmmformula.backends.posterior.sampling.traced_nuts import TracedProgram
    from lmmformula.numerics.programs import in_slices, quick, traced

    here = request.ongoing("chains")
    left = left_of(here)
    known: Numbers = None if request.before is None else request.before.scale
    if left is not None:
        known = left["scale"]
    scale = mode_of(density, request.ongoing("mode")) if known is None else known
    log_density, options = density.traced(), request.options

    def potential(z: Numbers) -> Numbers:
        return -log_density(scale.place(z, jnp))

    stage("compiling the density")
    both = traced(jax.value_and_grad(potential), density.d)
    slope = quick(both, density.d)
    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or WARMUP,
        target_accept=options.target_accept or TARGET,
        max_depth=options.max_depth,
        adapt_mass=True,
        dense_mass=False,
        chunk=50,
    )
    rng = np.random.default_rng(np.random.SeedSequence([request.seed, 0]))
    starts = np.zeros((options.chains, density.d))
    if left is None:
        starts = spread_starts(slope, options.chains, density.d, rng)
    kept = None if here is None else KeptChains(here, scale)
    more: Record = {"states": request.states, "progress": request.progress, "kept": kept}
    out = nuts.run(lambda own: TracedProgram(own, both, density.d), starts, slope, request.seed, **more)
    x = in_slices(lambda z: density.spherical(scale.place(z, jnp))[0], out.z)
    return out.drawn(x, scale, nuts.warmup)
