"""Products with a matrix of many rows and few columns, over threads in parts of the rows.

Parts are fixed by the number of rows and added in their order. A matrix of one part is left to one call of numpy.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.batched import matmul
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array

__all__ = ["tall_gram", "tall_times", "tall_transposed"]

ROWS = 65_536
_GRAM_CELLS = 65_536
"""Cells of a part of a Gram: its copy stays in the cache of one core."""


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


def tall_gram(a: Array, blocks: Array) -> Array:
    """sum over levels of A_s' D_s A_s, (p, p), for A of shape (m, k, p) and symmetric D of shape (m, k, k)."""
    m, k, p = a.shape
    if not p:
        return np.zeros((0, 0))

    def part(i: int, j: int) -> Array:
        return a[i:j].reshape(-1, p).T @ matmul(blocks[i:j], a[i:j]).reshape(-1, p)

    size = m if m * k <= ROWS // 8 else max(1, _GRAM_CELLS // (k * p))
    return sum(in_parts(part, edges(m, size)), np.zeros((p, p)))
