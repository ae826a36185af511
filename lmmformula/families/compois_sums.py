r"""Sums over a Conway-Maxwell-Poisson distribution: its rate at a mean, its normaliser and its cumulants.

Terms ``q_k = k eta - nu log k!`` form a bell around exp(eta / nu), see :mod:`lmmformula.families.bells`: O(1/nu) of them near
0, some 60 far from it.

From ``mu = lambda E (1 + Y)^(1 - nu)`` and Jensen's inequality, ``log mu + (nu - 1) log(1 + mu)`` is above eta for nu
> 1 and below it for nu < 1 (exact for the Poisson and for the geometric distribution at nu = 0); log mu, and nu log(1
+ mu) where less, is on the other side. Newton's steps on log mean start there and stay between.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from lmmformula.families.bells import places
from lmmformula.families.records import Array
from lmmformula.families.special import gammaln
from lmmformula.typing import Namespace, Numbers

__all__ = ["Moments", "log_rate", "moments"]

STEPS = 60
TRACED_STEPS = 12
CHUNK = 1 << 14
"""Rows whose terms are held at a time."""
LEAST_TERMS = 600
"""Terms of a traced sum, whose number must be known before its parameters are."""


@dataclass(frozen=True, slots=True)
class Moments:
    """eta, psi, the cumulants of y, E log y! and its joint cumulants with y; arrays (n,)."""

    eta: Array
    psi: Array
    v: Array
    k3: Array
    k4: Array
    g: Array
    c1: Array
    c2: Array
    c3: Array


def moments(t: Array, a: Array, order: int) -> Moments:
    """Of rows with log means t and log exponents a; k4 and c3 are zero below `order` 4. Cost: O(terms) exponentials a row."""
    if t.size > CHUNK:
        parts = [moments(t[i : i + CHUNK], a[i : i + CHUNK], order) for i in range(0, t.size, CHUNK)]
        return Moments(*(np.concatenate([getattr(m, f.name) for m in parts]) for f in fields(Moments)))
    eta = _solved(t, a)
    sums = _Sums(eta, a)
    mean, v = sums.mean, sums.variance
    d = sums.k - mean[..., None]
    d2 = d * d
    k3 = sums.over(d2 * d)
    g = sums.over(sums.g)
    apart = sums.g - g[..., None]
    c1, c2 = sums.over(apart * d), sums.over(apart * d2)
    k4 = c3 = np.zeros(eta.shape)
    if order > 3:
        k4 = sums.over(d2 * d2) - 3.0 * v**2
        c3 = sums.over(apart * d2 * d) - 3.0 * c1 * v
    return Moments(eta, sums.psi, v, k3, k4, g, c1, c2, c3)


class _Sums:
    """Weights p_k of the terms of each row at eta."""

    def __init__(self, eta: Array, a: Array) -> None:
        nu = np.exp(a)
        self.k, h = places(np.exp(np.clip(eta / nu, -700.0, 300.0)), nu, 0.0)
        self.g = gammaln(self.k + 1.0, np)
        q = self.k * eta[..., None] - nu[..., None] * self.g
        top = q.max(axis=-1, keepdims=True)
        p = np.exp(q - top)
        total = p.sum(axis=-1)
        self.p = p / total[..., None]
        self.psi = top[..., 0] + np.log(total * h)
        self.mean = self.over(self.k)
        self.variance = self.over((self.k - self.mean[..., None]) ** 2)

    def over(self, values: Array) -> Array:
        """Expectation."""
        return np.einsum("...k,...k->...", self.p, values)


def _bounds(t: Numbers, nu: Numbers, xp: Namespace) -> tuple[Numbers, Numbers, Numbers]:
    """A start for eta, and what is below and above it."""
    rise = xp.log1p(xp.exp(t))
    start = t + (nu - 1.0) * rise
    above = xp.where(nu < 1.0, xp.minimum(t, nu * rise), start)
    return start, xp.where(nu < 1.0, start, t), above


def _solved(t: Array, a: Array) -> Array:
    """eta of the means e^t."""
    eta, low, high = _bounds(t, np.exp(a), np)
    for _ in range(STEPS):
        sums = _Sums(eta, a)
        gap = t - np.log(sums.mean)
        low, high = (
            np.where(gap > 0, np.maximum(low, eta), low),
            np.where(gap < 0, np.minimum(high, eta), high),
        )
        tried = eta + gap * sums.mean / sums.variance
        moved = np.where((tried >= low) & (tried <= high), tried, 0.5 * (low + high))
        step, eta = moved - eta, moved
        if not (np.abs(step) > 4e-15 * (1.0 + np.abs(eta))).any():
            break
    return eta


def log_rate(t: Numbers, a: Numbers, xp: Namespace, y: Numbers) -> tuple[Numbers, Numbers]:
    """eta and psi over an array namespace.

    Traced, the equation is solved without being differentiated, and two of Newton's steps from the solution are: the
    first makes first derivatives right, the second those up to the third.
    """
    if xp is np:
        eta = _solved(t, a)
        return eta, _Sums(eta, a).psi
    import jax
    import jax.numpy as jnp

    known = isinstance(y, np.ndarray) and y.size
    k = jnp.arange(max(LEAST_TERMS, 4 * int(y.max()) + 200 if known else 0), dtype=float)
    g, nu = jax.scipy.special.gammaln(k + 1.0), jnp.exp(a)

    def step(eta: Numbers) -> tuple[Numbers, Numbers]:
        q = k * eta[..., None] - nu[..., None] * g
        psi = jax.scipy.special.logsumexp(q, axis=-1)
        p = jnp.exp(q - psi[..., None])
        mean = jnp.sum(p * k, axis=-1)
        variance = jnp.sum(p * (k - mean[..., None]) ** 2, axis=-1)
        return eta + (t - jnp.log(mean)) * mean / variance, psi

    def search(_: int, at: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        eta, low, high = at
        tried = step(eta)[0]
        up = tried > eta
        low, high = jnp.where(up, jnp.maximum(low, eta), low), jnp.where(up, high, jnp.minimum(high, eta))
        return jnp.where((tried >= low) & (tried <= high), tried, 0.5 * (low + high)), low, high

    begin = _bounds(jax.lax.stop_gradient(t), jax.lax.stop_gradient(nu), jnp)
    eta, _, _ = jax.lax.fori_loop(0, TRACED_STEPS, search, begin)
    eta = step(step(jax.lax.stop_gradient(eta))[0])[0]
    return eta, step(eta)[1]
