"""Positive responses, in the coordinate ``t = log mu``. Weights are precisions: phi / w takes the place of phi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution, WeightsAre
from lmmformula.families.incomplete_gamma import log_gamma_tails
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import excess, excess_slope, namespace
from lmmformula.families.tails import inverse_gaussian_tails
from lmmformula.typing import Namespace

__all__ = ["Gamma", "InverseGaussian"]


@dataclass(frozen=True, slots=True)
class Gamma(Distribution):
    """Gamma with shape ``nu = w / sigma^2`` and variance ``sigma^2 mu^2 / w``; a = log sigma.

    ``l = nu [z - (e^z - 1)] + S(nu) - log y`` with ``z = log y - t`` and ``S(nu) = nu log nu - nu - lgamma(nu)``.
    sigma is the coefficient of variation, as glmmTMB's ``sigma()``.

    The default link is the logarithm. (R's default, the canonical inverse, leaves its domain as soon as a random
    effect carries eta below zero.)
    """

    name: ClassVar[str] = "gamma"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse", "identity")
    canonical: ClassVar[str] = "inverse"
    weights_are: ClassVar[WeightsAre] = "precision"
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (
            Auxiliary(
                "sigma", "coefficient of variation: var = sigma^2 mu^2", role="dispersion", typical=-1.0
            ),
        )

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        log_nu = namespace(w).log(w) - 2.0 * aux[0]
        nu, z = xp.exp(log_nu), namespace(y).log(y) - c[0]
        return nu * (z - xp.expm1(z)) + excess(nu, log_nu, xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,), (a,) = c, aux
        log_nu = np.log(w) - 2.0 * a
        nu = np.exp(log_nu)
        z = np.log(y) - t
        rise = np.expm1(z)
        loglik = constant + nu * (z - rise) + excess(nu, log_nu)
        d1, d2 = nu * rise, -nu * (rise + 1.0)
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        part = Part(d1, d2, -d2, (-2 * d1,), (-2 * d2,))
        return Density(loglik, (part,), (-2.0 * (nu * (z - rise) + excess_slope(nu, log_nu)),))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        nu = w * np.exp(-2.0 * aux[0])
        return (Information(nu, 0.0, (-2 * nu,)),)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return -np.log(y)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu**2

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(2.0 * aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        z = np.log(y / mu)
        return 2 * w * (np.expm1(z) - z)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        nu = w * np.exp(-2.0 * aux[0])
        return rng.gamma(np.broadcast_to(nu, np.shape(mu)), mu / nu)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import gammainc

        nu = w * np.exp(-2.0 * aux[0])
        return gammainc(nu, nu * np.maximum(y, 0.0) / mu)

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        log_nu = np.log(w) - 2.0 * aux[0]
        return log_gamma_tails(xp.exp(log_nu), log_nu + np.log(y) - c[0], xp)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (_log_root(w * (y / mu - 1.0) ** 2),)


@dataclass(frozen=True, slots=True)
class InverseGaussian(Distribution):
    """Inverse Gaussian with variance ``sigma^2 mu^3 / w``; a = log sigma.

    ``l = -log(2 pi phi y^3)/2 - k (y/mu - 1)^2 / y`` with ``phi = sigma^2 / w``, ``k = 1/(2 phi)``
    (Tweedie 1957). The default link is the logarithm, for the reason given at :class:`Gamma`.
    """

    name: ClassVar[str] = "inverse_gaussian"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse_squared", "inverse", "identity")
    canonical: ClassVar[str] = "inverse_squared"
    weights_are: ClassVar[WeightsAre] = "precision"
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        meaning = "square root of the dispersion: var = sigma^2 mu^3"
        return (Auxiliary("sigma", meaning, role="dispersion", power=-0.5, typical=-1.0),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        log_k = namespace(w).log(0.5 * w) - 2.0 * aux[0]
        return 0.5 * (log_k - np.log(np.pi)) - xp.exp(log_k) * xp.expm1(namespace(y).log(y) - c[0]) ** 2 / y

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,), (a,) = c, aux
        k = 0.5 * w * np.exp(-2.0 * a)
        v = np.exp(-t)
        x = y * v
        distance = k * np.expm1(np.log(y) - t) ** 2 / y
        loglik = constant + 0.5 * np.log(k / np.pi) - distance
        d1 = 2 * k * v * (x - 1.0)
        d2 = -2 * k * v * (2 * x - 1.0)
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        part = Part(d1, d2, 2 * k * v * (4 * x - 1.0), (-2 * d1,), (-2 * d2,))
        return Density(loglik, (part,), (2 * distance - 1.0,))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        value = w * np.exp(-2.0 * aux[0]) * np.exp(-c[0])
        return (Information(value, -value, (-2 * value,)),)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return -1.5 * np.log(y)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu**3

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(2.0 * aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return w * (y / mu - 1.0) ** 2 / y

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return rng.wald(mu, np.broadcast_to(w * np.exp(-2.0 * aux[0]), np.shape(mu)))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import log_ndtr, ndtr

        shape = w * np.exp(-2.0 * aux[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(shape / np.maximum(y, 0.0))
            # e^(2 shape/mu) alone overflows; its partner is as small as it is large
            tail = np.exp(2 * shape / mu + log_ndtr(-root * (y / mu + 1.0)))
            return np.where(y > 0, ndtr(root * (y / mu - 1.0)) + tail, 0.0)

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        return inverse_gaussian_tails(y, c[0], np.log(w) - 2.0 * aux[0], xp)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (_log_root(w * (y - mu) ** 2 / mu**3),)


def _log_root(squares: Array) -> float:
    return 0.5 * float(np.log(max(float(np.mean(squares)), 1e-12)))
