r"""Priors that shrink all slopes together: the regularised horseshoe and R2D2, normal given variances that have priors.

With s_j the standard deviation of column j and s_y that of the response (1 for links without its unit)::

    b_j | omega ~ N(0, v_j / s_j^2)

**Regularised horseshoe** (Piironen & Vehtari 2017, eq. 2.8 and sec. 3.3)::

    v_j = c^2 tau^2 lambda_j^2 / (c^2 + tau^2 lambda_j^2)
    lambda_j ~ half-t(df),   tau / sigma ~ scale_global half-t(df_global),
    c^2 ~ (scale_slab s_y)^2 InvGamma(df_slab / 2, df_slab / 2)

Slopes far from zero have a t prior of the slab, those near zero the horseshoe's.

**R2D2** (Zhang, Naughton, Bondell & Reich 2022, in the form of Aguilar & Buerkner 2023 that brms calls R2D2)::

    v_j = phi_j sigma^2 R^2 / (1 - R^2),   R^2 ~ Beta(mean prec, (1 - mean) prec),   phi ~ Dirichlet(cons)

so that R^2 is the share of variance that independent columns explain beside sigma^2. The simplex is ``phi_j = g_j / sum g``
with independent ``g_j ~ Gamma(cons, 1)``: the sum is independent of phi and of everything else, whose posterior is as without
it.

brms takes columns as they are and the slab in units of the response; dividing by s_j, and s_y in the slab, states its prior for
standardised columns, and it does not depend on units. Given omega slopes are normal and integrate out exactly as those with a
t prior do; omega joins the coordinates, every number on a scale of its own (log, logit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.prior_distributions import Beta, Gamma, InverseGamma, Positive, StudentT
from lmmformula.ir.prior_protocol import AtZero, written
from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["R2D2", "Horseshoe", "Shrinkage", "Together", "drawn_together"]


class Together(Protocol):
    """A normal prior of several slopes whose variances have a joint prior."""

    @property
    def own(self) -> Positive | Gamma:
        """Prior of the number that each slope has for itself."""
        ...

    @property
    def shared(self) -> tuple[Positive | InverseGamma | Beta, ...]:
        """Priors of the numbers that all have in common."""
        ...

    def log_variances(
        self, own: Numbers, shared: tuple[Numbers, ...], sigma: Numbers, xp: Namespace = np
    ) -> Numbers:
        """log v_j (..., K) from own (..., K), shared numbers and sigma (...); analytic in all of them."""
        ...


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """What both have in common as priors of one slope.

    Attributes
    ----------
    sd : float
        1 / s_j.
    wide : float
        s_y.
    """

    mean: ClassVar[float] = 0.0
    at_zero: ClassVar[AtZero] = "finite"

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        raise PlanError(
            f"{self} has no density of one coefficient: variances of all are random together. What needs one "
            "(prior_sensitivity, moment matching) takes normal, student_t and cauchy priors."
        )

    def slope(self, x: Numbers) -> Numbers:
        return self.logpdf(x)


@dataclass(frozen=True, slots=True)
class Horseshoe(Shrinkage):
    """The regularised horseshoe; df and scale_global as brms has them."""

    df: float = 1.0
    scale_global: float = 1.0
    df_global: float = 1.0
    scale_slab: float = 2.0
    df_slab: float = 4.0
    sd: float = 1.0
    wide: float = 1.0

    def __str__(self) -> str:
        numbers = self.df, self.scale_global, self.df_global, self.scale_slab, self.df_slab
        return written("horseshoe", *_stated(numbers, (1.0, 1.0, 1.0, 2.0, 4.0)))

    @property
    def own(self) -> Positive:
        return Positive(StudentT(self.df, 0.0, 1.0))

    @property
    def shared(self) -> tuple[Positive, InverseGamma]:
        half = 0.5 * self.df_slab
        return Positive(StudentT(self.df_global, 0.0, self.scale_global)), InverseGamma(half, half)

    def log_variances(
        self, own: Numbers, shared: tuple[Numbers, ...], sigma: Numbers, xp: Namespace = np
    ) -> Numbers:
        log_wide = 2.0 * (xp.log(own) + xp.log(shared[0] * sigma)[..., None])
        log_slab = (xp.log(shared[1]) + 2.0 * np.log(self.scale_slab * self.wide))[..., None]
        return log_wide - xp.log1p(xp.exp(log_wide - log_slab))


@dataclass(frozen=True, slots=True)
class R2D2(Shrinkage):
    """The prior of R^2 and of how it is shared out; names and defaults are those of brms."""

    mean_r2: float = 0.5
    prec_r2: float = 2.0
    cons_d2: float = 0.5
    sd: float = 1.0
    wide: float = 1.0

    def __str__(self) -> str:
        return written("R2D2", *_stated((self.mean_r2, self.prec_r2, self.cons_d2), (0.5, 2.0, 0.5)))

    @property
    def own(self) -> Gamma:
        return Gamma(self.cons_d2, 1.0)

    @property
    def shared(self) -> tuple[Beta]:
        return (Beta(self.mean_r2 * self.prec_r2, (1.0 - self.mean_r2) * self.prec_r2),)

    def log_variances(
        self, own: Numbers, shared: tuple[Numbers, ...], sigma: Numbers, xp: Namespace = np
    ) -> Numbers:
        explained = 2.0 * xp.log(sigma) + xp.log(shared[0]) - xp.log1p(-shared[0])
        return xp.log(own) - xp.log(own.sum(-1))[..., None] + explained[..., None]


def drawn_together(prior: Together, count: int, sigma: Array, rng: np.random.Generator) -> Array:
    """v_j ^ (1/2) z_j of `count` slopes for each of sigma (S,), (S, count): draws of s_j b_j from the prior."""
    size = len(sigma)
    own = prior.own.sample(rng, size * count).reshape(size, count)
    shared = tuple(distribution.sample(rng, size) for distribution in prior.shared)
    with np.errstate(divide="ignore", over="ignore"):
        roots = np.exp(0.5 * prior.log_variances(own, shared, sigma))
    return roots * rng.standard_normal((size, count))


def _stated(numbers: tuple[float, ...], defaults: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers up to the last that is not the default, and the first in any case."""
    last = max((i for i, (a, b) in enumerate(zip(numbers, defaults, strict=True)) if a != b), default=0)
    return numbers[: last + 1]
