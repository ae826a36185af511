r"""Densities of few coordinates as NumPyro's potentials: compiled by JAX where they are small, called back where not.

A potential is minus the log density of ``x = mode + half z``, the coordinates in which the density is about standard normal,
so that the sampler starts with a unit mass matrix that fits. The compiled form is
:mod:`lmmformula.backends.posterior.density.bordered` itself, in jax.numpy; of its two factorisations only the derivatives are
given here, since reverse-mode through a Cholesky costs several times more::

    d log|G| = <G^-1, dG>,    d G^-1 = -G^-1 dG G^-1
    F = (S s; s' t):   d log|S| = <S^-1, dS>,    d (t - s'S^-1 s) = w' dF w,   w = (-S^-1 s; 1)

64-bit numbers are switched on for the calls made here, never for the process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.backends.posterior.density.base import Concentrated, Traced
from lmmformula.backends.posterior.density.bordered import Kernels, inverse_by_sweeps
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.typing import JaxArray, Namespace, Numbers

__all__ = ["jax_kernels", "potential", "traced_bordered"]

_SWEPT = 6
"""Side up to which F is factorised by unrolled sweeps, which compile into arithmetic; LAPACK calls cost microseconds each."""


@dataclass(frozen=True, slots=True, eq=False)
class _JaxKernels:
    """What :class:`NumpyKernels` is in numpy."""

    inverse: Callable[[JaxArray], tuple[JaxArray, JaxArray]]
    pivots: Callable[[JaxArray], tuple[JaxArray, JaxArray]]


class _Form(Protocol):
    """A density in any array module."""

    def log_posterior(
        self, coordinates: Coordinates, x: Numbers, xp: Namespace, kernels: Kernels
    ) -> Numbers: ...


def traced_bordered(form: _Form, coordinates: Coordinates) -> Traced:
    """x (d,) -> log density of a bordered form, with the derivatives of the module's head."""
    import jax.numpy as jnp

    kernels = jax_kernels()
    return lambda x: form.log_posterior(coordinates, x, jnp, kernels)


def potential(density: Concentrated, scale: Scale) -> Traced:
    """z (d,) -> minus the log density."""
    traced, mode, half = density.traced(), scale.mode, scale.half
    return _called_back(density, scale) if traced is None else lambda z: -traced(mode + half @ z)


def _called_back(density: Concentrated, scale: Scale) -> Traced:
    """The same through numpy, with its analytic gradient, for any size.

    Numbers cross as pairs of 32-bit words: the runtime's own threads, which make the call, know nothing of 64-bit numbers.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    mode, half, d = scale.mode, scale.half, density.d
    words = jax.ShapeDtypeStruct((d + 1, 2), np.uint32)

    def on_host(z: Numbers) -> Numbers:
        value, gradient = density.value_and_gradient(mode + half @ np.asarray(z).view(np.float64)[:, 0])
        out = np.concatenate([[-value], -(half.T @ gradient)])
        return np.ascontiguousarray(out).view(np.uint32).reshape(d + 1, 2)

    def value_and_slope(z: Numbers) -> Numbers:
        packed = lax.bitcast_convert_type(z, jnp.uint32)
        back = jax.pure_callback(on_host, words, packed, vmap_method="sequential")
        out = lax.bitcast_convert_type(back, jnp.float64)
        return out[0], out[1:]

    @jax.custom_vjp
    def potential(z: Numbers) -> Numbers:
        return value_and_slope(z)[0]

    def forward(z: Numbers) -> tuple[Numbers, Numbers]:
        return value_and_slope(z)

    def backward(gradient: Numbers, bar: Numbers) -> tuple[Numbers]:
        return (jnp.where(bar == 0, 0.0, bar * gradient),)

    potential.defvjp(forward, backward)
    return potential


def jax_kernels() -> Kernels:
    """The two factorisations with the derivatives of the module's head."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.linalg import solve_triangular

    @jax.custom_vjp
    def inverse(g: Numbers) -> Numbers:
        return inverse_by_sweeps(g, jnp)

    def inverse_forward(g: Numbers) -> Numbers:
        out = inverse_by_sweeps(g, jnp)
        return out, out[0]

    def inverse_backward(own: Numbers, bars: Numbers) -> Numbers:
        return (bars[1][..., None, None] * own - own @ bars[0] @ own,)

    inverse.defvjp(inverse_forward, inverse_backward)

    def solved(f: Numbers) -> Numbers:
        """S^-1, log|S| and the last pivot."""
        c = f.shape[-1]
        s, border = f[:-1, :-1], f[:-1, -1]
        if c == 1:
            return s, jnp.zeros(()), f[0, 0]
        if c - 1 <= _SWEPT:
            own, log_det = inverse_by_sweeps(s, jnp)
        else:
            half = solve_triangular(jnp.linalg.cholesky(s), jnp.eye(c - 1), lower=True)
            own, log_det = half.T @ half, -2.0 * jnp.log(jnp.diagonal(half)).sum()
        return own, log_det, f[-1, -1] - border @ own @ border

    @jax.custom_vjp
    def pivots(f: Numbers) -> Numbers:
        return solved(f)[1:]

    def pivots_forward(f: Numbers) -> Numbers:
        own, log_det, pivot = solved(f)
        return (log_det, pivot), (own, own @ f[:-1, -1])

    def pivots_backward(saved: Numbers, bars: Numbers) -> Numbers:
        own, v = saved
        w = jnp.append(-v, 1.0)
        return (jnp.pad(bars[0] * own, (0, 1)) + bars[1] * jnp.outer(w, w),)

    pivots.defvjp(pivots_forward, pivots_backward)

    return _JaxKernels(inverse, pivots)
