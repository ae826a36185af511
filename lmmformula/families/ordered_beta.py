"""Ordered beta regression: proportions from 0 to 1, ends included, by one predictor (Kubinec 2022, Polit. Anal. 31, 519-536).

With the logit link, mu = 1 / (1 + e^-eta), and cut points c0 < c1

    P(0) = 1 / (1 + e^-(c0 - eta)),     P(1) = 1 / (1 + e^-(eta - c1)),     else  P(0 < y < 1) beta(y; phi mu, phi (1 - mu)),

    P(0 < y < 1) = (1 - e^-(c1 - c0)) / ((1 + e^(c0 - eta)) (1 + e^(eta - c1))).

The second cut point is c0 + gap, so that they are ordered whatever their predictors; glmmTMB keeps (c0, c1),
ordbetareg (c0, log gap).

With ``L = c0 - eta`` and ``H = eta - c1`` a row is the sum of three terms, of which one at an end has a single one:

    l = u(L) [y < 1] + v(H) [y > 0] + {log(1 - e^-gap) + log beta(y)} [0 < y < 1],

u = log s(L) at y = 0 and -log(1 + e^L) above it, v = log s(H) at y = 1 and -log(1 + e^H) below it, s being logistic. Both
have the derivatives 1[at its end] - s, -s', -s'' with s' = s (1 - s), s'' = s' (1 - 2 s).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import check_closed_unit, check_some
from lmmformula.families.compose import full, observed_rows
from lmmformula.families.distribution import Direct, Distribution, Support
from lmmformula.families.probabilities import expit, logit
from lmmformula.families.records import Array, Aux, Maybe, MeanRange, Rows
from lmmformula.families.special import softplus
from lmmformula.families.unit import Beta
from lmmformula.families.unit_links import logit_sides
from lmmformula.typing import Namespace, Numbers

__all__ = ["OrderedBeta"]


def _itself(x: Numbers) -> Numbers:
    return x


def _side(x: Array, at_end: Array, seen: Array) -> tuple[Array, Array, Array, Array]:
    """u(x) with three derivatives: ``log s(x)`` at the end, ``-log(1 + e^x)`` elsewhere, nothing where it is not seen."""
    s = expit(x)
    d2 = -s * expit(-x)
    value = np.where(at_end, x, 0.0) - softplus(x, np)
    return tuple(np.where(seen, v, 0.0) for v in (value, at_end - s, d2, d2 * (1.0 - 2.0 * s)))  # type: ignore[return-value]


def _ordered_logit(y: Array, eta: Array, aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool) -> Rows:
    """The rows in closed form."""
    zero, one = y == 0, y == 1
    inside = ~(zero | one)
    gap = np.exp(aux[2])
    low = _side(aux[1] - eta, zero, ~one)
    high = _side(eta - aux[1] - gap, one, ~zero)
    jets, n = logit_sides(eta), eta.size
    at = tuple(jet.value for jet in jets)
    beta = Beta().density(np.where(inside, y, 0.5), at, aux[:1], 1.0, 0.0, derivatives=derivatives)
    own = observed_rows(beta, jets, n, derivatives=derivatives)

    def of_beta(values: Array) -> Array:
        return np.where(inside, values, 0.0)

    between = np.log(-np.expm1(-gap))
    loglik = constant + low[0] + high[0] + of_beta(own.loglik + between)
    score = of_beta(own.score) - low[1] + high[1]
    weight = of_beta(own.weight) - low[2] - high[2]
    if not derivatives:
        return Rows(full(loglik, n), score, weight)
    assert own.weight_eta is not None
    return Rows(
        full(loglik, n),
        score,
        weight,
        of_beta(own.weight_eta) + low[3] - high[3],
        (of_beta(own.d_aux[0]), low[1] - high[1], of_beta(gap / np.expm1(gap)) - gap * high[1]),
        (of_beta(own.score_aux[0]), -low[2] - high[2], -gap * high[2]),
        (of_beta(own.weight_aux[0]), high[3] - low[3], gap * high[3]),
    )


@dataclass(frozen=True, slots=True)
class OrderedBeta(Distribution):
    """Ordered beta; mu is the mean of the beta part, a = (log phi, c0, log gap)."""

    name: ClassVar[str] = "ordbeta"
    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit",)
    atoms: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    expands: ClassVar[bool] = True
    direct: ClassVar[Mapping[str, Direct]] = {"logit": _ordered_logit}

    @property
    def support(self) -> Support:
        return "closed unit"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        cut = Auxiliary(
            "cutzero",
            "cut point: P(0) = logistic(cutzero - eta)",
            _itself,
            _itself,
            role="shape",
            range="real",
            link="identity",
            prior="normal(0, 10)",
            title="Cut point",
            typical=-1.1,
        )
        meaning = "distance of the cut points: P(1) = logistic(eta - cutzero - gap)"
        gap = Auxiliary(
            "gap", meaning, role="shape", aliases=("cutone",), title="Distance of cut points", typical=0.7
        )
        return (*Beta().auxiliaries, cut, gap)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        eta = c[0] - c[1]
        low, gap = aux[1] - eta, xp.exp(aux[2])
        high = eta - aux[1] - gap
        zero, one = y == 0, y == 1
        inside = xp.where(zero | one, 0.5, y)
        between = xp.log(-xp.expm1(-gap)) - softplus(low, xp) - softplus(high, xp)
        beta = Beta().log_density(inside, c, aux[:1], 1.0, xp)
        at_end = xp.where(zero, -softplus(-low, xp), -softplus(-high, xp))
        return xp.where(zero | one, at_end, between + beta)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        ends = (y == 0) | (y == 1)
        return np.where(ends, 0.0, Beta().constant(np.where(ends, 0.5, y), 1.0))

    def _ends(self, mu: Array, aux: Aux) -> tuple[Array, Array]:
        """P(0) and P(1)."""
        eta = logit(mu)
        return expit(aux[1] - eta), expit(eta - aux[1] - np.exp(aux[2]))

    def mean(self, mu: Array, aux: Aux) -> Array:
        zero, one = self._ends(mu, aux)
        return one + (1.0 - zero - one) * mu

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        zero, one = self._ends(mu, aux)
        second = one + (1.0 - zero - one) * (Beta().unit_variance(mu, aux[:1]) + mu**2)
        return second - self.mean(mu, aux) ** 2

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        raise self._lacks("deviance: no mean explains a response best by being it; quantile residuals suit")

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        zero, one = self._ends(mu, aux)
        u, y = rng.random(np.shape(mu)), Beta().draw(rng, mu, aux[:1], 1.0)
        return np.where(u < zero, 0.0, np.where(u >= 1.0 - one, 1.0, y))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        zero, one = self._ends(mu, aux)
        inside = zero + (1.0 - zero - one) * Beta().cdf(y, mu, aux[:1], 1.0)
        return np.where(np.asarray(y) < 0, 0.0, np.where(np.asarray(y) >= 1, 1.0, inside))

    def start(self, y: Array, w: Maybe) -> Array:
        n = max(np.size(y), 2)
        return (y * (n - 1.0) + 0.5) / n  # Smithson & Verkuilen (2006)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        at = (y == 0) | (y == 1)
        mu = np.broadcast_to(mu, np.shape(y))
        phi = Beta().start_aux(y[~at], mu[~at], 1.0)
        n = np.size(y)
        zero, one = (np.clip(np.sum(y == end) / n, 0.5 / n, 0.8) for end in (0.0, 1.0))
        middle = float(np.mean(logit(mu)))
        low = middle + float(logit(zero))
        return (*phi, low, float(np.log(max(middle - float(logit(one)) - low, 0.1))))

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_closed_unit(y, label, self.name)
        check_some((y > 0) & (y < 1), label, "0 or 1", self.name)
