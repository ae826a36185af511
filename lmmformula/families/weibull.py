"""The Weibull distribution in its accelerated form: mu is the scale, which effects stretch, not the mean.

With ``z = k (log y - t)``, ``t = log mu`` and the shape k = e^a (Kalbfleisch & Prentice 2002, ch. 2.2),

    l = a + z - e^z - log y,     P(Y > y) = exp(-e^z),     E y = mu Gamma(1 + 1/k).

exp(coefficient) is a ratio of times, be they means or quantiles. (brms' mu is the mean: its intercept with a log link
is larger by log Gamma(1 + 1/k), all else is equal; survreg's scale is 1/k.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import namespace
from lmmformula.families.tails import extreme_tails
from lmmformula.typing import Namespace

__all__ = ["Weibull"]


@dataclass(frozen=True, slots=True)
class Weibull(Distribution):
    """Weibull with scale mu and shape k; a = log k."""

    name: ClassVar[str] = "weibull"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "identity", "inverse")
    scales: ClassVar[bool] = True
    expands: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (
            Auxiliary(
                "shape",
                "shape: P(Y > y) = exp(-(y / mu)^shape)",
                role="shape",
                prior="gamma(0.01, 0.01)",
                title="Shape",
                typical=0.3,
            ),
        )

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        z = (namespace(y).log(y) - c[0]) * xp.exp(aux[0])
        return aux[0] + z - xp.exp(z)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,), (a,) = c, aux
        k = np.exp(a)
        z = k * (np.log(y) - t)
        e = np.exp(z)
        loglik = constant + a + z - e
        d1, d2 = k * np.expm1(z), -k * k * e
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        part = Part(d1, d2, -k * d2, (d1 + k * z * e,), (d2 * (2.0 + z),))
        return Density(loglik, (part,), (1.0 - z * np.expm1(z),))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        value = np.exp(2.0 * aux[0]) * np.ones(np.shape(c[0]))
        return (Information(value, 0.0, (2.0 * value,)),)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return -np.log(y)

    def mean(self, mu: Array, aux: Aux) -> Array:
        from scipy.special import gammaln

        return mu * np.exp(gammaln(1.0 + np.exp(-np.asarray(aux[0]))))

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        from scipy.special import gammaln

        r = np.exp(-np.asarray(aux[0]))
        first = 2.0 * gammaln(1.0 + r)
        return mu**2 * np.exp(first) * np.expm1(gammaln(1.0 + 2.0 * r) - first)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        z = np.exp(aux[0]) * np.log(y / mu)
        return 2.0 * w * (np.expm1(z) - z)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return mu * rng.standard_exponential(np.shape(mu)) ** np.exp(-np.asarray(aux[0]))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return -np.expm1(-((np.maximum(y, 0.0) / mu) ** np.exp(aux[0])))

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        return extreme_tails((np.log(y) - c[0]) * xp.exp(aux[0]), xp)

    def start(self, y: Array, w: Maybe) -> Array:
        return y * np.exp(_EULER)  # E log y = log mu - 0.577 for shape 1

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        # sd of log y is pi / (sqrt(6) k)
        sd = float(np.std(np.log(y) - np.log(mu)))
        return (float(np.log(np.pi / np.sqrt(6.0) / max(sd, 1e-12))),)


_EULER = float(np.euler_gamma)
