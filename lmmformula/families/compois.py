r"""The Conway-Maxwell-Poisson distribution in terms of its mean (Huang 2017, Stat. Model. 17, 359-380).

    l = y eta - nu log y! - psi(eta, nu),     psi = log sum_k exp(k eta - nu log k!),     E y = dpsi/deta = mu,

where eta = log lambda solves the last equation. With V, k3, k4 the cumulants of y, G = log y!, M = E G, and C1, C2,
C3 the joint cumulants of G with one, two and three y (so that d/deta adds a y and d/dnu takes a G off), t = log mu
and derivatives at fixed mu:

    eta_t   = mu / V                                    eta_nu   = C1 / V
    eta_tt  = eta_t - eta_t^2 k3/V                      eta_nut  = eta_t D,     D = C2/V - C1 k3/V^2
    eta_ttt = eta_tt - 2 eta_t eta_tt k3/V - eta_t^3 (k4/V - k3^2/V^2)
    eta_nutt = eta_tt D + eta_t^2 (C3/V - 2 C2 k3/V^2 - C1 k4/V^2 + 2 C1 k3^2/V^3)

    l_t = (y - mu) eta_t,    l_tt = (y - mu) eta_tt - mu eta_t,    l_ttt = (y - mu) eta_ttt - 2 mu eta_tt - mu eta_t
    l_nu = (y - mu) eta_nu - (G(y) - M),    l_nut = (y - mu) eta_nut,    l_nutt = (y - mu) eta_nutt - mu eta_nut

so that sums over the distribution are all there is to compute. nu > 1 is less dispersed than the Poisson (nu = 1), nu < 1 more.
glmmTMB's ``sigma()`` is 1 / nu. (brms' ``com_poisson`` has lambda^(1/nu) for mu, which is no mean.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.compois_sums import draws, log_rate, moments, shares
from lmmformula.families.counts import Count
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, Part
from lmmformula.families.special import gammaln
from lmmformula.typing import Namespace

__all__ = ["ConwayMaxwellPoisson"]


@dataclass(frozen=True, slots=True)
class ConwayMaxwellPoisson(Count):
    """Conway-Maxwell-Poisson with mean mu and exponent nu; a = log nu."""

    name: ClassVar[str] = "compois"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        meaning = "exponent: p(y) ~ lambda^y / (y!)^nu; above 1 less dispersed than the Poisson"
        return (Auxiliary("nu", meaning, prior="gamma(0.01, 0.01)", aliases=("shape",), typical=0.4),)

    @property
    def narrows(self) -> bool:
        return True

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        t, a = xp.broadcast_arrays(c[0], aux[0] + 0.0 * c[0])
        nu = xp.exp(a)
        eta, psi = log_rate(t, a, xp, y)
        # the constant is -log y!: what remains of -nu log y!
        return y * eta - (nu - 1.0) * gammaln(y + 1.0, xp) - psi

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        t, a = np.broadcast_arrays(np.asarray(c[0], float), np.asarray(aux[0], float))
        mu, nu, g = np.exp(t), np.exp(a), gammaln(y + 1.0, np)
        m = moments(t, a)
        loglik = constant + y * m.eta - (nu - 1.0) * g - m.psi
        away, eta_t = y - mu, mu / m.v
        eta_tt = eta_t - eta_t**2 * m.k3 / m.v
        d1, d2 = away * eta_t, away * eta_tt - mu * eta_t
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        r3, r4 = m.k3 / m.v, m.k4 / m.v
        eta_ttt = eta_tt - 2.0 * eta_t * eta_tt * r3 - eta_t**3 * (r4 - r3**2)
        d3 = away * eta_ttt - 2.0 * mu * eta_tt - mu * eta_t
        c1, c2, c3 = m.c1 / m.v, m.c2 / m.v, m.c3 / m.v
        bend = c2 - c1 * r3
        eta_nut = eta_t * bend
        eta_nutt = eta_tt * bend + eta_t**2 * (c3 - 2.0 * c2 * r3 - c1 * r4 + 2.0 * c1 * r3**2)
        d_aux = nu * (away * c1 - (g - m.g))
        mixed, bent = nu * away * eta_nut, nu * (away * eta_nutt - mu * eta_nut)
        return Density(loglik, (Part(d1, d2, d3, (mixed,), (bent,)),), (d_aux,))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        t, a = np.broadcast_arrays(np.asarray(c[0], float), np.asarray(aux[0], float))
        mu, nu, m = np.exp(t), np.exp(a), moments(t, a)
        eta_t = mu / m.v
        eta_tt = eta_t - eta_t**2 * m.k3 / m.v
        by_nu = eta_t * (m.c2 - m.c1 * m.k3 / m.v) / m.v
        return (Information(mu * eta_t, mu * (eta_t + eta_tt), (nu * mu * by_nu,)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        t, a = np.broadcast_arrays(np.log(mu), np.asarray(aux[0], float))
        return moments(t, a).v

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return draws(rng, np.log(mu), np.asarray(aux[0], float))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return shares(np.floor(y), np.log(mu), np.asarray(aux[0], float))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        # var is near mu / nu
        return (-float(np.log(np.clip(np.mean((y - mu) ** 2 / mu), 0.2, 5.0))),)
