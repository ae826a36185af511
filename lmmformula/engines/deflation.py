"""Eigenvectors of K whose eigenvalues lie outside the cluster around zero, by subspace iteration.

If all effects of one group move by a constant and those of another by its negative, the fitted values stay: K has an
eigenvalue near one for every column that two groups share, in every connected part of the design. Those vectors start the
iteration, beside random ones that find what they miss. Each round multiplies by K and rotates to Ritz vectors (Saad 2011,
sec. 5.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.engines.schur import SchurComplement
from lmmformula.typing import Array

__all__ = ["outliers"]

OUTLYING = 0.25
"""Eigenvalues of K beyond this size are treated one by one."""
RANDOM = 4
MAX_BASIS = 64
PARTS = 8
"""Connected parts whose constants start the iteration; random vectors find those of others."""
ROUNDS = 12
SHARP = 0.05
"""Residual of a Ritz vector, as a share of its value, at which the rounds end."""


def outliers(complement: SchurComplement, factors: Sequence[Array], seed: int) -> Array:
    """An orthonormal basis (q_D, r) of about the outlying eigenvectors; r may be zero."""
    rng = np.random.default_rng([seed, 1])
    start = _constants(complement, factors)
    while True:
        start = np.hstack([start, rng.standard_normal((complement.q, RANDOM))])
        start = start[:, : complement.q]
        values, vectors = _iterate(complement, start)
        keep = np.abs(values) > OUTLYING
        if keep.sum() < len(values) - 1 or len(values) >= min(MAX_BASIS, complement.q):
            return np.ascontiguousarray(vectors[:, keep])
        start = np.hstack([vectors, rng.standard_normal((complement.q, len(values)))])


def _iterate(complement: SchurComplement, start: Array) -> tuple[Array, Array]:
    """Ritz values and vectors of K after rounds of subspace iteration from `start`."""
    basis = np.linalg.qr(start)[0]
    for count in range(ROUNDS):
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis, image = basis @ rotation, image @ rotation
        outlying = np.abs(values) > OUTLYING
        residual = np.linalg.norm(image - basis * values, axis=0)
        if count and (residual[outlying] <= SHARP * np.abs(values[outlying])).all():
            break
        basis = np.linalg.qr(image)[0]
    else:
        image = basis - complement.apply(np.ascontiguousarray(basis))
        values, rotation = np.linalg.eigh(basis.T @ image)
        basis = basis @ rotation
    return values, basis


def _constants(complement: SchurComplement, factors: Sequence[Array]) -> Array:
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
