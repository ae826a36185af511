r"""Residuals whose covariance is known up to a factor: ``Var(e) = sigma^2 M``, brms' ``fcor(M)``.

``relative`` gives M itself, not scaled to a unit diagonal, so that sigma is what multiplies M^(1/2): generalised least squares
with a known matrix (Aitken 1936), the model of a regression among species (Grafen 1989) with M from their tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["KnownCovariance", "components"]


@dataclass(frozen=True, eq=False)
class KnownCovariance:
    """A matrix, up to sigma^2.

    Attributes
    ----------
    matrix : (m, m) array or csr_array
        M; the position of a row is its place in it.
    homogeneous : bool
        Whether its diagonal consists of ones.
    """

    matrix: Array | csr_array
    homogeneous: bool
    name: str = "fcor"
    n_phi: int = 0
    names: tuple[str, ...] = ()
    linear: bool = True

    @classmethod
    def of(
        cls, matrix: Array | csr_array, what: str = "the covariance matrix of residuals"
    ) -> KnownCovariance:
        """From M, dense or sparse: O(n^3) for each set of rows that it relates.

        Raises
        ------
        DataError
            If M is not a finite, symmetric, positive definite matrix.
        """
        _refuse_unsuited(matrix, what)
        codes = components(matrix)
        order = np.argsort(codes, kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
            block = _block(matrix, rows)
            try:
                np.linalg.cholesky(block)
            except np.linalg.LinAlgError:
                values = np.linalg.eigvalsh(block)
                raise DataError(
                    f"{what} is not positive definite: the eigenvalues of a block of {len(rows):,} rows run from "
                    f"{values[0]:.3g} to {values[-1]:.3g}. The likely cause is two rows that it makes one and the same."
                ) from None
        return cls(matrix, bool((np.asarray(matrix.diagonal()) == 1.0).all()))

    def start(self) -> Array:
        return np.zeros(0)

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        at = positions[..., 0].astype(np.intp)
        b, n = at.shape
        return np.stack([_block(self.matrix, rows) for rows in at]), np.zeros((0, b, n, n))

    def log_reference(self, phi: Array) -> float:
        return 0.0

    def natural(self, phi: Array) -> Array:
        return phi


def components(matrix: Array | csr_array) -> NDArray[np.int32]:
    """Which rows of M hang together, (m,): connected components of what is not zero."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    return connected_components(csr_array(matrix != 0.0), directed=False)[1].astype(np.int32)


def _block(matrix: Array | csr_array, rows: NDArray[np.intp]) -> Array:
    if isinstance(matrix, np.ndarray):
        return matrix[np.ix_(rows, rows)]
    return matrix[rows][:, rows].toarray()


def _refuse_unsuited(matrix: Array | csr_array, what: str) -> None:
    shape = matrix.shape or (0,)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"{what} is not square: its shape is {shape}.")
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{what} has {bad:,} elements that are not finite.")
    skew, largest = float(abs(matrix - matrix.T).max()), float(abs(matrix).max())
    if skew > 1e-8 * largest:
        raise DataError(f"{what} is not symmetric: elements differ by up to {skew:.3g} from those mirrored.")
