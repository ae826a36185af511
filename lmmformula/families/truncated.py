"""A count distribution without its zeros.

With l the base's log density, L = l(0) and v = 1 / (e^-L - 1) = P0 / (1 - P0),

    l_tr(y) = l(y) - log(1 - e^L),    y = 1, 2, ...,      d log(1 - e^L) / dL = -v,   dv/dL = v (1 + v),

from which the derivatives below follow by the chain rule. mu stays the mean of the base, as in glmmTMB's truncated families:

    E y = m / (1 - P0),     var y = (V + m^2) / (1 - P0) - (E y)^2,     I_tr = (I + P0 l''(0)) / (1 - P0) - v l''(0)
                                                                            - v (1 + v) l'(0)^2.

The last has -l_tr'' = -l'' + d2 log(1 - e^L), and I - P0 (-l''(0)) = (1 - P0) E[-l'' | y > 0].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.counts import Count
from lmmformula.families.distribution import Distribution, Support
from lmmformula.families.lattice import drawn_by_inversion
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, Part
from lmmformula.typing import Namespace

__all__ = ["Truncated"]

ROUNDS = 30
"""Draws of the base after which rows that are still zero are drawn by inversion."""

BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Truncated(Count):
    """A count distribution given that y > 0.

    Parameters
    ----------
    base : Distribution
        Of counts from 0 up; mu is its mean.
    """

    name: ClassVar[str] = "truncated"

    base: Distribution

    @property
    def support(self) -> Support:
        return "positive counts"

    @property
    def label(self) -> str:
        return f"truncated_{self.base.label}"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return self.base.auxiliaries

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return self.base.constant(y, w)

    def _at_zero(self) -> float:
        """The base's constant of y = 0."""
        return float(np.ravel(self.base.constant(np.zeros(1), 1.0))[0])

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        at_zero = self.base.log_density(0.0 * y, c, aux, w, xp) + self._at_zero()
        return self.base.log_density(y, c, aux, w, xp) - _log1mexp(at_zero, xp)

    def _zeros(self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool) -> Density:
        zeros = np.zeros(np.shape(c[0]))
        found = self.base.density(zeros, c, aux, w, self._at_zero(), derivatives=derivatives)
        if found is None:
            raise self._lacks("closed form")
        return found

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        base = self.base.density(y, c, aux, w, constant, derivatives=derivatives)
        if base is None:
            return None
        at = self._zeros(c, aux, w, derivatives=derivatives)
        (part,), (zero,) = base.parts, at.parts
        v = 1.0 / np.expm1(-at.loglik)
        s, h = zero.d1, zero.d2
        v1 = v * (1.0 + v)
        loglik = base.loglik - _log1mexp(at.loglik, np)
        d1, d2 = part.d1 + v * s, part.d2 + v * h + v1 * s * s
        if not derivatives:
            return Density(loglik, (Part(d1, d2),))
        v2 = v1 * (1.0 + 2.0 * v)
        d3 = part.d3 + v * zero.d3 + 3.0 * v1 * s * h + v2 * s * s * s
        own = zip(part.d1_aux, part.d2_aux, at.d_aux, zero.d1_aux, zero.d2_aux, strict=True)
        d1_aux, d2_aux = [], []
        for sy, hy, la, sa, ha in own:
            d1_aux.append(sy + v * sa + v1 * s * la)
            d2_aux.append(hy + v * ha + v1 * (h * la + 2.0 * s * sa) + v2 * s * s * la)
        d_aux = tuple(ly + v * la for ly, la in zip(base.d_aux, at.d_aux, strict=True))
        return Density(loglik, (Part(d1, d2, d3, tuple(d1_aux), tuple(d2_aux)),), d_aux)

    @property
    def narrows(self) -> bool:
        return self.base.narrows

    @property
    def informs(self) -> bool:
        return self.base.informs

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        if not self.informs:
            raise self._uninformed()
        (info,) = self.base.information(c, aux, w, derivatives=derivatives)
        at = self._zeros(c, aux, w, derivatives=True)
        (zero,) = at.parts
        # P0 / (1 - P0) = v and 1 / (1 - P0) = 1 + v, so that l''(0) cancels: I_tr = (1 + v) I - v (1 + v) l'(0)^2
        v = 1.0 / np.expm1(-at.loglik)
        v1 = v * (1.0 + v)
        v2 = v1 * (1.0 + 2.0 * v)
        s, h = zero.d1, zero.d2
        value = (1.0 + v) * info.value - v1 * s * s
        d1 = (1.0 + v) * info.d1 + v1 * s * info.value - v2 * s * s * s - 2.0 * v1 * s * h
        by_aux = tuple(
            (1.0 + v) * ia + v1 * la * info.value - v2 * la * s * s - 2.0 * v1 * s * sa
            for ia, la, sa in zip(info.aux, at.d_aux, zero.d1_aux, strict=True)
        )
        return (Information(value, d1, by_aux),)

    def _kept(self, mu: Array, aux: Aux) -> Array:
        """1 - P0."""
        return -np.expm1(self._log_zero(mu, aux))

    def _log_zero(self, mu: Array, aux: Aux) -> Array:
        return self.base.log_density(0.0 * mu, self._coordinates(mu), aux, 1.0, np) + self._at_zero()

    def mean(self, mu: Array, aux: Aux) -> Array:
        return self.base.mean(mu, aux) / self._kept(mu, aux)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        kept, m = self._kept(mu, aux), self.base.mean(mu, aux)
        spread = self.base.dispersion(aux) * self.base.unit_variance(mu, aux)
        p0 = 1.0 - kept
        return (spread - m**2 * p0 / kept) / kept

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """From the mu that explains y best: where the score is zero, which a one has at mu = 0."""
        low, high = np.log(np.full(np.shape(y), 1e-12)), np.log(np.maximum(y, 1.0)) + 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            found = self.density(y, (middle,), aux, 1.0, 0.0, derivatives=False)
            if found is None:
                raise self._lacks("deviance in closed form")
            rises = found.parts[0].d1 > 0
            low, high = np.where(rises, middle, low), np.where(rises, high, middle)
        best, at = (self.log_density(y, (t,), aux, 1.0, np) for t in (0.5 * (low + high), np.log(mu)))
        return w * np.maximum(2.0 * (best - at), 0.0)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        shape = np.broadcast_shapes(np.shape(mu), *map(np.shape, aux))
        mu, *more = (np.broadcast_to(v, shape).ravel() for v in (mu, *aux))
        y = self.base.draw(rng, mu, tuple(more), 1.0)
        for _ in range(ROUNDS):
            left = np.flatnonzero(y == 0)
            if not left.size:
                return y.reshape(shape)
            y[left] = self.base.draw(rng, mu[left], tuple(a[left] for a in more), 1.0)
        left = np.flatnonzero(y == 0)
        if left.size:
            y[left] = drawn_by_inversion(self, rng, mu[left], tuple(a[left] for a in more), first=1)
        return y.reshape(shape)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        kept = self._kept(mu, aux)
        inside = (self.base.cdf(y, mu, aux, w) - (1.0 - kept)) / kept
        return np.where(np.floor(y) < 1, 0.0, np.clip(inside, 0.0, 1.0))

    def events(self, y: Array, w: Maybe) -> Array:
        # what is seen above the least: ones alone are explained by mu = 0
        return np.array([np.sum(w * (y - 1.0))])

    def start(self, y: Array, w: Maybe) -> Array:
        return np.maximum(y - 1.0, 0.0) + 0.5

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return self.base.start_aux(y, mu, w)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        self.base.check(y, w, label)
        zeros = int((np.asarray(y) == 0).sum())
        if zeros:
            raise DataError(
                f"family {self.label!r} gives no probability to 0, but `{label}` is 0 in {zeros:,} of {np.size(y):,} rows; "
                f"use family={self.base.label!r}, or {'hurdle_' + self.base.label!r} with a model of the zeros"
            )


def _log1mexp(x: Array, xp: Namespace) -> Array:
    """log(1 - e^x) for x < 0: by expm1 near 0, by log1p far below."""
    near = x > -0.7
    return xp.where(
        near, xp.log(-xp.expm1(xp.where(near, x, -1.0))), xp.log1p(-xp.exp(xp.where(near, -1.0, x)))
    )
