"""Logarithms of both tails, log P(Y <= y) and log P(Y > y), over an array namespace: NumPy, JAX or series.

Each is accurate where it is small, so that neither is one minus the other. Distributions ask for them here and say with which
arguments; :mod:`lmmformula.families.between` makes probabilities of intervals of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.families.records import Array, Maybe
from lmmformula.families.special import log_ndtr
from lmmformula.families.taylor import Series
from lmmformula.typing import Namespace, Numbers

__all__ = [
    "exgaussian_tails",
    "extreme_tails",
    "inverse_gaussian_tails",
    "log1mexp",
    "normal_tails",
    "student_tails",
]

Tails = tuple[Numbers, Numbers]
"""log F and log(1 - F)."""

LOG_HALF = -0.6931471805599453


def log1mexp(x: Numbers, xp: Namespace) -> Numbers:
    """log(1 - e^x) for x < 0: by expm1 near 0, by log1p far below."""
    near = x > LOG_HALF
    close = xp.log(-xp.expm1(xp.where(near, x, -1.0)))
    return xp.where(near, close, xp.log1p(-xp.exp(xp.where(near, -1.0, x))))


def normal_tails(z: Numbers, xp: Namespace) -> Tails:
    """Of a standard normal variable."""
    return log_ndtr(z, xp), log_ndtr(-z, xp)


def extreme_tails(z: Numbers, xp: Namespace) -> Tails:
    """Of the logarithm of a standard exponential variable: ``log P(Z > z) = -e^z``."""
    above = -xp.exp(z)
    return log1mexp(above, xp), above


def inverse_gaussian_tails(y: Array, t: Numbers, log_shape: Numbers, xp: Namespace) -> Tails:
    """Of an inverse Gaussian variable of mean e^t and shape lambda (Shuster 1968).

    ``F = Phi(r (y/mu - 1)) + e^(2 lambda/mu) Phi(-r (y/mu + 1))``, r = sqrt(lambda / y).
    """
    ratio = y * xp.exp(-t)
    root = xp.exp(0.5 * log_shape) / np.sqrt(y)
    near = root * (ratio - 1.0)
    other = 2.0 * xp.exp(log_shape - t) + log_ndtr(-(root * (ratio + 1.0)), xp)
    above = log_ndtr(-near, xp)
    return xp.logaddexp(log_ndtr(near, xp), other), above + log1mexp(other - above, xp)


def exgaussian_tails(z: Numbers, ratio: Numbers, xp: Namespace) -> Tails:
    """Of a standard normal variable and an exponential one of mean 1 / `ratio`: ``F = Phi(z) - e^(r^2/2 - r z) Phi(z - r)``."""
    below = log_ndtr(z, xp)
    tail = ratio * (0.5 * ratio - z) + log_ndtr(z - ratio, xp)
    return below + log1mexp(tail - below, xp), xp.logaddexp(log_ndtr(-z, xp), tail)


def student_tails(z: Numbers, df: float, xp: Namespace) -> Tails:
    """Of a t variable with known degrees of freedom."""
    if isinstance(z, Series):
        return z.map(lambda x, n: _student(x, df)), (-z).map(lambda x, n: _student(x, df))
    if xp is np:
        from scipy.special import stdtr

        return np.log(stdtr(df, z)), np.log(stdtr(df, -z))
    from jax.scipy.special import betainc

    half = 0.5 * betainc(0.5 * df, 0.5, df / (df + z * z))
    small, large = xp.log(half), xp.log1p(-half)
    return xp.where(z < 0, small, large), xp.where(z < 0, large, small)


def _student(x: Array, df: float) -> Sequence[Maybe]:
    """log F and its derivatives, by those of the density f: f' = -(df + 1) x f / (df + x^2)."""
    from scipy.special import gammaln, stdtr

    log_f = gammaln(0.5 * df + 0.5) - gammaln(0.5 * df) - 0.5 * np.log(np.pi * df)
    f = np.exp(log_f - 0.5 * (df + 1.0) * np.log1p(x * x / df))
    p, u = stdtr(df, x), df + x * x
    s = -(df + 1.0) * x / u  # f'/f
    s1 = -(df + 1.0) * (df - x * x) / u**2
    h1 = f / p
    h2 = h1 * (s - h1)
    return np.log(p), h1, h2, h2 * (s - h1) + h1 * (s1 - h2)
