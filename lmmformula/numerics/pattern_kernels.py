"""Compiled passes that find which levels of two factors meet, of problems large enough to repay them."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["count_pairs", "sort_rows", "write_pairs"]


@compiled(bare=True)
def sort_rows(within, within_ptr, codes, ptr, order, keys):
    """Rows by `codes`, and in each level in the order in which they come by level of another factor.

    Parameters
    ----------
    within, within_ptr
        The rows by level of the other factor.
    codes : (n,) array
    ptr : (m + 1,) array
        Where the rows of each level begin.
    order, keys : (n,) arrays, out
        Rows, and their levels of the other factor.
    """
    place = ptr[:-1].copy()
    for t in range(len(within_ptr) - 1):
        for e in range(np.uint64(within_ptr[t]), np.uint64(within_ptr[t + 1])):
            row = within[e]
            s = np.uint64(codes[np.uint64(row)])
            at = np.uint64(place[s])
            order[at], keys[at] = row, t
            place[s] += 1


@compiled(bare=True)
def count_pairs(first, last, ptr, keys, counts):
    """How many keys differ in each of the levels first..last, whose keys increase."""
    for s in range(first, last):
        different, before = 0, -1
        for e in range(ptr[s], ptr[s + 1]):
            different += keys[e] != before
            before = keys[e]
        counts[s] = different


@compiled(bare=True)
def write_pairs(first, last, ptr, order, keys, start, indices, slots, ordered):
    """Number the pairs of levels first..last, those of each from `start` on.

    The key of each goes to `indices`, the pair of each row to `slots`, and in the order of rows to `ordered`.
    """
    for s in range(first, last):
        pair, before = start[s] - 1, -1
        for e in range(ptr[s], ptr[s + 1]):
            key = keys[e]
            if key != before:
                pair, before = pair + 1, key
                indices[pair] = key
            slots[order[e]] = pair
            ordered[e] = pair
