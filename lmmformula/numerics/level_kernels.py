"""Compiled passes for columns that are constant within levels. Imported only by problems large enough to repay it.

Names as in :mod:`lmmformula.ir.level_columns`; pairs of levels lie in compressed rows `ptr`, `other`.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = [
    "add_pair_products",
    "constant_columns",
    "first_rows",
    "pair_products",
    "place_columns",
    "scale_columns",
]


@compiled(fast=False, bare=True)
def first_rows(codes, first):
    """The first row of each level."""
    for r in range(len(codes) - 1, -1, -1):
        first[codes[r]] = r


@compiled(fast=False, bare=True)
def constant_columns(start, stop, x, codes, first, live, count):
    """Of the columns `live` keep those, `count` of them, in which rows start..stop have the number of their level's first."""
    left = count[0]
    for r in range(start, stop):
        f = first[codes[r]]
        j = 0
        while j < left:
            if x[r, live[j]] == x[f, live[j]]:
                j += 1
            else:
                left -= 1
                live[j] = live[left]
        if left == 0:
            break
    count[0] = left


@compiled(fast=False, bare=True)
def place_columns(first, last, source, at, out):
    """Columns `at` of levels first..last of `out`: those of `source`."""
    for s in range(first, last):
        for i in range(source.shape[1]):
            for j in range(len(at)):
                out[s, i, at[j]] = source[s, i, j]


@compiled(fast=False, bare=True)
def scale_columns(first, last, diag, values, at, out):
    """Columns `at` of levels first..last of `out`: the values of each level times its weight."""
    for s in range(first, last):
        for i in range(diag.shape[1]):
            for j in range(len(at)):
                out[s, i, at[j]] = diag[s, i, 0] * values[s, j]


@compiled(bare=True)
def pair_products(first, last, ptr, other, w, values, at, out):
    """Columns `at` of levels first..last of `out`: W values."""
    k, c = w.shape[1], values.shape[1]
    own = np.empty(c)
    for s in range(first, last):
        for i in range(k):
            own[:] = 0.0
            for e in range(ptr[s], ptr[s + 1]):
                value, row = w[e, i, 0], values[other[e]]
                for j in range(c):
                    own[j] += value * row[j]
            for j in range(c):
                out[s, i, at[j]] = own[j]


@compiled(bare=True)
def add_pair_products(first, last, ptr, other, w, values, out):
    """Add W'values of levels first..last, on the rows of the pattern, to `out`, on its columns."""
    k, c = w.shape[2], values.shape[1]
    for s in range(first, last):
        row = values[s]
        for e in range(ptr[s], ptr[s + 1]):
            for i in range(k):
                value, target = w[e, 0, i], out[other[e], i]
                for j in range(c):
                    target[j] += value * row[j]
