r"""A Gaussian response with known standard errors: brms' ``y | se(s)`` and ``y | se(s, sigma = TRUE)``.

    y_r ~ N(mu_r, sigma^2 + s_r^2),        v_r = sigma^2 + 1 / w_r

with the precision ``w_r = 1 / s_r^2`` for a weight (brms: `addition-terms`; Raudenbush & Bryk 2002, ch. 7). Without sigma v is
known. The log density is quadratic in mu, so that Laplace's approximation is the likelihood; in a = log sigma, with
``p = 1 / v``, ``e = y - mu`` and ``u = dv/da = 2 sigma^2``,

    l = -(log(2 pi v) + p e^2) / 2,    l_mu = p e,    l_mumu = -p,    l_a = u p (p e^2 - 1) / 2,
    l_mu,a = -u p^2 e,    l_mumu,a = u p^2.

The known variances are in units of the response: multiplied by c, weights are divided by c^2 (:attr:`weight_power`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution, WeightsAre
from lmmformula.families.family import Family
from lmmformula.families.records import Array, Aux, Density, Maybe, MeanRange, Part
from lmmformula.families.special import LOG_2PI, namespace
from lmmformula.families.tails import normal_tails
from lmmformula.typing import Namespace, Numbers

__all__ = ["KnownErrors", "known_errors"]


@dataclass(frozen=True, slots=True)
class KnownErrors(Distribution):
    """Normal with a known variance of each row, 1 / weight.

    Parameters
    ----------
    besides : bool
        Whether there is a residual standard deviation besides.
    """

    besides: bool = False

    name: ClassVar[str] = "gaussian_with_errors"
    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    canonical: ClassVar[str] = "identity"
    weights_are: ClassVar[WeightsAre] = "precision"
    weight_power: ClassVar[float] = -2.0
    scales: ClassVar[bool] = True
    quadratic: ClassVar[bool] = True
    expands: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return "gaussian with known errors"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        if not self.besides:
            return ()
        meaning = "residual standard deviation besides the known errors: var = sigma^2 + se^2"
        return (Auxiliary("sigma", meaning, role="scale", power=1.0, typical=-1.0),)

    @property
    def narrows(self) -> bool:
        return False

    def _variance(self, aux: Aux, w: Maybe, xp: Namespace) -> Numbers:
        known = 1.0 / w
        return xp.exp(2.0 * aux[0]) + known if self.besides else known

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        v = self._variance(aux, w, xp)
        log_v = xp.log(v) if self.besides else -namespace(w).log(w)
        return -0.5 * (LOG_2PI + log_v + (y - c[0]) ** 2 / v)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        v = self._variance(aux, w, np)
        p, e = np.broadcast_to(1.0 / v, np.shape(y)), y - c[0]
        d1 = p * e
        z2 = d1 * e
        loglik = constant - 0.5 * (LOG_2PI + np.log(v) + z2)
        if not (derivatives and self.besides):
            return Density(loglik, (Part(d1, -p, 0.0) if derivatives else Part(d1, -p),))
        up = 2.0 * np.exp(2.0 * aux[0]) * p
        return Density(loglik, (Part(d1, -p, 0.0, (-up * d1,), (up * p,)),), (0.5 * up * (z2 - 1.0),))

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        raise PlanError(
            "what is asked for takes one residual variance, and with y | se(s) each row has its own. varcorr() has the "
            "variances of random effects, and predict(interval='prediction') new responses with the errors of their rows."
        )

    def row_variance(self, mu: Array, aux: Aux, w: Maybe) -> Array:
        return w * self._variance(aux, w, np) * np.ones(np.shape(mu))

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return (y - mu) ** 2 / self._variance(aux, w, np)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return mu + np.sqrt(self._variance(aux, w, np)) * rng.standard_normal(np.shape(mu))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import ndtr

        return ndtr((y - mu) / np.sqrt(self._variance(aux, w, np)))

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        v = self._variance(aux, w, xp)
        deviation = xp.sqrt(v) if self.besides else np.sqrt(v)
        return normal_tails((y - c[0]) / deviation, xp)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        """The half of what residuals vary beyond their known variances, or of all that they do."""
        if not self.besides:
            return ()
        whole = float(np.mean((y - mu) ** 2))
        beyond = whole - float(np.mean(1.0 / np.asarray(w, float)))
        size = max(beyond, 0.5 * whole)
        return (0.5 * float(np.log(0.5 * size)) if size > 0.0 else -1.0,)


def known_errors(family: Family, *, besides: bool) -> Family:
    """A Gaussian family whose weights are known precisions, as one with a density of its own."""
    return replace(family, distribution=KnownErrors(besides), known=False)
