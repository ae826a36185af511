"""A distribution whose auxiliary parameters are known numbers: the geometric, the exponential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.counts import Count, NegativeBinomial2
from lmmformula.families.distribution import Distribution
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange
from lmmformula.families.weibull import Weibull
from lmmformula.typing import Namespace

__all__ = ["Exponential", "Geometric"]


@dataclass(frozen=True, slots=True)
class Fixed(Distribution):
    """A base at constant auxiliary predictors."""

    base: ClassVar[Distribution]
    at: ClassVar[tuple[float, ...]]

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return self.base.log_density(y, c, self.at, w, xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        found = self.base.density(y, c, self.at, w, constant, derivatives=derivatives)
        if found is None:
            return None
        parts = tuple(part._replace(d1_aux=(), d2_aux=()) for part in found.parts)
        return Density(found.loglik, parts)

    @property
    def informs(self) -> bool:
        return self.base.informs

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        found = self.base.information(c, self.at, w, derivatives=derivatives)
        return tuple(info._replace(aux=()) for info in found)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return self.base.constant(y, w)

    def mean(self, mu: Array, aux: Aux) -> Array:
        return self.base.mean(mu, self.at)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return self.base.unit_variance(mu, self.at)

    def dispersion(self, aux: Aux) -> Maybe:
        return self.base.dispersion(self.at)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return self.base.deviance(y, mu, self.at, w)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return self.base.draw(rng, mu, self.at, w)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return self.base.cdf(y, mu, self.at, w)

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        return self.base.tails(y, c, self.at, w, xp)

    def events(self, y: Array, w: Maybe) -> Array:
        return self.base.events(y, w)


@dataclass(frozen=True, slots=True)
class Geometric(Fixed, Count):
    """Failures before a success: the negative binomial of size 1, with variance ``mu + mu^2``."""

    name: ClassVar[str] = "geometric"
    base: ClassVar[Distribution] = NegativeBinomial2()
    at: ClassVar[tuple[float, ...]] = (0.0,)


@dataclass(frozen=True, slots=True)
class Exponential(Fixed):
    """Exponential with mean mu, the Weibull distribution of shape 1; its variance is ``mu^2``."""

    name: ClassVar[str] = "exponential"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse", "identity")
    canonical: ClassVar[str] = "inverse"
    scales: ClassVar[bool] = True
    base: ClassVar[Distribution] = Weibull()
    at: ClassVar[tuple[float, ...]] = (0.0,)
