"""Products with a matrix of many rows and few columns, over threads in parts of the rows.

Parts are fixed by the number of rows and added in their order. A matrix of one part is left to one call of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import numpy as np

from lmmformula.numerics.batched import flat, matmul
from lmmformula.numerics.columns import Moments
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array

__all__ = [
    "Columns",
    "Tall",
    "beside",
    "inner_products",
    "orthonormal",
    "tall_gram",
    "tall_times",
    "tall_transposed",
    "triangle",
    "weighted",
]

ROWS = 65_536
_GRAM_CELLS = 65_536
"""Cells of a part of a Gram: its copy stays in the cache of one core."""
COMPILED, PARTS = 2e7, 16
"""Multiplications in a Gram of levels from which on a compiled loop repays its import, and its parts."""
FEW = 8_192
"""Rows below which reflections cost no more than Cholesky's factorisation twice."""
NEARLY_DEPENDENT = 1e-10
"""Smallest squared pivot of a Gram of unit columns from which on twice is as good as reflections."""


class Columns(Protocol):
    """A matrix of many rows, of which only products and sums over rows are asked for; vectors over rows are opaque.

    Attributes
    ----------
    in_passes : bool
        Whether each product is a pass over rows that lie elsewhere.
    """

    in_passes: ClassVar[bool]

    @property
    def p(self) -> int:
        """Number of columns."""
        ...

    def times(self, x: Array) -> Array:
        """A x."""
        ...

    def residual(self, y: Array, x: Array) -> Array:
        """y - A x."""
        ...

    def transposed(self, r: Array, weights: Array | None = None) -> Array:
        """A'Wr, (p,)."""
        ...

    def square(self, r: Array, weights: Array | None = None) -> float:
        """r'Wr, for a vector over the same rows."""
        ...

    def gram(self, weights: Array | None = None) -> Array:
        """A'WA, (p, p)."""
        ...

    def products(self, other: Columns, weights: Array) -> Array:
        """A'WB for other columns of the same rows."""
        ...

    def triangle(self, weights: Array | None = None, beside: Array | None = None) -> Array:
        """Upper triangular R with R'R = A'WA, see :func:`triangle`; with `beside`, a vector, that of [A beside]."""
        ...

    def columns(self, weights: Array | float) -> Iterator[Array]:
        """Each column of WA as a vector over the rows."""
        ...

    def largest(self) -> Array:
        """Largest absolute value in each column, (p,)."""
        ...

    def moments(self) -> Moments:
        """Sums and sums of squares of each column."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tall:
    """A matrix in memory as :class:`Columns`."""

    matrix: Array

    in_passes: ClassVar[bool] = False

    @property
    def p(self) -> int:
        return self.matrix.shape[1]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.matrix)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Arrays that whoever made them may still write to."""
        return (self.matrix,)

    def rows(self, some: slice) -> Array:
        """Some of the rows."""
        return self.matrix[some]

    def times(self, x: Array) -> Array:
        return tall_times(self.matrix, x)

    def residual(self, y: Array, x: Array) -> Array:
        if len(y) <= ROWS:
            return y - tall_times(self.matrix, x)
        out = np.empty(len(y))
        in_parts(lambda i, j: np.subtract(y[i:j], self.matrix[i:j] @ x, out=out[i:j]), edges(len(y), ROWS))
        return out

    def transposed(self, r: Array, weights: Array | None = None) -> Array:
        return tall_transposed(self.matrix, r if weights is None else weights * r)

    def square(self, r: Array, weights: Array | None = None) -> float:
        return float(r @ (r if weights is None else weights * r))

    def gram(self, weights: Array | None = None) -> Array:
        def part(i: int, j: int) -> Array:
            rows = self.rows(slice(i, j))
            return rows.T @ (rows if weights is None else weights[i:j, None] * rows)

        size = ROWS if weights is None else ROWS // 16  # a part and its copy with weights stay in the cache
        return sum(in_parts(part, edges(self.n, size)), np.zeros((self.p, self.p)))

    def products(self, other: Columns, weights: Array) -> Array:
        own = cast("Tall", other).matrix
        return self.matrix.T @ (own * np.broadcast_to(weights, len(own))[:, None])

    def triangle(self, weights: Array | None = None, beside: Array | None = None) -> Array:
        own = self.matrix
        return triangle(own if beside is None else np.column_stack([own, beside]), weights)

    def columns(self, weights: Array | float) -> Iterator[Array]:
        return (column * weights for column in self.matrix.T)

    def largest(self) -> Array:
        return np.abs(self.matrix).max(axis=0, initial=0.0)

    def moments(self) -> Moments:
        first, *others = in_parts(lambda i, j: Moments.of(self.matrix[i:j]), edges(len(self.matrix), ROWS))
        return sum(others, first)


def beside(a: Array, columns: Sequence[Array]) -> Array:
    """[A columns], in C order."""
    if not columns:
        return a
    p = a.shape[1]
    out = np.empty((len(a), p + len(columns)))

    def part(i: int, j: int) -> None:
        out[i:j, :p] = a[i:j]
        for k, column in enumerate(columns, p):
            out[i:j, k] = column[i:j]

    in_parts(part, edges(len(a), ROWS))
    return out


def weighted(weights: Array, v: Array) -> tuple[Array, Array]:
    """WV and V'WV, in slices of the rows that stay in the cache if there are many."""
    if len(v) <= ROWS:
        wv = weights[:, None] * v
        return wv, v.T @ wv
    out = np.empty(v.shape)

    def part(start: int, stop: int) -> Array:
        some = np.multiply(weights[start:stop, None], v[start:stop], out=out[start:stop])
        return v[start:stop].T @ some

    square = np.zeros((v.shape[1],) * 2)
    for some in in_parts(part, edges(len(v), ROWS // 16)):
        square += some
    return out, square


def tall_times(a: Array, x: Array) -> Array:
    """A x, (n,) or (n, c), for x of shape (p,) or (p, c)."""
    if len(a) <= ROWS:
        return a @ x
    out = np.empty((len(a), *x.shape[1:]))
    in_parts(lambda i, j: np.matmul(a[i:j], x, out=out[i:j]), edges(len(a), ROWS))
    return out


def tall_transposed(a: Array, b: Array) -> Array:
    """A'b, (p,) or (p, c), for b of shape (n,) or (n, c)."""
    if len(a) <= ROWS:
        return a.T @ b
    return sum(in_parts(lambda i, j: a[i:j].T @ b[i:j], edges(len(a), ROWS)), np.zeros(()))


def inner_products(one: Sequence[Array], other: Sequence[Array]) -> Array:
    """Sum of ``x'y`` over stacks x (m, k, c) and y (m, k, d) as matrices (m k, c) and (m k, d): (c, d)."""
    first, *more = (tall_transposed(flat(x), flat(y)) for x, y in zip(one, other, strict=True))
    return sum(more, first)


def tall_gram(a: Array, blocks: Array) -> Array:
    """sum over levels of A_s' D_s A_s, (p, p), for A of shape (m, k, p) and symmetric D of shape (m, k, k)."""
    m, k, p = a.shape
    if not p:
        return np.zeros((0, 0))
    if k == 1 and m * p * p >= COMPILED:
        return _weighted_gram(flat(a), blocks.ravel())

    def part(i: int, j: int) -> Array:
        return a[i:j].reshape(-1, p).T @ matmul(blocks[i:j], a[i:j]).reshape(-1, p)

    size = m if m * k <= ROWS // 8 else max(1, _GRAM_CELLS // (k * p))
    return sum(in_parts(part, edges(m, size)), np.zeros((p, p)))


def _weighted_gram(a: Array, weights: Array) -> Array:
    """A'WA, (p, p), half of its products in compiled passes without a copy of A."""
    from lmmformula.numerics.row_kernels import add_products

    a, weights = np.ascontiguousarray(a), np.ascontiguousarray(weights)

    def part(i: int, j: int) -> Array:
        out = np.zeros((a.shape[1],) * 2)
        add_products(i, j, weights, a, out)
        return out

    lower = np.tril(sum(in_parts(part, edges(len(a), -(-len(a) // PARTS))), np.zeros(())))
    return lower + np.tril(lower, -1).T


def triangle(a: Array, weights: Array | None = None) -> Array:
    """Upper triangular R with R'R = A'WA, (p, p), as accurate as from Householder's reflections, but for the signs of its rows.

    By Cholesky's factorisation twice, the second time of A times the first factor's inverse (Yamamoto, Nakatsukasa, Yanagisawa
    & Fukaya 2015, CholeskyQR2), which takes two passes over the rows; by reflections where A has few rows, or columns of unit
    length too nearly dependent. O(n p^2).
    """
    first = _gram_factor(a, weights)
    if first is None:
        return np.asarray(np.linalg.qr(a if weights is None else a * np.sqrt(weights)[:, None], mode="r"))
    second = _gram_factor(a, weights, np.linalg.inv(first))
    return first if second is None else second @ first


def orthonormal(a: Array) -> Array:
    """An orthonormal basis of the columns of A, (n, p): A times the inverse of :func:`triangle`, or reflections. O(n p^2)."""
    first = _gram_factor(a)
    if first is None:
        return np.linalg.qr(a)[0]
    second = _gram_factor(a, scale=np.linalg.inv(first))
    return tall_times(a, np.linalg.inv(first if second is None else second @ first))


def _gram_factor(a: Array, weights: Array | None = None, scale: Array | None = None) -> Array | None:
    """Upper triangular Cholesky factor of B'WB with B = A or A times `scale`; None where that would lose too much."""
    if len(a) < FEW:
        return None

    def part(i: int, j: int) -> Array:
        rows = a[i:j] if scale is None else a[i:j] @ scale
        return rows.T @ (rows if weights is None else rows * weights[i:j, None])

    gram = sum(in_parts(part, edges(len(a), ROWS)), np.zeros(()))
    lengths = np.sqrt(np.diagonal(gram))
    if not (lengths > 0.0).all():
        return None
    try:
        half = np.linalg.cholesky(gram / np.outer(lengths, lengths)).T
    except np.linalg.LinAlgError:
        return None
    return half * lengths if float(np.diagonal(half).min()) ** 2 > NEARLY_DEPENDENT else None
