r"""The marginal log density of variances on unconstrained scales, and its gradient, in one compiled loop.

x_j is a coordinate (:mod:`lmmformula.backends.posterior.model.scalars`), L_i the factor of a term and f the function of
:mod:`lmmformula.numerics.bordered_kernels`, of Lambda = L / sigma, w = sigma^2 / v and pi = 1 / sigma^2::

    log p(y, x) = constant - (n - p) log sigma - (f(Lambda, w, pi) + sum log v) / 2 + sum_j log p(x_j)

    d/dlog sigma  = -(n - p) + <df/dLambda, Lambda> / 2 - sum_j w_j df/dw_j + pi df/dpi
    d/dL_i        = -df/dLambda_i / (2 sigma),        d/dlog v_j = (w_j df/dw_j - 1) / 2

L = diag(s) C with ``C_ij = p_ij prod_{l<j} r_il``, ``r = (1 - p^2)^(1/2)`` (Lewandowski, Kurowicka & Joe 2009), whose
derivatives run through a row backwards: with H = diag(s) dL for the slope with respect to C, c_j for the product and h for its
slope,

    h = H_ii at the end,     slope of p_ij = c_j (H_ij - h p_ij / r_ij),     h <- H_ij p_ij + h r_ij    for j = i - 1, ..., 0

A row of `table` is a coordinate's (its value's five coefficients, four of its log density, nine of its prior's); one of `terms`
says (k, place of the first sd, 1 if columns have their own, place of the first correlation or -1, place of L_00 in the
factors end to end, columns of these). `mixing` is the place of log lambda_j for each coefficient, or -1.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.bordered_slope_kernels import bordered_slopes
from lmmformula.numerics.compiled import compiled

__all__ = ["variance_slopes"]

_LEAST = 1e-300
"""Stands for 1 - p^2 where rounding has put a partial correlation on its end."""


@compiled(bare=True)
def coordinate_values(x, table, values, rates, slopes):
    """Parameters, their derivatives and those of the log prior density, (d,) each; the log prior density."""
    total = 0.0
    for j in range(x.shape[0]):
        at = x[j]
        e = np.exp(at)
        back = 1.0 / e
        sinh, cosh = 0.5 * (e - back), 0.5 * (e + back)
        tanh = sinh / cosh
        value = table[j, 0] + table[j, 1] * sinh + table[j, 2] * e + table[j, 3] * tanh + table[j, 4] * at
        rate = table[j, 1] * cosh + table[j, 2] * e + table[j, 3] / (cosh * cosh) + table[j, 4]
        total += table[j, 5] * at + table[j, 6] * np.log(cosh) + table[j, 7] * back + table[j, 8] * at * at
        slope = table[j, 5] + table[j, 6] * tanh - table[j, 7] * back + 2.0 * table[j, 8] * at
        size, sign = (value, 1.0) if value >= 0.0 else (-value, -1.0)
        total += table[j, 9]
        inner = table[j, 11]
        total += inner * size
        if table[j, 10] != 0.0 or table[j, 13] != 0.0:
            log = np.log(size)
            total += (table[j, 10] + table[j, 13] * log) * log
            inner += (table[j, 10] + 2.0 * table[j, 13] * log) / size
        if table[j, 12] != 0.0:
            total += table[j, 12] / size
            inner -= table[j, 12] / (size * size)
        gap = size - table[j, 15]
        total += table[j, 14] * gap * gap
        inner += 2.0 * table[j, 14] * gap
        if table[j, 16] != 0.0:
            inside = 1.0 + table[j, 17] * gap * gap
            total += table[j, 16] * np.log(inside)
            inner += 2.0 * table[j, 16] * table[j, 17] * gap / inside
        values[j], rates[j], slopes[j] = value, rate, slope + inner * sign * rate
    return total


@compiled(bare=True)
def term_factors(values, terms, scale, factors):
    """L of each term times `scale`, into the factors end to end, which hold zeros elsewhere."""
    for t in range(terms.shape[0]):
        k, sd, apart, cor = terms[t, 0], terms[t, 1], terms[t, 2], terms[t, 3]
        for i in range(k):
            row = terms[t, 4] + i * terms[t, 5]
            left = scale * values[sd + i * apart]
            if cor >= 0:
                for j in range(i):
                    p = values[cor + j * k - j * (j + 1) // 2 + i - j - 1]
                    factors[row + j] = left * p
                    left *= np.sqrt(max(1.0 - p * p, _LEAST))
            factors[row + i] = left


@compiled(bare=True)
def term_slopes(values, terms, d_factors, before, d_values):
    """Add the slopes with respect to standard deviations and correlations, from those with respect to L."""
    for t in range(terms.shape[0]):
        k, sd, apart, cor = terms[t, 0], terms[t, 1], terms[t, 2], terms[t, 3]
        for i in range(k):
            row = terms[t, 4] + i * terms[t, 5]
            place = sd + i * apart
            if cor < 0:
                d_values[place] += d_factors[row + i]
                continue
            left, unit = 1.0, 0.0
            for j in range(i):
                p = values[cor + j * k - j * (j + 1) // 2 + i - j - 1]
                before[j] = left
                unit += d_factors[row + j] * left * p
                left *= np.sqrt(max(1.0 - p * p, _LEAST))
            d_values[place] += unit + d_factors[row + i] * left
            h = d_factors[row + i] * values[place]
            for j in range(i - 1, -1, -1):
                at = cor + j * k - j * (j + 1) // 2 + i - j - 1
                p = values[at]
                root = np.sqrt(max(1.0 - p * p, _LEAST))
                own = d_factors[row + j] * values[place]
                d_values[at] += before[j] * (own - h * p / root)
                h = own * p + h * root


@compiled(bare=True)
def variance_slopes(
    x,
    table,
    terms,
    mixing,
    numbers,
    log_var0,
    places,
    a,
    counts,
    merged,
    b,
    outer,
    g,
    border,
    gradient,
):
    """The log density at x (d,), its gradient in the last argument; `numbers`: n - p, constant, place of sigma."""
    d, p, k = x.shape[0], log_var0.shape[0], a.shape[1]
    values, rates, d_values = np.empty(d), np.empty(d), np.zeros(d)
    total = numbers[1] + coordinate_values(x, table, values, rates, gradient)
    at = int(numbers[2])
    sigma = values[at]
    count = k * k
    for s in range(places.shape[0]):
        count += places[s, 2] * places[s, 2]
    factors, d_factors = np.zeros(count), np.zeros(count)
    term_factors(values, terms, 1.0 / sigma, factors)
    own, dense, weights = np.empty((k, k)), np.empty(count - k * k), np.empty(p)
    for i in range(k):
        for j in range(k):
            own[i, j] = factors[i * k + j]
    for i in range(count - k * k):
        dense[i] = factors[k * k + i]
    for j in range(p):
        log_var = log_var0[j] + (values[mixing[j]] if mixing[j] >= 0 else 0.0)
        weights[j] = np.exp(-log_var) * sigma * sigma
        total -= 0.5 * log_var
    d_own, d_dense, d_weights, both = np.empty((k, k)), np.empty(count - k * k), np.empty(p), np.empty(2)
    bordered_slopes(
        own,
        dense,
        weights,
        1.0 / (sigma * sigma),
        places,
        a,
        counts,
        merged,
        b,
        outer,
        g,
        border,
        d_own,
        d_dense,
        d_weights,
        both,
    )
    for i in range(k):
        for j in range(k):
            d_factors[i * k + j] = d_own[i, j]
    for i in range(count - k * k):
        d_factors[k * k + i] = d_dense[i]
    change = -numbers[0] + both[1] / (sigma * sigma)
    for i in range(count):
        change += 0.5 * d_factors[i] * factors[i]
        d_factors[i] *= -0.5 / sigma
    before = np.empty(count)
    term_slopes(values, terms, d_factors, before, d_values)
    for j in range(p):
        change -= d_weights[j] * weights[j]
        if mixing[j] >= 0:
            d_values[mixing[j]] += 0.5 * (d_weights[j] * weights[j] - 1.0)
    d_values[at] += change / sigma
    for j in range(d):
        gradient[j] += d_values[j] * rates[j]
    return total - numbers[0] * np.log(sigma) - 0.5 * both[0]
