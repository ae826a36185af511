r"""Distributions that priors are made of: densities with their slopes, draws, and the text that reads them back.

Parameters are brms': ``normal(mean, sd)``, ``student_t(df, location, scale)``, ``gamma(shape, rate)``,
``inv_gamma(shape, scale)``, ``lognormal(mean of log, sd of log)``. A positive parameter with a normal, t or Cauchy
prior has that prior cut off at zero and renormalised, which is what brms' lower bound means; around zero these are the
``half_`` forms.

``logpdf(x, xp)`` is written for numpy and for any module that answers to the same names, so that a compiled density and the
one it is checked against come from one formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, lgamma, log, pi, sqrt
from typing import Any, ClassVar, TypeAlias

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.prior_protocol import AtZero, DensityTerms, written
from lmmformula.typing import Array, Namespace, Numbers

__all__ = [
    "LKJ",
    "Beta",
    "Exponential",
    "Flat",
    "Gamma",
    "InverseGamma",
    "LogNormal",
    "Normal",
    "Point",
    "Positive",
    "Stated",
    "StudentT",
    "Uniform",
]


@dataclass(frozen=True, slots=True)
class Normal:
    """N(mean, sd^2)."""

    mean: float
    sd: float
    at_zero: ClassVar[AtZero] = "finite"

    def __str__(self) -> str:
        return written("normal", self.mean, self.sd)

    def scaled(self, c: float) -> Normal:
        """The distribution of c X."""
        return Normal(c * self.mean, c * self.sd)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return -0.5 * ((x - self.mean) / self.sd) ** 2 - (log(self.sd) + 0.5 * log(2 * pi))

    def slope(self, x: Numbers) -> Numbers:
        return -(x - self.mean) / self.sd**2

    @property
    def terms(self) -> DensityTerms:
        constant = -log(self.sd) - 0.5 * log(2 * pi)
        return DensityTerms(constant, square=-0.5 / self.sd**2, centre=self.mean)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.normal(self.mean, self.sd, size)

    def below(self, x: float) -> float:
        """P(X <= x)."""
        return 0.5 * (1.0 + erf((x - self.mean) / (self.sd * sqrt(2.0))))

    def quantile(self, p: Array) -> Array:
        from scipy.special import ndtri

        return self.mean + self.sd * ndtri(p)


@dataclass(frozen=True, slots=True)
class StudentT:
    """Student's t with `df` degrees of freedom; Cauchy for one."""

    df: float
    location: float
    scale: float
    at_zero: ClassVar[AtZero] = "finite"

    def __str__(self) -> str:
        if self.df == 1:
            return written("cauchy", self.location, self.scale)
        return written("student_t", self.df, self.location, self.scale)

    @property
    def mean(self) -> float:
        """Centre, whether or not the expectation exists."""
        return self.location

    def scaled(self, c: float) -> StudentT:
        """The distribution of c X."""
        return StudentT(self.df, c * self.location, c * self.scale)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        nu = self.df
        z = (x - self.location) / self.scale
        constant = lgamma(0.5 * (nu + 1)) - lgamma(0.5 * nu) - 0.5 * log(nu * pi) - log(self.scale)
        return constant - 0.5 * (nu + 1) * xp.log1p(z * z / nu)

    def slope(self, x: Numbers) -> Numbers:
        e = x - self.location
        return -(self.df + 1) * e / (self.df * self.scale**2 + e * e)

    @property
    def terms(self) -> DensityTerms:
        constant = float(self.logpdf(self.location))
        spread = 1.0 / (self.df * self.scale**2)
        return DensityTerms(constant, centre=self.location, tail=-0.5 * (self.df + 1.0), spread=spread)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.location + self.scale * rng.standard_t(self.df, size)

    def below(self, x: float) -> float:
        """P(X <= x)."""
        if x == self.location:  # by symmetry; most priors of standard deviations ask for this alone
            return 0.5
        from scipy.special import stdtr

        return float(stdtr(self.df, (x - self.location) / self.scale))

    def quantile(self, p: Array) -> Array:
        from scipy.special import stdtrit

        return self.location + self.scale * stdtrit(self.df, p)


@dataclass(frozen=True, slots=True)
class Positive:
    """A normal or t distribution given that it is positive."""

    base: Normal | StudentT
    at_zero: ClassVar[AtZero] = "finite"

    def __str__(self) -> str:
        if self.base.mean != 0.0:
            return str(self.base)
        if isinstance(self.base, Normal):
            return written("half_normal", self.base.sd)
        if self.base.df == 1:
            return written("half_cauchy", self.base.scale)
        return written("half_student_t", self.base.df, 0.0, self.base.scale)

    def scaled(self, c: float) -> Positive:
        """The distribution of c X."""
        return Positive(self.base.scaled(c))

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return self.base.logpdf(x, xp) - log(1.0 - self.base.below(0.0))

    def slope(self, x: Numbers) -> Numbers:
        return self.base.slope(x)

    @property
    def terms(self) -> DensityTerms:
        own = self.base.terms
        return own._replace(constant=own.constant - log(1.0 - self.base.below(0.0)))

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        low = self.base.below(0.0)
        return self.base.quantile(low + (1.0 - low) * rng.uniform(size=size))


@dataclass(frozen=True, slots=True)
class Exponential:
    """Density ``rate exp(-rate x)``."""

    rate: float
    at_zero: ClassVar[AtZero] = "finite"

    def __str__(self) -> str:
        return written("exponential", self.rate)

    def scaled(self, c: float) -> Exponential:
        """The distribution of c X."""
        return Exponential(self.rate / c)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return log(self.rate) - self.rate * x

    def slope(self, x: Numbers) -> Numbers:
        return -self.rate + 0.0 * x

    @property
    def terms(self) -> DensityTerms:
        return DensityTerms(log(self.rate), linear=-self.rate)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.exponential(1.0 / self.rate, size)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Density proportional to ``x^(shape-1) exp(-rate x)``."""

    shape: float
    rate: float

    @property
    def at_zero(self) -> AtZero:
        return "finite" if self.shape == 1 else "vanishing" if self.shape > 1 else "infinite"

    def __str__(self) -> str:
        return written("gamma", self.shape, self.rate)

    def scaled(self, c: float) -> Gamma:
        """The distribution of c X."""
        return Gamma(self.shape, self.rate / c)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        constant = self.shape * log(self.rate) - lgamma(self.shape)
        return constant + (self.shape - 1.0) * xp.log(x) - self.rate * x

    def slope(self, x: Numbers) -> Numbers:
        return (self.shape - 1.0) / x - self.rate

    @property
    def terms(self) -> DensityTerms:
        constant = self.shape * log(self.rate) - lgamma(self.shape)
        return DensityTerms(constant, log=self.shape - 1.0, linear=-self.rate)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.gamma(self.shape, 1.0 / self.rate, size)


@dataclass(frozen=True, slots=True)
class InverseGamma:
    """Density proportional to ``x^(-shape-1) exp(-scale / x)``."""

    shape: float
    scale: float
    at_zero: ClassVar[AtZero] = "vanishing"

    def __str__(self) -> str:
        return written("inv_gamma", self.shape, self.scale)

    def scaled(self, c: float) -> InverseGamma:
        """The distribution of c X."""
        return InverseGamma(self.shape, c * self.scale)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        constant = self.shape * log(self.scale) - lgamma(self.shape)
        return constant - (self.shape + 1.0) * xp.log(x) - self.scale / x

    def slope(self, x: Numbers) -> Numbers:
        return -(self.shape + 1.0) / x + self.scale / x**2

    @property
    def terms(self) -> DensityTerms:
        constant = self.shape * log(self.scale) - lgamma(self.shape)
        return DensityTerms(constant, log=-self.shape - 1.0, inverse=-self.scale)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.scale / rng.gamma(self.shape, 1.0, size)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """log X ~ N(mean_log, sd_log^2)."""

    mean_log: float
    sd_log: float
    at_zero: ClassVar[AtZero] = "vanishing"

    def __str__(self) -> str:
        return written("lognormal", self.mean_log, self.sd_log)

    def scaled(self, c: float) -> LogNormal:
        """The distribution of c X."""
        return LogNormal(self.mean_log + log(c), self.sd_log)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        t = xp.log(x)
        return -0.5 * ((t - self.mean_log) / self.sd_log) ** 2 - t - (log(self.sd_log) + 0.5 * log(2 * pi))

    def slope(self, x: Numbers) -> Numbers:
        return -((np.log(x) - self.mean_log) / self.sd_log**2 + 1.0) / x

    @property
    def terms(self) -> DensityTerms:
        precision = self.sd_log**-2
        constant = -log(self.sd_log) - 0.5 * log(2 * pi) - 0.5 * precision * self.mean_log**2
        return DensityTerms(constant, log=precision * self.mean_log - 1.0, log_square=-0.5 * precision)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.lognormal(self.mean_log, self.sd_log, size)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Constant on (low, high)."""

    low: float
    high: float
    at_zero: ClassVar[AtZero] = "outside"

    def __str__(self) -> str:
        return written("uniform", self.low, self.high)

    def scaled(self, c: float) -> Uniform:
        """The distribution of c X."""
        return Uniform(c * self.low, c * self.high)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return -log(self.high - self.low) + 0.0 * x

    def slope(self, x: Numbers) -> Numbers:
        return 0.0 * x

    @property
    def terms(self) -> DensityTerms:
        return DensityTerms(-log(self.high - self.low))

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.uniform(self.low, self.high, size)


@dataclass(frozen=True, slots=True)
class Beta:
    """Density proportional to ``x^(a-1) (1-x)^(b-1)`` on (0, 1)."""

    a: float
    b: float

    @property
    def at_zero(self) -> AtZero:
        return "finite" if self.a == 1 else "vanishing" if self.a > 1 else "infinite"

    def __str__(self) -> str:
        return written("beta", self.a, self.b)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        constant = lgamma(self.a + self.b) - lgamma(self.a) - lgamma(self.b)
        return constant + (self.a - 1.0) * xp.log(x) + (self.b - 1.0) * xp.log1p(-x)

    def slope(self, x: Numbers) -> Numbers:
        return (self.a - 1.0) / x - (self.b - 1.0) / (1.0 - x)

    @property
    def terms(self) -> DensityTerms | None:
        return None

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return rng.beta(self.a, self.b, size)


@dataclass(frozen=True, slots=True)
class Flat:
    """Density 1 everywhere: improper. Of a coefficient it is the limit of a normal prior, by whose numbers it is computed.

    With a standard deviation of 1e150 the precision is 1e-300, which added to the information of any data changes nothing.
    """

    mean: ClassVar[float] = 0.0
    sd: ClassVar[float] = 1e150
    at_zero: ClassVar[AtZero] = "finite"

    def __str__(self) -> str:
        return "flat()"

    def scaled(self, c: float) -> Flat:
        """Itself."""
        return self

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return 0.0 * x

    def slope(self, x: Numbers) -> Numbers:
        return 0.0 * x

    @property
    def terms(self) -> DensityTerms:
        return DensityTerms()

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        raise PlanError(
            "flat() has no draws, since it has no total probability: give every parameter a proper prior to draw from priors."
        )


@dataclass(frozen=True, slots=True)
class Point:
    """All probability at one value: the parameter is known."""

    value: float
    at_zero: ClassVar[AtZero] = "outside"

    def __str__(self) -> str:
        return written("constant", self.value)

    def scaled(self, c: float) -> Point:
        """The distribution of c X."""
        return Point(c * self.value)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        return 0.0 * x

    def slope(self, x: Numbers) -> Numbers:
        return 0.0 * x

    @property
    def terms(self) -> DensityTerms:
        return DensityTerms()

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return np.full(size, self.value)


@dataclass(frozen=True, slots=True)
class LKJ:
    """Correlation matrices with density proportional to ``|R|^(eta - 1)`` (Lewandowski, Kurowicka & Joe 2009).

    Its canonical partial correlations, given the columns before them, are independent: that of columns i > j (from 0)
    among k is a Beta(b, b) stretched to (-1, 1) with ``b = eta + (k - 2 - j) / 2`` (their theorem 5). One
    correlation shared by all pairs (cs, ar1) on (lo, 1) gets Beta(eta, eta) stretched to that interval: uniform for eta = 1,
    and the LKJ distribution itself for two columns.
    """

    eta: float

    def __str__(self) -> str:
        return written("lkj", self.eta)

    def concentration(self, k: int, j: int) -> float:
        """b of the partial correlations of column `j` with later ones."""
        return self.eta + 0.5 * (k - 2 - j)


Stated: TypeAlias = Any
"""A distribution by :mod:`lmmformula.ir.prior_protocol`, or :class:`LKJ` for correlations: which of them a prior has, and what
that has besides the protocol, such as a mean, follows from the role of its parameter."""
