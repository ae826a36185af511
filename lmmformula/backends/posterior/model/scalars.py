"""Numbers on unconstrained scales with their prior densities; see :mod:`lmmformula.backends.posterior.model.coordinates`."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log, pi
from typing import NamedTuple, Protocol

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.across.naturals import Length, Natural
from lmmformula.ir.prior_distributions import LKJ, Point, Stated, Uniform
from lmmformula.ir.prior_protocol import DensityTerms
from lmmformula.ir.priors import Prior
from lmmformula.typing import Array, Namespace, Numbers

__all__ = [
    "Between",
    "Coordinate",
    "CoordinateRow",
    "Folded",
    "Held",
    "Inside",
    "Logged",
    "Mixing",
    "Whole",
    "scale_coordinate",
    "structure_coordinate",
]

_LOG2 = log(2.0)
_HALF_LOG_2PI = 0.5 * log(2.0 * pi)
_EDGE = 1e-12
"""Least share of an interval that a value leaves to either end."""


class CoordinateRow(NamedTuple):
    """A coordinate as coefficients, for a loop that cannot call it.

    The value is ``base + sinh sinh x + exp e^x + tanh tanh x + linear x``, the log density of x the prior's, given by its terms
    at the absolute value, plus ``slope x + log_cosh log cosh x + decay e^-x + square x^2``.
    """

    base: float = 0.0
    sinh: float = 0.0
    exp: float = 0.0
    tanh: float = 0.0
    linear: float = 0.0
    slope: float = 0.0
    log_cosh: float = 0.0
    decay: float = 0.0
    square: float = 0.0
    prior: DensityTerms = DensityTerms()

    @property
    def numbers(self) -> tuple[float, ...]:
        """All coefficients in a row."""
        return (*self[:-1], *self.prior)


class Coordinate(Protocol):
    """One real number x for one parameter; arrays elementwise."""

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """The parameter."""
        ...

    def slope(self, x: float) -> float:
        """d value / dx."""
        ...

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """Log prior density of x."""
        ...

    def density_slope(self, x: float) -> float:
        """Its derivative."""
        ...

    def inverse(self, value: Numbers) -> Numbers:
        """x of a value."""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """x of draws from the prior."""
        ...

    @property
    def row(self) -> CoordinateRow | None:
        """The same as coefficients; None if it has none."""
        ...


def _log_cosh(x: Numbers, xp: Namespace) -> Numbers:
    size = xp.abs(x)
    return size + xp.log1p(xp.exp(-2.0 * size)) - _LOG2


def _row(prior: Stated, constant: float, **formula: float) -> CoordinateRow | None:
    """Of a formula and the prior of what it gives; None where the prior is no sum."""
    terms: DensityTerms | None = prior.terms
    if terms is None:
        return None
    return CoordinateRow(**formula, prior=terms._replace(constant=terms.constant + constant))


@dataclass(frozen=True, slots=True)
class Folded:
    """s = c sinh x, sd = |s|."""

    prior: Stated
    scale: float

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.scale * xp.sinh(x)

    def slope(self, x: float) -> float:
        return self.scale * float(np.cosh(x))

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        sd = xp.abs(self.value(x, xp))
        return self.prior.logpdf(sd, xp) + _log_cosh(x, xp) + (log(self.scale) - _LOG2)

    def density_slope(self, x: float) -> float:
        s = self.value(x)
        return float(self.prior.slope(abs(s)) * np.sign(s) * self.slope(x) + np.tanh(x))

    def inverse(self, value: Numbers) -> Numbers:
        return np.arcsinh(value / self.scale)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.inverse(self.prior.sample(rng, size))

    @property
    def row(self) -> CoordinateRow | None:
        return _row(self.prior, log(self.scale) - _LOG2, sinh=self.scale, log_cosh=1.0)


@dataclass(frozen=True, slots=True)
class Logged:
    """value = c exp x."""

    prior: Stated
    scale: float

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.scale * xp.exp(x)

    def slope(self, x: float) -> float:
        return self.scale * float(np.exp(x))

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.prior.logpdf(self.value(x, xp), xp) + x + log(self.scale)

    def density_slope(self, x: float) -> float:
        return float(self.prior.slope(self.value(x)) * self.slope(x) + 1.0)

    def inverse(self, value: Numbers) -> Numbers:
        return np.log(np.maximum(value, 1e-8 * self.scale) / self.scale)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.inverse(self.prior.sample(rng, size))

    @property
    def row(self) -> CoordinateRow | None:
        return _row(self.prior, log(self.scale), exp=self.scale, slope=1.0)


@dataclass(frozen=True, slots=True)
class Between:
    """value = low + (high - low) u with u = (1 + tanh x) / 2 ~ Beta(b, b)."""

    low: float
    high: float
    b: float

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.low + 0.5 * (self.high - self.low) * (1.0 + xp.tanh(x))

    def slope(self, x: float) -> float:
        return 0.5 * (self.high - self.low) / float(np.cosh(x)) ** 2

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        log_beta = 2.0 * lgamma(self.b) - lgamma(2.0 * self.b)
        return (1.0 - 2.0 * self.b) * _LOG2 - log_beta - 2.0 * self.b * _log_cosh(x, xp)

    def density_slope(self, x: float) -> float:
        return -2.0 * self.b * float(np.tanh(x))

    def inverse(self, value: Numbers) -> Numbers:
        u = (value - self.low) / (self.high - self.low)
        return np.arctanh(2.0 * np.clip(u, 1e-4, 1.0 - 1e-4) - 1.0)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        a, b = rng.gamma(self.b, size=size), rng.gamma(self.b, size=size)
        return 0.5 * (np.log(a) - np.log(b))

    @property
    def row(self) -> CoordinateRow | None:
        half = 0.5 * (self.high - self.low)
        log_beta = 2.0 * lgamma(self.b) - lgamma(2.0 * self.b)
        constant = DensityTerms((1.0 - 2.0 * self.b) * _LOG2 - log_beta)
        return CoordinateRow(self.low + half, tanh=half, log_cosh=-2.0 * self.b, prior=constant)


@dataclass(frozen=True, slots=True)
class Inside:
    """value = low + (high - low) (1 + tanh x) / 2, with any prior cut off at both ends."""

    prior: Stated
    low: float
    high: float
    log_mass: float

    @classmethod
    def of(cls, prior: Stated, low: float, high: float) -> Inside:
        """With the prior's probability between the ends, by the trapezoidal rule in x, where the density falls off at both."""
        own, x = cls(prior, low, high, 0.0), np.linspace(-15.0, 15.0, 6_001)
        with np.errstate(divide="ignore"):
            mass = float(np.exp(own.log_density(x)).sum() * (x[1] - x[0]))
        if not mass > 1e-10:
            raise PlanError(
                f"the prior {prior} has practically no probability between {low:g} and {high:g}, where its parameter lies."
            )
        return cls(prior, low, high, float(np.log(mass)))

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        share = xp.clip(0.5 * (1.0 + xp.tanh(x)), _EDGE, 1.0 - _EDGE)
        return self.low + (self.high - self.low) * share

    def slope(self, x: float) -> float:
        return 0.5 * (self.high - self.low) / float(np.cosh(x)) ** 2

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        moved = log(0.5 * (self.high - self.low)) - 2.0 * _log_cosh(x, xp) - self.log_mass
        return self.prior.logpdf(self.value(x, xp), xp) + moved

    def density_slope(self, x: float) -> float:
        return float(self.prior.slope(self.value(x))) * self.slope(x) - 2.0 * float(np.tanh(x))

    def inverse(self, value: Numbers) -> Numbers:
        u = (value - self.low) / (self.high - self.low)
        return np.arctanh(2.0 * np.clip(u, 1e-4, 1.0 - 1e-4) - 1.0)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        out = np.zeros(0)
        while len(out) < size:
            drawn = self.prior.sample(rng, max(size, 100))
            out = np.concatenate([out, drawn[(drawn > self.low) & (drawn < self.high)]])
        share = (out[:size] - self.low) / (self.high - self.low)
        return np.arctanh(2.0 * np.clip(share, _EDGE, 1.0 - _EDGE) - 1.0)

    @property
    def row(self) -> CoordinateRow | None:
        return None


@dataclass(frozen=True, slots=True)
class Whole:
    """value = x, on the whole line."""

    prior: Stated

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return x

    def slope(self, x: float) -> float:
        return 1.0

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.prior.logpdf(x, xp)

    def density_slope(self, x: float) -> float:
        return float(self.prior.slope(x))

    def inverse(self, value: Numbers) -> Numbers:
        return value

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.prior.sample(rng, size)

    @property
    def row(self) -> CoordinateRow | None:
        return None


@dataclass(frozen=True, slots=True)
class Mixing:
    """value = x = log lambda, lambda ~ InvGamma(df/2, df/2)."""

    df: float

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return x

    def slope(self, x: float) -> float:
        return 1.0

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        half = 0.5 * self.df
        return half * log(half) - lgamma(half) - half * (x + xp.exp(-x))

    def density_slope(self, x: float) -> float:
        return -0.5 * self.df * (1.0 - float(np.exp(-x)))

    def inverse(self, value: Numbers) -> Numbers:
        return value

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return -np.log(rng.gamma(0.5 * self.df, 2.0 / self.df, size))

    @property
    def row(self) -> CoordinateRow | None:
        half = 0.5 * self.df
        constant = DensityTerms(half * log(half) - lgamma(half))
        return CoordinateRow(linear=1.0, slope=-half, decay=-half, prior=constant)


@dataclass(frozen=True, slots=True)
class Held:
    """A known value, whatever x is: x ~ N(0, 1) is independent of everything, and the posterior of all else as without it."""

    held: float

    def value(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.held + 0.0 * x

    def slope(self, x: float) -> float:
        return 0.0

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return -0.5 * x**2 - _HALF_LOG_2PI

    def density_slope(self, x: float) -> float:
        return -float(x)

    def inverse(self, value: Numbers) -> Numbers:
        return 0.0 * value

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.standard_normal(size)

    @property
    def row(self) -> CoordinateRow | None:
        return CoordinateRow(self.held, square=-0.5, prior=DensityTerms(-_HALF_LOG_2PI))


def scale_coordinate(prior: Prior, scale: float, *, fold: bool) -> Coordinate:
    """The coordinate of a standard deviation: folded if asked for and its prior allows it."""
    own = prior.distribution
    if isinstance(own, Point):
        return Held(own.value)
    if isinstance(own, Uniform):
        return Between(own.low, own.high, 1.0)
    return Folded(own, scale) if fold and own.at_zero == "finite" else Logged(own, scale)


def structure_coordinate(natural: Natural, prior: Prior) -> Coordinate:
    """The coordinate of a parameter of a structure across levels, whose value is the natural one."""
    own = prior.distribution
    if isinstance(own, Point):
        return Held(own.value)
    if isinstance(own, Uniform):
        return Between(own.low, own.high, 1.0)
    if isinstance(own, LKJ):
        return Between(natural.low, natural.high, own.eta)
    if isinstance(natural, Length):
        return Logged(own, natural.typical)
    return Inside.of(own, natural.low, natural.high) if np.isfinite(natural.high) else Whole(own)
