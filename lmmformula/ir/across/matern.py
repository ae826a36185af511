r"""The Matern correlation function and its derivatives, for many distances at once.

With t the distance over the range (Matern 1960; Stein 1999, sec. 2.7; the parametrisation of glmmTMB)::

    r(t)       = 2^(1-nu) / Gamma(nu) t^nu K_nu(t)
    -t dr/dt   = 2^(1-nu) / Gamma(nu) t^(nu+1) K_(nu-1)(t)                                              (1)

(1) is d/dt [t^nu K_nu(t)] = -t^nu K_(nu-1)(t) (DLMF 10.29.4), so the derivative in log range has no cancellation. r is formed
through its logarithm with exp(t) K_nu(t), so that neither end overflows. For dr/dnu no closed form exists: it is a central
difference of fourth order, whose rounding and truncation are both about 1e-12.

Bessel functions take about a microsecond each. Of more pairs than nodes, r is interpolated in log t on nodes 0.0025 apart by
cubic Hermite polynomials with the exact slopes of (1): the error is h^4 / 384 of the fourth derivative, below 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmmformula.typing import Array

__all__ = ["matern"]

_GAP = 0.0025
"""Distance of nodes in log t."""
_STEP = 1e-3
"""Of the difference in nu, relative."""


def matern(t: Array, nu: float, *, with_nu: bool = True) -> tuple[Array, Array, Array]:
    """r, -t dr/dt and dr/dnu at distances t >= 0 over the range; at t = 0 they are 1, 0 and 0.

    Parameters
    ----------
    t : array
    nu : float
        Smoothness, > 0.
    with_nu : bool
        Whether dr/dnu is wanted; else it is zero.
    """
    out = np.ones(t.shape), np.zeros(t.shape), np.zeros(t.shape)
    apart = t > 0.0
    near = np.log(t[apart])
    if not near.size:
        return out
    low, high = float(near.min()), float(near.max())
    nodes = int(np.ceil((high - low) / _GAP)) + 2
    parts: tuple[Callable[[Array], tuple[Array, Array]], ...]
    parts = (
        lambda x: (_value(x, nu), -_fall(x, nu)),
        lambda x: (_fall(x, nu), _bend(x, nu)),
        lambda x: (_by_nu(_value, x, nu), -_by_nu(_fall, x, nu)),
    )
    for found, part in zip(out, parts if with_nu else parts[:2], strict=False):
        if near.size <= 2 * nodes:
            found[apart] = part(near)[0]
        else:
            grid = low + _GAP * np.arange(nodes)
            found[apart] = _hermite(near, grid, *part(grid))
    return out


def _log_kernel(x: Array, order: float, nu: float) -> Array:
    """log of 2^(1-nu) / Gamma(nu) t^nu K_order(t), t = exp(x); nan where K overflows, near t = 0."""
    from scipy.special import gammaln, kve

    t = np.exp(x)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        k = kve(order, t)
        return np.where(
            np.isfinite(k), (1.0 - nu) * np.log(2.0) - gammaln(nu) + nu * x + np.log(k) - t, np.nan
        )


def _value(x: Array, nu: float) -> Array:
    """r."""
    return np.nan_to_num(np.exp(_log_kernel(x, nu, nu)), nan=1.0)


def _fall(x: Array, nu: float) -> Array:
    """-t dr/dt."""
    return np.nan_to_num(np.exp(_log_kernel(x, nu - 1.0, nu) + x), nan=0.0)


def _bend(x: Array, nu: float) -> Array:
    """d/dlog t of f = -t dr/dt: by the same rule 2 f - 2^(1-nu) / Gamma(nu) t^(nu+2) K_(nu-2)(t)."""
    return 2.0 * _fall(x, nu) - np.nan_to_num(np.exp(_log_kernel(x, nu - 2.0, nu) + 2.0 * x), nan=0.0)


def _by_nu(of: Callable[[Array, float], Array], x: Array, nu: float) -> Array:
    """Derivative of `of` in nu by a central difference of fourth order."""
    h = _STEP * nu
    near, far = of(x, nu + h) - of(x, nu - h), of(x, nu + 2.0 * h) - of(x, nu - 2.0 * h)
    return (8.0 * near - far) / (12.0 * h)


def _hermite(x: Array, nodes: Array, values: Array, slopes: Array) -> Array:
    """Cubic Hermite interpolation on even nodes."""
    place = np.clip(((x - nodes[0]) / _GAP).astype(np.intp), 0, len(nodes) - 2)
    s = (x - nodes[place]) / _GAP
    rest = 1.0 - s
    left, right = values[place], values[place + 1]
    first, last = slopes[place] * _GAP, slopes[place + 1] * _GAP
    return rest * rest * ((1.0 + 2.0 * s) * left + s * first) + s * s * (
        (1.0 + 2.0 * rest) * right - rest * last
    )
