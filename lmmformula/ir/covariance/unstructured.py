r"""An arbitrary covariance matrix.

theta is the lower triangle of L. Posteriors and profiles know Sigma by its standard deviations and *partial* correlations p,
free of each other in (-1, 1), of which the correlations have the factor ``C_ij = p_ij prod_{l<j} (1 - p_il^2)^(1/2)``
(Lewandowski, Kurowicka & Joe 2009). The first two columns' correlation is p itself, so a profile puts a wanted pair first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.covariance.base import EDGE, Kind, UnitForm
from lmmformula.ir.covariance.matrices import semidefinite_cholesky
from lmmformula.ir.covariance_roles import Role, Transformations
from lmmformula.typing import Array, Entries, Namespace, Numbers

__all__ = ["Unstructured"]


class Unstructured(Kind):
    """An arbitrary covariance matrix: theta is the lower triangle of L, column by column (lme4's order)."""

    name = "us"
    description = "any covariance matrix"
    signed = True
    linear = True

    @property
    def closed_under(self) -> Transformations:
        return "linear"

    @property
    def n_theta(self) -> int:
        return self.k * (self.k + 1) // 2

    @property
    def roles(self) -> tuple[Role, ...]:
        return _triangle_roles(self.k)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0),) * (self.k * (self.k - 1) // 2)

    @property
    def one_correlation(self) -> bool:
        return False

    @property
    def unit_form(self) -> UnitForm | None:
        return "partial correlations"

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, b) for a in range(self.k) for b in range(a + 1, self.k))

    @property
    def directions(self) -> tuple[Array, ...] | None:
        eye = np.eye(self.k)
        pairs = (np.outer(eye[i], eye[j]) + np.outer(eye[j], eye[i]) for j, i in self.pairs)
        return (*(np.outer(e, e) for e in eye), *pairs)

    # -- theta -----------------------------------------------------------------------------------------------------

    @property
    def _index(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return _lower_triangle(self.k)

    def start(self) -> Array:
        rows, cols = self._index
        return (rows == cols).astype(float)

    def cholesky(self, theta: Array) -> Array:
        out = np.zeros((self.k, self.k))
        out[self._index] = theta
        return out

    def jacobian(self, theta: Array) -> Array:
        return _unit_lower(self.k)

    def from_covariance(self, sigma: Array) -> Array:
        return semidefinite_cholesky(sigma)[self._index]

    def canonical(self, theta: Array) -> Array:
        factor = self.cholesky(theta)
        diagonal = factor.diagonal()
        if (diagonal > 0.0).all():
            return theta
        if not diagonal.all():  # the factor of a singular Sigma is not unique: take the one with zero columns
            return self.from_covariance(factor @ factor.T)
        return (factor * np.where(diagonal < 0, -1.0, 1.0))[self._index]

    def transformed(self, theta: Array, a: Array) -> Array:
        """By rotations of the columns of A L, which never form a square, so that singular factors keep their digits."""
        moved = a @ self.cholesky(theta)
        for i in range(self.k):
            for j in range(i + 1, self.k):
                if moved[i, j] != 0.0:
                    size = np.hypot(moved[i, i], moved[i, j])
                    c, s = moved[i, i] / size, moved[i, j] / size
                    moved[:, [i, j]] = moved[:, [i, j]] @ np.array([[c, -s], [s, c]])
                    moved[i, j] = 0.0
        return self.canonical(moved[self._index])

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        """L A^(-1/2) B A^(-1/2) L', A = m I - T: Schall's step in matrices."""
        values, vectors = np.linalg.eigh(m * np.eye(self.k) - trace)
        half = lower @ (vectors / np.sqrt(np.maximum(values, 1e-12 * m)) @ vectors.T)
        return self.from_covariance(half @ spread @ half.T)

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        rows, cols = self._index
        return tuple(
            columns[i] if i == j else f"{columns[i]}.{columns[j]}" for i, j in zip(rows, cols, strict=True)
        )

    # -- standard deviations and partial correlations --------------------------------------------------------------

    def correlation(self, r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        one = 1.0 + 0.0 * r[0] if r else xp.ones(())
        rows = self.unit_rows(r, one, xp)
        lower = xp.stack([xp.stack(row, -1) for row in rows], -2)
        return lower @ xp.swapaxes(lower, -1, -2)

    def unit_rows(self, r: Sequence[Numbers], one: Numbers, xp: Namespace) -> list[list[Numbers]]:
        rows, left = [[0.0 * one] * self.k for _ in range(self.k)], [one] * self.k
        place = 0
        for j in range(self.k):
            rows[j][j] = left[j]
            for i in range(j + 1, self.k):
                rows[i][j] = r[place] * left[i]
                left[i] = left[i] * xp.sqrt(1.0 - r[place] * r[place])
                place += 1
        return rows

    def turned(self, column: int) -> tuple[int, ...]:
        return tuple(j for j, pair in enumerate(self.pairs) if column in pair)

    def reported(self, s: Sequence[Array], r: Sequence[Array]) -> list[Array]:
        if not r:
            return []
        lower = self.factor(s, r)
        unit = lower / np.maximum(np.linalg.norm(lower, axis=-1), 1e-300)[..., None]
        cor = unit @ np.swapaxes(unit, -1, -2)
        return [cor[..., a, b] for a, b in self.pairs]

    def filled(self, correlations: Array) -> Array:
        out = np.zeros((*correlations.shape[:-1], self.k, self.k))
        out[..., np.arange(self.k), np.arange(self.k)] = 1.0
        for j, (a, b) in enumerate(self.pairs):
            out[..., a, b] = out[..., b, a] = correlations[..., j]
        return out

    def nearest(self, cor: Array) -> list[float]:
        c = np.linalg.cholesky(cor)
        left = np.sqrt(np.maximum(1.0 - np.cumsum(c**2, axis=1) + c**2, 1e-12))
        return [float(c[i, j] / left[i, j]) for j, i in self.pairs]

    def prior_shapes(self, eta: float) -> list[tuple[float, float, float]]:
        """The partial correlations of an LKJ matrix: Beta(eta + (k - 2 - j) / 2) for column j."""
        return [(-1.0, 1.0, eta + 0.5 * (self.k - 2 - j)) for j, _ in self.pairs]

    # -- profiles: t = atanh of partial correlations, row by row ------------------------------------------------------

    def place(self, pair: tuple[int, ...]) -> int:
        return 0

    def t_of(self, pair: tuple[int, ...], rho: float) -> float:
        return float(np.arctanh(np.clip(rho, -EDGE, EDGE)))

    def profile_matrix(self, t: Entries, order: Sequence[int]) -> Entries:
        k = self.k
        chol = np.zeros((k, k), dtype=t.dtype)
        z, place = np.tanh(t), 0
        for i in range(k):
            left = np.ones((), dtype=t.dtype)
            for j in range(i):
                chol[i, j] = z[place] * np.sqrt(left)
                left = left * (1 - z[place] ** 2)
                place += 1
            chol[i, i] = np.sqrt(left)
        out = np.empty((k, k), dtype=t.dtype)
        out[np.ix_(order, order)] = chol @ chol.T
        return out

    def profile_coordinates(self, cor: Array, order: Sequence[int]) -> list[float]:
        ordered, t = np.nan_to_num(cor)[np.ix_(order, order)], []
        np.fill_diagonal(ordered, 1.0)
        chol = np.linalg.cholesky(ordered)
        for i in range(self.k):
            left = 1.0
            for j in range(i):
                z = float(np.clip(chol[i, j] / np.sqrt(max(left, 1e-24)), -EDGE, EDGE))
                t.append(float(np.arctanh(z)))
                left *= 1 - z**2
        return t


@lru_cache(maxsize=64)
def _lower_triangle(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the lower triangle, column by column."""
    cols, rows = np.triu_indices(k)
    return rows, cols


@lru_cache(maxsize=64)
def _triangle_roles(k: int) -> tuple[Role, ...]:
    rows, cols = _lower_triangle(k)
    return tuple(Role.DIAGONAL if i == j else Role.LOWER for i, j in zip(rows, cols, strict=True))


@lru_cache(maxsize=64)
def _unit_lower(k: int) -> Array:
    """The unit matrices of the lower triangle, (k(k+1)/2, k, k); read-only because shared."""
    rows, cols = _lower_triangle(k)
    out = np.zeros((len(rows), k, k))
    out[np.arange(len(rows)), rows, cols] = 1.0
    out.setflags(write=False)
    return out
