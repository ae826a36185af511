r"""The studentized range: the largest of k means less the smallest, over an independent standard error on nu degrees of
freedom.

With W(w) the distribution of the range of k standard normals and s = chi_nu / sqrt(nu)::

    P(Q > q) = E_s[1 - W(q s)],      1 - W(w) = k int phi(z) [a^(k-1) - b^(k-1)] dz,    a = Phi(z),  b = Phi(z) - Phi(z - w)

The difference of the powers is ``-a^(k-1) expm1((k-1) log1p(-r))`` with ``r = Phi(z - w) / Phi(z)``, so that small tail
probabilities keep their digits. Both integrals are of analytic functions that fall off at both ends (the outer one in log s),
for which the trapezoidal rule converges faster than any power of the step (Trefethen & Weideman 2014); steps are small against
the width of the integrand, which for log s is 1 / sqrt(2 nu).

References
----------
Copenhaver & Holland (1988), J. Statist. Comput. Simul. 30, 1-15: the two integrals.
Trefethen & Weideman (2014), SIAM Review 56, 385-458.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lmmformula.typing import Array

__all__ = ["range_quantile", "range_tail"]

_REACH = 9.0
"""Standard deviations beyond which the normal density has no weight in double precision."""
_STEP = 0.2
_EXPONENT = 42.0
"""Logarithm of how far an integrand has fallen where it is cut off."""


def range_tail(q: float, k: float, df: float) -> float:
    """``P(Q > q)`` for the range of `k` means (at least 2, not necessarily whole) on `df` degrees of freedom."""
    if np.isnan(q) or np.isnan(df):
        return np.nan
    if q <= 0.0:
        return 1.0
    if np.isinf(df):
        return float(_normal_tail(np.array([q]), k)[0])
    x, weight = _log_chi(q, df)
    return float(min(np.sum(weight * _normal_tail(q * np.exp(x), k)), 1.0))


@lru_cache(maxsize=256)
def range_quantile(level: float, k: float, df: float) -> float:
    """The q with ``P(Q <= q) = level``."""
    from scipy.optimize import brentq
    from scipy.special import ndtri, stdtrit

    tail = 1.0 - level
    share = 1.0 - tail / (k * (k - 1.0))  # Bonferroni's bound for the largest of the differences
    above = 1.5 * float(ndtri(share) if np.isinf(df) else stdtrit(df, share)) + 1.0
    found = brentq(lambda q: np.log(range_tail(q, k, df)) - np.log(tail), 1e-3, above, xtol=1e-10)
    return float(found)  # pyright: ignore[reportArgumentType]


def _normal_tail(w: Array, k: float) -> Array:
    """1 - W(w), of the range of `k` standard normals."""
    from scipy.special import log_ndtr

    z = np.arange(-_REACH, _REACH + _STEP / 2, _STEP) + 0.5 * w[:, None]
    log_a = log_ndtr(z)
    # r is one where w is zero, and rounding must not take it beyond
    r = np.exp(np.minimum(log_ndtr(z - w[:, None]) - log_a, 0.0))
    with np.errstate(divide="ignore"):
        fallen = -np.expm1((k - 1.0) * np.log1p(-r))
    density = np.exp(-0.5 * z**2 + (k - 1.0) * log_a) / np.sqrt(2.0 * np.pi)
    return np.minimum(k * _STEP * np.sum(density * fallen, axis=1), 1.0)


def _log_chi(q: float, df: float) -> tuple[Array, Array]:
    """Nodes in x = log s and their weights, which add up to one.

    The density of x is proportional to ``exp(nu x - nu exp(2x) / 2)``. Far out in the tail the range adds about
    ``-q^2 exp(2x) / 4``, which moves the peak to ``log(nu / (nu + q^2 / 2)) / 2``: nodes reach from well below that to well
    above zero.
    """
    peak = 0.5 * np.log(df / (df + 0.5 * q * q))
    width = 1.0 / np.sqrt(2.0 * df)
    low = peak - max(_EXPONENT / df, _REACH * width)
    high = 0.5 * np.log1p(2.0 * _EXPONENT / df) + _REACH * width
    step = min(0.3 * width, 0.1)
    x = np.arange(low, high + step, step)
    weight = np.exp(df * (x - 0.5 * np.expm1(2.0 * x)))
    return x, weight / weight.sum()
