"""Levels with a known covariance matrix: pedigrees, phylogenies, genomic relationships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision, Settled, inverse_of
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Known"]


@dataclass(frozen=True, eq=False)
class Known(Settled):
    """Levels with a known covariance matrix up to a factor, held as its inverse.

    Attributes
    ----------
    given : Precision
    """

    given: Precision
    name: str = "known"

    @classmethod
    def of_precision(cls, q: csr_array | Array, what: str = "the precision matrix") -> Known:
        """From Q itself, (m, m), dense or sparse.

        Raises
        ------
        DataError
            If Q is not a finite, symmetric, positive definite matrix.
        """
        from scipy.sparse import csr_array

        matrix = csr_array(q, dtype=float)
        shape = matrix.shape or (0,)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise DataError(f"{what} is not square: its shape is {shape}.")
        if not np.isfinite(matrix.data).all():
            raise DataError(
                f"{what} has {int((~np.isfinite(matrix.data)).sum()):,} elements that are not finite."
            )
        largest = float(np.abs(matrix.data).max(initial=0.0))
        skew = abs(matrix - matrix.T)
        if skew.nnz and float(skew.data.max()) > 1e-8 * largest:
            raise DataError(
                f"{what} is not symmetric: elements differ by up to {float(skew.data.max()):.3g} from those mirrored."
            )
        matrix = csr_array((matrix + matrix.T) * 0.5)
        matrix.sum_duplicates()
        return cls(Precision(matrix, _log_determinant(matrix, what)))

    @classmethod
    def of_covariance(cls, a: Array, what: str = "the covariance matrix") -> Known:
        """From A, dense (m, m): O(m^3).

        Raises
        ------
        DataError
            If A is not a finite, symmetric, positive definite matrix.
        """
        from scipy.sparse import csr_array

        a = np.asarray(a, dtype=float)
        if a.ndim != 2 or a.shape[0] != a.shape[1]:
            raise DataError(f"{what} is not square: its shape is {a.shape}.")
        if not np.isfinite(a).all():
            raise DataError(f"{what} has {int((~np.isfinite(a)).sum()):,} elements that are not finite.")
        skew, largest = float(np.abs(a - a.T).max(initial=0.0)), float(np.abs(a).max(initial=0.0))
        if skew > 1e-8 * largest:
            raise DataError(
                f"{what} is not symmetric: elements differ by up to {skew:.3g} from those mirrored."
            )
        inverse, logdet = inverse_of(0.5 * (a + a.T), what)
        return cls(Precision(csr_array(inverse), -logdet))

    @property
    def m(self) -> int:
        return len(self.given.diagonal)

    def precision(self, phi: Array) -> Precision:
        return self.given


def _log_determinant(q: csr_array, what: str) -> float:
    """log|Q|, by a sparse factorisation that also tells whether Q is positive definite."""
    from scipy.sparse.linalg import splu

    options = {"SymmetricMode": True}
    try:
        pivots = splu(q.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).U.diagonal()
    except RuntimeError:  # exactly singular
        pivots = np.zeros(1)
    if not (pivots > 0.0).all():
        raise DataError(
            f"{what} is not positive definite: {int((pivots <= 0.0).sum()):,} pivots are zero or negative. A constraint that "
            "leaves it singular (ICAR) needs a proper version of it."
        )
    return float(np.log(pivots).sum())
