"""Counts, in the coordinate ``t = log mu``. A prior weight counts its row that many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Direct, Distribution
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part, Rows
from lmmformula.families.special import digamma_step, lgamma_step, log_factorials, softplus
from lmmformula.typing import Namespace

__all__ = ["Count", "NegativeBinomial2", "Poisson", "drawn_counts"]

_LARGEST = 1e18
"""Mean up to which counts are drawn; beyond it, near the end of whole numbers, they differ from it by 1e-9 of it."""


def drawn_counts(rng: np.random.Generator, mu: Array) -> Array:
    """Poisson counts as numbers; of weak priors means may be any size."""
    large = np.greater(mu, _LARGEST)
    return np.where(large, mu, rng.poisson(np.where(large, 0.0, mu)))


def _poisson_log(y: Array, eta: Array, aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool) -> Rows:
    """The mean is the weight, and its derivative."""
    mu = np.exp(eta)
    weight = w * mu
    return Rows(w * (constant + (y * eta - mu)), w * (y - mu), weight, weight if derivatives else None)


@dataclass(frozen=True, slots=True)
class Count(Distribution):
    """What the count distributions share."""

    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "identity", "sqrt")
    discrete: ClassVar[bool] = True

    def constant(self, y: Array, w: Maybe) -> Maybe:
        """``-log y!``."""
        return -log_factorials(y)

    def events(self, y: Array, w: Maybe) -> Array:
        return np.array([np.sum(w * y)])


@dataclass(frozen=True, slots=True)
class Poisson(Count):
    """``l = y t - e^t - log y!``."""

    name: ClassVar[str] = "poisson"
    adds: ClassVar[bool] = True
    canonical: ClassVar[str] = "log"
    direct: ClassVar[Mapping[str, Direct]] = {"log": _poisson_log}

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return y * c[0] - xp.exp(c[0])

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,) = c
        mu = np.exp(t)
        return Density(constant + (y * t - mu), (Part(y - mu, -mu, -mu),))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        mu = np.exp(c[0])
        return (Information(mu, mu),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import xlogy

        return 2 * w * (xlogy(y, y / mu) - (y - mu))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return drawn_counts(rng, mu)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import gammaincc

        k = np.floor(y)
        return np.where(k < 0, 0.0, gammaincc(np.maximum(k, 0.0) + 1.0, mu))


@dataclass(frozen=True, slots=True)
class NegativeBinomial2(Count):
    """Negative binomial with variance ``mu + mu^2 / phi`` (R's size phi); a = log phi.

    ``l = lgamma(y + phi) - lgamma(phi) - log y! + phi log q + y log p`` with ``p = mu/(mu + phi) = 1 - q``
    (Hilbe 2011, NB2). phi is glmmTMB's ``sigma()`` and brms's shape; phi -> infinity is the Poisson.
    """

    name: ClassVar[str] = "nbinom2"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (
            Auxiliary(
                "phi",
                "size: var = mu + mu^2 / phi",
                prior="inv_gamma(0.4, 0.3)",
                aliases=("shape",),
                typical=0.7,
            ),
        )

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return _nbinom2(y, c[0], xp.exp(aux[0]), -softplus(c[0] - aux[0], xp), xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,), (a,) = c, aux
        phi = np.exp(a)
        p, q, log_q = _sides(t - a)
        loglik = constant + _nbinom2(y, t, phi, log_q, np)
        d1, total = y * q - phi * p, (phi + y) * p * q
        if not derivatives:
            return Density(loglik, (Part(d1, -total),))
        d3 = -total * (q - p)
        part = Part(d1, -total, d3, (p * d1,), (-phi * p * q - d3,))
        return Density(loglik, (part,), (phi * (digamma_step(phi, y) + log_q) - d1,))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        phi = np.exp(aux[0])
        p, q, _ = _sides(c[0] - aux[0])
        return (Information(phi * p, phi * p * q, (phi * p * p,)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu + mu**2 * np.exp(-aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import xlogy

        phi = np.exp(aux[0])
        return 2 * w * (xlogy(y, y / mu) - (y + phi) * np.log1p((y - mu) / (mu + phi)))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        phi = np.broadcast_to(np.exp(aux[0]), np.shape(mu))
        return drawn_counts(rng, rng.gamma(phi, mu / phi))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import betainc

        phi, k = np.exp(aux[0]), np.floor(y)
        return np.where(k < 0, 0.0, betainc(phi, np.maximum(k, 0.0) + 1.0, phi / (phi + mu)))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        surplus = float(np.sum((y - mu) ** 2 - mu))
        size = float(np.sum(mu**2)) / surplus if surplus > 0 else np.inf
        return (float(np.log(np.clip(size, 0.1, 100.0))),)


def _nbinom2(y: Array, t: Array, phi: Maybe, log_q: Array, xp: Namespace) -> Array:
    return lgamma_step(phi, y, xp) + y * t + (phi + y) * log_q


def _sides(x: Array) -> tuple[Array, Array, Array]:
    """p, q and log q of ``p = 1/(1 + e^-x)``."""
    e = np.exp(-np.abs(x))
    up = x >= 0
    p, q = np.where(up, 1.0, e) / (1.0 + e), np.where(up, e, 1.0) / (1.0 + e)
    return p, q, -(np.maximum(x, 0.0) + np.log1p(e))
