r"""Conditional draws and variances of :mod:`lmmformula.numerics.recovery_kernels` in NumPy, for all draws at once.

Where problems are tiny these take less time than compiled loops take to be loaded. In the symbols of that module, with T =
diag(Lambda_D, I), K_l = G_l^-1 and H = T C_1^-T::

    dense and delta:  v = T C_1^-T (c + sigma z),      sigma^2 H H'
    level l:          Lambda K_l (Lambda'B_l (-v; 1) + kick_l),     sigma^2 (N_l + N_l B_l H H'B_l'N_l)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmmformula.backends.posterior.density.bordered import Bordered, inverse_by_sweeps
from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.typing import Array

__all__ = ["draws_of_batch", "variances_of_batch"]


def draws_of_batch(
    bordered: Bordered,
    coordinates: Coordinates,
    x: Array,
    noise: Array,
    kick: Callable[[Array, Array], Array],
) -> tuple[Array, Array]:
    """Means ([:, 0]) and draws ([:, 1]): dense effects and delta (S, 2, c - 1), eliminated effects (S, 2, m, k).

    Parameters
    ----------
    x : (S, d) array
    noise : (S, c - 1) array
        z.
    kick : callable
        (Lambda, sigma) -> (S, m, k).

    Raises
    ------
    LinAlgError
        If the matrix of a draw is not positive definite.
    """
    own, inverse, factor, scaled, sigma = _parts(bordered, coordinates, x)
    both = factor[:, -1:, :-1] + np.stack([np.zeros_like(noise), sigma[:, None] * noise], axis=1)
    v = both @ np.swapaxes(scaled, -1, -2)
    m, k, c = bordered.b.shape
    given = bordered.b[..., -1] - (v @ bordered.b[..., :-1].reshape(m * k, c - 1).T).reshape(-1, 2, m, k)
    right = given @ own[:, None]
    right[:, 1] += kick(own, sigma)
    solved = (inverse[:, None] @ right[..., None])[..., 0]
    return v, solved @ np.swapaxes(own, -1, -2)[:, None]


def variances_of_batch(bordered: Bordered, coordinates: Coordinates, x: Array) -> tuple[Array, Array, Array]:
    """Averages over rows of x: variances of dense effects (q,), the covariance of delta (p, p), variances of effects (m, k)."""
    own, inverse, _, scaled, sigma = _parts(bordered, coordinates, x)
    q, square = bordered.q_dense, sigma**2
    within = np.einsum("s,sij,skj->ik", square, scaled, scaled) / len(x)
    n_l = own[:, None] @ inverse @ np.swapaxes(own, -1, -2)[:, None]
    moved = n_l @ (bordered.b[..., :-1] @ scaled[:, None])
    variances = np.diagonal(n_l, axis1=-2, axis2=-1) + (moved**2).sum(axis=-1)
    effects = np.einsum("s,smk->mk", square, variances) / len(x)
    return np.diagonal(within)[:q].copy(), within[q:, q:], effects


def _parts(
    bordered: Bordered, coordinates: Coordinates, x: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Lambda_e (S, k, k), K_l (S, m, k, k), C (S, c, c), T C_1^-T (S, c - 1, c - 1) and sigma (S,)."""
    reduced, sigma, _ = bordered.reduced(coordinates, x)
    own = reduced.relative[bordered.eliminated]
    turned = np.swapaxes(own, -1, -2)[:, None]
    inverse, _ = inverse_by_sweeps(turned @ bordered.a @ own[:, None] + np.eye(own.shape[-1]), np)
    factor = np.linalg.cholesky(reduced.bordered)
    half = np.swapaxes(np.linalg.inv(factor[:, :-1, :-1]), -1, -2)
    for a, start in zip(bordered.dense, bordered.offsets, strict=True):
        group = bordered.model.groups[a]
        rows = half[:, start : start + group.q].reshape(len(x), group.m, group.k, -1)
        half[:, start : start + group.q] = (reduced.relative[a][:, None] @ rows).reshape(len(x), group.q, -1)
    return own, inverse, factor, half, sigma
