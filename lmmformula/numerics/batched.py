"""Small matrices by the thousand: (m, k, k) stacks, with the k = 1 case as plain vectors.

numpy's stacked routines call LAPACK once per matrix, which for k = 1 costs a hundred times the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array

__all__ = [
    "cholesky",
    "flat",
    "lower_inverse",
    "matmul",
    "matmul_over",
    "segment_products",
    "segment_sum",
    "stacked_inverse",
    "transpose",
    "unit_diagonal",
]


def cholesky(s: Array) -> Array:
    """Lower Cholesky factors of symmetric positive definite `s`, (m, k, k)."""
    if s.shape[-1] == 1:
        if not (s > 0).all():
            raise np.linalg.LinAlgError("a diagonal block is not positive")
        return np.sqrt(s)
    return np.linalg.cholesky(s)


def lower_inverse(f: Array) -> Array:
    """Inverses of lower triangular `f`, (m, k, k), by forward substitution over the stack."""
    out = np.zeros_like(f)
    for i in range(f.shape[-1]):
        out[:, i, i] = pivot = 1.0 / f[:, i, i]
        if i:
            out[:, i, :i] = np.einsum("ml,mlj->mj", f[:, i, :i], out[:, :i, :i]) * -pivot[:, None]
    return out


def transpose(a: Array) -> Array:
    """Transpose each matrix of a stack."""
    return np.swapaxes(a, -1, -2)


def matmul(a: Array, b: Array) -> Array:
    """Products of two stacks (m, i, j) and (m, j, c), or of one matrix with a stack."""
    if a.shape[-1] == 1:
        return a * b
    return np.matmul(a, b)


def matmul_over(a: Array, b: Array) -> Array:
    """The same product with `b` given up: written over it where that is numbers times it, which spares a large array."""
    if a.shape[-1] == 1:
        return np.multiply(a, b, out=b)
    return np.matmul(a, b)


def segment_sum(parent: NDArray[np.integer], values: Array, m: int) -> Array:
    """Sum the blocks `values` (n, i, j) over rows with the same parent, (m, i, j)."""
    if m == 1:
        return values.sum(axis=0, keepdims=True)
    out = np.empty((m, *values.shape[1:]))
    for i in range(values.shape[1]):
        for j in range(values.shape[2]):
            out[:, i, j] = np.bincount(parent, values[:, i, j], m)
    return out


def segment_products(parent: NDArray[np.integer], one: Array, other: Array, m: int) -> Array:
    """Sum of ``x'y`` over matrices x (n, k, i) and y (n, k, j) with the same parent, (m, i, j)."""
    if m == 1:
        return (flat(one).T @ flat(other))[None]
    return segment_sum(parent, matmul(transpose(one), other), m)


def unit_diagonal(a: Array) -> Array:
    """Factors of the rows and columns of a symmetric matrix (d, d) by which its diagonal becomes 1 or -1, (d,)."""
    return 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(a)), np.finfo(float).tiny))


def flat(a: Array) -> Array:
    """An (m, k, c) stack as (m k, c), also for c = 0, where the shape cannot be inferred."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def stacked_inverse(a: Array) -> tuple[Array, Array]:
    """Inverses (..., k, k) of matrices with positive eigenvalues, and log|a|; in closed form for k up to 2.

    Any other has the logarithm nan.
    """
    k = a.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        if k == 0:
            return a, np.zeros(a.shape[:-2])
        if k == 1:
            return 1.0 / a, np.log(a[..., 0, 0])
        if k == 2:
            det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]
            out = np.empty_like(a)
            out[..., 0, 0], out[..., 1, 1] = a[..., 1, 1] / det, a[..., 0, 0] / det
            out[..., 0, 1], out[..., 1, 0] = -a[..., 0, 1] / det, -a[..., 1, 0] / det
            return out, np.log(np.where(a[..., 0, 0] + a[..., 1, 1] > 0.0, det, np.nan))
        sign, log = np.linalg.slogdet(a)
        good = (sign > 0.0) & np.isfinite(log)
        safe = a if good.all() else np.where(good[..., None, None], a, np.eye(k))
        return np.linalg.inv(safe), np.where(good, log, np.nan)
