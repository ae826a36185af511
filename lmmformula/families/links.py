"""Links, as records of functions of eta.

A density is written in the coordinate in which it is stable: the mean itself on the real line, ``log mu`` for
positive means, ``log mu`` and ``log(1 - mu)`` for means between 0 and 1. A link therefore offers those
coordinates with three derivatives (a :class:`Jet`), never ``log(mu(eta))``, which is lost where mu rounds to
0 or 1. Notation: McCullagh & Nelder (1989), ``g(mu) = eta``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmmformula.families.records import Array, Jet, MeanRange
from lmmformula.families.unit_links import (
    cauchit_at,
    cauchit_sides,
    cloglog_at,
    cloglog_sides,
    log_at,
    log_sides,
    logit_at,
    logit_sides,
    probit_at,
    probit_sides,
)
from lmmformula.typing import Namespace

__all__ = ["LINKS", "LINK_ALIASES", "Chart", "Link"]

_EVERYWHERE = (-np.inf, np.inf)
_POSITIVE = (0.0, np.inf)


class Chart(NamedTuple):
    """The coordinates of densities whose mean lives in one range, as functions of eta.

    Attributes
    ----------
    at : callable
        (eta, xp) -> coordinates.
    jets : callable
        eta -> coordinates with their derivatives.
    domain : tuple of float
        Open interval of eta in which the mean lies in the range.
    """

    at: Callable[[Array, Namespace], tuple[Array, ...]]
    jets: Callable[[Array], tuple[Jet, ...]]
    domain: tuple[float, float] = _EVERYWHERE


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
    real, positive, unit : Chart, optional
        Coordinates (mu,), (log mu,) and (log mu, log(1 - mu)).
    log_scale : bool
        Whether exp(coefficient) is a ratio (of means, of odds).
    power : float, optional
        q of ``eta(c mu) = c^q eta(mu)``: such an eta is in units of the response; others have none.
    latent : float, optional
        Variance of the variable whose sign is a binary response: logistic, normal or Gumbel.
    word : str
        How it is written, where that is not its name.
    """

    name: str
    mean: Callable[[Array], Array]
    eta: Callable[[Array], Array]
    real: Chart | None = None
    positive: Chart | None = None
    unit: Chart | None = None
    log_scale: bool = False
    power: float | None = None
    latent: float | None = None
    word: str = ""

    def __reduce__(self) -> tuple[Callable[[str], Link], tuple[str]]:
        """Links are kept by name: the functions in them have none."""
        return _named, (self.name,)

    @property
    def needs_positive(self) -> bool:
        """Whether eta(mu) wants mu > 0."""
        return self.positive is not None and self.eta is not _itself

    def chart(self, where: MeanRange) -> Chart | None:
        """Coordinates for means in a range; None where the link does not lead there."""
        return {"real": self.real, "positive": self.positive, "unit": self.unit}[where]

    def mean_jet(self, eta: Array) -> Jet:
        """mu and its derivatives in eta, of order 1 to 3."""
        if self.real is not None:
            return self.real.jets(eta)[0]
        chart = self.positive or self.unit
        assert chart is not None
        f = chart.jets(eta)[0]
        mu = self.mean(eta)
        return Jet(mu, mu * f.d1, mu * (f.d2 + f.d1**2), mu * (f.d3 + 3 * f.d1 * f.d2 + f.d1**3))


def _named(name: str) -> Link:
    return LINKS[name]


# --- the real line, and powers of a positive eta ---------------------------------------------------------


def _itself(eta: Array) -> Array:
    return eta


def _itself_jet(eta: Array) -> tuple[Jet]:
    return (Jet(eta, 1.0, 0.0, 0.0),)


def _exp_jet(eta: Array) -> tuple[Jet]:
    mu = np.exp(eta)
    return (Jet(mu, mu, mu, mu),)


def _reciprocal(x: Array) -> Array:
    return 1.0 / x


def _reciprocal_jet(eta: Array) -> tuple[Jet]:
    mu = 1.0 / eta
    return (Jet(mu, -(mu**2), 2 * mu**3, -6 * mu**4),)


def _square(x: Array) -> Array:
    return x**2


def _rsqrt(x: Array) -> Array:
    return 1.0 / np.sqrt(x)


def _inverse_square(x: Array) -> Array:
    return 1.0 / x**2


def _log_power(power: float) -> Chart:
    """``log mu = power * log eta`` for eta > 0."""

    def at(eta: Array, xp: Namespace) -> tuple[Array]:
        return (power * xp.log(eta),)

    def jets(eta: Array) -> tuple[Jet]:
        r = 1.0 / eta
        return (Jet(power * np.log(eta), power * r, -power * r**2, 2 * power * r**3),)

    return Chart(at, jets, _POSITIVE)


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


LINKS: dict[str, Link] = {
    link.name: link
    for link in (
        Link(
            "identity",
            _itself,
            _itself,
            Chart(lambda eta, xp: (eta,), _itself_jet),
            _log_power(1.0),
            power=1.0,
        ),
        Link(
            "log",
            np.exp,
            np.log,
            Chart(lambda eta, xp: (xp.exp(eta),), _exp_jet),
            Chart(lambda eta, xp: (eta,), _itself_jet),
            Chart(log_at, log_sides, (-np.inf, 0.0)),
            log_scale=True,
        ),
        Link(
            "inverse",
            _reciprocal,
            _reciprocal,
            Chart(lambda eta, xp: (1.0 / eta,), _reciprocal_jet),
            _log_power(-1.0),
            power=-1.0,
        ),
        Link("sqrt", _square, np.sqrt, positive=_log_power(2.0), power=0.5),
        Link("inverse_squared", _rsqrt, _inverse_square, positive=_log_power(-0.5), power=-2.0),
        Link(
            "logit",
            _expit,
            _logit,
            unit=Chart(logit_at, logit_sides),
            log_scale=True,
            latent=np.pi**2 / 3.0,
        ),
        Link("probit", _ndtr, _ndtri, unit=Chart(probit_at, probit_sides), latent=1.0),
        Link(
            "cloglog", _cloglog_mean, _cloglog, unit=Chart(cloglog_at, cloglog_sides), latent=np.pi**2 / 6.0
        ),
        Link("cauchit", _cauchit_mean, _cauchit, unit=Chart(cauchit_at, cauchit_sides)),
    )
}
"""Link name -> record."""

_HERE = Chart(lambda eta, xp: (eta,), _itself_jet)


def _latent(word: str, variance: float | None, *, odds: bool = False) -> Link:
    """The location of a latent variable, which the linear predictor is: `word` says the variable's distribution."""
    return Link(f"latent_{word}", _itself, _itself, _HERE, log_scale=odds, latent=variance, word=word)


LINKS |= {
    link.name: link
    for link in (
        _latent("logit", LINKS["logit"].latent, odds=True),
        _latent("probit", LINKS["probit"].latent),
        _latent("cloglog", LINKS["cloglog"].latent),
        _latent("cauchit", None),
        _latent("loglog", LINKS["cloglog"].latent),
    )
}

LINK_ALIASES: dict[str, str] = {
    "1/mu^2": "inverse_squared",
    "1/mu": "inverse",
    "reciprocal": "inverse",
    "cauchy": "cauchit",
    "id": "identity",
}
"""Other names of a link, as R, brms and statsmodels write them."""
