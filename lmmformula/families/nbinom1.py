"""The negative binomial with variance proportional to the mean.

With size ``r = mu / phi`` and probability ``1/(1 + phi)`` (Hilbe 2011, NB1):

    l = lgamma(y + r) - lgamma(r) - log y! - r L + y log(phi / (1 + phi)),   L = log(1 + phi)

mu enters through r only, so that in ``t = log mu``, ``a = log phi`` the first and third term depend on t - a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.counts import Count, drawn_counts
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, Part
from lmmformula.families.special import (
    digamma_step,
    lgamma_step,
    softplus,
    tetragamma_step,
    trigamma_step,
)
from lmmformula.typing import Namespace

__all__ = ["NegativeBinomial1"]


@dataclass(frozen=True, slots=True)
class NegativeBinomial1(Count):
    """Negative binomial with variance ``mu (1 + phi)``; a = log phi. phi is glmmTMB's ``sigma()``."""

    name: ClassVar[str] = "nbinom1"
    adds: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (Auxiliary("phi", "overdispersion: var = mu (1 + phi)", typical=0.7),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        r = xp.exp(xp.clip(c[0] - aux[0], -700.0, 700.0))
        log_1_phi = softplus(aux[0], xp)
        return _nbinom1(y, c[0], r, log_1_phi, xp.exp(c[0] - aux[0]) * log_1_phi, xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,), (a,) = c, aux
        r = np.exp(np.clip(t - a, -700.0, 700.0))
        log_1_phi = np.logaddexp(0.0, a)
        r_log = np.exp(t) * _log1p_ratio(a)
        loglik = constant + _nbinom1(y, t, r, log_1_phi, r_log, np)
        # digamma(y + r) - digamma(r) = 1/r + digamma(y + r) - digamma(1 + r) for y > 0: the poles cancel by hand
        k = np.maximum(y - 1.0, 0.0)
        e1 = r * digamma_step(1.0 + r, k) - r_log
        e2 = r * trigamma_step(1.0 + r, k) * r
        d1, d2 = (y > 0) + e1, e1 + e2
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        d3 = e1 + 3 * e2 + r * tetragamma_step(1.0 + r, k) * r * r
        p = np.exp(a - log_1_phi)
        rp = np.exp(t - log_1_phi)
        part = Part(d1, d2, d3, (-d2 - rp,), (-d3 - rp,))
        return Density(loglik, (part,), (y * np.exp(-log_1_phi) - d1 - r * p,))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        log_r, log_phi = np.broadcast_arrays(np.clip(c[0] - aux[0], -700.0, 700.0), aux[0])
        value, by_r, by_phi = _expected(log_r, log_phi)
        return (Information(value, by_r, (by_phi - by_r,)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu * (1.0 + np.exp(aux[0]))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        phi = np.exp(aux[0])
        return drawn_counts(rng, rng.gamma(mu / phi, phi))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import betainc

        phi, k = np.exp(aux[0]), np.floor(y)
        return np.where(k < 0, 0.0, betainc(mu / phi, np.maximum(k, 0.0) + 1.0, 1.0 / (1.0 + phi)))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (float(np.log(max(float(np.mean((y - mu) ** 2 / mu)) - 1.0, 0.1))),)


def _nbinom1(y: Array, t: Array, r: Array, log_1_phi: Maybe, r_log: Array, xp: Namespace) -> Array:
    return lgamma_step(r, y, xp) + y * (t - log_1_phi) - r_log


def _log1p_ratio(a: Maybe) -> Array:
    """``log(1 + phi) / phi``."""
    return np.logaddexp(0.0, a) * np.exp(-np.asarray(a))


def _expected(log_r: Array, log_phi: Array) -> tuple[Array, Array, Array]:
    """``I = r^2 (trigamma(r) - E trigamma(r + Y))``, with r dI/dr and phi dI/dphi.

    From trigamma(s) = int x e^(-s x) / (1 - e^-x) dx and the generating function E e^(-x Y) = Q^-r,

        I = int_0^inf (s / v) e^-s (1 - Q^-r) ds,   Q = 1 + phi v,   v = 1 - e^-x,   x = s / r.

    The trapezoidal rule in log x converges like exp(-8/h) (Trefethen & Weideman 2014); h = 1/4. Below `bottom`
    the integrand is linear in x, and what is left out is 1e-16 of the whole. Cost: O(100 n) exponentials.
    """
    r, phi = np.exp(log_r), np.exp(log_phi)
    top = np.log(45.0) - log_r
    bottom = -np.maximum(log_r, 0.0) - np.maximum(log_phi, 0.0) - 19.0
    nodes = int(np.ceil(4.0 * float(np.max(top - bottom, initial=1.0))))
    h = (top - bottom) / nodes
    value, by_r, by_phi = np.zeros(r.shape), np.zeros(r.shape), np.zeros(r.shape)
    for i in range(nodes + 1):
        log_x = bottom + i * h
        s = np.exp(log_x + log_r)
        v = -np.expm1(-np.exp(log_x))
        power = r * np.log1p(phi * v)
        missing, kept = -np.expm1(-power), np.exp(-power)
        k = h * s * np.exp(-s)  # ds = s d(log x)
        value += k * (s / v) * missing
        by_r += k * (s / v) * (kept * power - s * missing)
        by_phi += k * s * kept * r * phi / (1.0 + phi * v)
    return value, 2 * value + by_r, by_phi
