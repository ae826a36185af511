"""Dense positive definite matrices by their factor, S = R'R: what engines do with the dense part.

Up to a side of `SMALL` numpy's LAPACK serves, so that the process of a small crossed model need not import scipy, which takes
longer than its fit. There is no triangular solution in numpy, but that of a general matrix is one: an upper triangular matrix
is its own factor with partial pivoting (all that is below the pivots is zero), and back substitution is what remains. So
R^-1 is found once, as accurately as by dtrtri, and everything else is products with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmmformula.numerics.threads import SMALL, blas_wide
from lmmformula.typing import Array

__all__ = ["Factored", "factored"]


class Factored(NamedTuple):
    """R of S = R'R.

    Attributes
    ----------
    upper : (q, q) Fortran array
        R in its upper triangle, of double or single precision.
    back : (q, q) array or None
        R^-1, up to a side of `SMALL`.
    """

    upper: Array
    back: Array | None

    @property
    def log_diagonal(self) -> float:
        """log |R|."""
        return float(np.log(np.diagonal(self.upper).astype(float)).sum())

    def solve(self, b: Array) -> Array:
        """S^-1 b of (q, c), in double precision."""
        if not b.size:
            return b
        if self.back is not None:
            return (self.back @ (self.back.T @ b)).astype(float, copy=False)
        from scipy.linalg.lapack import dpotrs, spotrs  # pyright: ignore[reportAttributeAccessIssue]

        solve = spotrs if self.upper.dtype == np.float32 else dpotrs
        with blas_wide(len(self.upper)):
            return solve(self.upper, b, lower=0)[0].astype(float, copy=False)

    def half_solve(self, z: Array) -> Array:
        """R^-1 z of (q, c)."""
        if not z.size:
            return z
        if self.back is not None:
            return self.back @ z
        from scipy.linalg import solve_triangular

        with blas_wide(len(self.upper)):
            return solve_triangular(self.upper, z, check_finite=False)

    def half(self) -> Array:
        """R^-1, zero below the diagonal."""
        if self.back is not None:
            return self.back
        from scipy.linalg.lapack import dtrtri  # pyright: ignore[reportAttributeAccessIssue]

        return np.triu(dtrtri(self.upper, lower=0)[0])

    def inverse(self) -> Array:
        """S^-1, full and symmetric, C order, in the precision of R."""
        if self.back is not None:
            return self.back @ self.back.T
        from scipy.linalg.lapack import dpotri, spotri  # pyright: ignore[reportAttributeAccessIssue]

        inverse = spotri if self.upper.dtype == np.float32 else dpotri
        with blas_wide(len(self.upper)):
            return _mirrored(inverse(self.upper, lower=0)[0].T)


def factored(lower: Array) -> Factored:
    """The factor of S, from the lower triangle of the C-ordered S (overwritten).

    Raises
    ------
    numpy.linalg.LinAlgError
        If S is not positive definite.
    """
    q = len(lower)
    if q <= SMALL:
        upper = np.linalg.cholesky(lower).T
        return Factored(upper, np.linalg.inv(upper) if q else upper)
    from scipy.linalg.lapack import dpotrf, spotrf  # pyright: ignore[reportAttributeAccessIssue]

    factorise = spotrf if lower.dtype == np.float32 else dpotrf
    with blas_wide(q):
        upper, info = factorise(lower.T, lower=0, clean=0, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(f"pivot {info} of the dense part is not positive")
    return Factored(upper, None)


def _mirrored(z: Array) -> Array:
    """The full symmetric matrix (overwriting z) of its lower triangle, in slabs of rows."""
    step = 512
    for start in range(0, len(z), step):
        stop = min(start + step, len(z))
        block = np.tril(z[start:stop, start:stop])
        z[start:stop, start:stop] = block + np.tril(block, -1).T
        z[start:stop, stop:] = z[stop:, start:stop].T
    return z
