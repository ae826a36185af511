r"""The families' log densities in JAX: the formulas of :mod:`lmmformula.families`, term by term, for compiled potentials.

A density is written in the coordinate in which its family writes it - mu, log mu, or (log mu, log(1 - mu)) - and a
link gives that coordinate of eta. Derivatives come from automatic differentiation, so branches are arranged such that
the one not taken stays finite ("double where"). Terms in y alone come from the family itself. A contract test holds every
family x link against ``Family.rows`` to 1e-10, in value and slopes.

Weights mean what the family says: they divide the variance, count trials, or repeat the row.

Gamma functions. ``lgamma(x + k) - lgamma(x) - k log x`` and ``x log x - x - lgamma(x)`` are differenced through
Stirling's series above 20, where the plain differences cancel (Abramowitz & Stegun 1964, 6.1.41).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, log_ndtr

from lmmformula.errors import PlanError
from lmmformula.families.counts import NegativeBinomial2, Poisson
from lmmformula.families.family import Family
from lmmformula.families.nbinom1 import NegativeBinomial1
from lmmformula.families.positive import Gamma, InverseGaussian
from lmmformula.families.real import Gaussian, Lognormal, Student
from lmmformula.families.special import LARGE
from lmmformula.families.unit import Beta, Binomial
from lmmformula.families.zero_inflated import ZeroInflated
from lmmformula.typing import Array

__all__ = ["log_density"]

_LOG_2PI = float(np.log(2 * np.pi))

Density = Callable[[Any, Array, tuple[Any, ...], tuple[Any, ...], Any], Any]
"""(distribution, y, coordinates, auxiliary predictors, weights) -> log density of each row less its constant."""


def log_density(family: Family, y: Any, weights: Any) -> Callable[[Any, tuple[Any, ...]], Any]:
    """(eta, aux) -> log density of each row, (n,), traceable; -inf where eta is outside the link's domain.

    Raises
    ------
    PlanError
        For a distribution that has no formula here.
    """
    own = family.distribution
    density = _of(own)
    w = 1.0 if weights is None else weights
    inner = 1.0 if family.weights_are == "repeats" else w
    repeats = w if family.weights_are == "repeats" else 1.0
    constant = family.constant(y, weights)
    low, high = {"real": (-np.inf, np.inf), "positive": family.link_function.domain}.get(
        own.scale, family.link_function.unit_domain
    )
    inside = {(0.0, np.inf): 1.0, (-np.inf, 0.0): -1.0}.get((low, high), 0.0)
    coordinates = _COORDINATES[own.scale][family.link]

    def rows(eta: Any, aux: tuple[Any, ...]) -> Any:
        valid = (eta > low) & (eta < high)
        safe = jnp.where(valid, eta, inside)
        out = repeats * (constant + density(own, y, coordinates(safe), aux, inner))
        return jnp.where(valid, out, -jnp.inf)

    return rows


def _of(own: Any) -> Density:
    for kind, density in _DENSITIES.items():
        if type(own) is kind:
            return density
    known = ", ".join(kind.name for kind in _DENSITIES)
    raise PlanError(
        f"family {own.label!r} has no compiled density, so it cannot be sampled; available: {known}."
    )


# -- coordinates of eta -------------------------------------------------------------------------------------------


def _softplus(x: Any) -> Any:
    return jnp.logaddexp(0.0, x)


def _cloglog_sides(eta: Any) -> tuple[Any, Any]:
    e = jnp.exp(jnp.clip(eta, -700.0, 700.0))
    return jnp.where(eta < -700.0, eta, jnp.log(-jnp.expm1(-e))), -e


def _cauchit_sides(eta: Any) -> tuple[Any, Any]:
    return jnp.log(jnp.arctan2(1.0, -eta) / np.pi), jnp.log(jnp.arctan2(1.0, eta) / np.pi)


_COORDINATES: dict[str, dict[str, Callable[[Any], tuple[Any, ...]]]] = {
    "real": {
        "identity": lambda eta: (eta,),
        "log": lambda eta: (jnp.exp(eta),),
        "inverse": lambda eta: (1.0 / eta,),
    },
    "positive": {
        "log": lambda eta: (eta,),
        "identity": lambda eta: (jnp.log(eta),),
        "inverse": lambda eta: (-jnp.log(eta),),
        "sqrt": lambda eta: (2.0 * jnp.log(eta),),
        "inverse_squared": lambda eta: (-0.5 * jnp.log(eta),),
    },
    "unit": {
        "logit": lambda eta: (-_softplus(-eta), -_softplus(eta)),
        "probit": lambda eta: (log_ndtr(eta), log_ndtr(-eta)),
        "cloglog": _cloglog_sides,
        "cauchit": _cauchit_sides,
        "log": lambda eta: (eta, jnp.log(-jnp.expm1(eta))),
    },
}


# -- gamma functions ----------------------------------------------------------------------------------------------


def _stirling(x: Any) -> Any:
    """lgamma(x) - [(x - 1/2) log x - x + log(2 pi)/2]."""
    u = 1.0 / x**2
    return (1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u / 1188)))) / x


def _lgamma_step(x: Any, k: Any) -> Any:
    """lgamma(x + k) - lgamma(x) - k log x."""
    below = x < LARGE
    small, large = jnp.where(below, x, 1.0), jnp.where(below, LARGE, x)
    plain = gammaln(small + k) - gammaln(small) - k * jnp.log(small)
    series = (large + k - 0.5) * jnp.log1p(k / large) - k + (_stirling(large + k) - _stirling(large))
    return jnp.where(below, plain, series)


def _excess(x: Any, log_x: Any) -> Any:
    """x log x - x - lgamma(x)."""
    below = x < LARGE
    small, large = jnp.where(below, x, 1.0), jnp.where(below, LARGE, x)
    plain = small * jnp.where(below, log_x, 0.0) - small - gammaln(1.0 + small) + log_x
    return jnp.where(below, plain, 0.5 * (log_x - _LOG_2PI) - _stirling(large))


# -- densities ----------------------------------------------------------------------------------------------------


def _gaussian(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    z = (y - c[0]) * jnp.exp(-aux[0])
    return -0.5 * (_LOG_2PI + w * z**2) + 0.5 * np.log(w) - aux[0]


def _lognormal(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    return _gaussian(own, np.log(y), c, aux, w)


def _student(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    df = 1.0 + jnp.exp(aux[1]) if own.df is None else own.df
    z2 = ((y - c[0]) * jnp.exp(-aux[0])) ** 2 * w
    scale = 0.5 * np.log(w) - aux[0]
    return scale - 0.5 * _LOG_2PI + _lgamma_step(0.5 * df, 0.5) - 0.5 * (df + 1.0) * jnp.log1p(z2 / df)


def _poisson(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    return y * c[0] - jnp.exp(c[0])


def _nbinom2(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    phi = jnp.exp(aux[0])
    return _lgamma_step(phi, y) + y * c[0] - (phi + y) * _softplus(c[0] - aux[0])


def _nbinom1(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    r = jnp.exp(jnp.clip(c[0] - aux[0], -700.0, 700.0))
    log_1_phi = _softplus(aux[0])
    return _lgamma_step(r, y) + y * (c[0] - log_1_phi) - jnp.exp(c[0] - aux[0]) * log_1_phi


def _gamma(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    log_nu = np.log(w) - 2.0 * aux[0]
    nu, z = jnp.exp(log_nu), np.log(y) - c[0]
    return nu * (z - jnp.expm1(z)) + _excess(nu, log_nu)


def _inverse_gaussian(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    log_k = np.log(0.5 * w) - 2.0 * aux[0]
    return 0.5 * (log_k - np.log(np.pi)) - jnp.exp(log_k) * jnp.expm1(np.log(y) - c[0]) ** 2 / y


def _binomial(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    successes, failures = w * y, w * (1.0 - y)
    return jnp.where(successes > 0, successes * c[0], 0.0) + jnp.where(failures > 0, failures * c[1], 0.0)


def _beta(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    out = -_excess(jnp.exp(aux[0]), aux[0])
    for log_y, log_mu in zip((np.log(y), np.log1p(-y)), c, strict=True):
        finite = jnp.maximum(log_mu, -1e300)
        log_x = finite + aux[0]
        x = jnp.exp(log_x)
        out = out + x * (log_y - finite) + _excess(x, log_x)
    return out


def _zero_inflated(own: Any, y: Array, c: tuple[Any, ...], aux: tuple[Any, ...], w: Any) -> Any:
    base = own.base.constant(y, 1.0) + _of(own.base)(own.base, y, c, aux[:-1], w)
    z = aux[-1]
    inflated = jnp.where(y == 0, jnp.logaddexp(z, base), base) - _softplus(z)
    return inflated - own.base.constant(y, 1.0)


_DENSITIES: dict[type, Density] = {
    Gaussian: _gaussian,
    Lognormal: _lognormal,
    Student: _student,
    Poisson: _poisson,
    NegativeBinomial1: _nbinom1,
    NegativeBinomial2: _nbinom2,
    Gamma: _gamma,
    InverseGaussian: _inverse_gaussian,
    Binomial: _binomial,
    Beta: _beta,
    ZeroInflated: _zero_inflated,
}
