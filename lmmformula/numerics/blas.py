"""Large dense products through scipy's BLAS.

numpy and scipy each bring a BLAS with a thread pool of its own. Large factorisations must go through scipy's LAPACK, so the
products between them do too: two pools that take turns would wait for each other's threads. Small products, and those beside
a dense part that numpy factorises, stay with numpy, whose call is cheaper.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.threads import SMALL, blas_wide
from lmmformula.typing import Array

__all__ = ["gram_lower", "times_symmetric"]

_FEW = 2.0e6
"""Multiplications below which numpy is called, too few for its BLAS to start threads."""


def gram_lower(t: Array) -> Array:
    """T'T of a C-ordered (rows, q) array; only the lower triangle is meaningful."""
    rows, q = t.shape
    if q <= SMALL or float(rows) * q * q < _FEW:
        return t.T @ t
    from scipy.linalg.blas import dsyrk  # pyright: ignore[reportAttributeAccessIssue]

    with blas_wide(q):
        return dsyrk(1.0, t.T, trans=0, lower=0).T


def times_symmetric(t: Array, z: Array) -> Array:
    """T Z for C-ordered T (rows, q) and full symmetric Z (q, q), in the precision of Z."""
    rows, q = t.shape
    if q <= SMALL or float(rows) * q * q < _FEW:
        return t @ z
    from scipy.linalg.blas import dgemm, sgemm  # pyright: ignore[reportAttributeAccessIssue]

    multiply = sgemm if z.dtype == np.float32 else dgemm
    with blas_wide(q):
        return multiply(1.0, np.asfortranarray(z.T), t.T).T
