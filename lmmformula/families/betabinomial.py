"""Successes in trials whose probability varies from row to row as a beta variable.

With n = w trials, k = w y successes, ``x1 = phi mu``, ``x2 = phi (1 - mu)`` and ``T(x, k) = lgamma(x + k) - lgamma(x)``

    l = log C(n, k) + T(x1, k) + T(x2, n - k) - T(phi, n),      var k = n mu (1 - mu) (phi + n) / (phi + 1)

(Skellam 1948; phi = alpha + beta is brms' phi and glmmTMB's ``sigma()``; the binomial is its limit). As for the beta
distribution each x_i depends on its coordinate and a = log phi by their sum only. In u = log x, poles taken out by
hand,

    T' = [k > 0] + e1,  T'' = e1 + e2,  T''' = e1 + 3 e2 + e3,      e_j = x^j (psi^(j-1)(1 + x + k - 1) - psi^(j-1)(1 + x)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Direct
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, Part
from lmmformula.families.special import digamma_step, lgamma_step, tetragamma_step, trigamma_step
from lmmformula.families.unit import Binomial
from lmmformula.typing import Namespace

__all__ = ["BetaBinomial"]


@dataclass(frozen=True, slots=True)
class BetaBinomial(Binomial):
    """A proportion y of w trials with mean mu and precision phi; a = log phi."""

    name: ClassVar[str] = "betabinomial"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit")
    canonical: ClassVar[str] = ""
    direct: ClassVar[Mapping[str, Direct]] = {}

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        meaning = "precision: var = mu (1 - mu) (phi + n) / (n (phi + 1)) of n trials"
        return (Auxiliary("phi", meaning, prior="gamma(0.01, 0.01)", typical=0.9),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        (a,) = aux
        # whole numbers of trials, but for those of weights
        out = -lgamma_step(xp.exp(a), w, xp)
        for k, log_mu in zip((w * y, w * (1.0 - y)), c, strict=True):
            finite = xp.maximum(log_mu, -600.0)
            out = out + lgamma_step(xp.exp(xp.clip(finite + a, -650.0, 650.0)), k, xp) + k * finite
        return out

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (a,) = aux
        loglik = constant + self.log_density(y, c, aux, w, np)
        parts, d_a = [], -_rise(np.exp(a), w, derivatives=False)[0]
        for k, log_mu in zip((w * y, w * (1.0 - y)), c, strict=True):
            x = np.exp(np.clip(np.maximum(log_mu, -600.0) + a, -650.0, 650.0))
            d1, d2, d3 = _rise(x, k, derivatives=derivatives)
            d_a = d_a + d1
            parts.append(Part(d1, d2, d3, (d2,), (d3,)) if derivatives else Part(d1, d2))
        return Density(loglik, tuple(parts), (d_a,) if derivatives else ())

    @property
    def informs(self) -> bool:
        return False  # none that is a function of each coordinate alone

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        raise self._uninformed()

    def row_variance(self, mu: Array, aux: Aux, w: Maybe) -> Array:
        phi = np.exp(aux[0])
        return mu * (1.0 - mu) * (phi + w) / (phi + 1.0)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        at_mu = self.log_density(y, self._coordinates(mu), aux, w, np)
        inside = np.clip(y, 1e-12, 1.0 - 1e-12)
        low, high = np.full(np.shape(inside), -40.0), np.full(np.shape(inside), 40.0)
        for _ in range(_BISECTIONS):  # the mean that explains a row best is not its proportion
            middle = 0.5 * (low + high)
            c = (-np.logaddexp(0.0, -middle), -np.logaddexp(0.0, middle))
            f, g = self.density(y, c, aux, w, 0.0, derivatives=False).parts
            rises = f.d1 * np.exp(c[1]) - g.d1 * np.exp(c[0]) > 0
            low, high = np.where(rises, middle, low), np.where(rises, high, middle)
        middle = 0.5 * (low + high)
        best = self.log_density(y, (-np.logaddexp(0.0, -middle), -np.logaddexp(0.0, middle)), aux, w, np)
        return np.maximum(2.0 * (best - at_mu), 0.0)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        phi = np.exp(aux[0])
        p = rng.beta(np.maximum(mu * phi, 1e-300), np.maximum((1.0 - mu) * phi, 1e-300))
        n = np.broadcast_to(np.rint(w), np.shape(p)).astype(np.int64)
        return rng.binomial(n, p) / np.maximum(n, 1)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        n, k_end, mu = np.broadcast_arrays(np.rint(w), np.floor(w * y + 1e-6), mu)
        c, total = self._coordinates(mu), np.zeros(mu.shape)
        for k in range(int(np.max(k_end, initial=-1.0)) + 1):
            counted = (k <= k_end) & (k <= n)
            share = np.where(counted, k / np.maximum(n, 1.0), 0.0)
            p = np.exp(self.log_density(share, c, aux, n, np) + self.constant(share, n))
            total = total + np.where(counted, p, 0.0)
        return np.where(k_end < 0, 0.0, np.minimum(total, 1.0))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        # n (y - mu)^2 / (mu (1 - mu)) has the mean 1 + (n - 1) / (phi + 1)
        n = np.broadcast_to(np.asarray(w, float), np.shape(y))
        surplus = float(np.sum(n * (y - mu) ** 2 / (mu * (1.0 - mu)) - 1.0))
        ratio = float(np.sum(n - 1.0)) / surplus if surplus > 0 else np.inf
        return (float(np.log(np.clip(ratio - 1.0, 0.2, 100.0))),)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        # super() cannot be named in a slotted dataclass, which is built twice
        Binomial.check(self, y, w, label)
        if not (np.asarray(w) > 1).any():
            raise DataError(
                f"`{label}` has no row of more than one trial, which alone say how its probabilities vary; use "
                'family="binomial", or give cbind(successes, failures) or successes | trials(n)'
            )


_BISECTIONS = 60


def _rise(x: Array, k: Maybe, *, derivatives: bool) -> tuple[Array, Array, Maybe]:
    """T and its derivatives in log x, of order 1 to 3."""
    more = np.maximum(k - 1.0, 0.0)
    # of fractional k below 1 there is no pole to take out by a unit
    part = np.minimum(k, 1.0)
    whole = (part == 1.0) | (part == 0.0)
    if not np.all(whole):
        return _rise_any(x, k)
    e1 = x * digamma_step(1.0 + x, more)
    e2 = x * trigamma_step(1.0 + x, more) * x
    d1, d2 = part + e1, e1 + e2
    return d1, d2, e1 + 3.0 * e2 + x * tetragamma_step(1.0 + x, more) * x * x if derivatives else 0.0


def _rise_any(x: Array, k: Maybe) -> tuple[Array, Array, Array]:
    e1, e2 = x * digamma_step(x, k), x * trigamma_step(x, k) * x
    return e1, e1 + e2, e1 + 3.0 * e2 + x * tetragamma_step(x, k) * x * x
