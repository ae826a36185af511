r"""Sums over a Conway-Maxwell-Poisson distribution: its rate at a mean, its normaliser and its cumulants.

Terms ``q_k = k eta - nu log k!`` form a bell around exp(eta / nu), see :mod:`lmmformula.families.bells`: O(1/nu) of them near
0, some 60 far from it.

From ``mu = lambda E (1 + Y)^(1 - nu)`` and Jensen's inequality, ``log mu + (nu - 1) log(1 + mu)`` is above eta for nu
> 1 and below it for nu < 1 (exact for the Poisson and for the geometric distribution at nu = 0); log mu, and nu log(1
+ mu) where less, is on the other side. Newton's steps on log mean start there and stay between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lmmformula.families.bells import spans
from lmmformula.families.records import Array
from lmmformula.families.special import gammaln
from lmmformula.typing import Namespace, Numbers

__all__ = ["Moments", "draws", "log_rate", "moments", "shares"]

STEPS = 60
NEWTON = 1e-8
"""Relative step after which the next one is below rounding: steps square."""
TRACED_STEPS = 12
LEAST_TERMS = 600
"""Terms of a traced sum, whose number must be known before its parameters are."""
FARTHEST = 30.0
"""log nu of a geometric distribution, or of its negative one of two neighbouring counts, to rounding."""
WIDE = 10_000.0
"""Standard deviation in counts beyond which a draw is a normal one."""
TABLE = 1 << 12
"""Logarithms of factorials that are kept."""


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


def moments(t: Array, a: Array) -> Moments:
    """Of rows with log means t and log exponents a. Cost: O(terms) exponentials a row."""
    shape = t.shape
    eta, nu = _solved(t.ravel(), a.ravel()), np.exp(a.ravel())
    found = [v.reshape(shape) for v in _sums(eta, nu, more=True)]
    return Moments(eta.reshape(shape), found[0], *found[2:])


def draws(rng: np.random.Generator, t: Array, a: Array) -> Array:
    """Counts of log means t and log exponents a.

    Where a standard deviation is more than `WIDE` counts and the mode is far from 0, a normal number is rounded: it has the
    leading mean and variance mu / nu (Shmueli et al. 2005, eq. 7), and skewness below 1 / `WIDE`.
    """
    from lmmformula.numerics.count_draws import LOGS, compois_draws

    t, a = np.broadcast_arrays(t, np.clip(a, -FARTHEST, FARTHEST))
    if np.isnan(t).any() or np.isnan(a).any():
        raise ValueError("a mean or an exponent is not a number")
    nu = np.exp(a)
    y = np.empty(t.shape)
    with np.errstate(over="ignore"):
        wide = (t - a > 2.0 * np.log(WIDE)) & (t + a > 2.0 * np.log(WIDE))
        y[wide] = np.rint(rng.normal(np.exp(t[wide]), np.exp(0.5 * (t[wide] - a[wide]))))
    few = ~wide
    found = np.empty(int(few.sum()))
    compois_draws(t[few], nu[few], rng.random(found.size), LOGS, found)
    y[few] = found
    return y


def shares(y: Array, t: Array, a: Array) -> Array:
    """``P(Y <= y)`` of log means t and log exponents a. Cost: O(standard deviation of y) exponentials a row."""
    from lmmformula.numerics.count_draws import LOGS, compois_shares

    y, t, a = np.broadcast_arrays(np.asarray(y, float), t, np.clip(a, -FARTHEST, FARTHEST))
    known = ~np.isnan(y + t + a).ravel()
    if not known.all():
        out = np.full(y.size, np.nan)
        out[known] = shares(*(v.ravel()[known] for v in (y, t, a)))
        return out.reshape(y.shape)
    out = np.empty(y.size)
    compois_shares(t.ravel(), np.exp(a).ravel(), y.ravel(), LOGS, out)
    return out.reshape(y.shape)


@lru_cache(maxsize=1)
def _log_factorials() -> Array:
    return gammaln(np.arange(1.0, TABLE + 1.0), np)


def _sums(eta: Array, nu: Array, *, more: bool) -> Array:
    """Rows psi, mean, variance, then k3, k4, E G and its joint cumulants, where there are `more`; (9, n)."""
    from lmmformula.numerics.bell_kernels import compois_sums

    out = np.zeros((9, len(eta)))
    if len(eta):
        peak = np.exp(np.clip(eta / nu, -700.0, 300.0))
        low, step, count = spans(peak, nu, 0.0)
        compois_sums(eta, nu, peak, low, step, count, _log_factorials(), more, out)
    return out


def _bounds(t: Numbers, nu: Numbers, xp: Namespace) -> tuple[Numbers, Numbers, Numbers]:
    """A start for eta, and what is below and above it."""
    rise = xp.log1p(xp.exp(t))
    start = t + (nu - 1.0) * rise
    above = xp.where(nu < 1.0, xp.minimum(t, nu * rise), start)
    return start, xp.where(nu < 1.0, start, t), above


def _solved(t: Array, a: Array) -> Array:
    """eta of the means e^t, (n,)."""
    nu = np.exp(a)
    first, low, high = _bounds(t, nu, np)
    # far from 0 the mean is near lambda^(1/nu) - (nu - 1) / (2 nu) (Shmueli et al. 2005, eq. 7)
    near = nu * np.log(np.maximum(np.exp(t) + (nu - 1.0) / (2.0 * nu), 1e-300))
    eta = np.where((near >= low) & (near <= high), near, np.clip(first, low, high))
    left = np.arange(len(eta))
    for _ in range(STEPS):
        at = eta[left]
        _, mean, variance = _sums(at, nu[left], more=False)[:3]
        gap = t[left] - np.log(mean)
        low[left] = np.where(gap > 0, np.maximum(low[left], at), low[left])
        high[left] = np.where(gap < 0, np.minimum(high[left], at), high[left])
        tried = at + gap * mean / variance
        inside = (tried >= low[left]) & (tried <= high[left])
        eta[left] = moved = np.where(inside, tried, 0.5 * (low[left] + high[left]))
        left = left[np.abs(moved - at) > NEWTON * (1.0 + np.abs(at))]
        if not left.size:
            break
    return eta


def log_rate(t: Numbers, a: Numbers, xp: Namespace, y: Numbers) -> tuple[Numbers, Numbers]:
    """eta and psi over an array namespace.

    Traced, the equation is solved without being differentiated, and two of Newton's steps from the solution are: the
    first makes first derivatives right, the second those up to the third.
    """
    if xp is np:
        eta = _solved(t.ravel(), np.broadcast_to(a, t.shape).ravel())
        psi = _sums(eta, np.exp(np.broadcast_to(a, t.shape).ravel()), more=False)[0]
        return eta.reshape(t.shape), psi.reshape(t.shape)
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
