"""Compiled loops over nonzeros for iterative solves. Imported only by problems large enough to repay it.

Each works on rows `start` to `stop`, so that its caller may share the rows out among threads.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.lines import WIDTH, add_lines

__all__ = [
    "WIDTH",
    "advance",
    "column_products",
    "csr_times",
    "pair_times",
    "sampled_product",
    "scaled_columns",
    "scaled_rows",
    "schur_times",
    "second_moments",
    "summed_moments",
    "turn",
]


@compiled(bare=True)
def csr_times(start, stop, ptr, cols, data, x, out):
    """Write A x to `out`, for compressed rows A and a block x of (columns, c) with c a multiple of `WIDTH`.

    Sums of `WIDTH` columns stay in registers while a row's entries pass. `out` may have fewer columns, the first ones.
    """
    c, total = np.uint64(out.shape[1]), np.empty(WIDTH, x.dtype)
    for i in range(start, stop):
        first = np.uint64(0)
        while first < c:
            total[:] = 0
            add_lines(cols, data, x, first, np.uint64(ptr[i]), np.uint64(ptr[i + 1]), total)
            for v in range(min(np.uint64(WIDTH), c - first)):
                out[np.uint64(i), first + np.uint64(v)] = total[v]
            first += np.uint64(WIDTH)


@compiled(bare=True)
def schur_times(start, stop, h_ptr, h_cols, h_data, t_ptr, t_rows, t_data, x, t, out):
    """Write H x - N't to `out`; H by rows, N by columns; blocks as in :func:`csr_times`."""
    c, own, less = np.uint64(out.shape[1]), np.empty(WIDTH, x.dtype), np.empty(WIDTH, x.dtype)
    for i in range(start, stop):
        first = np.uint64(0)
        while first < c:
            own[:] = 0
            less[:] = 0
            add_lines(h_cols, h_data, x, first, np.uint64(h_ptr[i]), np.uint64(h_ptr[i + 1]), own)
            add_lines(t_rows, t_data, t, first, np.uint64(t_ptr[i]), np.uint64(t_ptr[i + 1]), less)
            for v in range(min(np.uint64(WIDTH), c - first)):
                out[np.uint64(i), first + np.uint64(v)] = own[v] - less[v]
            first += np.uint64(WIDTH)


@compiled(bare=True)
def pair_times(start, stop, ptr, cols, data, x, out):
    """Write A x to `out`, for compressed rows A and a block x of two columns: one fetch of a line for both."""
    for i in range(start, stop):
        one, other = data[0] - data[0], data[0] - data[0]
        for e in range(np.uint64(ptr[i]), np.uint64(ptr[i + 1])):
            j, value = np.uint64(cols[e]), data[e]
            one += value * x[j, 0]
            other += value * x[j, 1]
        out[i, 0] = one
        out[i, 1] = other


@compiled(bare=True)
def advance(start, stop, x, r, p, ap, alpha, out):
    """Add alpha p to x and take alpha ap from r, in place; add squared norms of the new r over these rows to `out`, (c,)."""
    c = x.shape[1]
    total = np.zeros(c)
    for i in range(start, stop):
        for v in range(c):
            x[i, v] += alpha[v] * p[i, v]
            value = r[i, v] - alpha[v] * ap[i, v]
            r[i, v] = value
            total[v] += value * value
    out += total


@compiled(bare=True)
def turn(start, stop, p, r, beta):
    """Set p to r + beta p, in place."""
    c = p.shape[1]
    for i in range(start, stop):
        for v in range(c):
            p[i, v] = r[i, v] + beta[v] * p[i, v]


@compiled(bare=True)
def column_products(start, stop, a, b, out):
    """Add inner products of the columns of two blocks over these rows to `out`, (c,)."""
    c = a.shape[1]
    total = np.zeros(c)
    for i in range(start, stop):
        for v in range(c):
            total[v] += a[i, v] * b[i, v]
    out += total


@compiled(bare=True)
def second_moments(
    start,
    stop,
    n_ptr,
    n_cols,
    n_data,
    t_ptr,
    t_rows,
    t_data,
    t_from,
    h_ptr,
    h_cols,
    h_data,
    place,
    own,
    nk,
    kh,
):
    """K = I - H + N'N row by row: blocks of K^2, N K on the pattern of N, and K on the pattern of H.

    As K has zero blocks within levels, ``(K^2)_ji = (N'N K - H K)_ji`` there, of which both are at hand once N K and K are.
    `start` and `stop` must lie between levels.

    Parameters
    ----------
    n_ptr, n_cols, n_data
        N by rows.
    t_ptr, t_rows, t_data, t_from
        N by columns; `t_from` says where each entry stands in `n_data`.
    h_ptr, h_cols, h_data
        H by rows. All columns of a level have the same pattern in N and in H.
    place : (q,) array
        Position of each column of N within its level.
    own : (q, k) array, out
        ``own[j, i]`` is the product of row j of K with row i of the same level, i up to ``place[j]``.
    nk, kh : arrays like n_data and h_data, out
    """
    row = np.zeros(len(own))
    for j in range(start, stop):
        first, last = np.uint64(t_ptr[j]), np.uint64(t_ptr[j + 1])
        for a in range(first, last):
            value, s = t_data[a], np.uint64(t_rows[a])
            for b in range(np.uint64(n_ptr[s]), np.uint64(n_ptr[s + np.uint64(1)])):
                row[np.uint64(n_cols[b])] += value * n_data[b]
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            row[np.uint64(h_cols[b])] -= h_data[b]
        row[j] += 1.0
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            kh[b] = row[np.uint64(h_cols[b])]
        for a in range(first, last):
            total, s = 0.0, np.uint64(t_rows[a])
            for b in range(np.uint64(n_ptr[s]), np.uint64(n_ptr[s + np.uint64(1)])):
                total += n_data[b] * row[np.uint64(n_cols[b])]
            nk[t_from[a]] = total
        for a in range(first, last):
            s = np.uint64(t_rows[a])
            for b in range(np.uint64(n_ptr[s]), np.uint64(n_ptr[s + np.uint64(1)])):
                row[np.uint64(n_cols[b])] = 0.0
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            row[np.uint64(h_cols[b])] = 0.0
        for i in range(place[j] + 1):
            other, total = j - place[j] + i, 0.0
            for a in range(t_ptr[j + 1] - t_ptr[j]):
                total += t_data[t_ptr[j] + a] * nk[t_from[t_ptr[other] + a]]
            for b in range(h_ptr[j + 1] - h_ptr[j]):
                total -= h_data[h_ptr[j] + b] * kh[h_ptr[other] + b]
            own[j, i] = total


@compiled(bare=True)
def summed_moments(
    start,
    stop,
    n_ptr,
    n_cols,
    n_data,
    t_ptr,
    t_rows,
    t_data,
    t_from,
    h_ptr,
    h_cols,
    h_data,
    scale,
    weight,
    owner,
    out,
):
    """Add sums over pairs i < j of rows of K = I - H + N'N, j from `start` to `stop`, of levels of one column each.

    ``sum_i K_ij^2 = sum_i K_ij (N'N - H)_ij``, and so by rows of N once K_ij are known. K is held in the precision of N.

    Parameters
    ----------
    n_ptr, n_cols, n_data
        N by rows, columns increasing within each.
    t_ptr, t_rows, t_data, t_from
        N by columns; `t_from` says where each entry stands in `n_data`.
    h_ptr, h_cols, h_data
        H by rows.
    scale : (rows of N,) array
        f^2.
    weight, owner : (q,) arrays
        c^2, and the group of each column.
    out : array
        Sum of K_ij^2; ``sum_s f_s^2 (N N' + N K N')_ss``; by group that of ``c_i^2 K_ij^2``, either way round.
    """
    row = np.zeros((len(weight), 2), n_data.dtype)  # K_ij beside c_i^2
    for i in range(len(weight)):
        row[i, 1] = weight[i]
    square, chain, single, alone = 0.0, 0.0, 0.0, len(out) == 3
    for j in range(start, stop):
        first, last = np.uint64(t_ptr[j]), np.uint64(t_ptr[j + 1])
        for a in range(first, last):
            value, s = t_data[a], np.uint64(t_rows[a])
            for b in range(np.uint64(n_ptr[s]), np.uint64(t_from[a])):
                row[np.uint64(n_cols[b]), 0] += value * n_data[b]
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            if h_cols[b] < j:
                row[np.uint64(h_cols[b]), 0] -= h_data[b]
        both = 0.0
        for a in range(first, last):
            value, s = t_data[a], np.uint64(t_rows[a])
            met, weighted = value - value, value - value
            for b in range(np.uint64(n_ptr[s]), np.uint64(t_from[a])):
                i = np.uint64(n_cols[b])
                product = n_data[b] * row[i, 0]
                met += product
                if alone:
                    weighted += product * row[i, 1]
                else:
                    out[2 + owner[i]] += value * product * row[i, 1]
            both += value * met
            single += value * weighted
            chain += value * (value + 2.0 * met) * scale[s]
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            if h_cols[b] < j:
                i = np.uint64(h_cols[b])
                product = h_data[b] * row[i, 0]
                both -= product
                out[2 + owner[i]] -= product * row[i, 1]
        for a in range(first, last):
            s = np.uint64(t_rows[a])
            for b in range(np.uint64(n_ptr[s]), np.uint64(t_from[a])):
                row[np.uint64(n_cols[b]), 0] = 0.0
        for b in range(np.uint64(h_ptr[j]), np.uint64(h_ptr[j + 1])):
            row[np.uint64(h_cols[b]), 0] = 0.0
        square += both
        out[2 + owner[j]] += weight[j] * both
    out[0] += square
    out[1] += chain
    out[2] += single


@compiled(bare=True)
def sampled_product(start, stop, ptr, cols, left, right, out):
    """Add left[i] . right[j] to `out` at every entry (i, j) of a compressed pattern, summed in the precision of these."""
    c = left.shape[1]
    for i in range(start, stop):
        for k in range(ptr[i], ptr[i + 1]):
            j = cols[k]
            total = left[i, 0] * right[j, 0]
            for v in range(1, c):
                total += left[i, v] * right[j, v]
            out[k] += total


@compiled(bare=True)
def scaled_columns(start, stop, ptr, rows, source, raw, left, right, block, c, turned):
    """N = T C^-1 by columns one wide, with ``T_sj = left_s raw_sj right_j`` and ``C_j^2 = block_j - sum_s T_sj^2``.

    Parameters
    ----------
    ptr, rows, source
        The pattern by columns; `source` says where each entry stands in `raw`.
    c : (q,) array, out
        1 / C, not a number where C^2 is not positive.
    turned : array, out
        Values of N by columns.
    """
    for j in range(start, stop):
        share, first, last = 0.0, np.uint64(ptr[j]), np.uint64(ptr[j + 1])
        for a in range(first, last):
            value = left[np.uint64(rows[a])] * raw[np.uint64(source[a])]
            turned[a] = value
            share += value * value
        left_over = block[j] - share * right[j] * right[j]
        c[j] = 1.0 / np.sqrt(left_over) if left_over > 0.0 else np.nan
        scale = right[j] * c[j]
        for a in range(first, last):
            turned[a] *= scale


@compiled(bare=True)
def scaled_rows(start, stop, ptr, cols, raw, left, scale, n):
    """Write ``left_s raw_sj scale_j`` to `n`, by rows: read in order they cost less than to be written from columns."""
    for s in range(start, stop):
        own = left[s]
        for e in range(np.uint64(ptr[s]), np.uint64(ptr[s + 1])):
            n[e] = own * raw[e] * scale[np.uint64(cols[e])]
