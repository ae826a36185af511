"""Eigenvectors of K whose eigenvalues lie outside the cluster around zero, by subspace iteration.

If all effects of one group move by a constant and those of another by its negative, the fitted values stay: K has an
eigenvalue near one for every column that two groups share, in every connected part of the design. Those vectors start the
iteration, beside random ones that find what they miss. Each round multiplies by K and rotates to Ritz vectors (Saad 2011,
sec. 5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmmformula.engines.krylov.complement import Complement
from lmmformula.numerics.tall import orthonormal
from lmmformula.typing import Array

__all__ = ["outliers", "shifts", "subspace"]

LARGE, SMALL = 0.25, 0.02
"""Eigenvalues of K beyond the first are outliers unless there may be too many of them, those below the second never are."""
MANY = 1280
"""Bound on the number of eigenvalues beyond `LARGE` from which on they may be no outliers but the edge of the others."""
WIDEST = 0.9
"""Eigenvalues beyond this are outliers however far the others reach."""
RANDOM = 4
SPARE = 3
"""Vectors of the block that must turn out not to be outlying, lest some are missed."""
MAX_BASIS = 64
PARTS = 8
"""Connected parts whose constants start the iteration; random vectors find those of others."""
LEAST_ROUNDS, ROUNDS = 4, 16
SHARP = 0.05
"""Residual of a Ritz vector, as a share of its value, at which the rounds end."""


Iteration = Callable[[Complement, Array, float], tuple[Array, Array]]
"""(operator, start, bulk) -> Ritz values and vectors, like :func:`subspace`."""


def outliers(
    complement: Complement, factors: Sequence[Array], seed: int, square: float | None, iterate: Iteration
) -> Array:
    """An orthonormal basis (q_D, r) of about the outlying eigenvectors; r may be zero.

    What lies far outside the others depends on them: with tr K^2 known (`square`) the size of the rest is, and a second pass
    looks for what is beyond four times its root mean square, twice the edge of a semicircle. Where levels have few rows the
    others themselves may reach beyond `LARGE`; as tr K^2 bounds how many do, the first pass then takes that rule, too. Without
    `square` what the first vectors meet must do.
    """
    rng = np.random.default_rng([seed, 1])
    start = _constants(complement, factors)
    if square is None:
        values, vectors = iterate(complement, _widened(complement, start, rng), LARGE)
        return np.ascontiguousarray(vectors[:, np.abs(values) > LARGE])
    far = LARGE
    if min(complement.q, square / LARGE**2) > MANY:
        far = float(np.clip(4.0 * np.sqrt(square / complement.q), LARGE, WIDEST))
    values, vectors = _beyond(complement, start, rng, far, iterate)
    outlying = values[np.abs(values) > far]
    rest = max(square - float(outlying @ outlying), 0.0) / complement.q
    bulk = float(np.clip(4.0 * np.sqrt(rest), SMALL, far))
    if ((np.abs(values) > bulk) & (np.abs(values) <= far)).any():
        values, vectors = _beyond(complement, vectors, rng, bulk, iterate)
    return np.ascontiguousarray(vectors[:, np.abs(values) > bulk])


def shifts(complement: Complement, factors: Sequence[Array]) -> Array:
    """An orthonormal basis of the constants of groups, which are nearly eigenvectors: the outliers that every design has."""
    start = orthonormal(_constants(complement, factors))
    return orthonormal(start - complement.apply(start))


def _widened(complement: Complement, start: Array, rng: np.random.Generator) -> Array:
    """`start` and as many random vectors, at least `RANDOM`; in all at most `MAX_BASIS`."""
    width = min(max(RANDOM, start.shape[1]), MAX_BASIS)
    start = np.hstack([start, rng.standard_normal((complement.q, width))])
    return start[:, : min(MAX_BASIS, complement.q)]


def _beyond(
    complement: Complement, start: Array, rng: np.random.Generator, bulk: float, iterate: Iteration
) -> tuple[Array, Array]:
    """Ritz values and vectors that hold all eigenvalues beyond `bulk`, as far as `MAX_BASIS` vectors can."""
    while True:
        values, vectors = iterate(complement, _widened(complement, start, rng), bulk)
        found = int((np.abs(values) > bulk).sum())
        if found <= len(values) - SPARE or len(values) >= min(MAX_BASIS, complement.q):
            return values, vectors
        start = vectors


def subspace(complement: Complement, start: Array, bulk: float) -> tuple[Array, Array]:
    """Ritz values and vectors of K after rounds of subspace iteration from `start`, in single precision where there is any."""
    basis = orthonormal(start)
    if complement.has_single:
        values, basis = _rounds(complement, basis.astype(np.float32), bulk)
        return values.astype(float), orthonormal(basis.astype(float))
    return _rounds(complement, basis, bulk)


def _rounds(complement: Complement, basis: Array, bulk: float) -> tuple[Array, Array]:
    """The rounds, from an orthonormal basis and in its precision."""
    for count in range(ROUNDS):
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis, image = basis @ rotation, image @ rotation
        outlying = np.abs(values) > bulk
        residual = np.linalg.norm(image - basis * values, axis=0)
        if count >= LEAST_ROUNDS and (residual[outlying] <= SHARP * np.abs(values[outlying])).all():
            break
        basis = orthonormal(image)
    else:
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis = basis @ rotation
    return values, basis


def _constants(complement: Complement, factors: Sequence[Array]) -> Array:
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
