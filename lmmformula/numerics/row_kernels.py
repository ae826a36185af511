"""Compiled sums over rows and levels. Imported only by problems large enough to repay it.

Each kernel adds the rows or levels of one part to arrays that no other part writes. `weights` with a single element stands for
equal weights, `basis` with a single row for the same basis in all rows.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = [
    "add_eliminated",
    "add_levels",
    "add_pairs",
    "add_pairs_as_they_come",
    "add_products",
    "add_rows",
    "add_sparse_column",
    "rows_by_level",
    "sparse_rows",
    "spread",
    "spread_constants",
]

_TILE = 64
"""Rows that are summed for V'WV and for the levels in turn: few enough to stay in the fastest cache."""


@compiled(fast=False, bare=True)
def rows_by_level(codes, m, order, ptr):
    """Write the rows in order of level, rows of a level in their own order, to `order`, and its cuts to `ptr`."""
    ptr[:] = 0
    for r in range(len(codes)):
        ptr[codes[r] + 1] += 1
    for s in range(m):
        ptr[s + 1] += ptr[s]
    place = ptr[:-1].copy()
    for r in range(len(codes)):
        s = codes[r]
        order[place[s]] = r
        place[s] += 1


@compiled(bare=True)
def add_products(first, last, weights, v, out):
    """Add V'WV of rows first..last to the lower triangle of `out`; beyond it some of the upper one is written too."""
    c, own = v.shape[1], min(len(weights) - 1, 1)
    whole = first + (last - first) // 4 * 4
    for r in range(first, whole, 4):  # four rows for each time that `out` is read and written
        v0, v1, v2, v3 = v[r], v[r + 1], v[r + 2], v[r + 3]
        w0, w1, w2, w3 = (
            weights[r * own],
            weights[(r + 1) * own],
            weights[(r + 2) * own],
            weights[(r + 3) * own],
        )
        for i in range(c):
            a0, a1, a2, a3 = w0 * v0[i], w1 * v1[i], w2 * v2[i], w3 * v3[i]
            target, top = out[i], min(c, (i // 8 + 1) * 8)
            for j in range(top):
                target[j] += a0 * v0[j] + a1 * v1[j] + a2 * v2[j] + a3 * v3[j]
    for r in range(whole, last):
        for i in range(c):
            a = weights[r * own] * v[r, i]
            for j in range(i + 1):
                out[i, j] += a * v[r, j]


@compiled(bare=True)
def add_rows(first, last, codes, basis, weights, v, diag, rhs, out):
    """Add rows first..last to their levels of `diag` and `rhs`, as they come, and to V'WV if `out` is not empty."""
    own, own_z = min(len(weights) - 1, 1), min(len(basis) - 1, 1)
    k, c = rhs.shape[1], rhs.shape[2]
    for start in range(first, last, _TILE):
        stop = min(start + _TILE, last)
        if out.size:
            add_products(start, stop, weights, v, out)
        for r in range(start, stop):
            s, w = codes[r], weights[r * own]
            for i in range(k):
                a = w * basis[r * own_z, i]
                for j in range(i + 1):
                    diag[s, i, j] += a * basis[r * own_z, j]
                for j in range(c):
                    rhs[s, i, j] += a * v[r, j]


@compiled(bare=True)
def add_levels(first, last, order, ptr, basis, weights, v, arranged, diag, rhs):
    """Add the rows of levels first..last to `diag` and `rhs`, level by level; `weights` are in the order of `order`.

    `v` has the rows as they come, or where `arranged` is 1, in that order too.
    """
    own, own_z = min(len(weights) - 1, 1), min(len(basis) - 1, 1)
    k, c = rhs.shape[1], rhs.shape[2]
    for s in range(first, last):
        for e in range(ptr[s], ptr[s + 1]):
            r = order[e]
            at = e if arranged else np.int64(r)
            w = weights[e * own]
            for i in range(k):
                a = w * basis[r * own_z, i]
                for j in range(i + 1):
                    diag[s, i, j] += a * basis[r * own_z, j]
                for j in range(c):
                    rhs[s, i, j] += a * v[at, j]


@compiled(bare=True)
def add_pairs(first, last, order, ptr, slots, basis_a, basis_b, weights, out):
    """Add the rows of levels first..last to their pairs in `out`; `slots` and `weights` are in the order of `order`."""
    own, ka, kb = min(len(weights) - 1, 1), out.shape[1], out.shape[2]
    own_a, own_b = min(len(basis_a) - 1, 1), min(len(basis_b) - 1, 1)
    for e in range(ptr[first], ptr[last]):
        r = order[e]
        s, w = slots[e], weights[e * own]
        for i in range(ka):
            a = w * basis_a[r * own_a, i]
            for j in range(kb):
                out[s, i, j] += a * basis_b[r * own_b, j]


@compiled(bare=True)
def add_pairs_as_they_come(slots, basis_a, basis_b, weights, out):
    """Add all rows to their pairs in `out`."""
    own, ka, kb = min(len(weights) - 1, 1), out.shape[1], out.shape[2]
    own_a, own_b = min(len(basis_a) - 1, 1), min(len(basis_b) - 1, 1)
    for r in range(len(slots)):
        s, w = slots[r], weights[r * own]
        for i in range(ka):
            a = w * basis_a[r * own_a, i]
            for j in range(kb):
                out[s, i, j] += a * basis_b[r * own_b, j]


@compiled(bare=True)
def add_eliminated(first, last, ptr, cols, data, inner, b, out):
    """Add sum N_s' D_s N_s b over levels first..last to `out`; N by compressed rows, k of them for each level."""
    k, c = inner.shape[1], b.shape[1]
    raw, t = np.empty((k, c)), np.empty((k, c))
    for s in range(first, last):
        raw[:], t[:] = 0.0, 0.0
        for i in range(k):
            for e in range(ptr[s * k + i], ptr[s * k + i + 1]):
                value, at = data[e], cols[e]
                for v in range(c):
                    raw[i, v] += value * b[at, v]
        for i in range(k):
            for j in range(k):
                d = inner[s, i, j]
                for v in range(c):
                    t[i, v] += d * raw[j, v]
        for i in range(k):
            for e in range(ptr[s * k + i], ptr[s * k + i + 1]):
                value, at = data[e], cols[e]
                for v in range(c):
                    out[at, v] += value * t[i, v]


@compiled(bare=True)
def sparse_rows(first, last, ptr, cols, data, x, out):
    """Rows first..last of A x to `out`; A by compressed rows."""
    for s in range(first, last):
        total = 0.0
        for e in range(np.uint64(ptr[s]), np.uint64(ptr[s + 1])):
            total += data[e] * x[np.uint64(cols[e])]
        out[s] = total


@compiled(bare=True)
def add_sparse_column(first, last, ptr, rows, data, x, out):
    """Add columns first..last of A, each times its entry of x, to `out`; A by compressed columns."""
    for s in range(first, last):
        value = x[s]
        for e in range(ptr[s], ptr[s + 1]):
            out[rows[e]] += data[e] * value


@compiled(fast=False, bare=True)
def spread(content, starts, columns, out):
    """Columns that lie one after the other in `content` to columns of a matrix of rows, some rows at a time."""
    n, k = out.shape[0], len(columns)
    for first in range(0, n, _TILE):
        last = min(first + _TILE, n)
        for c in range(k):
            start, j = starts[c], columns[c]
            for r in range(first, last):
                out[r, j] = content[start + r]


@compiled(fast=False, bare=True)
def spread_constants(values, columns, out):
    """Columns of one value each to columns of a matrix of rows."""
    for r in range(out.shape[0]):
        for c in range(len(columns)):
            out[r, columns[c]] = values[c]
