"""Compiled passes of sweeps between centred effects. Imported only by problems large enough to repay it.

Names as in :mod:`lmmformula.engines.backfitting.centred`; `w` holds N by compressed rows `ptr`, `other`.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["see_levels", "settle_levels"]


@compiled(fast=False, bare=True)
def see_levels(first, last, ptr, other, w, s, weight, t, effects, sums, own, q, by_shared, by_own):
    """Levels first..last: q = t - N effects; S's q to `by_shared`, the constant's sum last, and A's q to `by_own`."""
    r, p = sums.shape[1], own.shape[1]
    for i in range(first, last):
        met = 0.0
        for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
            met += w[e] * effects[np.uint64(other[e])]
        value = t[i] - met
        q[i] = value
        value *= s[i]
        for j in range(r):
            by_shared[j] += sums[i, j] * value
        by_shared[r] += weight[i] * value
        for j in range(p):
            by_own[j] += own[i, j] * value


@compiled(fast=False, bare=True)
def settle_levels(
    first, last, ptr, other, w, s, weight, q, sums, own, beta, alpha, var, before, out, g, by_shared, lengths
):
    """Levels first..last: out = s (var (q - S beta) + A alpha); N'out to `g`, S'out to `by_shared`, squares to `lengths`.

    `lengths` takes the squared length of `out` and of what it differs from `before` by.
    """
    r, p = sums.shape[1], own.shape[1]
    square, moved = 0.0, 0.0
    for i in range(first, last):
        told, mean = weight[i] * beta[r], 0.0
        for j in range(r):
            told += sums[i, j] * beta[j]
        for j in range(p):
            mean += own[i, j] * alpha[j]
        value = s[i] * (var * (q[i] - told) + mean)
        out[i] = value
        square += weight[i] * value * value
        gap = value - before[i]
        moved += weight[i] * gap * gap
        for j in range(r):
            by_shared[j] += sums[i, j] * value
        by_shared[r] += weight[i] * value
        for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
            g[np.uint64(other[e])] += w[e] * value
    lengths[0] += square
    lengths[1] += moved
