r"""What B responses have of their own beside the Gram blocks that they share: Z'Wy, the OLS coefficients, and the length.

Rows are read once, by matrix products with all responses together: ``B0 = R0^-1 R0^-T X'W Y`` and ``Y0 = Y - X B0``, twice, as
least squares refine one response, then ``Z'W Y0`` and the lengths ``|W^(1/2) y0|``. O(n B (p + sum k)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.profiled import Profiled
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

__all__ = ["Products", "products"]


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Products of B responses with a design.

    Attributes
    ----------
    sides : tuple of (B, m_a, k_a) arrays
        Z_a'W y0 / |y0|.
    lengths : (B,) array
        |W^(1/2) y0|, nan where the fixed effects reproduce the response.
    coefficients : (B, p) array
        Of least squares, on the columns of X.
    """

    sides: tuple[Array, ...]
    lengths: Array
    coefficients: Array

    def part(self, some: slice) -> Products:
        """Those of some of the responses."""
        return Products(tuple(s[some] for s in self.sides), self.lengths[some], self.coefficients[some])


def products(model: Profiled, y: Array) -> Products:
    """Of responses y (n, B), with the offset still in them, over the rows of `model`."""
    problem = model.problem
    x, w, r = problem.X.matrix, problem.weights, model.ols.r
    if problem.offset is not None:
        y = y - problem.offset[:, None]
    weighted = x if w is None else x * w[:, None]
    beta, left = np.zeros((x.shape[1], y.shape[1])), y
    with blas_threads(0):
        size = np.einsum("nb,nb->b", y, y if w is None else y * w[:, None])
        for _ in range(2 if x.shape[1] else 0):
            beta = beta + np.linalg.solve(r, np.linalg.solve(r.T, weighted.T @ left))
            left = y - x @ beta
        if w is not None:
            squares = np.einsum("nb,n,nb->b", left, w, left)
            left = left * w[:, None]
        else:
            squares = np.einsum("nb,nb->b", left, left)
    lengths = np.sqrt(np.where(squares > 1e-24 * size, squares, np.nan))
    sums = model.prepared.blocks.adjoint(left)  # type: ignore[union-attr]
    sides = tuple(np.ascontiguousarray(np.moveaxis(s / lengths, 2, 0)) for s in sums)
    return Products(sides, lengths, beta.T)
