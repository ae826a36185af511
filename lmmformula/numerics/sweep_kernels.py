"""Compiled passes of a sweep over levels that have one column each: every level is read once, with the pairs that it is in.

Imported only by problems large enough to repay it. Names as in :mod:`lmmformula.engines.backfitting.led`; `w` holds Z_a'WZ_b
by compressed rows `ptr`, `other`.
"""

from __future__ import annotations

from lmmformula.numerics.compiled import compiled

__all__ = ["add_products_by_pair", "close_levels", "quadratic_of_levels", "sweep_levels"]


@compiled(bare=True)
def sweep_levels(first, last, ptr, other, w, x, s, t, before, guess, scale, effects, y, g, sums, by_column):
    """Levels first..last: y = s (t - scale X guess - scale W v), v = `effects`, its W'y to `g`, other sums to the rest.

    `sums` takes y'y / s and e'e / s, `by_column` X'y and X'e, with e = y - before.
    """
    p = x.shape[1]
    square, moved = 0.0, 0.0
    for i in range(first, last):
        met = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            met += w[e] * effects[other[e]]
        for j in range(p):
            met += x[i, j] * guess[j]
        r = t[i] - scale * met
        value = s[i] * r
        y[i] = value
        square += value * r
        gap = value - before[i]
        moved += gap * gap / s[i]
        for j in range(p):
            by_column[0, j] += x[i, j] * value
            by_column[1, j] += x[i, j] * gap
        for e in range(ptr[i], ptr[i + 1]):
            g[other[e]] += w[e] * value
    sums[0] += square
    sums[1] += moved


@compiled(bare=True)
def add_products_by_pair(first, last, ptr, other, w, x, s, out):
    """Add W'SX, (m_b, p), of levels first..last."""
    p = x.shape[1]
    for i in range(first, last):
        own = x[i]
        for e in range(ptr[i], ptr[i + 1]):
            value, target = w[e] * s[i], out[other[e]]
            for j in range(p):
                target[j] += value * own[j]


@compiled(bare=True)
def close_levels(first, last, x, s, y, scale, move, u):
    """u = y - scale s X move of levels first..last."""
    for i in range(first, last):
        told = 0.0
        for j in range(x.shape[1]):
            told += x[i, j] * move[j]
        u[i] = y[i] - scale * s[i] * told


@compiled(bare=True)
def quadratic_of_levels(first, last, ptr, other, w, x, s, t, scale, beta, effects, u, out):
    """Add sum of ``u (u / s - u - 2 (t - scale X beta)) + 2 scale u W v`` over levels first..last."""
    total = 0.0
    for i in range(first, last):
        met, told = 0.0, 0.0
        for e in range(ptr[i], ptr[i + 1]):
            met += w[e] * effects[other[e]]
        for j in range(x.shape[1]):
            told += x[i, j] * beta[j]
        total += u[i] * (u[i] / s[i] - u[i] - 2.0 * (t[i] - scale * told) + 2.0 * scale * met)
    out[0] += total
