"""Compiled sums by code. Imported only by problems large enough to repay it."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["WIDTH", "add_by_code", "add_columns", "add_values", "add_weighted_columns"]

WIDTH = 8
"""Columns of sums that are a line of the cache."""


@compiled(fast=False, bare=True)
def add_by_code(codes, values, out):
    """Add each of `values` to the element of `out` that its code names, in their order."""
    for r in range(len(codes)):
        out[np.uint64(codes[r])] += values[r]


@compiled(bare=True)
def add_columns(codes, values, out):
    """Add the rows of `values`, of up to `WIDTH` columns, to the rows of `out`, (levels, WIDTH), that their codes name.

    Columns are named one by one: a loop over so few takes longer than what it does.
    """
    c = values.shape[1]
    for r in range(len(codes)):
        s = np.uint64(codes[r])
        out[s, 0] += values[r, 0]
        if c > 1:
            out[s, 1] += values[r, 1]
        if c > 2:
            out[s, 2] += values[r, 2]
        if c > 3:
            out[s, 3] += values[r, 3]
        if c > 4:
            out[s, 4] += values[r, 4]
        if c > 5:
            out[s, 5] += values[r, 5]
        if c > 6:
            out[s, 6] += values[r, 6]
        if c > 7:
            out[s, 7] += values[r, 7]


@compiled(bare=True)
def add_weighted_columns(codes, weights, values, out):
    """The same of rows that are multiplied by their weights."""
    c = values.shape[1]
    for r in range(len(codes)):
        s, w = np.uint64(codes[r]), weights[r]
        out[s, 0] += w * values[r, 0]
        if c > 1:
            out[s, 1] += w * values[r, 1]
        if c > 2:
            out[s, 2] += w * values[r, 2]
        if c > 3:
            out[s, 3] += w * values[r, 3]
        if c > 4:
            out[s, 4] += w * values[r, 4]
        if c > 5:
            out[s, 5] += w * values[r, 5]
        if c > 6:
            out[s, 6] += w * values[r, 6]
        if c > 7:
            out[s, 7] += w * values[r, 7]


@compiled(bare=True)
def add_values(first, last, codes, values, scale, out):
    """Add `scale` times the value that the code of each row names to rows first..last of `out`."""
    for r in range(first, last):
        out[r] += scale * values[np.uint64(codes[r])]
