"""Eigenvectors of K whose eigenvalues lie outside the cluster around zero, by subspace iteration.

If all effects of one group move by a constant and those of another by its negative, the fitted values stay: K has an
eigenvalue near one for every column that two groups share, in every connected part of the design. Those vectors start the
iteration, beside random ones that find what they miss. Each round multiplies by K and rotates to Ritz vectors (Saad 2011,
sec. 5.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lmmformula.typing import Array

__all__ = ["outliers"]

LARGE, SMALL = 0.25, 0.02
"""Eigenvalues of K beyond the first are always outliers, those below the second never are."""
RANDOM = 4
SPARE = 3
"""Vectors of the block that must turn out not to be outlying, lest some are missed."""
MAX_BASIS = 64
PARTS = 8
"""Connected parts whose constants start the iteration; random vectors find those of others."""
LEAST_ROUNDS, ROUNDS = 4, 16
SHARP = 0.05
"""Residual of a Ritz vector, as a share of its value, at which the rounds end."""


class Operator(Protocol):
    """I - K with the scaling C of its groups: a Schur complement, or a splitting of the whole system."""

    @property
    def q(self) -> int: ...
    @property
    def pattern(self) -> Any: ...
    @property
    def c_inverses(self) -> tuple[Array, ...]: ...

    def apply(self, x: Array) -> Array:
        """(I - K) x."""
        ...


def outliers(complement: Operator, factors: Sequence[Array], seed: int, square: float | None) -> Array:
    """An orthonormal basis (q_D, r) of about the outlying eigenvectors; r may be zero.

    What lies far outside the others depends on them: with tr K^2 known (`square`) the size of the rest is, and a second pass
    looks for what is beyond four times its root mean square, twice the edge of a semicircle.
    """
    rng = np.random.default_rng([seed, 1])
    values, vectors = _beyond(complement, _constants(complement, factors), rng, LARGE)
    if square is not None:
        outlying = values[np.abs(values) > LARGE]
        rest = max(square - float(outlying @ outlying), 0.0) / complement.q
        bulk = min(max(4.0 * float(np.sqrt(rest)), SMALL), LARGE)
        if ((np.abs(values) > bulk) & (np.abs(values) <= LARGE)).any():
            values, vectors = _beyond(complement, vectors, rng, bulk)
        return np.ascontiguousarray(vectors[:, np.abs(values) > bulk])
    return np.ascontiguousarray(vectors[:, np.abs(values) > LARGE])


def _beyond(complement: Operator, start: Array, rng: np.random.Generator, bulk: float) -> tuple[Array, Array]:
    """Ritz values and vectors that hold all eigenvalues beyond `bulk`, as far as `MAX_BASIS` vectors can."""
    while True:
        width = min(max(RANDOM, start.shape[1]), MAX_BASIS)
        start = np.hstack([start, rng.standard_normal((complement.q, width))])
        start = start[:, : min(MAX_BASIS, complement.q)]
        values, vectors = _iterate(complement, start, bulk)
        found = int((np.abs(values) > bulk).sum())
        if found <= len(values) - SPARE or len(values) >= min(MAX_BASIS, complement.q):
            return values, vectors
        start = vectors


def _iterate(complement: Operator, start: Array, bulk: float) -> tuple[Array, Array]:
    """Ritz values and vectors of K after rounds of subspace iteration from `start`."""
    basis = np.linalg.qr(start)[0]
    for count in range(ROUNDS):
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis, image = basis @ rotation, image @ rotation
        outlying = np.abs(values) > bulk
        residual = np.linalg.norm(image - basis * values, axis=0)
        if count >= LEAST_ROUNDS and (residual[outlying] <= SHARP * np.abs(values[outlying])).all():
            break
        basis = np.linalg.qr(image)[0]
    else:
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis = basis @ rotation
    return values, basis


def _constants(complement: Operator, factors: Sequence[Array]) -> Array:
    """C'L^-1 for every column of the dense groups in each of the first connected parts of the design, (q_D, count)."""
    pattern, columns = complement.pattern, []
    count = min(int(pattern.parts.max(initial=0)) + 1, PARTS)
    for c, g, j, start in zip(
        complement.c_inverses, pattern.dense_groups, pattern.plan.dense, pattern.plan.offsets, strict=True
    ):
        shift = np.linalg.pinv(factors[j])
        effects = shift / c if g.k == 1 else np.linalg.solve(np.swapaxes(c, 1, 2), shift)
        own = slice(start, start + g.q)
        for part in range(count):
            out = np.zeros((pattern.q, g.k))
            out[own] = effects.reshape(g.q, g.k) * (pattern.parts[own, None] == part)
            columns.append(out)
    return np.hstack(columns)
