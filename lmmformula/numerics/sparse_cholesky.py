r"""Cholesky factors of sparse symmetric matrices: log-determinants, solves, whitening.

With the supernodes of :mod:`lmmformula.numerics.elimination`, left-looking (Ng & Peyton 1993): supernode J with rows R, block
(L_J)' of (columns, rows), takes what every supernode K that has rows among its columns gives to it,

    A_RJ <- A_RJ - sum over K of L_K[R] (L_K[J])',           L_J = A_RJ chol(A_JJ)^-T

each K waiting in the list of the one supernode that it gives to next. The tail, the last supernode, goes to LAPACK's dpotrf.

Costs: analysis once per pattern; a factorisation |L_j|^2 operations a column in compiled loops and m^3 / 3 in LAPACK for a tail
of side m; a solve 4 |L| operations a right-hand side.

References
----------
Ng & Peyton (1993), Block sparse Cholesky algorithms on advanced uniprocessor computers, SIAM J. Sci. Comput. 14, 1034-1056.
Chen, Davis, Hager & Rajamanickam (2008), Algorithm 887: CHOLMOD, supernodal sparse Cholesky, ACM TOMS 35(3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.elimination import Elimination, Supernodes
from lmmformula.numerics.sparse_inverse import SelectedInverse, selected_inverse
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

__all__ = ["NotPositiveDefiniteError", "SparseFactor", "SparsePattern", "predicted"]


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """A pivot that is not positive.

    Attributes
    ----------
    variable : int
        Its row in the matrix as it was given.
    """

    def __init__(self, variable: int, n: int) -> None:
        self.variable = variable
        super().__init__(
            f"the matrix of side {n} is not positive definite: the pivot of row {variable} is not positive"
        )


def predicted(indptr: Index, indices: Index) -> Elimination:
    """``.nonzeros`` of L and ``.flops`` of a factorisation from the pattern alone; arguments as of `SparsePattern.of`."""
    rows, columns, below, _ = _entries(indptr, indices)
    strict = below & (rows != columns)
    return Elimination.of(rows[strict], columns[strict], len(indptr) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class SparsePattern:
    """Places of the nonzeros of symmetric matrices, analysed once for all of them.

    Attributes
    ----------
    elimination : Elimination
        Order, tree and counts.
    supernodes : Supernodes
        Where L is kept.
    where : (nonzeros,) array
        Where each given entry stands in L; one above the diagonal has the place of its mirror image.
    below : (nonzeros,) bool array or None
        Entries on or below the diagonal, None where all are.
    diagonal : (n,) array
        Where L's diagonal stands, in the new order.
    """

    elimination: Elimination
    supernodes: Supernodes
    where: Index
    below: NDArray[np.bool_] | None
    diagonal: Index

    @classmethod
    def of(cls, indptr: Index, indices: Index) -> SparsePattern:
        """Analyse a pattern.

        Parameters
        ----------
        indptr, indices : (n + 1,) and (nonzeros,) integer arrays
            Compressed columns of the lower triangle, or of both triangles, without repeated entries; rows in any order. The
            diagonal is part of the pattern whether or not it is given.

        Raises
        ------
        ValueError
            For entries above the diagonal without their mirror images, repeated entries, or rows outside of 0 to n - 1.
        """
        rows, columns, below, one_sided = _entries(indptr, indices)
        strict = below & (rows != columns)
        known = Elimination.of(rows[strict], columns[strict], len(indptr) - 1)
        nodes = Supernodes.of(known)
        i, j = known.place[rows], known.place[columns]
        where = nodes.locations(np.minimum(i, j), np.maximum(i, j))
        every = np.arange(len(known.order), dtype=np.int64)
        return cls(known, nodes, where, None if one_sided else below, nodes.locations(every, every))

    @property
    def n(self) -> int:
        """Side of the matrix."""
        return len(self.elimination.order)

    def factorise(self, data: Array) -> SparseFactor:
        """The factor of the matrix with these values.

        Parameters
        ----------
        data : (nonzeros,) array
            In the order of the pattern. Entries above the diagonal are not read.

        Raises
        ------
        NotPositiveDefiniteError
            Naming the row whose pivot is not positive, or not a number.
        """
        nodes, where = self.supernodes, self.where
        values = np.zeros(int(nodes.value_ptr[-1]))
        data = np.asarray(data, dtype=np.float64)
        if self.below is not None:
            where, data = where[self.below], data[self.below]
        values[where] = data
        failed = _factorised(
            *nodes.arrays, values, np.full((4, self.n), -1, dtype=np.int64), np.empty(self.n)
        )
        if failed < 0:
            tail = nodes.tail(values)
            with blas_threads(len(tail)):
                failed = _tail_factor(tail)
            failed += int(nodes.first[-2]) if failed >= 0 and self.n else 0
        if failed >= 0:
            raise NotPositiveDefiniteError(int(self.elimination.order[failed]), self.n)
        return SparseFactor(self, values)


@dataclass(frozen=True, slots=True, eq=False)
class SparseFactor:
    """P M P' = L L'.

    Attributes
    ----------
    pattern : SparsePattern
    values : array
        Of L, by supernodes.
    """

    pattern: SparsePattern
    values: Array

    @property
    def logdet(self) -> float:
        """log|M|."""
        return 2.0 * float(np.log(self.values[self.pattern.diagonal]).sum())

    def solve(self, b: Array) -> Array:
        """M^-1 b, for b of (n,) or (n, r)."""
        return self.half_solve_transposed(self.half_solve(b))

    def half_solve(self, b: Array) -> Array:
        """L^-1 P b, whose squared length is b'M^-1 b; (n,) or (n, r)."""
        x = np.ascontiguousarray(_columns(b)[self.pattern.elimination.order], dtype=np.float64)
        nodes = self.pattern.supernodes
        _forward(*nodes.arrays, self.values, x)
        self._tail_solve(x, transposed=False)
        return x.reshape(np.shape(b))

    def half_solve_transposed(self, c: Array) -> Array:
        """P'L^-T c, which has covariance M^-1 where c has I; (n,) or (n, r)."""
        x = np.array(_columns(c), dtype=np.float64, order="C")
        nodes = self.pattern.supernodes
        self._tail_solve(x, transposed=True)
        _backward(*nodes.arrays, self.values, x)
        return x[self.pattern.elimination.place].reshape(np.shape(c))

    def selected(self) -> SelectedInverse:
        """M^-1 on the pattern of L."""
        pattern = self.pattern
        inverse = selected_inverse(pattern.supernodes, self.values)
        return SelectedInverse(
            pattern.supernodes, pattern.elimination.place, inverse, pattern.where, pattern.diagonal
        )

    def _tail_solve(self, x: Array, *, transposed: bool) -> None:
        """Rows of the tail, in place."""
        from scipy.linalg.blas import dtrsm  # pyright: ignore[reportAttributeAccessIssue]

        tail = self.pattern.supernodes.tail(self.values)
        part = x[len(x) - len(tail) :]
        if not part.size:
            return
        with blas_threads(len(tail)):
            # X'T = B' for B'T^-1, where T = L' in the tail's own order
            part[:] = dtrsm(1.0, tail.T, part.T, side=1, lower=1, trans_a=0 if transposed else 1).T


def _columns(b: Array) -> Array:
    b = np.asarray(b)
    return b if b.ndim == 2 else b[:, None]


def _entries(indptr: Index, indices: Index) -> tuple[Index, Index, NDArray[np.bool_], bool]:
    """Rows and columns of entries, whether each is on or below the diagonal, and whether all are."""
    n = len(indptr) - 1
    rows = np.asarray(indices, dtype=np.int64)
    columns = np.repeat(np.arange(n, dtype=np.int64), np.diff(indptr))
    if rows.size and not (rows.min() >= 0 and rows.max() < n):
        raise ValueError(
            f"rows of a pattern with {n} columns are 0 to {n - 1}, not {rows.min()} to {rows.max()}"
        )
    keys = columns * n + rows
    if not np.all(np.diff(keys) > 0) and np.unique(keys).size < keys.size:
        raise ValueError(
            f"{keys.size - np.unique(keys).size} of {keys.size} entries of a pattern are repeated"
        )
    below = rows >= columns
    above = int(keys.size - below.sum())
    if above:
        mirrored = rows * n + columns
        if not np.array_equal(np.sort(mirrored[~below]), np.sort(keys[below & (rows != columns)])):
            raise ValueError(
                f"{above} entries lie above the diagonal, but not all have mirror images below it"
            )
    return rows, columns, below, not above


def _tail_factor(tail: Array) -> int:
    """Factorise the tail in place; the column at fault, or -1."""
    from scipy.linalg.lapack import dpotrf  # pyright: ignore[reportAttributeAccessIssue]

    if not tail.size:
        return -1
    _, info = dpotrf(tail.T, lower=1, clean=0, overwrite_a=1)
    if info > 0:
        return info - 1
    good = np.isfinite(tail.diagonal())
    return -1 if good.all() else int(np.argmin(good))


@compiled()
def _factorised(first, owner, row_ptr, rows, value_ptr, values, work, share):
    """L in the place of M but for the tail, which has taken what others give to it; the column at fault, or -1."""
    last = len(first) - 2
    waiting, following, at, local = work[0], work[1], work[2], work[3]
    for s in range(last + 1):
        begin, height = row_ptr[s], row_ptr[s + 1] - row_ptr[s]
        own = rows[begin : begin + height]
        for k in range(height):
            local[own[k]] = k
        d = waiting[s]
        while d != -1:
            after = following[d]
            start, end = row_ptr[d] + at[d], row_ptr[d + 1]
            stop = start
            while stop < end and rows[stop] < first[s + 1]:
                stop += 1
            for j in range(start, stop):
                n = end - j
                p = value_ptr[d] + j - row_ptr[d]
                _combined(values, p, end - row_ptr[d], first[d + 1] - first[d], share[:n])
                v = value_ptr[s] + (rows[j] - first[s]) * height
                target, given = values[v : v + height], rows[j:end]
                for i in range(n):
                    target[local[given[i]]] -= share[i]
            at[d] = stop - row_ptr[d]
            if stop < end:
                t = owner[rows[stop]]
                following[d], waiting[t] = waiting[t], d
            d = after
        if s == last:
            break
        width = first[s + 1] - first[s]
        failed = _block(values, value_ptr[s], width, height, share)
        if failed >= 0:
            return first[s] + failed
        if width < height:
            t = owner[own[width]]
            following[s], waiting[t], at[s] = waiting[t], s, width
    return -1


@compiled()
def _combined(values, p, height, width, share):
    """Sum over `width` rows of a block, each from p on times its first entry there, the next row `height` further."""
    n = len(share)
    k = width % 4
    if k == 0:
        for i in range(n):
            share[i] = 0.0
    else:
        a = values[p : p + n]
        x = a[0]
        for i in range(n):
            share[i] = x * a[i]
        for m in range(1, k):
            a = values[p + m * height : p + m * height + n]
            x = a[0]
            for i in range(n):
                share[i] += x * a[i]
    p += k * height
    while (
        k < width
    ):  # views that begin at zero: the compiler then knows that no index is negative, and fills vectors
        a, b = values[p : p + n], values[p + height : p + height + n]
        c, d = values[p + 2 * height : p + 2 * height + n], values[p + 3 * height : p + 3 * height + n]
        x, y, z, w = a[0], b[0], c[0], d[0]
        for i in range(n):
            share[i] += x * a[i] + y * b[i] + z * c[i] + w * d[i]
        k += 4
        p += 4 * height


@compiled()
def _block(values, v, width, height, share):
    """Factorise a supernode's block (columns, rows) in place; the column at fault, or -1."""
    for j in range(width):
        n = height - j
        p = v + j * height + j
        own = values[p : p + n]
        if j > 0:
            part = share[:n]
            _combined(values, v + j, height, j, part)
            for i in range(n):
                own[i] -= part[i]
        if not 0.0 < own[0] < np.inf:
            return j
        root = np.sqrt(own[0])
        inverse = 1.0 / root
        for i in range(n):
            own[i] *= inverse
        own[0] = root
    return -1


@compiled()
def _forward(first, owner, row_ptr, rows, value_ptr, values, x):
    """Solve with L but for the tail, whose rows take their share, in place."""
    r = x.shape[1]
    for s in range(len(first) - 2):
        height, v = row_ptr[s + 1] - row_ptr[s], value_ptr[s]
        for k in range(first[s + 1] - first[s]):
            column, below = values[v + k : v + height], rows[row_ptr[s] + k : row_ptr[s + 1]]
            source = x[first[s] + k]
            inverse = 1.0 / column[0]
            for c in range(r):
                source[c] *= inverse
            for i in range(1, height - k):
                a, target = column[i], x[below[i]]
                for c in range(r):
                    target[c] -= a * source[c]
            v += height


@compiled()
def _backward(first, owner, row_ptr, rows, value_ptr, values, x):
    """Solve with L' after the tail, in place."""
    r = x.shape[1]
    for s in range(len(first) - 3, -1, -1):
        height = row_ptr[s + 1] - row_ptr[s]
        for k in range(first[s + 1] - first[s] - 1, -1, -1):
            v = value_ptr[s] + k * height
            column, below = values[v + k : v + height], rows[row_ptr[s] + k : row_ptr[s + 1]]
            target = x[first[s] + k]
            for i in range(1, height - k):
                a, source = column[i], x[below[i]]
                for c in range(r):
                    target[c] -= a * source[c]
            inverse = 1.0 / column[0]
            for c in range(r):
                target[c] *= inverse
