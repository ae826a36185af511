"""Blocks of a Gram in the scale of u: L_a' G_ab L_b, and + Q on those of one group; and its products with effects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.engines.elimination import Elimination
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import matmul, transpose
from lmmformula.typing import Array

__all__ = ["cross", "gram_times", "scaled", "scaled_coupling", "scaled_diagonal"]

MOST = 1_024
"""Cells of L_a (x) L_b up to which one product of matrices, with zeros, is faster than two for each block."""


def scaled_diagonal(diag: Array, factor: Array, prior: Array | float = 1.0) -> Array:
    """L' G L + I for each level; `prior` holds the diagonal of Q, (m, 1), where it is not one."""
    out = diag * factor[0, 0] ** 2 if factor.shape[0] == 1 else factor.T @ diag @ factor
    out[:, np.arange(factor.shape[0]), np.arange(factor.shape[0])] += prior
    return out


def cross(gram: Gram, a: int, b: int) -> Array:
    """Stored values of the pair as (nnz, k_a, k_b), whichever way they are stored."""
    return gram.cross[a, b] if a < b else transpose(gram.cross[b, a])


def gram_times(gram: Gram, levels: Levels, effects: Stacked) -> Stacked:
    """Z'WZ e for e per group (m, k, c)."""
    from scipy.sparse import csr_array

    out = [matmul(own, e) for own, e in zip(gram.diag, effects, strict=True)]
    for (a, b), values in gram.cross.items():
        pattern, shape = levels.pattern(a, b), (levels.groups[a].m, levels.groups[b].m)
        for i, j in np.ndindex(values.shape[1:]):
            met = csr_array((values[:, i, j], pattern.indices, pattern.indptr), shape=shape)
            out[a][:, i] += met @ effects[b][:, j]
            out[b][:, j] += met.T @ effects[a][:, i]
    return tuple(out)


def scaled(left: Array, values: Array, right: Array) -> Array:
    """Left' values right for a stack of blocks."""
    if left.shape[0] == right.shape[0] == 1:
        return values * (left[0, 0] * right[0, 0])
    count, cells = len(values), left.size * right.size
    if cells > MOST:
        return left.T @ values @ right
    both = np.kron(left, right)
    return (values.reshape(count, len(both)) @ both).reshape(count, left.shape[1], right.shape[1])


def scaled_coupling(plan: Elimination, gram: Gram, factors: Sequence[Array], i: int) -> Array:
    """Block of chain position i and the dense part, (k_i, total)."""
    coupling, a = plan.couplings[i], plan.chain[i]
    if coupling.are_pairs:
        values = cross(gram, a, plan.dense[0])[coupling.stored[0]]
        return np.ascontiguousarray(scaled(factors[a], values, factors[plan.dense[0]])[:, :, 0].T)
    out = np.empty((coupling.ragged.k, len(coupling.ragged.cols)))
    for j, place, stored in zip(plan.dense, coupling.places, coupling.stored, strict=True):
        values = scaled(factors[a], cross(gram, a, j)[stored], factors[j])
        out[:, place] = np.moveaxis(values, 1, 0)
    return out
