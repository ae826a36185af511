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

    def diagonal(self) -> Array:
        """(n,), in the order of variables."""
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
    width, below = int(widths.max(initial=0)), int((heights - widths).max(initial=0))
    y, inverse = np.empty(int((widths * (heights - widths)).max(initial=0))), np.empty(width * width)
    _selected(
        *nodes.arrays, values, out, y, inverse, np.empty(below * below), np.empty(below, dtype=np.int64)
    )
    return out


@compiled()
def _selected(first, owner, row_ptr, rows, value_ptr, values, z, y, inverse, square, places):
    """Write to `z` all blocks but the tail's, which it holds."""
    last = len(first) - 2
    for s in range(last - 1, -1, -1):
        width, height, v = first[s + 1] - first[s], row_ptr[s + 1] - row_ptr[s], value_ptr[s]
        n = height - width
        beyond = rows[row_ptr[s] + width : row_ptr[s + 1]]
        i = 0
        while i < n:
            t = owner[beyond[i]]
            base, tall = row_ptr[t], row_ptr[t + 1] - row_ptr[t]
            p = beyond[i] - first[t]
            for j in range(i, n):
                if t == last:
                    p = beyond[j] - first[t]
                else:
                    while rows[base + p] != beyond[j]:
                        p += 1
                places[j] = p
            while i < n and beyond[i] < first[t + 1]:
                source = z[value_ptr[t] + (beyond[i] - first[t]) * tall : value_ptr[t + 1]]
                line, chosen = square[i * n + i : i * n + n], places[i:n]
                for j in range(n - i):
                    line[j] = source[chosen[j]]
                    square[(i + j) * n + i] = line[j]
                i += 1
        _turned(values, v, width, n, y)
        for k in range(width):
            _minus_product(y[k * n : k * n + n], square, z[v + k * height + width : v + (k + 1) * height])
        _own_block(values, v, width, n, y, inverse, z)


@compiled()
def _minus_product(y, square, out):
    """Write -S y for a symmetric S, four rows for each time that the result is read and written."""
    n = len(y)
    for j in range(n):
        out[j] = 0.0
    for i in range(n % 4):
        x, a = y[i], square[i * n : i * n + n]
        for j in range(n):
            out[j] -= x * a[j]
    for i in range(n % 4, n, 4):
        p = i * n
        a, b, c, d = (
            square[p : p + n],
            square[p + n : p + 2 * n],
            square[p + 2 * n : p + 3 * n],
            square[p + 3 * n : p + 4 * n],
        )
        x0, x1, x2, x3 = y[i], y[i + 1], y[i + 2], y[i + 3]
        for j in range(n):
            out[j] -= x0 * a[j] + x1 * b[j] + x2 * c[j] + x3 * d[j]


@compiled()
def _turned(values, v, width, n, y):
    """Y' of the block at v, which has n rows below its own."""
    height = width + n
    for k in range(width - 1, -1, -1):
        p = v + k * height
        own, source = y[k * n : k * n + n], values[p + width : p + height]
        for i in range(n):
            own[i] = source[i]
        for j in range(k + 1, width):
            x, other = values[p + j], y[j * n : j * n + n]
            for i in range(n):
                own[i] -= x * other[i]
        x = 1.0 / values[p + k]
        for i in range(n):
            own[i] *= x


@compiled()
def _own_block(values, v, width, n, y, inverse, z):
    """Z_JJ, from its diagonal on."""
    height = width + n
    for k in range(width):  # column k of L_JJ^-1, from its diagonal on
        column = inverse[k * width + k : k * width + width]
        for i in range(width - k):
            column[i] = 0.0
        column[0] = 1.0
        for j in range(width - k):
            p = v + (k + j) * (height + 1)
            below, rest = values[p : p + width - k - j], column[j:]
            x = rest[0] / below[0]
            for i in range(width - k - j):
                rest[i] -= x * below[i]
            rest[0] = x
    for k in range(width):
        left = y[k * n : k * n + n]
        for j in range(k, width):
            a, b = inverse[k * width + j : k * width + width], inverse[j * width + j : j * width + width]
            right = z[v + j * height + width : v + (j + 1) * height]
            total = 0.0
            for i in range(width - j):
                total += a[i] * b[i]
            for i in range(n):
                total -= left[i] * right[i]
            z[v + k * height + j] = total
