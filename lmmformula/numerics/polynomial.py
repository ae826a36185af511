r"""Functions of a few variables by least squares on polynomials, with the error of leaving each value out.

With orthonormal Hermite polynomials ``h_a(z) = prod_j He_a_j(z_j) / sqrt(a_j!)`` (Abramowitz & Stegun 1964, ch. 22), which are
uncorrelated where z is standard normal, and weights w_i,

    c = argmin sum_i w_i (f_i - h(z_i)'c)^2,       G = sum_i w_i h(z_i) h(z_i)'

the residual at z_i of the fit without it is e_i / (1 - w_i l(z_i)), l(z) = h(z)'G^-1 h(z) (Allen 1974), so that the error
at places like those of the values is known without further values; l(z) says how far z is from them. Slopes at z_i are d
further rows of weight w_i, left out with the value: e_i and w_i l(z_i) are then a vector and a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np

from lmmformula.typing import Array

__all__ = ["Polynomial", "degrees", "fit_polynomial", "polynomials"]

Degrees = tuple[tuple[int, ...], ...]
"""Of each polynomial of a basis, its degree in each variable."""
ROUNDING = 1e-12
"""Smallest share of the largest pivot of the weighted basis at which its columns still count as independent."""


@lru_cache(maxsize=64)
def degrees(d: int, every: int, paired: int) -> Degrees:
    """Products of total degree at most `every`, and those of at most two variables up to `paired`."""
    chosen = {one for total in range(every + 1) for one in combinations_with_replacement(range(d), total)}
    for i, j in combinations_with_replacement(range(d), 2):
        chosen |= {(i,) * (total - k) + (j,) * k for total in range(paired + 1) for k in range(total + 1)}
    return tuple(
        tuple(one.count(j) for j in range(d)) for one in sorted(chosen, key=lambda one: (len(one), one))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Polynomial:
    """A fit.

    Attributes
    ----------
    basis : tuple of tuples of int
    coefficients : (b,) array
    root : (b, b) array
        Upper triangular R with R'R = G.
    error : float
        Root mean weighted square of the residuals without each value.
    """

    basis: Degrees
    coefficients: Array
    root: Array
    error: float

    def __call__(self, z: Array) -> tuple[Array, Array]:
        """Values at z (S, d), and l(z). Cost O(S b^2)."""
        columns = polynomials(z, self.basis)
        half = np.linalg.solve(self.root.T, columns.T)
        return columns @ self.coefficients, np.einsum("bs,bs->s", half, half)


def fit_polynomial(
    z: Array,
    values: Array,
    weights: Array,
    basis: Sequence[tuple[int, ...]],
    slopes: Array | None = None,
    counts: Array | None = None,
) -> Polynomial | None:
    """Fit to `values` (n,) at z (n, d), and to `slopes` (n, d) where these are known; None where they do not determine it.

    The error is averaged with `counts` (n,) in place of the weights where these are given. Cost O(n b^2), b the size of the
    basis, d + 1 times as much with slopes.
    """
    basis, heavy = tuple(basis), np.sqrt(weights)
    columns, target = heavy[:, None, None] * polynomials(z, basis)[:, None], (heavy * values)[:, None]
    if slopes is not None:
        columns = np.concatenate([columns, heavy[:, None, None] * _slopes(z, basis)], axis=1)
        target = np.concatenate([target, heavy[:, None] * slopes], axis=1)
    if target.size <= len(basis):
        return None
    q, root = np.linalg.qr(columns.reshape(target.size, -1))
    pivots = np.abs(np.diagonal(root))
    if pivots.min() <= ROUNDING * pivots.max():
        return None
    coordinates = q.T @ target.ravel()
    own = q.reshape(columns.shape)
    left = np.eye(target.shape[1]) - own @ np.swapaxes(own, 1, 2)
    left += ROUNDING * np.eye(target.shape[1])
    residuals = np.linalg.solve(left, (target - own @ coordinates)[..., None])[:, 0, 0]
    error = float(np.sqrt(np.average(residuals**2 / weights, weights=weights if counts is None else counts)))
    return Polynomial(basis, np.linalg.solve(root, coordinates), root, error)


def polynomials(z: Array, basis: Degrees) -> Array:
    """h(z), (S, b)."""
    own, out = _hermite(z, basis), np.ones((len(basis), len(z)))
    for column, of in zip(out, basis, strict=True):
        for j, degree in enumerate(of):
            if degree:
                column *= own[degree][:, j]
    return out.T


def _slopes(z: Array, basis: Degrees) -> Array:
    """dh/dz, (S, d, b): d/dz h_k = sqrt(k) h_(k-1)."""
    own, out = _hermite(z, basis), np.zeros((z.shape[1], len(basis), len(z)))
    for i in range(z.shape[1]):
        for column, of in zip(out[i], basis, strict=True):
            if of[i]:
                column[:] = np.sqrt(of[i]) * own[of[i] - 1][:, i]
                for j, degree in enumerate(of):
                    if degree and j != i:
                        column *= own[degree][:, j]
    return np.transpose(out, (2, 0, 1))


def _hermite(z: Array, basis: Degrees) -> list[Array]:
    """h_k of each variable, by degree."""
    own = [np.ones_like(z), z]
    for k in range(1, max(map(max, basis))):  # sqrt(k + 1) h_(k+1) = z h_k - sqrt(k) h_(k-1)
        own.append((z * own[k] - np.sqrt(k) * own[k - 1]) / np.sqrt(k + 1))
    return own
