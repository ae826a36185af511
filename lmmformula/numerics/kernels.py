"""Compiled loops over nonzeros. Imported only by problems large enough to repay it; compiled once and cached.

Both products go through the dense part block of columns by block of columns, and there through the levels that have it: of a
dense matrix only as many rows as a block has columns are touched at a time, which stay in the cache of a core.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = [
    "ragged_gram",
    "ragged_on_pattern",
    "ragged_times",
    "ragged_transposed_times",
    "single_gram",
    "single_on_pattern",
]

_LANES = 4
"""Columns that stand side by side in blocks of a width that this divides, and are moved together."""
_AHEAD = 64
"""Levels whose first numbers are read ahead."""


@compiled(bare=True)
def ragged_gram(start, stop, width, meets, places, owners, ptr, cols, values, out):
    """Take T'T from rows of the lower triangle of `out`: those of blocks `start` to `stop`, of `width` columns each.

    Block b stands at ``places[meets[b]:meets[b + 1]]`` among the columns of the levels, which are `owners`. A target is fetched
    once for all rows of a level: their products are made first, side by side. Of a block's own rows all of its columns are
    written, some beyond the diagonal.
    """
    k, products = values.shape[0], np.empty(0, values.dtype)
    for b in range(start, stop):
        for a in range(meets[b], meets[b + 1]):
            place, first = np.uint64(places[a]), np.uint64(ptr[owners[a]])
            count = place + np.uint64(width) - first
            if count > np.uint64(len(products)):
                products = np.empty(2 * count, values.dtype)
            for i in range(place, place + np.uint64(width)):
                v = values[0, i]
                for j in range(count):
                    products[j] = v * values[0, first + j]
                for row in range(1, k):
                    v = values[row, i]
                    for j in range(count):
                        products[j] += v * values[row, first + j]
                _take(products, count, width, first, cols, out[cols[i]])


@compiled(bare=True)
def _take(products, count, width, first, cols, target):
    """Take products from a row of a dense matrix, at columns that stand from `first` on."""
    if width % _LANES == 0:
        for j in range(np.uint64(0), count, np.uint64(_LANES)):
            at = np.uint64(cols[first + j])
            target[at] -= products[j]
            target[at + np.uint64(1)] -= products[j + np.uint64(1)]
            target[at + np.uint64(2)] -= products[j + np.uint64(2)]
            target[at + np.uint64(3)] -= products[j + np.uint64(3)]
    else:
        for j in range(count):
            target[np.uint64(cols[first + j])] -= products[j]


@compiled(bare=True)
def _gather(source, first, count, width, cols, near):
    """Write the elements of a row of a dense matrix at columns that stand from `first` on."""
    if width % _LANES == 0:
        for j in range(np.uint64(0), count, np.uint64(_LANES)):
            at = np.uint64(cols[first + j])
            near[j] = source[at]
            near[j + np.uint64(1)] = source[at + np.uint64(1)]
            near[j + np.uint64(2)] = source[at + np.uint64(2)]
            near[j + np.uint64(3)] = source[at + np.uint64(3)]
    else:
        for j in range(count):
            near[j] = source[np.uint64(cols[first + j])]


@compiled(bare=True)
def ragged_on_pattern(start, stop, width, meets, places, owners, ptr, cols, values, z, out):
    """Write T Z on the pattern of T to `out` in the blocks `start` to `stop` of columns, as in :func:`ragged_gram`.

    Z is full and symmetric, in the precision of T. Its elements are gathered once for all rows of a level.
    """
    k, near = values.shape[0], np.empty(0, z.dtype)
    for b in range(start, stop):
        for a in range(meets[b], meets[b + 1]):
            place, first = np.uint64(places[a]), np.uint64(ptr[owners[a]])
            count = np.uint64(ptr[owners[a] + 1]) - first
            if count > np.uint64(len(near)):
                near = np.empty(2 * count, z.dtype)
            for i in range(place, place + np.uint64(width)):
                _gather(z[cols[i]], first, count, width, cols, near)
                for row in range(k):
                    total = z.dtype.type(0)
                    for j in range(count):
                        total += near[j] * values[row, first + j]
                    out[row, i] = total


@compiled(bare=True)
def single_gram(start, stop, meets, places, owners, ptr, cols, values, out):
    """As :func:`ragged_gram` for levels of one row and blocks of one column. What it returns means nothing.

    The first numbers of `_AHEAD` levels are read before one is worked with: their lines come from memory, and reads that wait
    for nothing come at the same time (5,000,000 entries of 744,000 levels, 3,500 columns: 0.43 s in the place of 1.2).
    """
    starts, seen = np.empty(_AHEAD, np.uint64), 0.0
    for b in range(start, stop):
        target = out[b]
        for base in range(meets[b], meets[b + 1], _AHEAD):
            count = min(_AHEAD, meets[b + 1] - base)
            for t in range(count):
                starts[t] = ptr[owners[base + t]]
            for t in range(count):
                seen += values[0, starts[t]] + cols[starts[t]]
            for t in range(count):
                place = np.uint64(places[base + t])
                v = values[0, place]
                for j in range(starts[t], place + np.uint64(1)):
                    target[np.uint64(cols[j])] -= v * values[0, j]
    return seen


@compiled(bare=True)
def single_on_pattern(start, stop, meets, places, owners, ptr, cols, values, z, out):
    """As :func:`ragged_on_pattern` for levels of one row and blocks of one column, reading ahead as :func:`single_gram`."""
    starts, ends, seen = np.empty(_AHEAD, np.uint64), np.empty(_AHEAD, np.uint64), 0.0
    for b in range(start, stop):
        source = z[b]
        for base in range(meets[b], meets[b + 1], _AHEAD):
            count = min(_AHEAD, meets[b + 1] - base)
            for t in range(count):
                owner = owners[base + t]
                starts[t], ends[t] = ptr[owner], ptr[owner + 1]
            for t in range(count):
                seen += values[0, starts[t]] + cols[starts[t]]
            for t in range(count):
                total = z.dtype.type(0)
                for j in range(starts[t], ends[t]):
                    total += source[np.uint64(cols[j])] * values[0, j]
                out[0, np.uint64(places[base + t])] = total
    return seen


@compiled(bare=True)
def ragged_times(start, stop, ptr, cols, values, x, out):
    """Add T x to `out`, (m, k, c), of the levels `start` to `stop`, for x of shape (q, c)."""
    k, c = values.shape[0], x.shape[1]
    for s in range(start, stop):
        for i in range(ptr[s], ptr[s + 1]):
            row = x[cols[i]]
            for r in range(k):
                v, target = values[r, i], out[s, r]
                for j in range(c):
                    target[j] += v * row[j]


@compiled(bare=True)
def ragged_transposed_times(start, stop, ptr, cols, values, x, out):
    """Add T'x of the levels `start` to `stop` to `out`, (q, c), for x of shape (m, k, c)."""
    k, c = values.shape[0], x.shape[2]
    for s in range(start, stop):
        for i in range(ptr[s], ptr[s + 1]):
            target = out[cols[i]]
            for r in range(k):
                v, row = values[r, i], x[s, r]
                for j in range(c):
                    target[j] += v * row[j]
