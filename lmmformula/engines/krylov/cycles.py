r"""K of two sparse crossed factors from the few pairs of levels that meet more than once.

One group of one column is eliminated, another one iterated on: levels i, j of that have ``K_ij = sum_s N_si N_sj``, i unlike j,
over the levels s of the eliminated group that both meet. Rows s and t that have the two columns i, j in common are a cycle
s - i - t - j of the graph of levels that meet. With d_s = sum_i N_si^2::

    (N K)_sj = N_sj (d_s - N_sj^2) + sum over cycles s - i - t - j of N_si N_ti N_tj                                (1)

    (K^2)_jj = sum_s N_sj (N K)_sj,        (N K N')_ss = sum_j N_sj (N K)_sj

Cycles depend on the pattern alone and are found once, in less time than it takes to form K by its columns; from then on K costs
O(nnz + cycles). Where the levels of two factors meet at random, d times each, there are about d^4 / 4 of them whatever the
number of levels: 40,000 for d = 20, beside 1,000,000 nonzeros or 10,000,000. Popular levels have more, and where they are
many K is formed by its columns.
"""

from __future__ import annotations

import numpy as np

from lmmformula.engines.krylov.compressed import Compressed
from lmmformula.numerics.cuts import even_cuts
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

__all__ = ["cycles_of", "sums_by_cycles"]

MOST = 0.25
"""Cycles for each nonzero up to which they are kept: their products then cost less than those of K by columns."""
PARTS = 16
SUMS = 4
"""Parts of the rows, each of which has sums by column of its own."""


def cycles_of(n: Compressed, turned: Compressed, columns: int) -> Index | None:
    """Entries (s, i), (s, j), (t, i), (t, j) of each cycle, (count, 4); None if there are too many.

    Parameters
    ----------
    n, turned : Compressed
        The pattern of N by rows and by columns.
    columns : int
    """
    from lmmformula.numerics.cycle_kernels import find_cycles

    def part(i: int, j: int) -> Index | None:
        room = int(MOST * float(turned.ptr[j] - turned.ptr[i])) + 1
        out, seen = np.empty((room, 4), dtype=turned_from.dtype), np.full(columns, -1, dtype=np.int32)
        count = find_cycles(i, j, n.ptr, n.cols, turned.ptr, turned.cols, turned_from, seen, out)
        return None if count < 0 else out[:count].copy()

    turned_from = np.asarray(turned.source)
    found = in_parts(part, even_cuts(turned.ptr, PARTS))
    known = [cycles for cycles in found if cycles is not None]
    return np.concatenate(known) if len(known) == len(found) else None


def sums_by_cycles(
    n: Compressed, values: Array, inv: Array, columns: int, cycles: Index
) -> tuple[Array, Array, float]:
    """N K on the pattern of N, the diagonal of K^2, and ``sum_s F_s^-2 (N N' + N K N')_ss``.

    Parameters
    ----------
    n : Compressed
        The pattern of N by rows.
    values : (nnz,) array
        N.
    inv : (m, 1, 1) array
        F^-1.
    columns : int
    cycles : (count, 4) array
        Of :func:`cycles_of`.
    """
    from lmmformula.numerics.cycle_kernels import add_cycles, row_products, row_sums

    nk, scale = np.empty_like(values), inv.ravel() ** 2
    in_parts(lambda i, j: row_products(i, j, n.ptr, values, nk), n.cuts)
    add_cycles(cycles, values, nk)

    def part(i: int, j: int) -> tuple[Array, float]:
        own = np.zeros(columns)
        return own, row_sums(i, j, n.ptr, n.cols, values, nk, scale, own)

    parts = in_parts(part, even_cuts(n.ptr, SUMS))
    return nk, sum((own for own, _ in parts), np.zeros(columns)), sum(chain for _, chain in parts)
