r"""Tail probabilities of weighted sums of independent chi-squares (Davies 1973, Biometrika 60; Imhof 1961).

``Q = sum_j w_j chi^2(d_j)`` has the characteristic function ``phi(u) = prod_j (1 - 2 i w_j u)^(-d_j / 2)``, and

    Pr(Q > q) = 1/2 + sum_{k >= 0} Im[phi(u_k) exp(-i u_k q)] / (pi (k + 1/2)),       u_k = (k + 1/2) D                   (1)

with an error below ``Pr(Q < q - 2 pi / D) + Pr(Q > q + 2 pi / D)`` (his equation 2), which Chernoff's bound holds under
1e-12 here. The sum ends where ``|phi|`` is negligible. Weights may be negative: a ratio is ``Pr(sum w chi^2 > f chi^2(d) /
d)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lmmformula.typing import Array

__all__ = ["tail"]

_NEGLIGIBLE = 1e-12
_ROUNDING = 1e-11
"""Probabilities below are rounding errors of (1): Chernoff's bound stands for them."""
_MOST = 4_000_000
_STEP = 65_536


def tail(q: float, weights: ArrayLike, df: ArrayLike | None = None) -> float:
    """``Pr(sum_j weights_j chi^2(df_j) > q)``.

    Parameters
    ----------
    q : float
    weights : (k,) array
        Zeros add nothing.
    df : (k,) array, optional
        Ones by default.

    Returns
    -------
    float
        With an absolute error of about 1e-10; below 1e-11 an upper bound.
    """
    w = np.asarray(weights, dtype=float)
    d = np.ones(len(w)) if df is None else np.asarray(df, dtype=float)
    w, d = w[w != 0.0], d[w != 0.0]
    if not len(w):
        return float(q < 0.0)
    size = float(np.abs(w).max())
    w, q = w / size, q / size
    if len(w) == 1:
        from scipy.special import chdtr, chdtrc

        return float(chdtrc(d[0], q / w[0]) if w[0] > 0 else chdtr(d[0], q / w[0]))
    if len(w) == 2 and (d == 1.0).all() and (w > 0.0).all():
        return _of_two(q, w)
    found = float(np.clip(_inverted(q, w, d), 0.0, 1.0))
    return _chernoff(q, w, d) if found < _ROUNDING else found


def _of_two(q: float, w: Array) -> float:
    """In polar coordinates: the mean over angles of ``exp(-q / (2 (w_1 cos^2 + w_2 sin^2)))``."""
    if q <= 0.0:
        return 1.0
    angles = 2.0 * np.pi * np.arange(4_096) / 4_096
    return float(np.exp(-0.5 * q / (w[0] * np.cos(angles) ** 2 + w[1] * np.sin(angles) ** 2)).mean())


def _inverted(q: float, w: Array, d: Array) -> float:
    """Equation (1)."""
    reach = abs(q - float(w @ d)) + 10.0 * float(np.sqrt(2.0 * w**2 @ d))
    while _chernoff(q + reach, w, d) + _chernoff(-(q - reach), -w, d) > _NEGLIGIBLE:
        reach *= 1.5
    step, total, start = 2.0 * np.pi / reach, 0.0, 0
    while start < _MOST:
        u = (np.arange(start, start + _STEP) + 0.5) * step
        log_size = -0.25 * (d @ np.log1p(4.0 * np.multiply.outer(w**2, u**2)))
        angle = 0.5 * (d @ np.arctan(2.0 * np.multiply.outer(w, u))) - u * q
        terms = np.exp(log_size) * np.sin(angle) / (np.pi * (u / step))
        total += float(terms.sum())
        start += _STEP
        if log_size[-1] < np.log(_NEGLIGIBLE):
            break
    return 0.5 + total


def _chernoff(x: float, w: Array, d: Array) -> float:
    """Bound of Pr(Q > x)."""
    top = float(w.max())
    if top <= 0.0:
        return float(x < 0.0)
    t = np.geomspace(1e-6, 1.0 - 1e-6, 200) / (2.0 * top)
    log_mgf = -0.5 * (d @ np.log1p(-2.0 * np.multiply.outer(w, t)))
    return float(np.exp(min(0.0, float((log_mgf - t * x).min()))))
