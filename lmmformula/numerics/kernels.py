"""Compiled loops over nonzeros. Imported only by problems large enough to repay it; compiled once and cached."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["ragged_gram", "ragged_on_pattern"]


@compiled(bare=True)
def ragged_gram(start, stop, ptr, cols, values, out):
    """Add T'T to rows `start` to `stop` of the lower triangle of `out` (columns increase within a level).

    A target is fetched once for all rows of a level: their products are made first, side by side.
    """
    k = values.shape[0]
    products = np.empty(0)
    for s in range(len(ptr) - 1):
        first, last = ptr[s], ptr[s + 1]
        if last - first > len(products):
            products = np.empty(2 * (last - first))
        for i in range(first, last):
            if cols[i] < start:
                continue
            if cols[i] >= stop:
                break
            target = out[cols[i]]
            if k == 1:
                v = values[0, i]
                for j in range(first, i + 1):
                    target[cols[j]] += v * values[0, j]
                continue
            for j in range(first, i + 1):
                products[j - first] = values[0, i] * values[0, j]
            for row in range(1, k):
                v = values[row, i]
                for j in range(first, i + 1):
                    products[j - first] += v * values[row, j]
            for j in range(first, i + 1):
                target[cols[j]] += products[j - first]


@compiled(bare=True)
def ragged_on_pattern(start, stop, ptr, cols, values, z, out):
    """Write T Z on the pattern of T to `out` for levels `start` to `stop`; Z full and symmetric.

    Elements of Z are gathered once for all rows of a level.
    """
    k = values.shape[0]
    near = np.empty(0)
    for s in range(start, stop):
        first, last = ptr[s], ptr[s + 1]
        if last - first > len(near):
            near = np.empty(2 * (last - first))
        for i in range(first, last):
            source = z[cols[i]]
            if k == 1:
                total = 0.0
                for j in range(first, last):
                    total += source[cols[j]] * values[0, j]
                out[0, i] = total
                continue
            for j in range(first, last):
                near[j - first] = source[cols[j]]
            for row in range(k):
                total = 0.0
                for j in range(first, last):
                    total += near[j - first] * values[row, j]
                out[row, i] = total
