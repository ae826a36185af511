r"""Variances of many responses moderated towards a common prior: empirical Bayes of Smyth (2004).

Residual variances s_g^2 with d_g degrees of freedom, ``s_g^2 | sigma_g^2 ~ sigma_g^2 chi^2(d_g) / d_g`` and
``1 / sigma_g^2 ~ chi^2(d_0) / (d_0 s_0^2)``. Then (Smyth 2004, sec. 6.2), psi the digamma function::

    e_g  = log s_g^2 - psi(d_g / 2) + log(d_g / 2)
    psi'(d_0 / 2) = mean (e_g - e)^2 G / (G - 1) - mean psi'(d_g / 2),     s_0^2 = exp(e + psi(d_0 / 2) - log(d_0 / 2))      (1)
    s~_g^2 = (d_0 s_0^2 + d_g s_g^2) / (d_0 + d_g)                                                                       (2)

d_0 is infinite where the variances differ by no more than chance. The moderated t, an estimate over its standard error with s~
in the place of s, has d_0 more degrees of freedom, at most those of all responses together.

With random effects s_g^2 is the residual variance sigma^2 and d_g its own degrees of freedom by Satterthwaite's method
(:mod:`lmmformula.inference.many.estimates`); the variance ratios theta stay those of the response, so that all standard errors
are multiplied by s~ / s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.typing import Array

__all__ = ["Moderated", "moderated", "trigamma_inverse"]


@dataclass(frozen=True, slots=True, eq=False)
class Moderated:
    """Prior and moderated variances.

    Attributes
    ----------
    df, variance : float
        d_0 and s_0^2.
    variances : (G,) array
        s~^2.
    most : float
        Degrees of freedom of all responses together.
    """

    df: float
    variance: float
    variances: Array
    most: float


def moderated(variances: Array, df: Array) -> Moderated:
    """(1) and (2) of residual variances (G,) with degrees of freedom (G,).

    Raises
    ------
    DataError
        With fewer than two variances.
    """
    from scipy.special import digamma, polygamma

    good = np.isfinite(variances) & np.isfinite(df) & (df > 0.0)
    s, d = np.maximum(variances[good], 0.0), df[good]
    if len(s) < 2:
        raise DataError(
            f"moderated variances borrow strength from other responses, and {len(s)} response(s) could be fitted: leave "
            "moderated out, or give more responses."
        )
    s = np.maximum(s, 1e-5 * float(np.median(s)))
    e = np.log(s) - digamma(d / 2.0) + np.log(d / 2.0)
    centre = float(e.mean())
    excess = float(e.var(ddof=1) - polygamma(1, d / 2.0).mean())
    if excess > 0.0:
        prior = 2.0 * trigamma_inverse(excess)
        variance = float(np.exp(centre + digamma(prior / 2.0) - np.log(prior / 2.0)))
    else:
        prior, variance = np.inf, float(s.mean())
    if np.isinf(prior):
        out = np.where(np.isfinite(variances), variance, np.nan)
    else:
        out = (prior * variance + df * variances) / (prior + df)
    return Moderated(prior, variance, out, float(d.sum()))


def trigamma_inverse(x: float) -> float:
    """y with ``psi'(y) = x``, by Newton's steps on 1 / psi', which is nearly linear (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    if x > 1e7:
        return float(1.0 / np.sqrt(x))
    if x < 1e-6:
        return 1.0 / x
    y = 0.5 + 1.0 / x
    for _ in range(50):
        value = float(polygamma(1, y))
        step = value * (1.0 - value / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-12:
            break
    return y
