r"""Penalised-complexity priors of what structures across levels are made of.

A parameter makes a model more flexible than a base model, at a distance d = sqrt(2 KLD) from it; d has an exponential
distribution, whose rate is stated by one probability (Simpson, Rue, Riebler, Martins & Sorbye 2017). ``pc(u, p)`` means

=============== ================================ ============================================================= ============
parameter       base model                       density                                                       pc(u, p)
=============== ================================ ============================================================= ============
standard        0                                lambda exp(-lambda s): exponential                            P(s > u) = p
deviation
range r of a    infinite: a constant field       lambda D/2 r^(-D/2-1) exp(-lambda r^(-D/2))                   P(r < u) = p
field in D
dimensions
correlation     0: independent levels            lambda/2 exp(-lambda d) |r| / ((1 - r^2) d),                  P(|r| > u)
r of ar1                                         d = sqrt(-log(1 - r^2))                                       = p
share r of      0: independent levels            lambda exp(-lambda d) d',                                     P(r < u) = p
BYM2                                             d^2 = sum_i [r (g_i - 1) - log(1 + r (g_i - 1))]
=============== ================================ ============================================================= ============

with g_i the eigenvalues of the scaled map's covariance. The distribution of a range with a field's variance beside it is
theorem 2.1 of Fuglstad, Simpson, Lindgren & Rue (2019); it is stated for Matern fields of known smoothness, and taken here for
other kernels too, whose range is as free of units. The correlation: Sorbye & Rue (2017), sec. 3.1. The share: Riebler, Sorbye,
Simpson & Rue (2016), sec. 3.2, which has P(r < 0.5) = 2/3.

References
----------
Simpson, Rue, Riebler, Martins & Sorbye (2017), Penalising model component complexity, Stat. Sci. 32, 1. Fuglstad, Simpson,
Lindgren & Rue (2019), Constructing priors that penalize the complexity of Gaussian random fields, JASA 114, 445. Sorbye & Rue
(2017), Penalised complexity priors for stationary autoregressive processes, J. Time Ser. Anal. 38, 923. Riebler, Sorbye,
Simpson & Rue (2016), An intuitive Bayesian spatial model for disease mapping that accounts for scaling, Stat. Methods Med.
Res. 25, 1145.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import ClassVar

import numpy as np

from lmmformula.ir.prior_distributions import Exponential
from lmmformula.ir.prior_protocol import AtZero, written
from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["Complexity", "PCCorrelation", "PCRange", "PCShare"]


@dataclass(frozen=True, slots=True)
class Complexity:
    """``pc(u, p)`` as written, before the parameter is known that it is about."""

    u: float
    p: float

    @property
    def deviation(self) -> Exponential:
        """Of a standard deviation."""
        return Exponential(-log(self.p) / self.u)


@dataclass(frozen=True, slots=True)
class PCRange:
    """``range^(-D/2)`` is exponential, with P(range < u) = p.

    Attributes
    ----------
    u, p : float
    dimensions : int
        D.
    """

    u: float
    p: float
    dimensions: int
    at_zero: ClassVar[AtZero] = "vanishing"
    terms: ClassVar[None] = None

    def __str__(self) -> str:
        return written("pc", self.u, self.p)

    @property
    def _half(self) -> float:
        return 0.5 * self.dimensions

    @property
    def _rate(self) -> float:
        return -log(self.p)

    def scaled(self, c: float) -> PCRange:
        """The distribution of c X."""
        return PCRange(c * self.u, self.p, self.dimensions)

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        t = xp.log(x / self.u)
        grown = -(self._half + 1.0) * t - self._rate * xp.exp(-self._half * t)
        return grown + log(self._half * self._rate / self.u)

    def slope(self, x: Numbers) -> Numbers:
        return (self._half * self._rate * (x / self.u) ** -self._half - self._half - 1.0) / x

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        return self.u * (rng.exponential(size=size) / self._rate) ** (-1.0 / self._half)


@dataclass(frozen=True, slots=True)
class PCCorrelation:
    """sqrt(-log(1 - r^2)) is exponential and the sign of r even, with P(|r| > u) = p."""

    u: float
    p: float
    at_zero: ClassVar[AtZero] = "finite"
    terms: ClassVar[None] = None

    def __str__(self) -> str:
        return written("pc", self.u, self.p)

    @property
    def _rate(self) -> float:
        return -log(self.p) / float(np.sqrt(-np.log1p(-(self.u**2))))

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        square = xp.clip(x * x, 1e-18, 1.0 - 1e-16)
        left = xp.log1p(-square)
        d = xp.sqrt(-left)
        return log(0.5 * self._rate) - self._rate * d + 0.5 * xp.log(square) - left - xp.log(d)

    def slope(self, x: Numbers) -> Numbers:
        square = np.clip(np.square(x), 1e-18, 1.0 - 1e-16)
        rest, power = 1.0 - square, -np.log1p(-square)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (rest * power - square) / (np.where(x == 0.0, 1.0, x) * rest * power) + 2.0 * x / rest
        near = np.abs(x) < 1e-4  # the limit is 3x/2
        own = np.where(near, 1.5 * np.asarray(x), own)
        return own - self._rate * np.asarray(x) / (rest * np.sqrt(power))

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        d = rng.exponential(1.0 / self._rate, size)
        return np.sqrt(-np.expm1(-d * d)) * rng.choice([-1.0, 1.0], size)


@dataclass(frozen=True, eq=False)
class PCShare:
    """d(r) is exponential, with P(r < u) = p.

    Attributes
    ----------
    u, p : float
    roots : (m,) array
        g, of which at least one is 0: d(1) is infinite.
    """

    u: float
    p: float
    roots: Array
    at_zero: ClassVar[AtZero] = "finite"
    terms: ClassVar[None] = None

    def __str__(self) -> str:
        return written("pc", self.u, self.p)

    @cached_property
    def _excess(self) -> Array:
        """g - 1."""
        return np.asarray(self.roots, dtype=float) - 1.0

    def _moved(self, r: Numbers, xp: Namespace = np) -> tuple[Numbers, Numbers]:
        """r in its last axis times the excess, and one more than that."""
        moved = xp.clip(r, 1e-12, 1.0 - 1e-12)[..., None] * self._excess
        return moved, 1.0 + moved

    def distance(self, r: Numbers, xp: Namespace = np) -> Numbers:
        """d(r)."""
        moved, _ = self._moved(xp.asarray(r), xp)
        return xp.sqrt((moved - xp.log1p(moved)).sum(-1))

    @cached_property
    def _rate(self) -> float:
        return -float(np.log1p(-self.p)) / float(self.distance(np.array(self.u)))

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        moved, whole = self._moved(xp.asarray(x), xp)
        d = xp.sqrt((moved - xp.log1p(moved)).sum(-1))
        rise = (moved * self._excess / whole).sum(-1)
        return log(0.5 * self._rate) - self._rate * d + xp.log(rise) - xp.log(d)

    def slope(self, x: Numbers) -> Numbers:
        moved, whole = self._moved(np.asarray(x))
        square = (moved - np.log1p(moved)).sum(-1)
        rise, bend = (moved * self._excess / whole).sum(-1), ((self._excess / whole) ** 2).sum(-1)
        return bend / rise - 0.5 * rise / square - 0.5 * self._rate * rise / np.sqrt(square)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        grid = 0.5 * (1.0 + np.tanh(np.linspace(-13.0, 13.0, 4_001)))
        return np.interp(rng.exponential(1.0 / self._rate, size), self.distance(grid), grid)
