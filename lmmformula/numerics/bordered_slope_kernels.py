r"""Slopes of a bordered Gaussian log density, the value of which is in :mod:`lmmformula.numerics.bordered_kernels`.

From the end of that computation to its beginning (Smith 1995; Giles 2008), with Fb for df/dF and so on::

    Fb = (S^-1 0; 0 0) + pi v v',   v = (-S^-1 s; 1)                   both come out of one sweep of F
    Cb = D'Fb D,                    Nb_l = -B_l Cb B_l'
    df/dLambda_e = 2 sum_l (Nb_l Lambda_e G_l^-1 - A_l Lambda_e G_l^-1 Lambda_e'Nb_l Lambda_e G_l^-1 + A_l Lambda_e G_l^-1)
    df/dLambda_a = 2 sum_l ((Fb D C)_ll)',         df/dw_j = (J Fb J')_jj,       df/dpi = t - s'S^-1 s

The cost is c^3/2 multiplications for the sweep and m k c^2 for Nb, or m'k^2c^2 with levels merged into classes.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.bordered_kernels import (
    bordered_form,
    level_roots,
    reduced_form,
    transposed,
)
from lmmformula.numerics.compiled import compiled

__all__ = ["bordered_slopes", "swept"]


@compiled(bare=True)
def swept(f, panel, columns):
    """log|S| and the last pivot of F (c, c), of whose lower triangle become -S^-1, and S^-1 s in the last row.

    Sweeps (Beaton 1964) of four pivots at a time: their rows, in `panel` (4, c), are swept first and leave in `columns` (4, c)
    what every one has found in its row, so that the rest is read and written once for the four.
    """
    c = f.shape[0]
    inverse = np.empty(4)
    total = 0.0
    for s in range(0, c - 1, 4):
        wide = min(4, c - 1 - s)
        for e in range(4):
            inverse[e] = 0.0
            for j in range(c):
                columns[e, j] = 0.0
        for e in range(wide):
            for j in range(s + e):
                panel[e, j] = f[s + e, j]
            for j in range(s + e, c):
                panel[e, j] = f[j, s + e]
        for e in range(wide):
            pivot = panel[e, s + e]
            if not pivot > 0.0:
                return np.nan, np.nan
            total += np.log(pivot)
            inverse[e] = 1.0 / pivot
            for j in range(c):
                columns[e, j] = panel[e, j]
            for r in range(wide):
                if r != e:
                    x = panel[r, s + e] * inverse[e]
                    for j in range(c):
                        panel[r, j] -= x * columns[e, j]
                    panel[r, s + e] = x
            for j in range(c):
                panel[e, j] = columns[e, j] * inverse[e]
            panel[e, s + e] = -inverse[e]
        for i in range(c):
            x0, x1 = columns[0, i] * inverse[0], columns[1, i] * inverse[1]
            x2, x3 = columns[2, i] * inverse[2], columns[3, i] * inverse[3]
            for j in range(i + 1):
                f[i, j] -= x0 * columns[0, j] + x1 * columns[1, j] + x2 * columns[2, j] + x3 * columns[3, j]
        for e in range(wide):
            for j in range(s + e + 1):
                f[s + e, j] = panel[e, j]
            for j in range(s + e + 1, c):
                f[j, s + e] = panel[e, j]
    return total, f[c - 1, c - 1]


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
    """df/dLambda_a of the dense groups, from Fb and C D': products of rows with rows."""
    c = full.shape[0]
    at = 0
    for a in range(places.shape[0]):
        start, m, k = places[a, 0], places[a, 1], places[a, 2]
        for i in range(k):
            for j in range(k):
                t = 0.0
                if j <= i:
                    for u in range(m):
                        s = start + u * k
                        for y in range(c):
                            t += full[s + j, y] * half[s + i, y]
                d_dense[at + i * k + j] = 2.0 * t
        at += k * k


@compiled(bare=True)
def _levels_times(source, dense, places, target):
    """D' times `source`: each level's rows of the dense groups times Lambda_a, the others as they are."""
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
                for j in range(i):
                    x = dense[at + i * k + j]
                    for y in range(c):
                        target[s + i, y] += x * source[s + j, y]
        at += k * k
        q += m * k
    for x in range(q, c):
        for y in range(c):
            target[x, y] = source[x, y]


@compiled(bare=True)
def _own_slopes(lower, a, counts, inverses, merged, b, outer, full, d_own):
    """df/dLambda_e."""
    c = full.shape[0]
    k = lower.shape[0]
    nb, left, inner, y = np.empty((k, k)), np.empty((k, k)), np.empty((k, k)), np.empty(c)
    whole = c // 4 * 4
    for i in range(k):
        for j in range(k):
            d_own[i, j] = 0.0
    for u in range(a.shape[0]):
        for i in range(k):
            if merged:
                for j in range(i, k):
                    s = 0.0
                    for r in range(c):
                        for t in range(c):
                            s += outer[u, i, j, r, t] * full[r, t]
                    nb[i, j] = -s
                    nb[j, i] = -s
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
    c_matrix, half, f, full = np.empty((c, c)), np.empty((c, c)), np.empty((c, c)), np.empty((c, c))
    panel, columns, v = np.empty((4, c)), np.empty((4, c)), np.empty(c)
    log_det = level_roots(own, a, counts, roots, inverses)
    reduced_form(roots, merged, b, outer, g, c_matrix)
    bordered_form(c_matrix, dense, places, weights, border, half, f)
    dense_det, pivot = swept(f, panel, columns)
    _outer_slopes(f, precision, full, v)
    q = c - 1 - p
    for j in range(p):
        t = 0.0
        for x in range(p + 1):
            for y in range(p + 1):
                t += border[j, x] * full[q + x, q + y] * border[j, y]
        d_weights[j] = t
    _dense_slopes(full, half, dense, places, d_dense)
    _levels_times(full, dense, places, c_matrix)
    transposed(c_matrix, f)
    _levels_times(f, dense, places, full)
    _own_slopes(own, a, counts, inverses, merged, b, outer, full, d_own)
    both[0] = log_det + dense_det + precision * pivot
    both[1] = pivot
