r"""The Tweedie distribution between Poisson and gamma: a Poisson number of gamma amounts, so zero or positive.

With variance ``phi mu^p / w``, 1 < p < 2, ``f = phi / w``, ``t = log mu``, A = y mu^(1-p), B = mu^(2-p) and b = (2 - p) / (p
- 1) (Dunn & Smyth 2005,
Stat. Comput. 15, 267-280)

    l = [A / (1 - p) - B / (2 - p)] / f + log W - log y   (y > 0),      l = - B / ((2 - p) f)   (y = 0),
    W = sum_j W_j,   log W_j = j r - lgamma(j + 1) - lgamma(b j),   r = b log y - b log(p - 1) - (1 + b) log f - log(2 - p).

Only the first part moves with mu: l_t = (A - B) / f, and each further derivative multiplies A by 1 - p, B by 2 - p. W
is a sum over a bell around j = y^(2-p) / ((2 - p) f); with expectations over its terms

    dlog W / dlog f = - (1 + b) E j,     dlog W / dp = E[j dr/dp - j b' digamma(b j)],   b' = -1 / (p - 1)^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.bells import places, reach, spans
from lmmformula.families.checks import check_nonnegative, check_weights
from lmmformula.families.distribution import Distribution, Support, WeightsAre
from lmmformula.families.probabilities import expit, logit
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import gammaln, namespace
from lmmformula.typing import Namespace, Numbers

__all__ = ["Tweedie"]

TRACED_TERMS = 320
"""Enough for every bell: s = 1 + b >= 1, see :func:`lmmformula.families.bells.reach`."""
LARGEST_TABLE = 1_000_000
"""Terms of gamma functions that are made once for all rows."""


def _power(a: Numbers) -> Numbers:
    return 1.0 + expit(a)


def _predictor(p: Numbers) -> Numbers:
    return logit(np.asarray(p) - 1.0)


@dataclass(frozen=True, slots=True)
class Tweedie(Distribution):
    """Tweedie with mean mu, dispersion phi and power p; a = (log phi, logit(p - 1))."""

    name: ClassVar[str] = "tweedie"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "identity", "inverse", "sqrt")
    weights_are: ClassVar[WeightsAre] = "precision"
    atoms: ClassVar[tuple[float, ...]] = (0.0,)

    @property
    def support(self) -> Support:
        return "nonnegative"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        p = Auxiliary(
            "p",
            "power of the mean",
            _power,
            _predictor,
            role="shape",
            range="unit",
            ends=(1.0, 2.0),
            link="logit",
            prior="beta(1, 1)",
            aliases=("power",),
            title="Power of the variance",
            typical=0.1,
        )
        return (Auxiliary("phi", "dispersion: var = phi mu^p", power=0.5, aliases=("sigma",), typical=0.2), p)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        log_f, fraction = aux[0] - namespace(w).log(w), 1.0 / (1.0 + xp.exp(-aux[1]))
        p, rest = 1.0 + fraction, 1.0 / (1.0 + xp.exp(aux[1]))
        own = y * xp.exp(-fraction * c[0]) / -fraction - xp.exp(rest * c[0]) / rest
        positive = y > 0
        inside = xp.where(positive, y, 1.0)
        if xp is np:
            at = np.broadcast_arrays(np.log(inside), log_f, p)
            series = _series(*(np.asarray(v, float) for v in at), derivatives=False)[0]
        else:
            series = _traced(xp.log(inside), log_f, fraction, rest, xp)
        return own * xp.exp(-log_f) + xp.where(positive, series, 0.0)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (t,) = c
        f, p = np.exp(aux[0]) / w, _power(aux[1])
        one, two = 1.0 - p, 2.0 - p
        amount, rate = y * np.exp(one * t) / f, np.exp(two * t) / f
        positive = y > 0
        at = np.broadcast_arrays(np.log(np.where(positive, y, 1.0)), np.log(f), p)
        series, by_f, by_p = _series(*at, derivatives=derivatives)
        kappa = amount / one - rate / two
        loglik = constant + kappa + np.where(positive, series, 0.0)
        d1, d2 = amount - rate, one * amount - two * rate
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        slope = (p - 1.0) * two  # dp / da
        d_p = -t * kappa + amount / one**2 - rate / two**2 + np.where(positive, by_p, 0.0)
        part = Part(
            d1,
            d2,
            one**2 * amount - two**2 * rate,
            (-d1, -slope * t * d1),
            (-d2, slope * (-t * d2 - d1)),
        )
        return Density(loglik, (part,), (np.where(positive, by_f, 0.0) - kappa, slope * d_p))

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return np.where(y > 0, -np.log(np.where(y > 0, y, 1.0)), 0.0)

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        p = _power(aux[1])
        value = w * np.exp((2.0 - p) * c[0] - aux[0])
        slope = (p - 1.0) * (2.0 - p)
        return (Information(value, (2.0 - p) * value, (-value, -slope * c[0] * value)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu ** _power(aux[1])

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        p = _power(aux[1])
        one, two = 1.0 - p, 2.0 - p
        inside = np.where(y > 0, y, 1.0)
        amount = np.where(y > 0, y * (inside**one - mu**one) / one, 0.0)
        return 2.0 * w * (amount - (np.where(y > 0, inside**two, 0.0) - mu**two) / two)

    def _amounts(self, mu: Array, aux: Aux, w: Maybe) -> tuple[Array, Array, Array]:
        """Mean of the Poisson number of amounts, shape and scale of each."""
        p, f = _power(aux[1]), np.exp(aux[0]) / w
        return mu ** (2.0 - p) / (f * (2.0 - p)), (2.0 - p) / (p - 1.0), f * (p - 1.0) * mu ** (p - 1.0)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        rate, shape, scale = np.broadcast_arrays(*self._amounts(mu, aux, w))
        number = rng.poisson(rate)
        return np.where(number > 0, scale * rng.gamma(np.maximum(number, 1) * shape), 0.0)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import gammainc

        rate, shape, scale = self._amounts(mu, aux, w)
        y, rate, shape, scale = np.broadcast_arrays(np.asarray(y, float), rate, shape, scale)
        k, step = places(rate, np.ones(rate.shape), 1.0)
        p = np.exp(k * np.log(rate)[..., None] - rate[..., None] - gammaln(k + 1.0, np)) * step[..., None]
        at = np.maximum(y, 0.0) / scale
        found = np.exp(-rate) + np.sum(p * gammainc(shape[..., None] * k, at[..., None]), axis=-1)
        return np.where(y < 0, 0.0, np.minimum(found, 1.0))

    def start(self, y: Array, w: Maybe) -> Array:
        return np.where(y > 0, y, np.mean(y) / 6.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (float(np.log(max(float(np.mean(w * (y - mu) ** 2 / mu**1.5)), 1e-300))), 0.0)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_nonnegative(y, label, self.name)
        check_weights(w, label, zero=False)


def _series(log_y: Array, log_f: Array, p: Array, *, derivatives: bool) -> tuple[Array, Array, Array]:
    """log W, and its derivatives in log f and p (of no use without `derivatives`)."""
    b = (2.0 - p) / (p - 1.0)
    r = b * (log_y - np.log(p - 1.0)) - (1.0 + b) * log_f - np.log(2.0 - p)
    top = np.exp((r - b * np.log(b)) / (1.0 + b))
    value, mean, bent = _added(r, b, top, derivatives=derivatives)
    slope = -1.0 / (p - 1.0) ** 2
    of_r = slope * (log_y - np.log(p - 1.0) - log_f) - b / (p - 1.0) + 1.0 / (2.0 - p)
    return value, -(1.0 + b) * mean, of_r * mean - slope * bent


def _added(r: Array, b: Array, top: Array, *, derivatives: bool) -> tuple[Array, Array, Array]:
    """log W, and (zero without derivatives) E j and E j digamma(b j); compiled where all rows have one b, and a table does."""
    from scipy.special import digamma

    low, step, count = spans(top.ravel(), 1.0 + b.ravel(), 1.0)
    last = float(np.max(low + step * count, initial=1.0))
    if b.size and (b == b.flat[0]).all() and last < LARGEST_TABLE:
        from lmmformula.numerics.bell_kernels import tweedie_sums

        table, own = np.arange(1.0, last + 1.0), b.flat[0]
        lowered = gammaln(table + 1.0, np) + gammaln(own * table, np)
        digammas = digamma(own * table) if derivatives else np.empty(0)
        out = np.zeros((3, b.size))
        peak = np.minimum(top.ravel(), last).astype(np.int64)
        tweedie_sums(
            r.ravel(), peak, low.astype(np.int64), step.astype(np.int64), count, lowered, digammas, out
        )
        value, mean, bent = out.reshape(3, *r.shape)
        return value, mean, bent
    j, step = places(top, 1.0 + b, 1.0)
    bj = b[..., None] * j
    q = j * r[..., None] - gammaln(j + 1.0, np) - gammaln(bj, np)
    most = q.max(axis=-1, keepdims=True)
    e = np.exp(q - most)
    total = e.sum(axis=-1)
    value = most[..., 0] + np.log(total * step)
    if not derivatives:
        return value, np.zeros(value.shape), np.zeros(value.shape)
    mean = np.einsum("...j,...j->...", e, j) / total
    return value, mean, np.einsum("...j,...j->...", e, j * digamma(bj)) / total


def _traced(log_y: Numbers, log_f: Numbers, fraction: Numbers, rest: Numbers, xp: Namespace) -> Numbers:
    """log W of parameters that are traced; where terms are taken moves in whole steps and is not differentiated."""
    import jax

    b = rest / fraction
    r = b * (log_y - xp.log(fraction)) - (1.0 + b) * log_f - xp.log(rest)
    fixed = jax.lax.stop_gradient
    top = xp.exp((r - b * xp.log(b)) / (1.0 + b))
    low, step, _ = reach(fixed(top), fixed(1.0 + b), 1.0, xp)
    j = low[..., None] + step[..., None] * xp.arange(TRACED_TERMS)
    bj = xp.broadcast_to(b, r.shape)[..., None] * j
    q = j * r[..., None] - gammaln(j + 1.0, xp) - gammaln(bj, xp)
    return jax.scipy.special.logsumexp(q, axis=-1) + xp.log(step)
