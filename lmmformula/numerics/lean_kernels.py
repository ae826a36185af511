"""Compiled passes over pairs of levels held once, by levels of the larger group: every product reads each pair one time.

Imported only by problems large enough to repay it. Pairs are compressed rows `ptr`, `cols` with values `raw`; each kernel works
on levels `first` to `last` and adds to sums of its caller's. Blocks of vectors have one column or a multiple of `WIDTH`, where
sums of lines are those of :mod:`lmmformula.numerics.lines`.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.lines import WIDTH, add_lines

__all__ = ["add_normal", "add_squares", "add_transposed", "diagonal_sum", "pair_forms", "times", "united"]


@compiled(bare=True)
def times(first, last, ptr, cols, raw, left, x, out):
    """Write diag(left) R x to rows `first` to `last` of `out`; x of one column or a multiple of `WIDTH`."""
    c, width = np.uint64(out.shape[1]), np.uint64(WIDTH)
    total = np.empty(WIDTH)
    if x.shape[1] == 1:
        for i in range(first, last):
            own = 0.0
            for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
                own += raw[e] * x[np.uint64(cols[e]), 0]
            out[i, 0] = left[i] * own
        return
    for i in range(first, last):
        at = np.uint64(0)
        while at < c:
            total[:] = 0.0
            add_lines(cols, raw, x, at, np.uint64(ptr[i]), np.uint64(ptr[i + 1]), total)
            for v in range(min(width, c - at)):
                out[i, at + np.uint64(v)] = left[i] * total[v]
            at += width


@compiled(bare=True)
def add_transposed(first, last, ptr, cols, raw, left, a, out):
    """Add R'diag(left) a, (q, c)."""
    c = a.shape[1]
    for i in range(first, last):
        own, scale = a[i], left[i]
        for e in range(ptr[i], ptr[i + 1]):
            target, value = out[cols[e]], raw[e] * scale
            for v in range(c):
                target[v] += value * own[v]


@compiled(bare=True)
def add_normal(first, last, ptr, cols, raw, left, x, out):
    """Add R'diag(left)^2 R x, (q, c), for x of one column or a multiple of `WIDTH`."""
    c, width = np.uint64(x.shape[1]), np.uint64(WIDTH)
    total = np.empty(WIDTH)
    if c == 1:
        for i in range(first, last):
            own = 0.0
            for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
                own += raw[e] * x[np.uint64(cols[e]), 0]
            own *= left[i] * left[i]
            for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
                out[np.uint64(cols[e]), 0] += raw[e] * own
        return
    for i in range(first, last):
        start, stop, square = np.uint64(ptr[i]), np.uint64(ptr[i + 1]), left[i] * left[i]
        at = np.uint64(0)
        while at < c:
            total[:] = 0.0
            add_lines(cols, raw, x, at, start, stop, total)
            t0, t1, t2, t3 = square * total[0], square * total[1], square * total[2], square * total[3]
            t4, t5, t6, t7 = square * total[4], square * total[5], square * total[6], square * total[7]
            for e in range(start, stop):
                j, value = np.uint64(cols[e]), raw[e]
                out[j, at] += value * t0
                out[j, at + np.uint64(1)] += value * t1
                out[j, at + np.uint64(2)] += value * t2
                out[j, at + np.uint64(3)] += value * t3
                out[j, at + np.uint64(4)] += value * t4
                out[j, at + np.uint64(5)] += value * t5
                out[j, at + np.uint64(6)] += value * t6
                out[j, at + np.uint64(7)] += value * t7
            at += width


@compiled(bare=True)
def add_squares(first, last, ptr, cols, raw, left, out):
    """Add the squared lengths of the columns of diag(left) R, (q,)."""
    for i in range(first, last):
        for e in range(ptr[i], ptr[i + 1]):
            value = left[i] * raw[e]
            out[cols[e]] += value * value


@compiled(bare=True)
def diagonal_sum(first, last, ptr, cols, raw, weight, right):
    """Sum of ``weight_i sum_j (R_ij right_j)^2``."""
    total = 0.0
    for i in range(first, last):
        own = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            value = raw[e] * right[cols[e]]
            own += value * value
        total += weight[i] * own
    return total


@compiled(bare=True)
def pair_forms(first, last, ptr, cols, raw, weight, a, b, out):
    """Add ``a_v' R' diag(weight) R b_v`` of each two columns to `out`, (c,)."""
    c = a.shape[1]
    one, other = np.empty(c), np.empty(c)
    for i in range(first, last):
        one[:] = 0.0
        other[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            j, value = cols[e], raw[e]
            for v in range(c):
                one[v] += value * a[j, v]
            for v in range(c):
                other[v] += value * b[j, v]
        for v in range(c):
            out[v] += weight[i] * one[v] * other[v]


@compiled(bare=True)
def united(ptr, cols, out):
    """Write the connected part that each column lies in, numbered as they are met (Tarjan 1975, halving paths)."""
    count = len(out)
    root = np.arange(count)
    for i in range(len(ptr) - 1):
        if ptr[i] == ptr[i + 1]:
            continue
        low = cols[ptr[i]]
        while root[low] != low:
            root[low] = root[root[low]]
            low = root[low]
        for e in range(ptr[i] + 1, ptr[i + 1]):
            j = cols[e]
            while root[j] != j:
                root[j] = root[root[j]]
                j = root[j]
            if j < low:
                root[low] = j
                low = j
            else:
                root[j] = low
    out[:] = -1
    number = 0
    for j in range(count):
        k = j
        while root[k] != k:
            k = root[k]
        if out[k] < 0:
            out[k] = number
            number += 1
        out[j] = out[k]
