"""Blocks of a Gram in the scale of u: L_a' G_ab L_b, and + Q on those of one group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.engines.elimination import Elimination
from lmmformula.ir.blocks import Gram
from lmmformula.numerics.batched import transpose
from lmmformula.typing import Array

__all__ = ["cross", "scaled", "scaled_coupling", "scaled_diagonal"]


def scaled_diagonal(diag: Array, factor: Array, prior: Array | float = 1.0) -> Array:
    """L' G L + I for each level; `prior` holds the diagonal of Q, (m, 1), where it is not one."""
    out = diag * factor[0, 0] ** 2 if factor.shape[0] == 1 else factor.T @ diag @ factor
    out[:, np.arange(factor.shape[0]), np.arange(factor.shape[0])] += prior
    return out


def cross(gram: Gram, a: int, b: int) -> Array:
    """Stored values of the pair as (nnz, k_a, k_b), whichever way they are stored."""
    return gram.cross[a, b] if a < b else transpose(gram.cross[b, a])


def scaled(left: Array, values: Array, right: Array) -> Array:
    """Left' values right for a stack of blocks."""
    if left.shape[0] == right.shape[0] == 1:
        return values * (left[0, 0] * right[0, 0])
    return left.T @ values @ right


def scaled_coupling(plan: Elimination, gram: Gram, factors: Sequence[Array], i: int) -> Array:
    """Block of chain position i and the dense part, (k_i, total)."""
    coupling, a = plan.couplings[i], plan.chain[i]
    out = np.empty((coupling.ragged.k, len(coupling.ragged.cols)))
    for j, place, stored in zip(plan.dense, coupling.places, coupling.stored, strict=True):
        values = scaled(factors[a], cross(gram, a, j)[stored], factors[j])
        out[:, place] = np.moveaxis(values, 1, 0)
    return out
