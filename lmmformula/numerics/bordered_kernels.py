r"""Value and slopes of a bordered Gaussian log density, in one pass over arrays that fit in cache.

With the symbols of :mod:`lmmformula.backends.posterior.density.bordered` (Lambda_e of the eliminated group, D =
diag(Lambda_D', I) for the others, c = q_D + p + 1, w_j = sigma^2 / v_j, pi = 1 / sigma^2)::

    G_l = Lambda_e'A_l Lambda_e + I,   N_l = Lambda_e G_l^-1 Lambda_e',   C = G - sum_l B_l'N_l B_l
    F = D C D' + I_D + J'diag(w)J = (S s; s' t),     f = sum_l log|G_l| + log|S| + pi (t - s'S^-1 s)

Slopes, from the end to the beginning (Smith 1995; Giles 2008), with Fb for df/dF and so on::

    Fb = (S^-1 0; 0 0) + pi v v',   v = (-S^-1 s; 1)                   both come out of one sweep of F
    Cb = D'Fb D,                    Nb_l = -B_l Cb B_l'
    df/dLambda_e = 2 sum_l (Nb_l Lambda_e G_l^-1 - A_l Lambda_e G_l^-1 Lambda_e'Nb_l Lambda_e G_l^-1 + A_l Lambda_e G_l^-1)
    df/dLambda_a = 2 sum_l ((Fb D C)_ll)',         df/dw_j = (J Fb J')_jj,       df/dpi = t - s'S^-1 s

Arrays are filled by loops: an assignment between arrays compares their shapes, and its error is text that only Numba's runtime
can write, which keeps a loop from being kept for itself.

The cost is c^3/2 + m k c^2/2 multiplications for F and its sweep and m k c^2 for Nb. Levels that were merged into classes
(counts, outer) replace the second and third by m'k^2c^2. A matrix that is not positive definite gives nan.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["bordered_form", "bordered_slopes", "bordered_values", "level_roots", "pivots", "reduced_form"]


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
def bordered_form(c_matrix, dense, places, weights, border, half, f):
    """D C in `half` and the lower triangle of F in `f`."""
    c = c_matrix.shape[0]
    p = weights.shape[0]
    q = c - 1 - p
    for x in range(q, c):
        for y in range(c):
            half[x, y] = c_matrix[x, y]
    at = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for u in range(m):
            s = start + u * k
            for i in range(k):
                for y in range(c):
                    half[s + i, y] = 0.0
                for j in range(i, k):
                    x = dense[at + j * k + i]
                    for y in range(c):
                        half[s + i, y] += x * c_matrix[s + j, y]
        at += k * k
    at = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for r in range(start, c):
            for u in range(m):
                s = start + u * k
                if s > r:
                    break
                for i in range(k):
                    t = 0.0
                    for j in range(i, k):
                        t += half[r, s + j] * dense[at + j * k + i]
                    f[r, s + i] = t
        at += k * k
    for x in range(q):
        f[x, x] += 1.0
    for x in range(p + 1):
        for y in range(x + 1):
            t = half[q + x, q + y]
            for j in range(p):
                t += weights[j] * border[j, x] * border[j, y]
            f[q + x, q + y] = t


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
def _swept(f):
    """The same by sweeps, which leave -S^-1 in the lower triangle, and S^-1 s in the last row."""
    c = f.shape[0]
    column = np.empty(c)
    total = 0.0
    for s in range(c - 1):
        pivot = f[s, s]
        if not pivot > 0.0:
            return np.nan, np.nan
        total += np.log(pivot)
        for j in range(s):
            column[j] = f[s, j]
        for j in range(s, c):
            column[j] = f[j, s]
        for i in range(c):
            x = column[i] / pivot
            for j in range(i + 1):
                f[i, j] -= x * column[j]
        for j in range(s):
            f[s, j] = column[j] / pivot
        for j in range(s + 1, c):
            f[j, s] = column[j] / pivot
        f[s, s] = -1.0 / pivot
    return total, f[c - 1, c - 1]


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


@compiled(bare=True)
def _outer_slopes(f, precision, full, v):
    """Fb, both triangles."""
    c = f.shape[0]
    for x in range(c - 1):
        v[x] = -f[c - 1, x]
    v[c - 1] = 1.0
    for x in range(c - 1):
        for y in range(x + 1):
            t = precision * v[x] * v[y] - f[x, y]
            full[x, y] = t
            full[y, x] = t
    for y in range(c):
        full[c - 1, y] = precision * v[y]
        full[y, c - 1] = precision * v[y]


@compiled(bare=True)
def _dense_slopes(full, half, dense, places, d_dense):
    """df/dLambda_a of the dense groups; `full` becomes Cb."""
    c = full.shape[0]
    at = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for e in range(k * k):
            d_dense[at + e] = 0.0
        for t in range(c):
            for u in range(m):
                s = start + u * k
                for i in range(k):
                    x = 2.0 * full[t, s + i]
                    for j in range(i, k):
                        d_dense[at + j * k + i] += x * half[t, s + j]
        at += k * k
    at = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for t in range(c):
            for u in range(m):
                s = start + u * k
                for j in range(k - 1, -1, -1):
                    x = 0.0
                    for i in range(j + 1):
                        x += dense[at + j * k + i] * full[t, s + i]
                    full[t, s + j] = x
        for u in range(m):
            s = start + u * k
            for j in range(k - 1, -1, -1):
                x = dense[at + j * k + j]
                for t in range(c):
                    full[s + j, t] *= x
                for i in range(j):
                    x = dense[at + j * k + i]
                    for t in range(c):
                        full[s + j, t] += x * full[s + i, t]
        at += k * k


@compiled(bare=True)
def _own_slopes(lower, a, counts, inverses, merged, b, outer, full, d_own):
    """df/dLambda_e."""
    c = full.shape[0]
    k = lower.shape[0]
    nb, left, inner, y = np.empty((k, k)), np.empty((k, k)), np.empty((k, k)), np.empty(c)
    whole = c // 4 * 4
    d_own[:, :] = 0.0
    for u in range(a.shape[0]):
        for i in range(k):
            if merged:
                for j in range(k):
                    s = 0.0
                    for r in range(c):
                        for t in range(c):
                            s += outer[u, i, j, r, t] * full[r, t]
                    nb[i, j] = -s
                continue
            for t in range(c):
                y[t] = 0.0
            for r in range(0, whole, 4):
                x0, x1, x2, x3 = b[u, i, r], b[u, i, r + 1], b[u, i, r + 2], b[u, i, r + 3]
                if x0 != 0.0 or x1 != 0.0 or x2 != 0.0 or x3 != 0.0:
                    for t in range(c):
                        y[t] += (
                            x0 * full[r, t] + x1 * full[r + 1, t] + x2 * full[r + 2, t] + x3 * full[r + 3, t]
                        )
            for r in range(whole, c):
                x0 = b[u, i, r]
                for t in range(c):
                    y[t] += x0 * full[r, t]
            for j in range(i, k):
                s = 0.0
                for t in range(c):
                    s += b[u, j, t] * y[t]
                nb[i, j] = -s
                nb[j, i] = -s
        for i in range(k):  # Lambda G^-1
            for j in range(k):
                s = 0.0
                for r in range(i + 1):
                    s += lower[i, r] * inverses[u, r, j]
                left[i, j] = s
        for i in range(k):  # Nb Lambda G^-1
            for j in range(k):
                s = 0.0
                for r in range(k):
                    s += nb[i, r] * left[r, j]
                inner[i, j] = s
                d_own[i, j] += 2.0 * s
        for i in range(
            k
        ):  # counts I - (Lambda G^-1)'Nb Lambda G^-1, times Lambda' from the left it is symmetric
            for j in range(k):
                s = 0.0
                for r in range(k):
                    s -= left[r, i] * inner[r, j]
                nb[i, j] = s + counts[u] * inverses[u, i, j]
        for i in range(k):  # Lambda times that
            for j in range(k):
                s = 0.0
                for r in range(i + 1):
                    s += lower[i, r] * nb[r, j]
                inner[i, j] = s
        for i in range(k):
            for j in range(k):
                s = 0.0
                for r in range(k):
                    s += a[u, i, r] * inner[r, j]
                d_own[i, j] += 2.0 * s


@compiled(bare=True)
def bordered_slopes(
    own,
    dense,
    weights,
    precision,
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
):
    """f and the last pivot at one draw in `both`, slopes in the three arguments before it."""
    c = g.shape[0]
    k = own.shape[0]
    p = weights.shape[0]
    roots, inverses = np.empty((a.shape[0], k, k)), np.empty((a.shape[0], k, k))
    c_matrix, half, f, v = np.empty((c, c)), np.empty((c, c)), np.empty((c, c)), np.empty(c)
    log_det = level_roots(own, a, counts, roots, inverses)
    reduced_form(roots, merged, b, outer, g, c_matrix)
    bordered_form(c_matrix, dense, places, weights, border, half, f)
    dense_det, pivot = _swept(f)
    full = c_matrix
    _outer_slopes(f, precision, full, v)
    q = c - 1 - p
    for j in range(p):
        t = 0.0
        for x in range(p + 1):
            for y in range(p + 1):
                t += border[j, x] * full[q + x, q + y] * border[j, y]
        d_weights[j] = t
    _dense_slopes(full, half, dense, places, d_dense)
    _own_slopes(own, a, counts, inverses, merged, b, outer, full, d_own)
    both[0] = log_det + dense_det + precision * pivot
    both[1] = pivot
