"""Compiled products with compressed rows that come in groups of one pattern, as those of the columns of a level do.

A line of the block that is multiplied is fetched once for all rows of a group, and so is its place.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["HEIGHT", "add_alike", "level_products", "scale_levels"]

HEIGHT = 4
"""Rows of a group, and columns of a block that are taken at a time."""


@compiled(bare=True)
def add_alike(start, stop, ptr, cols, data, sign, x, out):
    """Add sign A x to rows of `out`, where each `HEIGHT` rows of A from `start` on have the same columns.

    `start` and the columns c of `x` and `out` are multiples of `HEIGHT`. Sums stay in registers, each under a name of its own:
    an array of them would be written at every entry.
    """
    one, two, three, zero = np.uint64(1), np.uint64(2), np.uint64(3), x.dtype.type(0)
    for i in range(np.uint64(start), np.uint64(stop), np.uint64(HEIGHT)):
        p0, p1, p2, p3 = (
            np.uint64(ptr[i]),
            np.uint64(ptr[i + one]),
            np.uint64(ptr[i + two]),
            np.uint64(ptr[i + three]),
        )
        for v in range(np.uint64(0), np.uint64(out.shape[1]), np.uint64(HEIGHT)):
            t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = zero
            t20 = t21 = t22 = t23 = t30 = t31 = t32 = t33 = zero
            for e in range(p1 - p0):
                j = np.uint64(cols[p0 + e])
                a0, a1, a2, a3 = data[p0 + e], data[p1 + e], data[p2 + e], data[p3 + e]
                b0, b1, b2, b3 = x[j, v], x[j, v + one], x[j, v + two], x[j, v + three]
                t00 += a0 * b0
                t01 += a0 * b1
                t02 += a0 * b2
                t03 += a0 * b3
                t10 += a1 * b0
                t11 += a1 * b1
                t12 += a1 * b2
                t13 += a1 * b3
                t20 += a2 * b0
                t21 += a2 * b1
                t22 += a2 * b2
                t23 += a2 * b3
                t30 += a3 * b0
                t31 += a3 * b1
                t32 += a3 * b2
                t33 += a3 * b3
            _add_four(out[i], v, sign, t00, t01, t02, t03)
            _add_four(out[i + one], v, sign, t10, t11, t12, t13)
            _add_four(out[i + two], v, sign, t20, t21, t22, t23)
            _add_four(out[i + three], v, sign, t30, t31, t32, t33)


@compiled(bare=True)
def _add_four(row, v, sign, t0, t1, t2, t3):
    """Add sign times four numbers to a row from v on."""
    row[v] += sign * t0
    row[v + np.uint64(1)] += sign * t1
    row[v + np.uint64(2)] += sign * t2
    row[v + np.uint64(3)] += sign * t3


@compiled(bare=True)
def level_products(start, stop, head, ptr, left, right, out):
    """Write products of the rows of levels `start` to `stop` with each other, ``left_i right_j'``, to `out`, (levels, k, k).

    Row i of level s is row ``head + s k + i`` of two compressed matrices of one pattern.
    """
    k = out.shape[1]
    for s in range(start, stop):
        first = np.uint64(ptr[head + s * k])
        count = np.uint64(ptr[head + s * k + 1]) - first
        for i in range(k):
            a = first + np.uint64(i) * count
            for j in range(k):
                b, total = first + np.uint64(j) * count, 0.0
                for e in range(count):
                    total += left[a + e] * right[b + e]
                out[s, i, j] = total


@compiled(bare=True)
def scale_levels(start, stop, head, ptr, lower, values):
    """Multiply the rows of levels `start` to `stop` by lower triangular matrices, (levels, k, k), in place."""
    k = lower.shape[1]
    for s in range(start, stop):
        first = np.uint64(ptr[head + s * k])
        count = np.uint64(ptr[head + s * k + 1]) - first
        for i in range(k - 1, -1, -1):
            a, own = first + np.uint64(i) * count, lower[s, i, i]
            for e in range(count):
                values[a + e] *= own
            for j in range(i):
                b, other = first + np.uint64(j) * count, lower[s, i, j]
                for e in range(count):
                    values[a + e] += other * values[b + e]
