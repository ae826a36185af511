"""Distribution functions and draws of counts by adding up probabilities, for those that have no closed form.

Probabilities of k = first, first + 1, ... are taken `WIDTH` at a time for all rows that need more. Cost: O(sum of y)
of a density.
"""

from __future__ import annotations

import numpy as np

from lmmformula.families.distribution import Distribution
from lmmformula.families.records import Array, Aux, Maybe

__all__ = ["cumulated", "drawn_by_inversion"]

WIDTH = 64
LEAST = 1e-17
"""What a block above the mean must hold of a row's probability for the row to go on."""


def _flat(*values: Maybe) -> tuple[tuple[int, ...], list[Array]]:
    """Their common shape, and each as one vector."""
    arrays = np.broadcast_arrays(*(np.asarray(v, float) for v in values))
    return arrays[0].shape, [a.ravel() for a in arrays]


def _block(own: Distribution, mu: Array, aux: Aux, first: int) -> tuple[Array, Array]:
    """k = first, first + 1, ..., and the probabilities of each row, (rows, WIDTH)."""
    k = first + np.arange(WIDTH, dtype=float)
    at = (np.log(mu)[:, None],)
    by_row = tuple(np.reshape(a, (-1, 1)) for a in aux)
    loglik = own.log_density(np.broadcast_to(k, (len(mu), WIDTH)), at, by_row, 1.0, np)
    return k, np.exp(loglik + own.constant(k, 1.0))


def cumulated(own: Distribution, y: Array, mu: Array, aux: Aux) -> Array:
    """``P(Y <= y)``."""
    shape, (y, mu, *more) = _flat(y, mu, *aux)
    total, k_end = np.zeros(y.shape), np.floor(y)
    order = np.argsort(k_end, kind="stable")
    left = order[np.searchsorted(k_end[order], 0.0) :]
    first = 0
    while left.size:
        k, p = _block(own, mu[left], tuple(a[left] for a in more), first)
        total[left] += np.where(k <= k_end[left, None], p, 0.0).sum(axis=1)
        first += WIDTH
        left = left[k_end[left] >= first]
    return np.minimum(total, 1.0).reshape(shape)


def drawn_by_inversion(
    own: Distribution, rng: np.random.Generator, mu: Array, aux: Aux, first: int = 0
) -> Array:
    """One count for each row: the smallest k whose cumulated probability reaches a uniform draw."""
    shape, (mu, *more) = _flat(mu, *aux)
    u = rng.random(mu.shape)
    y, done = np.full(mu.shape, float(first)), np.zeros(mu.shape)
    left = np.arange(mu.size)
    while left.size:
        k, p = _block(own, mu[left], tuple(a[left] for a in more), first)
        sums = done[left, None] + np.cumsum(p, axis=1)
        inside = sums >= u[left, None]
        found = inside.any(axis=1)
        # above the mean nothing is left to add: u is beyond all that can be reached
        spent = ~found & (p.sum(axis=1) < LEAST) & (k[0] > mu[left])
        y[left[found]] = k[np.argmax(inside[found], axis=1)]
        y[left[spent]] = k[0]
        done[left] = sums[:, -1]
        left = left[~found & ~spent]
        first += WIDTH
    return y.reshape(shape)
