r"""Value of a bordered Gaussian log density, in one pass over arrays that fit in cache.

With the symbols of :mod:`lmmformula.backends.posterior.density.bordered` (Lambda_e of the eliminated group, D =
diag(Lambda_D', I) for the others, c = q_D + p + 1, w_j = sigma^2 / v_j, pi = 1 / sigma^2)::

    G_l = Lambda_e'A_l Lambda_e + I,   N_l = Lambda_e G_l^-1 Lambda_e',   C = G - sum_l B_l'N_l B_l
    F = D C D' + I_D + J'diag(w)J = (S s; s' t),     f = sum_l log|G_l| + log|S| + pi (t - s'S^-1 s)

Its slopes are in :mod:`lmmformula.numerics.bordered_slope_kernels`.

Arrays are filled by loops: an assignment between arrays compares their shapes, and its error is text that only Numba's runtime
can write, which keeps a loop from being kept for itself.

The cost is c^3/6 + m k c^2/2 multiplications. Levels that were merged into classes (counts, outer) replace the second by
m'k^2c^2. A matrix that is not positive definite gives nan.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = [
    "bordered_form",
    "bordered_values",
    "level_roots",
    "pivots",
    "reduced_form",
    "scaled_rows",
    "transposed",
]


@compiled(bare=True)
def level_roots(lower, a, counts, roots, inverses):
    """W_l with N_l = W_l W_l', G_l^-1, and the sum of counts times log|G_l|."""
    k = lower.shape[0]
    g, half, turned = np.empty((k, k)), np.empty((k, k)), np.empty((k, k))
    total = 0.0
    for u in range(a.shape[0]):
        for i in range(k):
            for j in range(k):
                s = 0.0
                for r in range(k):
                    s += a[u, i, r] * lower[r, j]
                turned[i, j] = s
        product = 1.0
        for i in range(k):
            for j in range(i + 1):
                s = 1.0 if i == j else 0.0
                for r in range(i, k):
                    s += lower[r, i] * turned[r, j]
                for r in range(j):
                    s -= g[i, r] * g[j, r]
                g[i, j] = np.sqrt(s) if i == j else s / g[j, j]
            product *= g[i, i]
        total += 2.0 * counts[u] * np.log(product)
        for j in range(k):
            half[j, j] = 1.0 / g[j, j]
            for i in range(j + 1, k):
                s = 0.0
                for r in range(j, i):
                    s += g[i, r] * half[r, j]
                half[i, j] = -s / g[i, i]
        for i in range(k):
            for j in range(k):
                s = 0.0
                for r in range(min(i, j) + 1):
                    s += lower[i, r] * half[j, r] if r <= j else 0.0
                roots[u, i, j] = s
                s = 0.0
                for r in range(max(i, j), k):
                    s += half[r, i] * half[r, j]
                inverses[u, i, j] = s
    return total


@compiled(bare=True)
def reduced_form(roots, merged, b, outer, g, c_matrix):
    """C, both triangles."""
    c = g.shape[0]
    k = roots.shape[1]
    for x in range(c):
        for y in range(c):
            c_matrix[x, y] = g[x, y]
    if merged:
        for u in range(roots.shape[0]):
            for i in range(k):
                for j in range(k):
                    n = 0.0
                    for r in range(k):
                        n += roots[u, i, r] * roots[u, j, r]
                    for x in range(c):
                        for y in range(c):
                            c_matrix[x, y] -= n * outer[u, i, j, x, y]
        return
    t = np.empty((4, c))
    rows = b.shape[0] * k
    for first in range(0, rows, 4):  # four rows of the W_l'B_l for each time that C is read and written
        for e in range(4):
            u, i = (first + e) // k, (first + e) % k
            for y in range(c):
                t[e, y] = 0.0
            if first + e < rows:
                for j in range(k):
                    w = roots[u, j, i]
                    for y in range(c):
                        t[e, y] += w * b[u, j, y]
        for x in range(c):
            t0, t1, t2, t3 = t[0, x], t[1, x], t[2, x], t[3, x]
            if t0 != 0.0 or t1 != 0.0 or t2 != 0.0 or t3 != 0.0:
                for y in range(x + 1):
                    c_matrix[x, y] -= t0 * t[0, y] + t1 * t[1, y] + t2 * t[2, y] + t3 * t[3, y]
    for x in range(c):
        for y in range(x):
            c_matrix[y, x] = c_matrix[x, y]


@compiled(bare=True)
def scaled_rows(source, dense, places, target):
    """D times `source`: each level's rows of the dense groups times Lambda_a', the others as they are."""
    c = source.shape[0]
    at = q = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for u in range(m):
            s = start + u * k
            for i in range(k):
                x = dense[at + i * k + i]
                for y in range(c):
                    target[s + i, y] = x * source[s + i, y]
                for j in range(i + 1, k):
                    x = dense[at + j * k + i]
                    for y in range(c):
                        target[s + i, y] += x * source[s + j, y]
        at += k * k
        q += m * k
    for x in range(q, c):
        for y in range(c):
            target[x, y] = source[x, y]


@compiled(bare=True)
def transposed(source, target):
    """`target` = source', both (c, c): what is done to columns is then done to rows, which stand in a row."""
    for x in range(source.shape[0]):
        for y in range(source.shape[0]):
            target[x, y] = source[y, x]


@compiled(bare=True)
def bordered_form(c_matrix, dense, places, weights, border, half, f):
    """C D' in `half`, and F in `f`, both triangles."""
    c = c_matrix.shape[0]
    p = weights.shape[0]
    q = c - 1 - p
    scaled_rows(c_matrix, dense, places, f)
    transposed(f, half)
    scaled_rows(half, dense, places, f)
    for x in range(q):
        f[x, x] += 1.0
    for x in range(p + 1):
        for y in range(p + 1):
            t = 0.0
            for j in range(p):
                t += weights[j] * border[j, x] * border[j, y]
            f[q + x, q + y] += t


@compiled(bare=True)
def pivots(f):
    """log|S|, and the last pivot, by a Cholesky factorisation in place."""
    c = f.shape[0]
    total = 0.0
    for i in range(c):
        for j in range(i):
            s = 0.0
            for r in range(j):
                s += f[i, r] * f[j, r]
            f[i, j] = (f[i, j] - s) / f[j, j]
        s = 0.0
        for r in range(i):
            s += f[i, r] * f[i, r]
        s = f[i, i] - s
        if i == c - 1:
            return total, s
        f[i, i] = np.sqrt(s)
        total += 2.0 * np.log(f[i, i])
    return total, np.nan


@compiled(bare=True)
def bordered_values(own, dense, weights, precision, places, a, counts, merged, b, outer, g, border, out):
    """f of many draws: own (S, k, k), dense (S, sum of k_a^2), weights (S, p), precision (S,); into `out` (S,)."""
    c = g.shape[0]
    k = own.shape[1]
    roots, inverses = np.empty((a.shape[0], k, k)), np.empty((a.shape[0], k, k))
    c_matrix, half, f = np.empty((c, c)), np.empty((c, c)), np.empty((c, c))
    for x in range(own.shape[0]):
        log_det = level_roots(own[x], a, counts, roots, inverses)
        reduced_form(roots, merged, b, outer, g, c_matrix)
        bordered_form(c_matrix, dense[x], places, weights[x], border, half, f)
        dense_det, pivot = pivots(f)
        out[x] = log_det + dense_det + precision[x] * pivot
