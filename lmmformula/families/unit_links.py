"""Links onto 0..1, as jets of ``f = log mu`` and ``g = log(1 - mu)``: both exact in both tails.

Each has the same two functions over an array namespace, ``..._at``, to be traced.
"""

from __future__ import annotations

import numpy as np

from lmmformula.families.records import Array, Jet
from lmmformula.families.special import log_ndtr, softplus
from lmmformula.typing import Namespace

__all__ = [
    "cauchit_at",
    "cauchit_sides",
    "cloglog_at",
    "cloglog_sides",
    "log_at",
    "log_normal_cdf",
    "log_sides",
    "logit_at",
    "logit_sides",
    "probit_at",
    "probit_sides",
]


def logit_at(eta: Array, xp: Namespace) -> tuple[Array, Array]:
    """``-log(1 + e^-eta)``, ``-log(1 + e^eta)``."""
    return -softplus(-eta, xp), -softplus(eta, xp)


def probit_at(eta: Array, xp: Namespace) -> tuple[Array, Array]:
    """``log Phi(eta)``, ``log Phi(-eta)``."""
    return log_ndtr(eta, xp), log_ndtr(-eta, xp)


def cloglog_at(eta: Array, xp: Namespace) -> tuple[Array, Array]:
    """``log(1 - exp(-e^eta))``, ``-e^eta``."""
    e = xp.exp(xp.clip(eta, -700.0, 700.0))
    return xp.where(eta < -700.0, eta, xp.log(-xp.expm1(-e))), -e


def cauchit_at(eta: Array, xp: Namespace) -> tuple[Array, Array]:
    """Logarithms of the two angles over pi."""
    return xp.log(xp.arctan2(1.0, -eta) / np.pi), xp.log(xp.arctan2(1.0, eta) / np.pi)


def log_at(eta: Array, xp: Namespace) -> tuple[Array, Array]:
    """``eta``, ``log(1 - e^eta)``."""
    return eta, xp.log(-xp.expm1(eta))


def logit_sides(eta: Array) -> tuple[Jet, Jet]:
    """``f = -log(1 + e^-eta)``, ``g = -log(1 + e^eta)``."""
    e = np.exp(-np.abs(eta))
    up = eta >= 0
    p, q = np.where(up, 1.0, e) / (1.0 + e), np.where(up, e, 1.0) / (1.0 + e)
    near = -np.log1p(e)
    pq = p * q
    d3 = -pq * (q - p)
    return Jet(near + np.minimum(eta, 0.0), q, -pq, d3), Jet(near - np.maximum(eta, 0.0), -p, -pq, d3)


def probit_sides(eta: Array) -> tuple[Jet, Jet]:
    """``f = log Phi(eta)``, ``g = log Phi(-eta)``."""
    f, g = log_normal_cdf(eta), log_normal_cdf(-eta)
    return f, Jet(g.value, -g.d1, g.d2, -g.d3)


_FAR = 6.0
"""Where the continued fraction takes over: `_DEPTH` levels give full precision there."""

_DEPTH = 60


def log_normal_cdf(x: Array) -> Jet:
    """``log Phi``; with ``r = phi/Phi``: r, -r (x + r), and the derivative of that.

    For x = -z far below zero ``r = z + 1/(z + 2/(z + 3/(z + ...)))`` (Abramowitz & Stegun 1964, 26.2.14). With
    delta = 1/(z + eps), eps = 2/(z + kappa), kappa = 3/(z + ...) the differences are products, free of
    cancellation: x + r = delta, 1 - r delta = delta (eps - delta), 2 delta - eps = delta eps (kappa - eps).
    """
    from scipy.special import erfcx

    # erfcx overflows below -26, that is for x > 37, where r is 0 to any precision: exp keeps it there
    r = np.where(
        x < 5.0,
        np.sqrt(2 / np.pi) / erfcx(-np.minimum(x, 5.0) / np.sqrt(2)),
        np.exp(-0.5 * np.maximum(x, 5.0) ** 2 - 0.5 * np.log(2 * np.pi) - log_ndtr(np.maximum(x, 5.0), np)),
    )
    gap = x + r
    d2 = -r * gap
    d3 = -d2 * gap - r * (1.0 + d2)
    far = np.flatnonzero(x < -_FAR)
    if far.size:
        z = -x[far]
        kappa = np.zeros(z.shape)
        for level in range(_DEPTH, 2, -1):
            kappa = level / (z + kappa)
        eps = 2.0 / (z + kappa)
        delta = 1.0 / (z + eps)
        r[far] = z + delta
        d2[far] = -(z + delta) * delta
        d3[far] = (z + delta) * delta**2 * eps * (kappa - eps)
    return Jet(log_ndtr(x, np), r, d2, d3)


def cloglog_sides(eta: Array) -> tuple[Jet, Jet]:
    """``g = -e^eta``, ``f = log(1 - e^g)``; f' = b = e/(exp(e) - 1), f'' = b c with c = 1 - e - b."""
    e = np.exp(np.clip(eta, -700.0, 700.0))
    rest = -np.expm1(-e)
    b = e * np.exp(-e) / rest
    series = e * (-0.5 + e * (-1 / 12 + e**2 * (1 / 720 - e**2 * (1 / 30240 - e**2 / 1209600))))
    c = np.where(e < 0.1, series, 1.0 - e - b)
    d2 = b * c
    f = Jet(np.where(eta < -700.0, eta, np.log(rest)), b, d2, d2 * c - b * e - b * d2)
    return f, Jet(-e, -e, -e, -e)


def cauchit_sides(eta: Array) -> tuple[Jet, Jet]:
    """``mu = 1/2 + atan(eta)/pi``, written as an angle from the nearer end."""
    f, g = _log_cauchy_cdf(eta), _log_cauchy_cdf(-eta)
    return f, Jet(g.value, -g.d1, g.d2, -g.d3)


def _log_cauchy_cdf(x: Array) -> Jet:
    angle = np.arctan2(1.0, -x)
    u = 1.0 / (1.0 + x**2)
    s = u / angle
    k = -2.0 * x * u
    d2 = s * (k - s)
    d3 = d2 * (k - s) + s * (-2.0 * u * (1.0 - x**2) * u - d2)
    return Jet(np.log(angle / np.pi), s, d2, d3)


def log_sides(eta: Array) -> tuple[Jet, Jet]:
    """``f = eta``, ``g = log(1 - e^eta)`` for eta < 0; with v = 1/(e^-eta - 1), v' = v (1 + v)."""
    v = 1.0 / np.expm1(-eta)
    dv = v * (1.0 + v)
    # log(1 - e^eta) = log(-expm1(eta)), exact near 0; log1p(-e^eta), exact far below
    g = np.where(eta > -0.7, np.log(-np.expm1(eta)), np.log1p(-np.exp(eta)))
    return Jet(eta, 1.0, 0.0, 0.0), Jet(g, -v, -dv, -dv * (1.0 + 2.0 * v))
