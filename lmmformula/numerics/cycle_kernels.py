"""Compiled passes over a sparse matrix for pairs of columns that have more than one row in common."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["add_cycles", "find_cycles", "row_products", "row_sums"]


@compiled(bare=True)
def find_cycles(start, stop, ptr, cols, t_ptr, t_rows, t_from, seen, out):
    """Write the entries (s, i), (s, j), (t, i), (t, j) of rows s, t and columns i < j that all meet to rows of `out`.

    For j from `start` to `stop`. How many there are is returned, -1 if they are more than `out` has room for.

    Parameters
    ----------
    ptr, cols
        The matrix by rows, columns increasing within each.
    t_ptr, t_rows, t_from
        The matrix by columns; `t_from` says where each entry stands by rows.
    seen : (columns,) array
        Filled with -1; for the loop's own use.
    out : (count, 4) array
    """
    count, room, one = 0, len(out), np.uint64(1)
    for j in range(start, stop):
        first, last = np.uint64(t_ptr[j]), np.uint64(t_ptr[j + 1])
        for a in range(first, last):
            for e in range(np.uint64(ptr[np.uint64(t_rows[a])]), np.uint64(t_from[a])):
                i = np.uint64(cols[e])
                if seen[i] != j:
                    seen[i] = j
                    continue
                for b in range(first, a):
                    low, high = np.uint64(ptr[np.uint64(t_rows[b])]), np.uint64(t_from[b])
                    while low < high:
                        middle = (low + high) // np.uint64(2)
                        if np.uint64(cols[middle]) < i:
                            low = middle + one
                        else:
                            high = middle
                    if low < np.uint64(t_from[b]) and np.uint64(cols[low]) == i:
                        if count == room:
                            return -1
                        out[count, 0], out[count, 1] = e, t_from[a]
                        out[count, 2], out[count, 3] = low, t_from[b]
                        count += 1
    return count


@compiled(bare=True)
def row_products(start, stop, ptr, n, out):
    """Write ``n_sj (sum_i n_si^2 - n_sj^2)`` to `out` for the entries of rows `start` to `stop`."""
    for s in range(start, stop):
        total = 0.0
        for e in range(np.uint64(ptr[s]), np.uint64(ptr[s + 1])):
            total += n[e] * n[e]
        for e in range(np.uint64(ptr[s]), np.uint64(ptr[s + 1])):
            out[e] = n[e] * (total - n[e] * n[e])


@compiled(bare=True)
def add_cycles(cycles, n, out):
    """Add to each entry of a cycle the product of the other three."""
    for c in range(len(cycles)):
        si, sj, ti, tj = cycles[c, 0], cycles[c, 1], cycles[c, 2], cycles[c, 3]
        own, other = n[si] * n[sj], n[ti] * n[tj]
        out[si] += n[sj] * other
        out[sj] += n[si] * other
        out[ti] += n[tj] * own
        out[tj] += n[ti] * own


@compiled(bare=True)
def row_sums(start, stop, ptr, cols, n, nk, scale, own):
    """Add ``n_sj nk_sj`` to column j of `own`; the sum of ``scale_s (n_sj + nk_sj) n_sj``. Over rows `start` to `stop`."""
    out = 0.0
    for s in range(start, stop):
        total = 0.0
        for e in range(np.uint64(ptr[s]), np.uint64(ptr[s + 1])):
            value = n[e] * nk[e]
            own[np.uint64(cols[e])] += value
            total += n[e] * n[e] + value
        out += scale[s] * total
    return out
