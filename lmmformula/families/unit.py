"""Responses between 0 and 1, in the coordinates ``f = log mu`` and ``g = log(1 - mu)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import check_proportions, check_weights
from lmmformula.families.compose import full
from lmmformula.families.distribution import Direct, Distribution, WeightsAre
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part, Rows
from lmmformula.families.special import counted, excess, excess_slope, namespace, zetas
from lmmformula.typing import Namespace

__all__ = ["Beta", "Binomial"]

COMPILED_ROWS = 16_384
"""From which on a compiled pass is taken: so many has a slice of many rows. With fewer the few dozen passes of a fit save less
than the 50 ms that it takes to load machine code.
"""


def _binomial_logit(y: Array, eta: Array, aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool) -> Rows:
    """One exponential and one logarithm per row; exact in both tails.

    Many rows are one compiled pass.

    Of the probabilities 1 / (1 + e) and e / (1 + e), `up` says which is that of success; a choice by arithmetic is five times
    as fast as one by `where`.
    """
    if eta.size >= COMPILED_ROWS and eta.ndim == 1:
        return _binomial_logit_compiled(y, eta, w, constant, derivatives=derivatives)
    size = np.abs(eta)
    e = np.exp(-size)
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    up = (eta >= 0).astype(float)
    gap = larger - smaller
    p, q = smaller + up * gap, smaller + (1.0 - up) * gap
    weight = full(w * (larger * smaller), eta.size)
    loglik = constant - w * (np.log1p(e) + size * (y + up * (1.0 - 2.0 * y)))
    score = w * (y * q - (1.0 - y) * p)
    return Rows(loglik, score, weight, weight * (q - p) if derivatives else None)


def _binomial_logit_compiled(y: Array, eta: Array, w: Maybe, constant: Maybe, *, derivatives: bool) -> Rows:
    from lmmformula.numerics.family_kernels import binomial_logit_rows

    out = np.empty((3 + derivatives, eta.size))
    y, eta, w, constant = (np.ascontiguousarray(np.atleast_1d(v), float) for v in (y, eta, w, constant))
    binomial_logit_rows(y, eta, w, constant, out)
    return Rows(out[0], out[1], out[2], out[3] if derivatives else None)


@dataclass(frozen=True, slots=True)
class Binomial(Distribution):
    """A proportion y of w trials: ``l = log C(w, w y) + w y f + w (1 - y) g``.

    For a 0/1 response a weight other than 1 repeats the row; the binomial coefficient is then 1, as in R.
    """

    name: ClassVar[str] = "binomial"
    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit", "log")
    canonical: ClassVar[str] = "logit"
    weights_are: ClassVar[WeightsAre] = "trials"
    discrete: ClassVar[bool] = True
    direct: ClassVar[Mapping[str, Direct]] = {"logit": _binomial_logit}

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return counted(w * y, c[0], xp) + counted(w * (1.0 - y), c[1], xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        f, g = c
        successes, failures = w * y, w * (1.0 - y)
        loglik = constant + successes * f + failures * g
        return Density(loglik, (Part(successes, 0.0), Part(failures, 0.0)))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        p, q = w * np.exp(c[0]), w * np.exp(c[1])
        return Information(p, p), Information(q, q)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        """``log C(w, w y)``, which is 0 for the rows with y = 0 or 1."""
        inside = np.flatnonzero((y > 0) & (y < 1))
        if not inside.size:
            return 0.0
        from scipy.special import gammaln

        out = np.zeros(y.shape)
        n = np.broadcast_to(np.asarray(w, float), y.shape)[inside]
        k = n * y[inside]
        out[inside] = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
        return out

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu * (1.0 - mu)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import xlogy

        return 2 * w * (xlogy(y, y / mu) + xlogy(1.0 - y, (1.0 - y) / (1.0 - mu)))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        n = np.broadcast_to(np.rint(w), np.shape(mu)).astype(np.int64)
        return rng.binomial(n, mu) / np.maximum(n, 1)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import betainc

        n, k = np.rint(w), np.floor(w * y + 1e-6)
        inside = betainc(np.maximum(n - k, 0.5), np.maximum(k, 0.0) + 1.0, 1.0 - mu)
        return np.where(k < 0, 0.0, np.where(k >= n, 1.0, inside))

    def events(self, y: Array, w: Maybe) -> Array:
        return np.array([np.sum(w * y), np.sum(w * (1.0 - y))])

    def step(self, w: Maybe) -> Maybe:
        return 1.0 / np.maximum(w, 1e-300)

    def start(self, y: Array, w: Maybe) -> Array:
        return (w * y + 0.5) / (w + 1.0)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_weights(w, label, zero=True)
        check_proportions(y, w, label, self.label)


@dataclass(frozen=True, slots=True)
class Beta(Distribution):
    """Beta with mean mu and precision phi, variance ``mu (1 - mu) / (1 + phi)``; a = log phi.

    With ``x1 = phi mu``, ``x2 = phi (1 - mu)`` (Ferrari & Cribari-Neto 2004, eq. 4)

        l = lgamma(phi) - lgamma(x1) - lgamma(x2) + (x1 - 1) log y + (x2 - 1) log(1 - y)
          = -S(phi) + sum_i [x_i (log y_i - log mu_i) + S(x_i)] - log y (1 - y),   S(x) = x log x - x - lgamma(x),

    the second form without large cancelling terms. Each ``x_i`` depends on its coordinate and a by their sum
    only, so that a derivative in a is the next derivative in the coordinate. phi is glmmTMB's ``sigma()``.
    """

    name: ClassVar[str] = "beta"
    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit")

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (
            Auxiliary(
                "phi", "precision: var = mu (1 - mu) / (1 + phi)", prior="gamma(0.01, 0.01)", typical=2.8
            ),
        )

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        out = -excess(xp.exp(aux[0]), aux[0], xp)
        own = namespace(y)
        for log_y, log_mu in zip((own.log(y), own.log1p(-y)), c, strict=True):
            finite = xp.maximum(log_mu, -1e300)
            log_x = finite + aux[0]
            x = xp.exp(log_x)
            out = out + x * (log_y - finite) + excess(x, log_x, xp)
        return out

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (a,) = aux
        phi = np.exp(a)
        loglik, d_a, parts = constant - excess(phi, a), -excess_slope(phi, a), []
        for log_y, log_mu in zip((np.log(y), np.log1p(-y)), c, strict=True):
            log_x = np.maximum(log_mu, -1e300) + a
            x = np.exp(log_x)
            away = x * (log_y - np.maximum(log_mu, -1e300))
            loglik = loglik + away + excess(x, log_x)
            if derivatives:
                d_a = d_a + away + excess_slope(x, log_x)
            parts.append(_beta_part(x, log_y, derivatives=derivatives))
        return Density(loglik, tuple(parts), (d_a,) if derivatives else ())

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        out = []
        for log_mu in c:
            x = np.exp(log_mu + aux[0])
            # x^2 trigamma(x) and its derivative in log x, with the poles at 0 taken out
            trigamma, cubic = zetas(1.0 + x)
            second, third = x**2 * trigamma, -2 * x**3 * cubic
            slope = 2 * second + third
            out.append(Information(1.0 + second, slope, (slope,)))
        return tuple(out)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return -np.log(y) - np.log1p(-y)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu * (1.0 - mu) / (1.0 + np.exp(aux[0]))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        phi = np.exp(aux[0])
        return rng.beta(mu * phi, (1.0 - mu) * phi)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import betainc

        phi = np.exp(aux[0])
        return betainc(mu * phi, (1.0 - mu) * phi, np.clip(y, 0.0, 1.0))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        ratio = float(np.mean(mu * (1.0 - mu))) / max(float(np.mean((y - mu) ** 2)), 1e-12)
        return (float(np.log(np.clip(ratio - 1.0, 0.1, 1e6))),)


def _beta_part(x: Array, log_y: Array, *, derivatives: bool) -> Part:
    """Derivatives of ``x log y - lgamma(x)`` in log x; polygamma(x) is written as polygamma(1 + x) minus its pole."""
    from scipy.special import digamma

    first = x * (log_y - digamma(1.0 + x))
    trigamma, cubic = zetas(1.0 + x, cubic=derivatives)
    second = x**2 * trigamma
    d2 = first - second
    if not derivatives:
        return Part(first + 1.0, d2)
    d3 = first - 3 * second + 2 * x**3 * cubic
    return Part(first + 1.0, d2, d3, (d2,), (d3,))
