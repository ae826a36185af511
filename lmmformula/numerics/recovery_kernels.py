r"""Conditional draws and variances of everything that was integrated out, in the order of :mod:`bordered_kernels`.

With F = C C' of :mod:`lmmformula.backends.posterior.density.bordered`, C_1 its leading part and c' its last row, the effects
of the dense groups and delta are ``T C_1^-T (c + sigma z)``, T = diag(Lambda_D, I). Given them (v), level l of the eliminated
group is ``Lambda G_l^-1 (Lambda'B_l (-v; 1) + kick_l)``; without z and kick these are the conditional means. Variances::

    dense and delta:  sigma^2 (T C_1^-T)(T C_1^-T)',       level l:  sigma^2 (N_l + (N_l B_l T C_1^-T)(N_l B_l T C_1^-T)')
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.bordered_kernels import bordered_form, level_roots, pivots, reduced_form
from lmmformula.numerics.compiled import compiled

__all__ = ["conditional_draws", "conditional_variances"]


@compiled(bare=True)
def conditional_draws(
    own,
    dense,
    weights,
    sigma,
    places,
    a,
    counts,
    merged,
    b,
    outer,
    g,
    border,
    levels,
    noise,
    kick,
    v,
    effects,
):
    """Means ([:, 0]) and draws ([:, 1]) of many draws: dense effects and delta in `v` (S, 2, c - 1), `effects` (S, 2, m, k).

    `levels` are the A_l of all levels, also of those that were merged in `a`; `noise` (S, c - 1), `kick` (S, m, k).
    """
    c, k, m = g.shape[0], own.shape[1], levels.shape[0]
    roots, inverses = np.empty((a.shape[0], k, k)), np.empty((a.shape[0], k, k))
    each, ones = np.empty((m, k, k)), np.ones(m)
    spare = np.empty((m, k, k))
    c_matrix, half, f = np.empty((c, c)), np.empty((c, c)), np.empty((c, c))
    right, turned = np.empty(k), np.empty(k)
    for x in range(own.shape[0]):
        level_roots(own[x], a, counts, roots, inverses)
        reduced_form(roots, merged, b, outer, g, c_matrix)
        bordered_form(c_matrix, dense[x], places, weights[x], border, half, f)
        pivots(f)
        level_roots(own[x], levels, ones, spare, each)
        for e in range(2):
            for i in range(c - 1):
                v[x, e, i] = f[c - 1, i] + e * sigma[x] * noise[x, i]
            for i in range(c - 2, -1, -1):
                v[x, e, i] /= f[i, i]
                t = v[x, e, i]
                for j in range(i):
                    v[x, e, j] -= f[i, j] * t
            at = 0
            for s in range(places.shape[0]):
                start, many, width = places[s, 0], places[s, 1], places[s, 2]
                for u in range(many):
                    first = start + u * width
                    for i in range(width - 1, -1, -1):
                        t = 0.0
                        for j in range(i + 1):
                            t += dense[x, at + i * width + j] * v[x, e, first + j]
                        v[x, e, first + i] = t
                at += width * width
            for u in range(m):
                for i in range(k):
                    t = b[u, i, c - 1]
                    for y in range(c - 1):
                        t -= b[u, i, y] * v[x, e, y]
                    turned[i] = t
                for j in range(k):
                    t = e * kick[x, u, j]
                    for i in range(j, k):
                        t += own[x, i, j] * turned[i]
                    right[j] = t
                for i in range(k):
                    t = 0.0
                    for j in range(k):
                        t += each[u, i, j] * right[j]
                    turned[i] = t
                for i in range(k):
                    t = 0.0
                    for j in range(i + 1):
                        t += own[x, i, j] * turned[j]
                    effects[x, e, u, i] = t


@compiled(bare=True)
def _scaled_inverse(f, dense, places, z):
    """(T C_1^-T)' of the Cholesky factor in `f`: rows of C_1^-1 with their dense columns scaled."""
    c = f.shape[0]
    z[:, :] = 0.0
    for i in range(c - 1):
        for r in range(i):
            t = f[i, r]
            for j in range(r + 1):
                z[i, j] -= t * z[r, j]
        for j in range(i):
            z[i, j] /= f[i, i]
        z[i, i] = 1.0 / f[i, i]
    at = 0
    for s in range(places.shape[0]):
        start, many, width = places[s, 0], places[s, 1], places[s, 2]
        for r in range(c - 1):
            for u in range(many):
                first = start + u * width
                for i in range(width - 1, -1, -1):
                    t = 0.0
                    for j in range(i + 1):
                        t += dense[at + i * width + j] * z[r, first + j]
                    z[r, first + i] = t
        at += width * width


@compiled(bare=True)
def conditional_variances(
    own,
    dense,
    weights,
    sigma,
    places,
    a,
    counts,
    merged,
    b,
    outer,
    g,
    border,
    levels,
    q,
    others,
    fixed,
    effects,
):
    """Averages over draws: variances of dense effects in `others` (q,), of delta in `fixed` (p, p), of `effects` (m, k)."""
    c, k, m = g.shape[0], own.shape[1], levels.shape[0]
    roots, inverses = np.empty((a.shape[0], k, k)), np.empty((a.shape[0], k, k))
    each, ones = np.empty((m, k, k)), np.ones(m)
    spare = np.empty((m, k, k))
    c_matrix, half, f, z = np.empty((c, c)), np.empty((c, c)), np.empty((c, c)), np.empty((c - 1, c - 1))
    t = np.empty(c)
    others[:] = 0.0
    fixed[:, :] = 0.0
    effects[:, :] = 0.0
    count = own.shape[0]
    for x in range(count):
        level_roots(own[x], a, counts, roots, inverses)
        reduced_form(roots, merged, b, outer, g, c_matrix)
        bordered_form(c_matrix, dense[x], places, weights[x], border, half, f)
        pivots(f)
        level_roots(own[x], levels, ones, each, spare)
        _scaled_inverse(f, dense[x], places, z)
        unit = sigma[x] ** 2 / count
        for r in range(c - 1):
            for y in range(q):
                others[y] += unit * z[r, y] ** 2
            for y in range(q, c - 1):
                for w in range(q, c - 1):
                    fixed[y - q, w - q] += unit * z[r, y] * z[r, w]
        for u in range(m):
            for i in range(k):
                total = 0.0
                for y in range(c):
                    t[y] = 0.0
                for j in range(k):
                    n = 0.0
                    for r in range(k):
                        n += each[u, i, r] * each[u, j, r]
                    for y in range(c):
                        t[y] += n * b[u, j, y]
                    if i == j:
                        total += n
                for r in range(c - 1):
                    s = 0.0
                    for y in range(c - 1):
                        s += z[r, y] * t[y]
                    total += s * s
                effects[u, i] += unit * total
