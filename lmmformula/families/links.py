"""Links, as records of functions of eta.

A density is written in the coordinate in which it is stable: the mean itself on the real line, ``log mu`` for
positive means, ``log mu`` and ``log(1 - mu)`` for means between 0 and 1. A link therefore offers those
coordinates with three derivatives (a :class:`Jet`), never ``log(mu(eta))``, which is lost where mu rounds to
0 or 1. Notation: McCullagh & Nelder (1989), ``g(mu) = eta``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmmformula.families.records import Array, Jet
from lmmformula.families.unit_links import (
    cauchit_sides,
    cloglog_sides,
    log_sides,
    logit_sides,
    probit_sides,
)

__all__ = ["LINKS", "LINK_ALIASES", "Link"]


@dataclass(frozen=True, slots=True)
class Link:
    """One link function.

    Attributes
    ----------
    name : str
    mean : callable
        eta -> mu.
    eta : callable
        mu -> eta.
    real, positive : callable, optional
        eta -> jet of mu; eta -> jet of log mu.
    unit : callable, optional
        eta -> jets of log mu and of log(1 - mu).
    domain, unit_domain : tuple of float
        Open interval of eta in which the mean is positive; in which it lies between 0 and 1.
    log_scale : bool
        Whether exp(coefficient) is a ratio (of means, of odds).
    power : float, optional
        q of ``eta(c mu) = c^q eta(mu)``: such an eta is in units of the response; others have none.
    """

    name: str
    mean: Callable[[Array], Array]
    eta: Callable[[Array], Array]
    real: Callable[[Array], Jet] | None = None
    positive: Callable[[Array], Jet] | None = None
    unit: Callable[[Array], tuple[Jet, Jet]] | None = None
    domain: tuple[float, float] = (-np.inf, np.inf)
    unit_domain: tuple[float, float] = (-np.inf, np.inf)
    log_scale: bool = False
    power: float | None = None

    @property
    def needs_positive(self) -> bool:
        """Whether eta(mu) wants mu > 0."""
        return self.positive is not None and self.eta is not _itself

    def mean_jet(self, eta: Array) -> Jet:
        """mu and its derivatives in eta, of order 1 to 3."""
        if self.real is not None:
            return self.real(eta)
        jet = self.positive(eta) if self.positive is not None else None
        f = jet if jet is not None else self.unit(eta)[0]  # type: ignore[misc]
        mu = self.mean(eta)
        return Jet(mu, mu * f.d1, mu * (f.d2 + f.d1**2), mu * (f.d3 + 3 * f.d1 * f.d2 + f.d1**3))


# --- the real line, and powers of a positive eta ---------------------------------------------------------


def _itself(eta: Array) -> Array:
    return eta


def _itself_jet(eta: Array) -> Jet:
    return Jet(eta, 1.0, 0.0, 0.0)


def _exp_jet(eta: Array) -> Jet:
    mu = np.exp(eta)
    return Jet(mu, mu, mu, mu)


def _reciprocal(x: Array) -> Array:
    return 1.0 / x


def _reciprocal_jet(eta: Array) -> Jet:
    mu = 1.0 / eta
    return Jet(mu, -(mu**2), 2 * mu**3, -6 * mu**4)


def _square(x: Array) -> Array:
    return x**2


def _rsqrt(x: Array) -> Array:
    return 1.0 / np.sqrt(x)


def _inverse_square(x: Array) -> Array:
    return 1.0 / x**2


def _log_power(eta: Array, power: float) -> Jet:
    """``power * log eta``."""
    r = 1.0 / eta
    return Jet(power * np.log(eta), power * r, -power * r**2, 2 * power * r**3)


def _log_of_identity(eta: Array) -> Jet:
    return _log_power(eta, 1.0)


def _log_of_reciprocal(eta: Array) -> Jet:
    return _log_power(eta, -1.0)


def _log_of_square(eta: Array) -> Jet:
    return _log_power(eta, 2.0)


def _log_of_rsqrt(eta: Array) -> Jet:
    return _log_power(eta, -0.5)


# --- means between 0 and 1 -------------------------------------------------------------------------------


def _expit(eta: Array) -> Array:
    e = np.exp(-np.abs(eta))
    return np.where(eta >= 0, 1.0, e) / (1.0 + e)


def _logit(mu: Array) -> Array:
    return np.log(mu) - np.log1p(-mu)


def _ndtr(eta: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(eta)


def _ndtri(mu: Array) -> Array:
    from scipy.special import ndtri

    return ndtri(mu)


def _cloglog_mean(eta: Array) -> Array:
    return -np.expm1(-np.exp(np.minimum(eta, 700.0)))


def _cloglog(mu: Array) -> Array:
    return np.log(-np.log1p(-mu))


def _cauchit_mean(eta: Array) -> Array:
    return np.arctan2(1.0, -eta) / np.pi


def _cauchit(mu: Array) -> Array:
    # tan(pi (mu - 1/2)) from the nearer end, where pi mu is exact
    return np.where(mu < 0.5, -1.0, 1.0) / np.tan(np.pi * np.minimum(mu, 1.0 - mu))


_POSITIVE = (0.0, np.inf)

LINKS: dict[str, Link] = {
    link.name: link
    for link in (
        Link("identity", _itself, _itself, _itself_jet, _log_of_identity, domain=_POSITIVE, power=1.0),
        Link(
            "log",
            np.exp,
            np.log,
            _exp_jet,
            _itself_jet,
            log_sides,
            unit_domain=(-np.inf, 0.0),
            log_scale=True,
        ),
        Link(
            "inverse",
            _reciprocal,
            _reciprocal,
            _reciprocal_jet,
            _log_of_reciprocal,
            domain=_POSITIVE,
            power=-1.0,
        ),
        Link("sqrt", _square, np.sqrt, positive=_log_of_square, domain=_POSITIVE, power=0.5),
        Link(
            "inverse_squared",
            _rsqrt,
            _inverse_square,
            positive=_log_of_rsqrt,
            domain=_POSITIVE,
            power=-2.0,
        ),
        Link("logit", _expit, _logit, unit=logit_sides, log_scale=True),
        Link("probit", _ndtr, _ndtri, unit=probit_sides),
        Link("cloglog", _cloglog_mean, _cloglog, unit=cloglog_sides),
        Link("cauchit", _cauchit_mean, _cauchit, unit=cauchit_sides),
    )
}
"""Link name -> record."""

LINK_ALIASES: dict[str, str] = {
    "1/mu^2": "inverse_squared",
    "1/mu": "inverse",
    "reciprocal": "inverse",
    "cauchy": "cauchit",
    "id": "identity",
}
"""Other names of a link, as R, brms and statsmodels write them."""
