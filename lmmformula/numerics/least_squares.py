"""Weighted least squares of y on X with its triangular factor, used to centre and orthonormalise a design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.numerics.tall import Columns
from lmmformula.typing import Array

__all__ = ["LeastSquares", "least_squares"]


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """min |W^(1/2) (y - X beta)|.

    Attributes
    ----------
    coefficients : (p,) array
    residual : (n,) array
        y - X beta.
    r : (p, p) upper triangular array
        R'R = X'WX.
    r_inverse : (p, p) array
    orthonormal_gram : (p + 1, p + 1) array
        [X R^-1, residual]' W [X R^-1, residual]: the identity, and the residual sum of squares.
    """

    coefficients: Array
    residual: Array
    r: Array
    r_inverse: Array
    orthonormal_gram: Array

    def with_response(self, x: Columns, y: Array, weights: Array | None) -> LeastSquares:
        """The same design with another response."""
        return _solved(self.r, self.r_inverse, x, y, weights)

    @property
    def size(self) -> float:
        """y'Wy, by Pythagoras."""
        fitted = self.r @ self.coefficients
        return float(fitted @ fitted + self.orthonormal_gram[-1, -1])

    @property
    def log_det_r(self) -> float:
        return float(np.log(np.abs(np.diagonal(self.r))).sum())

    def orthonormal(self, values: Array) -> Array:
        """Turn products with [X, residual] (last axis) into products with [X R^-1, residual]."""
        p = len(self.r)
        if not p:
            return values
        out = values.copy()
        out[..., :p] = values[..., :p] @ self.r_inverse
        return out

    def from_orthonormal(self, values: Array) -> Array:
        """R^-1 values."""
        return self.r_inverse @ values


def least_squares(x: Columns, y: Array, weights: Array | None = None) -> LeastSquares:
    """Minimise |W^(1/2) (y - X beta)| over beta.

    Parameters
    ----------
    x : Columns
        Of full column rank.
    y, weights : vectors over its rows; the latter may be None

    Notes
    -----
    beta comes from the normal equations of R with one refinement, which restores what squaring the condition number lost; where
    each product is a pass over rows that lie elsewhere, from the triangle of [X y], in one. O(n p^2).
    """
    if x.in_passes:
        return _at_once(x, y, weights)
    r = x.triangle(weights) if x.p else np.zeros((0, 0))
    return _solved(r, np.linalg.inv(r) if x.p else r, x, y, weights)


def _at_once(x: Columns, y: Array, weights: Array | None) -> LeastSquares:
    """All from the triangle ``[R, Q'W^(1/2)y; 0, |residual|]`` of [X y] (Golub & Van Loan 2013, sec. 5.3)."""
    p, whole = x.p, x.triangle(weights, y)
    r, last = whole[:p, :p], whole[:, p]
    r_inverse = np.linalg.inv(r) if p else r
    beta, gram = r_inverse @ last[:p], np.eye(p + 1)
    gram[p, p] = last[p] ** 2
    return LeastSquares(beta, x.residual(y, beta), r, r_inverse, gram)


def _solved(r: Array, r_inverse: Array, x: Columns, y: Array, weights: Array | None) -> LeastSquares:
    """Coefficients and residual for a known R."""
    p = len(r)
    beta, residual = np.zeros(p), y
    for _ in range(2 if p else 0):
        beta = beta + r_inverse @ (r_inverse.T @ x.transposed(residual, weights))
        residual = x.residual(y, beta)
    gram = np.eye(p + 1)
    gram[p, p] = x.square(residual, weights)
    return LeastSquares(beta, residual, r, r_inverse, gram)
