"""Distributions with a long side: shifted lognormal and ex-Gaussian (reaction times), skew normal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import check_positive, check_weights
from lmmformula.families.distribution import Distribution, Support
from lmmformula.families.probabilities import expit, logit
from lmmformula.families.records import Array, Aux, Maybe, MeanRange
from lmmformula.families.special import LOG_2PI, log_mills, log_ndtr
from lmmformula.families.tails import exgaussian_tails
from lmmformula.typing import Namespace, Numbers

__all__ = ["ExGaussian", "ShiftedLognormal", "SkewNormal"]


@dataclass(frozen=True, slots=True)
class Skewed(Distribution):
    """What they share: a location on the real line."""

    mean_range: ClassVar[MeanRange] = "real"
    expands: ClassVar[bool] = True

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        raise self._lacks(
            "deviance: no location explains a response best by being it; quantile residuals suit"
        )


@dataclass(frozen=True, slots=True)
class ShiftedLognormal(Skewed):
    """``log(y - ndt) ~ N(mu, sigma^2)``: mu is the mean of log(y - ndt), ndt the time before anything can happen.

    ``l = -a - log(2 pi)/2 - z^2/2 - log(y - ndt)``, ``z = (log(y - ndt) - mu) / sigma``; a = log sigma. ndt lies between 0
    and `ceiling`, the smallest response, a link that leaves no row impossible: ndt = ceiling / (1 + e^-b). (brms has a log
    link and a prior that ends there.)

    Parameters
    ----------
    ceiling : float
        What ndt is below; learned from the response.
    """

    name: ClassVar[str] = "shifted_lognormal"
    links: ClassVar[tuple[str, ...]] = ("identity",)

    ceiling: float = 1.0

    @property
    def support(self) -> Support:
        return "positive"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        ndt = Auxiliary(
            "ndt",
            "shift, below every response",
            partial(_below, self.ceiling),
            partial(_below_predictor, self.ceiling),
            role="shape",
            range="unit",
            ends=(0.0, self.ceiling),
            link="logit",
            prior="beta(1, 1)",
            title="Shift",
            typical=0.4,
        )
        return (Auxiliary("sigma", "standard deviation of log(y - ndt)", typical=-1.0), ndt)

    def learn(self, y: Array, w: Maybe) -> Distribution:
        return replace(self, ceiling=float(np.min(y)))

    def _left(self, y: Array, b: Maybe, xp: Namespace) -> Array:
        """y - ndt, which of the smallest response is ceiling / (1 + e^b)."""
        return (y - self.ceiling) + self.ceiling / (1.0 + xp.exp(b))

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        a, b = aux
        log_left = xp.log(self._left(y, b, xp))
        z = (log_left - c[0]) * xp.exp(-a)
        return -0.5 * z * z - a - log_left - 0.5 * LOG_2PI

    def mean(self, mu: Array, aux: Aux) -> Array:
        return _below(self.ceiling, aux[1]) + np.exp(mu + 0.5 * np.exp(2.0 * aux[0]))

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        s2 = np.exp(2.0 * aux[0])
        return np.expm1(s2) * np.exp(2.0 * mu + s2)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return w * (np.log(self._left(y, aux[1], np)) - mu) ** 2

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return _below(self.ceiling, aux[1]) + np.exp(mu + np.exp(aux[0]) * rng.standard_normal(np.shape(mu)))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import ndtr

        with np.errstate(divide="ignore"):
            log_left = np.log(np.maximum(y - _below(self.ceiling, aux[1]), 0.0))
        return ndtr((log_left - mu) * np.exp(-np.asarray(aux[0])))

    def start(self, y: Array, w: Maybe) -> Array:
        return np.log(y - 0.5 * np.min(y))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        away = np.log(self._left(y, 0.0, np)) - mu
        return (0.5 * float(np.log(max(float(np.mean(away**2)), 1e-300))), 0.0)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_positive(y, label, self.name)
        check_weights(w, label, zero=True)


@dataclass(frozen=True, slots=True)
class ExGaussian(Skewed):
    """A normal and an independent exponential variable added up, of mean mu in all (brms' parameters).

    With the standard deviation sigma = e^a of the normal, the mean beta = e^b of the exponential,
    ``z = (y - mu + beta) / sigma`` and ``u = z - sigma / beta`` (Luce 1986, app. B)

        l = -b - z^2/2 + m(u),   m(u) = log Phi(u) + u^2/2,

    m being the logarithm of Mills' ratio but for a constant, free of cancellation in the tail where beta is far below sigma.
    """

    name: ClassVar[str] = "exgaussian"
    links: ClassVar[tuple[str, ...]] = ("identity", "log", "inverse")
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        sigma = Auxiliary(
            "sigma", "standard deviation of the normal part: var = sigma^2 + beta^2", power=1.0, typical=-1.0
        )
        return (sigma, Auxiliary("beta", "mean of the exponential part", power=1.0, typical=-0.7))

    def _parts(self, y: Array, mu: Array, aux: Aux, xp: Namespace) -> tuple[Array, Array, Array]:
        """z, u and sigma / beta."""
        a, b = aux
        ratio = xp.exp(a - b)
        z = (y - mu) * xp.exp(-a) + xp.exp(b - a)
        return z, z - ratio, ratio

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        z, u, ratio = self._parts(y, c[0], aux, xp)
        below = u < 0
        tail = -0.5 * z * z + log_mills(xp.where(below, u, -1.0), xp)
        return (
            xp.where(below, tail, (0.5 * ratio - z) * ratio + log_ndtr(xp.where(below, 1.0, u), xp)) - aux[1]
        )

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return (np.exp(2.0 * aux[0]) + np.exp(2.0 * aux[1])) * np.ones(np.shape(mu))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        shape, beta = np.shape(mu), np.exp(aux[1])
        return (
            mu - beta + np.exp(aux[0]) * rng.standard_normal(shape) + beta * rng.standard_exponential(shape)
        )

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        z, _, ratio = self._parts(y, c[0], aux, xp)
        return exgaussian_tails(z, ratio, xp)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import ndtr

        z, u, ratio = self._parts(y, mu, aux, np)
        below = u < 0
        tail = -0.5 * z * z + log_mills(np.where(below, u, -1.0), np)
        other = (0.5 * ratio - z) * ratio + log_ndtr(np.where(below, 1.0, u), np)
        return np.clip(ndtr(z) - np.exp(np.where(below, tail, other)), 0.0, 1.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        # var = sigma^2 + beta^2, third central moment 2 beta^3
        sd, skewness = _moments(y - mu)
        share = np.clip(0.5 * skewness, 0.05, 0.9) ** (1.0 / 3.0)
        return (float(np.log(sd * np.sqrt(1.0 - share**2))), float(np.log(sd * share)))


@dataclass(frozen=True, slots=True)
class SkewNormal(Skewed):
    """Skew normal of mean mu, standard deviation sigma and skewness parameter alpha (brms' parameters); a = log sigma.

    With ``delta = alpha / sqrt(1 + alpha^2)``, ``omega = sigma / sqrt(1 - 2 delta^2 / pi)``, ``z = (y - mu) / omega +
    delta sqrt(2 / pi)`` (Azzalini 1985)

        l = log 2 - log(2 pi)/2 - log omega - z^2/2 + log Phi(alpha z).
    """

    name: ClassVar[str] = "skew_normal"
    links: ClassVar[tuple[str, ...]] = ("identity", "log", "inverse")
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        alpha = Auxiliary(
            "alpha",
            "skewness; the normal has 0",
            _itself,
            _itself,
            role="shape",
            range="real",
            link="identity",
            prior="normal(0, 4)",
            title="Skewness",
            typical=1.3,
        )
        return (Auxiliary("sigma", "standard deviation: var = sigma^2", power=1.0, typical=-1.0), alpha)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        a, alpha = aux
        delta = alpha / xp.sqrt(1.0 + alpha * alpha)
        log_omega = a - 0.5 * xp.log1p(-2.0 / np.pi * delta * delta)
        z = (y - c[0]) * xp.exp(-log_omega) + np.sqrt(2.0 / np.pi) * delta
        return log_ndtr(alpha * z, xp) - 0.5 * z * z - log_omega + (np.log(2.0) - 0.5 * LOG_2PI)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return np.ones(np.shape(mu))

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(2.0 * aux[0])

    def _natural(self, aux: Aux) -> tuple[Array, Array]:
        """delta and omega."""
        delta = aux[1] / np.sqrt(1.0 + np.square(aux[1]))
        return delta, np.exp(aux[0]) / np.sqrt(1.0 - 2.0 * delta**2 / np.pi)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        delta, omega = self._natural(aux)
        half, whole = np.abs(rng.standard_normal(np.shape(mu))), rng.standard_normal(np.shape(mu))
        return mu + omega * (delta * (half - np.sqrt(2.0 / np.pi)) + np.sqrt(1.0 - delta**2) * whole)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import ndtr, owens_t

        delta, omega = self._natural(aux)
        z = (y - mu) / omega + np.sqrt(2.0 / np.pi) * delta
        return np.clip(ndtr(z) - 2.0 * owens_t(z, aux[1]), 0.0, 1.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        # the moment estimate; at alpha = 0 the likelihood has a point of inflection, from which no search starts
        sd, skewness = _moments(y - mu)
        power = min(abs(skewness), 0.9) ** (2.0 / 3.0)
        delta2 = 0.5 * np.pi * power / (power + (2.0 - 0.5 * np.pi) ** (2.0 / 3.0))
        alpha = max(float(np.sqrt(delta2 / (1.0 - delta2))), 0.5)
        return (float(np.log(sd)), alpha if skewness >= 0 else -alpha)


def _itself(x: Numbers) -> Numbers:
    return x


def _below(ceiling: float, b: Numbers) -> Numbers:
    return ceiling * expit(b)


def _below_predictor(ceiling: float, value: Numbers) -> Numbers:
    return logit(np.asarray(value) / ceiling)


def _moments(residuals: Array) -> tuple[float, float]:
    """Standard deviation, and third central moment in its units."""
    sd = float(np.std(residuals))
    if sd == 0.0:
        return 1e-300, 0.0
    z = (residuals - np.mean(residuals)) / sd
    return sd, float(np.mean(z**3))
