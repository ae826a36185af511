r"""Log densities of many rows with their derivatives in eta, in compiled loops that fill the processor's vectors.

Functions of the C library take one number at a time, and array operations a pass over memory for each step. Here exponentials
and logarithms are polynomials over a tile of rows, which stays in the fastest cache (Muller 2016, Elementary functions, ch. 5
and 11)::

    exp x = 2^k exp r,   k = round(x / log 2),  r = x - k log 2,  |r| <= log(2) / 2,      for x <= 0                    (1)
    exp r = sum_{j <= 13} r^j / j!                     what is left out is below 5e-18 of it

    log(1 + e) = log 2 [e > sqrt 2 - 1] + log(1 + f),   f = e or (e - 1) / 2,   for 0 <= e <= 1                         (2)
    log(1 + f) = 2 s sum_{j <= 10} s^(2j) / (2j + 1),   s = f / (2 + f),  |s| < .172     left out: below 1e-18 of it

k is had without a conversion, which processors do not do for vectors: adding 1.5 2^52 rounds to an integer in the last bits of
the sum, from where they are moved to the exponent of a power of two. Sums are not reordered, or that would cancel.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["binomial_logit_rows"]

_TILE = 256
"""Rows whose intermediate numbers are held: few enough for the fastest cache, enough that loops begin seldom."""
_ROUND = 1.5 * 2.0**52
_LOG2_HIGH = float.fromhex("0x1.62e42feep-1")
"""log 2 to so few digits that its products with k are exact."""
_LOG2_LOW = 1.9082149292705877e-10
"""What it leaves of log 2."""
_LOG2 = _LOG2_HIGH + _LOG2_LOW
_PER_LOG2 = 1.0 / _LOG2
_LEAST = -708.0
"""Below, exponentials lose digits to be numbers at all; they are taken as there, 3e-308."""
_SPLIT = 2.0**0.5 - 1.0
_E = tuple(1.0 / float(np.prod(np.arange(1.0, j + 1.0))) for j in range(14))
_L = tuple(2.0 / (2 * j + 1) for j in range(11))


@compiled(fast=False)
def _exponentials(x, shifted, out):
    """``out = exp x`` for x up to 0 by (1); `shifted` is scratch of the same length."""
    for i in range(len(x)):
        low = _LEAST if x[i] < _LEAST else x[i]
        shifted[i] = low * _PER_LOG2 + _ROUND
    for i in range(len(x)):
        low = _LEAST if x[i] < _LEAST else x[i]
        k = shifted[i] - _ROUND
        r = (low - k * _LOG2_HIGH) - k * _LOG2_LOW
        p = _E[13]
        p = p * r + _E[12]
        p = p * r + _E[11]
        p = p * r + _E[10]
        p = p * r + _E[9]
        p = p * r + _E[8]
        p = p * r + _E[7]
        p = p * r + _E[6]
        p = p * r + _E[5]
        p = p * r + _E[4]
        p = p * r + _E[3]
        p = p * r + _E[2]
        out[i] = (p * r * r + r) + 1.0
    powers = shifted.view(np.int64)
    for i in range(len(x)):
        powers[i] = (powers[i] + 1023) << 52
    for i in range(len(x)):
        out[i] *= shifted[i]


@compiled(fast=False)
def _log_one_plus(e, out):
    """``out = log(1 + e)`` for e from 0 to 1 by (2)."""
    for i in range(len(e)):
        above = 1.0 if e[i] > _SPLIT else 0.0
        f = (e[i] - above) * (1.0 - 0.5 * above)
        s = f / (2.0 + f)
        z = s * s
        p = _L[10]
        p = p * z + _L[9]
        p = p * z + _L[8]
        p = p * z + _L[7]
        p = p * z + _L[6]
        p = p * z + _L[5]
        p = p * z + _L[4]
        p = p * z + _L[3]
        p = p * z + _L[2]
        p = p * z + _L[1]
        p = s * (p * z + _L[0])
        out[i] = p + _LOG2 * above


@compiled(fast=False, bare=True)
def binomial_logit_rows(y, eta, w, constant, out):
    """Of proportions y of w trials: log density, score, weight and, if `out` has a fourth row, the weight's derivative.

    `w` and `constant` with a single element stand for equal ones.
    """
    size, e, shifted = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    one_w, one_c, more = len(w) == 1, len(constant) == 1, len(out) > 3
    for first in range(0, len(eta), _TILE):
        last = min(first + _TILE, len(eta))
        n = last - first
        x, r = eta[first:last], y[first:last]
        loglik, score, weight = out[0, first:last], out[1, first:last], out[2, first:last]
        for i in range(n):
            size[i] = -abs(x[i])
        _exponentials(size[:n], shifted[:n], e[:n])
        _log_one_plus(e[:n], loglik)
        for i in range(n):
            up = 1.0 if x[i] > 0.0 else 0.0
            miss = r[i] + up * (1.0 - 2.0 * r[i])
            loglik[i] = size[i] * miss - loglik[i]
        for i in range(n):
            larger = 1.0 / (1.0 + e[i])
            smaller = e[i] * larger
            up = 1.0 if x[i] > 0.0 else 0.0
            gap = larger - smaller
            p, q = smaller + up * gap, smaller + (1.0 - up) * gap
            score[i] = r[i] * q - (1.0 - r[i]) * p
            weight[i] = larger * smaller
            e[i] = q - p
        if more:
            bent = out[3, first:last]
            for i in range(n):
                bent[i] = weight[i] * e[i]
        _times(out[:, first:last], w if one_w else w[first:last])
        _plus(loglik, constant if one_c else constant[first:last])


@compiled(fast=False)
def _times(out, w):
    """Multiply every row of `out` by w, which may be one number."""
    if len(w) == 1:
        if w[0] != 1.0:
            for j in range(len(out)):
                for i in range(out.shape[1]):
                    out[j, i] *= w[0]
        return
    for j in range(len(out)):
        row = out[j]
        for i in range(len(w)):
            row[i] *= w[i]


@compiled(fast=False)
def _plus(out, c):
    """Add c, which may be one number."""
    if len(c) == 1:
        if c[0] != 0.0:
            for i in range(len(out)):
                out[i] += c[0]
        return
    for i in range(len(out)):
        out[i] += c[i]
