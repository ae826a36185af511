"""Zero inflation of a count distribution.

With probability ``pi = 1/(1 + e^-z)`` a row is a structural zero, else it comes from the base (Lambert 1992). With
l the base's log density, u = l(0) - z and the posterior probability rho = 1/(1 + e^-u) that a zero is the base's,

    l_zi(0) = log(e^z + e^l(0)) - log(1 + e^z),    l_zi(y) = l(y) - log(1 + e^z)  for y > 0,

and d rho = rho (1 - rho) du gives every derivative below. The expected information is

    I_zi = (1 - pi) [I - P0 (1 - rho) s0^2],   P0 = e^l(0), s0 = dl(0)/dc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import ZEROS, Auxiliary
from lmmformula.families.counts import Count
from lmmformula.families.distribution import Distribution, WeightsAre
from lmmformula.families.probabilities import expit, logit, probability
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import softplus
from lmmformula.typing import Namespace

__all__ = ["ZeroInflated", "ZeroInflatedTrials"]


def _mixed(zero: Array, z: Maybe, base: Array, xp: Namespace) -> Array:
    return xp.where(zero, xp.logaddexp(z, base), base) - softplus(z, xp)


@dataclass(frozen=True, slots=True)
class ZeroInflated(Count):
    """A count distribution with extra zeros; the last auxiliary predictor is z = logit pi.

    Parameters
    ----------
    base : Distribution
        Its mean is mu; the mean of the response is ``(1 - pi) mu``.
    """

    name: ClassVar[str] = "zero_inflated"
    expands: ClassVar[bool] = True

    base: Distribution

    @property
    def label(self) -> str:
        return f"zero_inflated_{self.base.label}"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        zi = probability(ZEROS, "probability of a structural zero", "Zero inflation", role="zeros")
        return (*self.base.auxiliaries, zi)

    def events(self, y: Array, w: Maybe) -> Array:
        return self.base.events(y, w)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return self.base.constant(y, w)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        # of the constant only that at y = 0 is under the logarithm
        at_zero = np.ravel(self.base.constant(np.zeros(1), 1.0))[0]
        base = self.base.log_density(y, c, aux[:-1], w, xp)
        return _mixed(y == 0, aux[-1], base + at_zero, xp) - at_zero

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        *own, z = aux
        base = self.base.density(y, c, tuple(own), w, constant, derivatives=derivatives)
        if base is None or len(base.parts) != 1:
            return None
        part = base.parts[0]
        zero = y == 0
        u = base.loglik - z
        loglik = _mixed(zero, z, base.loglik, np)
        # a row with y > 0 is the base's for certain: rho = 1 and its derivatives vanish
        rho = np.where(zero, expit(u), 1.0)
        r1 = np.where(zero, expit(u) * expit(-u), 0.0)
        s, h = part.d1, part.d2
        d1, d2 = rho * s, rho * h + r1 * s * s  # left to right: r1 is 0 where s * s overflows
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        r2 = r1 * (1.0 - 2.0 * rho)
        d3 = rho * part.d3 + 3 * r1 * s * h + r2 * s * s * s
        pairs = list(zip(base.d_aux, part.d1_aux, part.d2_aux, strict=True))
        d1_aux = (*(rho * sa + r1 * s * la for la, sa, _ in pairs), -r1 * s)
        d2_aux = (
            *(rho * ha + r1 * h * la + 2 * r1 * s * sa + r2 * s * s * la for la, sa, ha in pairs),
            -r1 * h - r2 * s * s,
        )
        pi = expit(z)
        d_aux = (*(rho * la for la, _, _ in pairs), np.where(zero, expit(-u), 0.0) - pi)
        return Density(loglik, (Part(d1, d2, d3, d1_aux, d2_aux),), d_aux)

    @property
    def narrows(self) -> bool:
        return self.base.narrows

    @property
    def informs(self) -> bool:
        # in closed form where the mean has one coordinate
        return self.base.informs and self.base.mean_range != "unit"

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        *own, z = aux
        if not self.informs:
            raise self._uninformed()
        (info,) = self.base.information(c, tuple(own), w, derivatives=derivatives)
        zeros = np.zeros(np.shape(c[0]))
        base = self.base.density(zeros, c, tuple(own), w, 0.0, derivatives=True)
        if base is None:
            raise self._lacks("derivatives in closed form, which its expected information needs")
        (part,) = base.parts
        s, h, p0 = part.d1, part.d2, np.exp(base.loglik)
        u = base.loglik - z
        lost = expit(-u)  # 1 - rho
        r1 = expit(u) * lost
        pi, left = expit(z), expit(-np.asarray(z))
        change = p0 * (r1 - lost)  # d[P0 (1 - rho)] = change * dl(0)
        value = left * (info.value - p0 * lost * s * s)
        by_aux = tuple(
            left * (ia + change * la * s * s - 2 * p0 * lost * s * sa)
            for ia, la, sa in zip(info.aux, base.d_aux, part.d1_aux, strict=True)
        )
        by_z = -pi * value - left * p0 * r1 * s * s
        d1 = left * (info.d1 + change * s * s * s - 2 * p0 * lost * s * h)
        return (Information(value, d1, (*by_aux, by_z)),)

    def mean(self, mu: Array, aux: Aux) -> Array:
        return expit(-np.asarray(aux[-1])) * self.base.mean(mu, aux[:-1])

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        pi = expit(aux[-1])
        return (1.0 - pi) * (self.base.unit_variance(mu, aux[:-1]) + pi * mu**2)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        y = self.base.draw(rng, mu, aux[:-1], w)
        return np.where(rng.random(np.shape(mu)) < expit(aux[-1]), 0.0, y)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        pi = expit(aux[-1])
        return np.where(np.asarray(y) < 0, 0.0, pi + (1.0 - pi) * self.base.cdf(y, mu, aux[:-1], w))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (*self.base.start_aux(y, mu, w), float(logit(np.clip(np.mean(y == 0) / 2, 0.02, 0.9))))

    def check(self, y: Array, w: Maybe, label: str) -> None:
        self.base.check(y, w, label)


@dataclass(frozen=True, slots=True)
class ZeroInflatedTrials(ZeroInflated):
    """The same of successes in trials: a share of rows has none for certain."""

    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit")
    weights_are: ClassVar[WeightsAre] = "trials"

    def row_variance(self, mu: Array, aux: Aux, w: Maybe) -> Array:
        pi = expit(aux[-1])
        return (1.0 - pi) * (self.base.row_variance(mu, aux[:-1], w) + pi * w * mu**2)

    def step(self, w: Maybe) -> Maybe:
        return self.base.step(w)

    def start(self, y: Array, w: Maybe) -> Array:
        return self.base.start(y, w)
