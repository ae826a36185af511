"""The generalised Poisson distribution with variance proportional to the mean.

With theta = mu / sqrt(phi) and lambda = 1 - 1 / sqrt(phi) (Consul & Famoye 1992)

    l = log theta + (y - 1) log(theta + lambda y) - theta - lambda y - log y!,     E y = mu,   var y = phi mu.

phi = 1 is the Poisson. Below 1 the density is cut off where theta + lambda y <= 0 and no longer sums to
1, the less so the smaller phi is, as in glmmTMB, whose ``sigma()`` is phi.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.counts import Count
from lmmformula.families.lattice import cumulated, drawn_by_inversion
from lmmformula.families.records import Array, Aux, Density, Maybe
from lmmformula.families.taylor import expanded
from lmmformula.typing import Namespace

__all__ = ["GeneralisedPoisson"]


@dataclass(frozen=True, slots=True)
class GeneralisedPoisson(Count):
    """Generalised Poisson with mean mu and variance ``phi mu``; a = log phi."""

    name: ClassVar[str] = "genpois"
    adds: ClassVar[bool] = True
    expands: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (Auxiliary("phi", "index of dispersion: var = phi mu", typical=0.6),)

    @property
    def narrows(self) -> bool:
        return True

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        log_theta = c[0] - 0.5 * aux[0]
        theta, rate = xp.exp(log_theta), -xp.expm1(-0.5 * aux[0])
        at = theta + rate * y
        inside = at > 0
        value = log_theta + (y - 1.0) * xp.log(xp.where(inside, at, 1.0)) - at
        return xp.where(inside, value, -np.inf)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        return expanded(self.log_density, y, c, aux, w, constant, derivatives=derivatives)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu * np.exp(aux[0])

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return drawn_by_inversion(self, rng, mu, aux)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return cumulated(self, y, mu, aux)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (float(np.log(np.clip(np.mean((y - mu) ** 2 / mu), 0.2, 20.0))),)
