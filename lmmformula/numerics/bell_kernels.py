"""Compiled sums over the terms of bells, row by row: Conway-Maxwell-Poisson distributions, series of Tweedie densities.

Terms of row i are at k = low[i], low[i] + step[i], ..., count[i] of them; the largest one is near peak[i], and exponentials are
taken relative to it.
"""

from __future__ import annotations

import math

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["compois_sums", "tweedie_sums"]


@compiled()
def compois_sums(eta, nu, peak, low, step, count, log_factorials, more, out):
    """Of terms ``exp(k eta - nu log k!)``: log of their sum, mean and variance of k, rows 0..2 of `out`.

    With `more` also, in rows 3..8, the third and fourth cumulant of k, the mean of G = log k! and the joint cumulants of G
    with one, two and three k. `log_factorials` are log 0!, log 1!, ..., as far as they go.
    """
    p, g = np.empty(count.max()), np.empty(count.max())
    for i in range(len(eta)):
        m, h, first = count[i], step[i], low[i]
        ahead = min(max(math.floor((peak[i] - first) / h), 0.0), m - 1.0) * h + first
        top = ahead * eta[i] - nu[i] * math.lgamma(ahead + 1.0)
        total = mean = average = 0.0
        for j in range(m):
            k = first + h * j
            g[j] = log_factorials[int(k)] if k < len(log_factorials) else math.lgamma(k + 1.0)
            p[j] = math.exp(k * eta[i] - nu[i] * g[j] - top)
            total += p[j]
            mean += p[j] * k
            average += p[j] * g[j]
        mean /= total
        average /= total
        v = k3 = k4 = c1 = c2 = c3 = 0.0
        for j in range(m):
            d, a = first + h * j - mean, g[j] - average
            e = p[j] * d * d
            v += e
            if more:
                k3 += e * d
                k4 += e * d * d
                c1 += p[j] * a * d
                c2 += e * a
                c3 += e * d * a
        v /= total
        out[0, i], out[1, i], out[2, i] = top + math.log(total * h), mean, v
        if more:
            c1 /= total
            out[3, i], out[4, i], out[5, i] = k3 / total, k4 / total - 3.0 * v * v, average
            out[6, i], out[7, i], out[8, i] = c1, c2 / total, c3 / total - 3.0 * c1 * v


@compiled()
def tweedie_sums(r, peak, low, step, count, lowered, digammas, out):
    """Of terms ``exp(j r - lowered[j - 1])``: log of their sum, means of j and of j `digammas[j - 1]`, rows 0..2 of `out`.

    Without `digammas` the first of these alone.
    """
    more = len(digammas) > 0
    for i in range(len(r)):
        m, h, first = count[i], step[i], low[i]
        ahead = min(max((peak[i] - first) // h, 0), m - 1) * h + first
        top = ahead * r[i] - lowered[ahead - 1]
        total = mean = bent = 0.0
        for j in range(first, first + h * m, h):
            e = math.exp(j * r[i] - lowered[j - 1] - top)
            total += e
            if more:
                mean += e * j
                bent += e * j * digammas[j - 1]
        out[0, i] = top + math.log(total * h)
        if more:
            out[1, i], out[2, i] = mean / total, bent / total
