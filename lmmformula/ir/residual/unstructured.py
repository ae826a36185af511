r"""A variance for each visit and a correlation for each pair of visits: the covariance of an MMRM.

``C = L L'`` with the Cholesky factor's first element one, so that sigma is the first visit's standard deviation; phi holds the
rest of L row by row, logarithms on the diagonal (Pinheiro & Bates 1996, sec. 2.1). A row at visit v has the v-th row of L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array, Index

__all__ = ["Unstructured"]


@dataclass(frozen=True, slots=True)
class Unstructured:
    """Any covariance matrix.

    Attributes
    ----------
    visits : tuple of str
    """

    visits: tuple[str, ...]
    name: str = "unstr"
    homogeneous: bool = False
    linear: bool = True

    @property
    def n_phi(self) -> int:
        t = len(self.visits)
        return t * (t + 1) // 2 - 1

    @property
    def names(self) -> tuple[str, ...]:
        v = self.visits
        pairs = [f"cor({v[i]}, {v[j]})" for i, j in self.pairs]
        return (*(f"sd({b}) / sd({v[0]})" for b in v[1:]), *pairs)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Visits that each correlation is of."""
        t = len(self.visits)
        return tuple((i, j) for i in range(t) for j in range(i + 1, t))

    def start(self) -> Array:
        return np.zeros(self.n_phi)

    def cholesky(self, phi: Array) -> Array:
        """L, (t, t)."""
        t = len(self.visits)
        lower = np.zeros((t, t))
        rows, columns = self._places()
        lower[0, 0] = 1.0
        lower[rows, columns] = np.where(rows == columns, np.exp(np.where(rows == columns, phi, 0.0)), phi)
        return lower

    def from_cholesky(self, lower: Array) -> Array:
        """phi of a covariance matrix with this Cholesky factor, relative to its first variance."""
        rows, columns = self._places()
        values = lower[rows, columns] / lower[0, 0]
        return np.where(rows == columns, np.log(np.where(rows == columns, values, 1.0)), values)

    def _places(self) -> tuple[Index, Index]:
        rows, columns = np.tril_indices(len(self.visits))
        return rows[1:], columns[1:]

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        visit, lower = positions[..., 0].astype(np.intp), self.cholesky(phi)
        rows, columns = self._places()
        move = np.zeros((len(phi), *lower.shape))
        at = np.arange(len(phi))
        move[at, rows, columns] = np.where(rows == columns, lower[rows, columns], 1.0)
        half = move @ lower.T
        slope, c = half + half.transpose(0, 2, 1), lower @ lower.T
        one, other = visit[:, :, None], visit[:, None, :]
        return c[one, other], slope[:, one, other]

    def log_reference(self, phi: Array) -> float:
        r"""``|Sigma|^(-(t + 1) / 2)`` of the covariance matrix of all visits (Box & Tiao 1973, sec. 8.2), log sigma flat.

        With ``Sigma = sigma^2 L L'`` its density in (log sigma, phi) is ``prod l_ii^(1 - i)``, i = 1..t: dSigma is ``prod
        (sigma l_ii)^(t - i + 1)`` in the elements of sigma L, and those of row i bring ``sigma^(i - 1)``.
        """
        rows, columns = self._places()
        own = rows == columns
        return -float(rows[own] @ phi[own])

    def natural(self, phi: Array) -> Array:
        lower = self.cholesky(phi)
        sd = np.linalg.norm(lower, axis=1)
        r = (lower @ lower.T) / np.outer(sd, sd)
        return np.concatenate([sd[1:] / sd[0], r[np.triu_indices(len(sd), 1)]])
