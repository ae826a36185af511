r"""The entries of an inverse that lie in the pattern of its Cholesky factor.

For M = L L' and a supernode J with rows R below its own, Takahashi's equations (Takahashi, Fagan & Chen 1973; Erisman & Tinney
1975) in blocks::

    Y = L_RJ L_JJ^-1,        Z_RJ = -Z_RR Y,        Z_JJ = L_JJ^-T L_JJ^-1 - Y'Z_RJ

R is a clique of the factor's graph, so Z_RR is known when the supernodes are taken from the last to the first, and Z costs no
more than |R|^2 |J| operations each: of the order of the factorisation. The tail's own inverse is LAPACK's dpotri.

References
----------
Takahashi, Fagan & Chen (1973), Formation of a sparse bus impedance matrix and its application to short circuit study,
8th PICA Conference Proceedings, 63-69.
Erisman & Tinney (1975), On computing certain elements of the inverse of a sparse matrix, Comm. ACM 18, 177-179.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.elimination import Supernodes
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

__all__ = ["SelectedInverse", "selected_inverse"]


@dataclass(frozen=True, slots=True, eq=False)
class SelectedInverse:
    """M^-1 on the pattern of L.

    Attributes
    ----------
    supernodes : Supernodes
    place : (n,) array
        Column of L of each variable.
    values : array
        Of M^-1, kept as L is.
    where : (nonzeros,) array
        Where the entries of the pattern that was given stand among the values.
    diagonals : (n,) array
        Where the diagonal stands, in the order of L.
    """

    supernodes: Supernodes
    place: Index
    values: Array
    where: Index
    diagonals: Index

    @property
    def data(self) -> Array:
        """In the order of the pattern that was given, above the diagonal too where that has entries there."""
        return self.values[self.where]

    @property
    def diagonal(self) -> Array:
        """(n,)."""
        return self.values[self.diagonals[self.place]]

    def at(self, rows: Index, columns: Index) -> Array:
        """Entries at pairs of variables.

        Raises
        ------
        ValueError
            If a pair is no part of L's pattern.
        """
        i, j = self.place[rows], self.place[columns]
        where = self.supernodes.locations(np.minimum(i, j), np.maximum(i, j))
        if where.size and where.min() < 0:
            k = int(np.argmin(where))
            raise ValueError(
                f"{int((where < 0).sum())} of {where.size} entries of an inverse are no part of the factor's pattern, "
                f"({rows[k]}, {columns[k]}) among them"
            )
        return self.values[where]


def selected_inverse(nodes: Supernodes, values: Array) -> Array:
    """Values of M^-1 in the places of those of L."""
    from scipy.linalg.lapack import dpotri  # pyright: ignore[reportAttributeAccessIssue]

    out = np.empty_like(values)
    tail = nodes.tail(out)
    if not tail.size:
        return out
    tail[:] = nodes.tail(values)
    with blas_threads(len(tail)):
        dpotri(tail.T, lower=1, overwrite_c=1)
    widths, heights = np.diff(nodes.first)[:-1], np.diff(nodes.row_ptr)[:-1]
    width, height = (int(x.max(initial=0)) for x in (widths, heights))
    _selected(
        *nodes.arrays, values, out, np.empty((width, height)), np.empty((width, width)), np.empty(height)
    )
    return out


@compiled()
def _selected(first, owner, row_ptr, rows, value_ptr, values, z, y, inverse, line):
    """Write to `z` all blocks but the tail's, which it holds."""
    last = len(first) - 2
    places = np.empty(len(line), dtype=np.int64)
    for s in range(last - 1, -1, -1):
        width, height = first[s + 1] - first[s], row_ptr[s + 1] - row_ptr[s]
        n = height - width
        block = values[value_ptr[s] : value_ptr[s + 1]].reshape(width, height)
        out = z[value_ptr[s] : value_ptr[s + 1]].reshape(width, height)
        beyond = rows[row_ptr[s] + width : row_ptr[s + 1]]
        out[:, width:] = 0.0
        _turned(block, y, n)
        i = 0
        while i < n:
            t = owner[beyond[i]]
            tall = row_ptr[t + 1] - row_ptr[t]
            others = rows[row_ptr[t] : row_ptr[t + 1]]
            p = beyond[i] - first[t]
            for j in range(i, n):
                if t == last:
                    p = beyond[j] - first[t]
                else:
                    while others[p] != beyond[j]:
                        p += 1
                places[j] = p
            while i < n and beyond[i] < first[t + 1]:
                v = value_ptr[t] + (beyond[i] - first[t]) * tall
                source, part, chosen = z[v : v + tall], line[: n - i], places[i:n]
                for j in range(n - i):
                    part[j] = source[chosen[j]]
                for k in range(width):
                    _spread(y[k, i:n], out[k, width + i :], part)
                i += 1
        _own_block(block, y, inverse, out)


@compiled()
def _spread(y, out, line):
    """Take the row of Z_RR from its diagonal on, and by symmetry its column, times a column of Y from Z_RJ'."""
    n = len(line)
    x, total = y[0], line[0] * y[0]
    for j in range(1, n):
        out[j] -= x * line[j]
        total += y[j] * line[j]
    out[0] -= total


@compiled()
def _turned(block, y, n):
    """Y' of a block (columns, rows) with n rows below its own."""
    width = len(block)
    for k in range(width - 1, -1, -1):
        own, source = y[k, :n], block[k, width:]
        for i in range(n):
            own[i] = source[i]
        for j in range(k + 1, width):
            x, other = block[k, j], y[j, :n]
            for i in range(n):
                own[i] -= x * other[i]
        x = 1.0 / block[k, k]
        for i in range(n):
            own[i] *= x


@compiled()
def _own_block(block, y, inverse, out):
    """Z_JJ, from its diagonal on."""
    width = len(block)
    n = block.shape[1] - width
    for k in range(width):  # column k of L_JJ^-1, from its diagonal on
        column, source = inverse[k, k:width], block[k:, :width]
        for i in range(1, width - k):
            column[i] = 0.0
        column[0] = 1.0
        for j in range(width - k):
            below, rest = source[j, k + j :], column[j:]
            x = rest[0] / below[0]
            for i in range(1, width - k - j):
                rest[i] -= x * below[i]
            rest[0] = x
    for k in range(width):
        left = y[k, :n]
        for j in range(k, width):
            a, b, right = inverse[k, j:width], inverse[j, j:width], out[j, width:]
            total = 0.0
            for i in range(width - j):
                total += a[i] * b[i]
            for i in range(n):
                total -= left[i] * right[i]
            out[k, j] = total
