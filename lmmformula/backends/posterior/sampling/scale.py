r"""Chains over parameters and random effects together, in coordinates that a first fit makes nearly standard normal.

x = (o, i): outer coordinates (coefficients, variances, dispersions) and inner ones (spherical random effects). Laplace's
approximation with the inner ones integrated out gives mode and covariance C C' of o. Given o, the inner ones are about
normal around their conditional mode with the curvature H_ii, and that mode moves with o by ``G = -H_ii^-1 H_io``::

    o = o_0 + C z_o,        i = i_0 + G C z_o + H_ii^(-1/2) z_i

With z standard normal this is the first-order normal approximation of the joint posterior: its location and its inverse mass
matrix in one map. H is had by differences of the gradient. Where there are too many random effects for a dense H_ii, G is
left out and H_ii^(-1/2) is the diagonal of their conditional standard deviations. Warm-up then tunes the step size and
one scale for each z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lmmformula.backends.posterior.sampling.chains import ChainOptions, Progress, spread_starts
from lmmformula.backends.posterior.sampling.nuts import Nuts, compiled_loops
from lmmformula.errors import FitError
from lmmformula.interrupts import undisturbed
from lmmformula.numerics.x64 import x64
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = [
    "DENSE_CELLS",
    "DENSE_SIDE",
    "JointDrawn",
    "JointScale",
    "climbed",
    "draw_joint",
    "joint_scale",
    "quick",
    "with_search",
]

DENSE_SIDE = 1_000
"""Inner coordinates up to which their curvature is kept as a matrix."""
DENSE_CELLS = 2e7
"""Rows times coordinates up to which that matrix is computed: a gradient for each coordinate, twice."""
WARMUP = 500
STEP = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class JointScale:
    """The map from z to x.

    Attributes
    ----------
    mode : (d,) array
    outer : (o, o) array
        C.
    shift : (d - o, o) array, or empty
        G.
    inner : (d - o, d - o) or (d - o,) array
        H_ii^(-1/2), or the diagonal in its place.
    log_density : float
        At the mode.
    evaluations : int
    converged : bool
    source : str
    """

    mode: Array
    outer: Array
    shift: Array
    inner: Array
    log_density: float = float("nan")
    evaluations: int = 0
    converged: bool = True
    source: Literal["hessian"] = "hessian"

    def place(self, z: Any, xp: Any = np) -> Any:
        """x of z, (..., d)."""
        o = len(self.outer)
        moved = z[..., :o] @ self.outer.T
        rest = z[..., o:]
        inside = rest @ self.inner.T if self.inner.ndim == 2 else rest * self.inner
        if self.shift.size:
            inside = inside + moved @ self.shift.T
        return xp.concatenate([self.mode[:o] + moved, self.mode[o:] + inside], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class JointDrawn:
    """z (chain, draw, d) with the sampler's statistics and last states."""

    z: Array
    statistics: dict[str, Array]
    states: tuple[tuple[Any, ...], ...]
    warmup: int
    warmup_divergences: int
    complete: bool


def joint_scale(
    gradient: Callable[[Array], Array], mode: Array, outer_half: Array | None, n_outer: int
) -> JointScale:
    """The map at `mode`, with the curvature of the inner coordinates in full.

    Parameters
    ----------
    gradient : callable
        x -> gradient of the log density.
    outer_half : (o, o) array or None
        C; from the joint curvature if None.
    """
    curvature = -_differences(gradient, mode)
    inside, across = curvature[n_outer:, n_outer:], curvature[n_outer:, :n_outer]
    values, vectors = np.linalg.eigh(0.5 * (inside + inside.T))
    values = np.maximum(values, 0.2)  # a spherical effect has a prior curvature of 1
    root = vectors / np.sqrt(values)
    shift = -(root @ (root.T @ across))
    if outer_half is None:
        left = curvature[:n_outer, :n_outer] + across.T @ shift
        size, directions = np.linalg.eigh(0.5 * (left + left.T))
        outer_half = directions / np.sqrt(np.maximum(np.abs(size), 0.2))
    return JointScale(mode, outer_half, shift, root)


def _differences(gradient: Callable[[Array], Array], x: Array) -> Array:
    columns = []
    for j in range(len(x)):
        move = np.zeros(len(x))
        move[j] = STEP
        columns.append((gradient(x + move) - gradient(x - move)) / (2 * STEP))
    return np.array(columns)


def draw_joint(
    density: Callable[[Any], Any],
    scale: JointScale,
    options: ChainOptions,
    seed: int,
    *,
    states: tuple[tuple[Any, ...], ...] | None = None,
    progress: Progress | None = None,
) -> JointDrawn:
    """Chains of NUTS on a log density of x, traceable by JAX."""
    import jax
    import jax.numpy as jnp

    def potential(z: Any) -> Any:
        return -density(scale.place(z, jnp))

    stage("compiling the density")
    slope = quick(jax.value_and_grad(potential), len(scale.mode))

    nuts = Nuts(
        draws=options.draws,
        warmup=options.warmup or WARMUP,
        target_accept=options.target_accept,
        max_depth=options.max_depth,
        adapt_mass=True,
        dense_mass=False,
        chunk=50,
    )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    starts = spread_starts(slope, options.chains, len(scale.mode), rng)
    out = nuts.run(potential, starts, slope, seed, states=states, progress=progress)
    if (out.z == out.z[:, :1]).all():
        raise FitError(
            f"none of {options.chains} chains moved in {out.z.shape[1]} draws: the density could not be evaluated away from "
            "the start. The likely cause is a column whose scale differs from the others by many orders of magnitude, or a "
            "link whose domain the random effects leave; rescale the column, or use a log or logit link."
        )
    return JointDrawn(out.z, out.statistics, out.states, nuts.warmup, out.warmup_divergences, out.complete)


def quick(function: Callable[[Any], Any], d: int) -> Callable[[Array], Any]:
    """A traceable function of x (d,), compiled in little time for few evaluations, from numpy to numpy."""
    import jax

    def compiled() -> Any:
        with x64():
            lowered = jax.jit(function).lower(jax.ShapeDtypeStruct((d,), np.float64))
            return compiled_loops(lowered, optimise=False)

    program = undisturbed(compiled)

    def run(x: Array) -> Any:
        with x64():
            return jax.tree.map(np.asarray, program(x))

    return run


def climbed(both: Callable[[Array], tuple[Array, Array]], begin: Array) -> tuple[Array, float, int, bool]:
    """Mode of a log density from value and gradient: mode, value, evaluations, and whether the search ended there."""
    from scipy.optimize import minimize

    def downhill(x: Array) -> tuple[float, Array]:
        value, gradient = both(x)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return 1e300, np.zeros_like(x)
        return -float(value), -gradient

    found = minimize(downhill, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-9})
    return found.x, -float(found.fun), int(found.nfev), bool(found.success)


def with_search(scale: JointScale, log_density: float, evaluations: int, *, converged: bool) -> JointScale:
    """The same map with the record of the search that found its centre."""
    return replace(scale, log_density=log_density, evaluations=evaluations, converged=converged)
