"""Compiled passes over pairs of levels held once, by levels of the larger group: every product reads each pair one time.

Imported only by problems large enough to repay it. Pairs are compressed rows `ptr`, `cols` with values `raw`; each kernel works
on levels `first` to `last` and adds to sums of its caller's. Blocks of vectors are best as wide as the processor's registers.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["add_normal", "add_squares", "add_transposed", "diagonal_sum", "pair_forms", "times", "united"]


@compiled(bare=True)
def times(first, last, ptr, cols, raw, left, x, out):
    """Write diag(left) R x to rows `first` to `last` of `out`."""
    c = out.shape[1]
    total = np.empty(x.shape[1])
    for i in range(first, last):
        total[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            own, value = x[cols[e]], raw[e]
            for v in range(len(total)):
                total[v] += value * own[v]
        for v in range(c):
            out[i, v] = left[i] * total[v]


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
    """Add R'diag(left)^2 R x, (q, c)."""
    c = x.shape[1]
    total = np.empty(c)
    for i in range(first, last):
        total[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            own, value = x[cols[e]], raw[e]
            for v in range(c):
                total[v] += value * own[v]
        square = left[i] * left[i]
        for v in range(c):
            total[v] *= square
        for e in range(ptr[i], ptr[i + 1]):
            target, value = out[cols[e]], raw[e]
            for v in range(c):
                target[v] += value * total[v]


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
