r"""Residuals of several responses: a variance for each, and correlations within an observation where they are asked for.

``C = D R D`` with D the deviations relative to that of the first response, d_1 = 1, whose logarithms come first in phi, and
``R = L L'`` with rows of unit length: row j of L is ``(z_j1, ..., z_j,j-1, 1)`` divided by its norm, z free. So phi does not
depend on the units of a response but for a term that is added to log d_j.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array

__all__ = ["OfResponses"]


@dataclass(frozen=True, slots=True)
class OfResponses:
    """Any covariance matrix of the residuals of one observation, or a diagonal one.

    Attributes
    ----------
    visits : tuple of str
        Names of the responses.
    correlated : bool
    """

    visits: tuple[str, ...]
    correlated: bool
    name: str = "responses"
    homogeneous: bool = False
    linear: bool = True

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Responses that each correlation is of."""
        t = len(self.visits) if self.correlated else 0
        return tuple((i, j) for i in range(t) for j in range(i + 1, t))

    @property
    def n_phi(self) -> int:
        return len(self.visits) - 1 + len(self.pairs)

    @property
    def names(self) -> tuple[str, ...]:
        v = self.visits
        return (
            *(f"sd({b}) / sd({v[0]})" for b in v[1:]),
            *(f"cor({v[i]}, {v[j]})" for i, j in self.pairs),
        )

    def start(self) -> Array:
        return np.zeros(self.n_phi)

    def moved(self, phi: Array, units: Array) -> Array:
        """phi of responses that are multiplied by `units`, (t,)."""
        out = np.array(phi)
        out[: len(self.visits) - 1] += np.log(units[1:] / units[0])
        return out

    def deviations(self, places: Array, phi: Array) -> Array:
        """Deviations of rows of the responses at these places, relative to that of the first."""
        d = np.exp(np.concatenate([[0.0], phi[: len(self.visits) - 1]]))
        return d[places.astype(np.intp)]

    def relative(self, positions: Array, phi: Array) -> tuple[Array, Array]:
        response = positions[..., 0].astype(np.intp)
        c, slope = self._matrix(phi)
        one, other = response[:, :, None], response[:, None, :]
        return c[one, other], slope[:, one, other]

    def _matrix(self, phi: Array) -> tuple[Array, Array]:
        """C and dC/dphi, (t, t) and (n_phi, t, t)."""
        t = len(self.visits)
        d = np.exp(np.concatenate([[0.0], phi[: t - 1]]))
        lower, moves = self._lower(phi[t - 1 :])
        r = lower @ lower.T
        scale = np.outer(d, d)
        c = scale * r
        of_d = np.zeros((t - 1, t, t))
        for j in range(1, t):
            of_d[j - 1, j] += c[j]
            of_d[j - 1, :, j] += c[:, j]
        half = moves @ lower.T
        return c, np.concatenate([of_d, scale * (half + half.transpose(0, 2, 1))])

    def _lower(self, z: Array) -> tuple[Array, Array]:
        """L and dL/dz."""
        t = len(self.visits)
        if not self.correlated:
            return np.eye(t), np.zeros((0, t, t))
        rows, columns = np.tril_indices(t, -1)
        raw = np.eye(t)
        raw[rows, columns] = z
        size = np.linalg.norm(raw, axis=1)
        lower = raw / size[:, None]
        moves = np.zeros((len(z), t, t))
        at = np.arange(len(z))
        moves[at, rows, columns] = 1.0 / size[rows]
        moves[at, rows] -= lower[rows] * (z / size[rows] ** 2)[:, None]
        return lower, moves

    def from_cholesky(self, lower: Array) -> Array:
        """phi of a covariance matrix with this Cholesky factor, relative to its first variance."""
        sd = np.linalg.norm(lower, axis=1)
        rows, columns = np.tril_indices(len(sd), -1)
        z = lower[rows, columns] / lower[rows, rows] if self.correlated else np.zeros(0)
        return np.concatenate([np.log(sd[1:] / sd[0]), z])

    def log_reference(self, phi: Array) -> float:
        r"""Flat in phi and log sigma, which is ``|Sigma|^(-(t + 1) / 2)`` of the covariance matrix (Box & Tiao 1973, sec. 8.2).

        With ``w_j = z_j (1 + |z_j|^2)^(-1/2)`` for row j of L, dR is ``prod l_jj^(t - j) dw``, dw_j is ``l_jj^(j + 1) dz_j``,
        and ``|R|^(-(t + 1) / 2)`` is ``prod l_jj^(-(t + 1))``: the powers cancel.
        """
        return 0.0

    def natural(self, phi: Array) -> Array:
        t = len(self.visits)
        lower, _ = self._lower(phi[t - 1 :])
        r = lower @ lower.T
        return np.concatenate([np.exp(phi[: t - 1]), [r[i, j] for i, j in self.pairs]])
