"""M_a of each level and its inverse: the operators of one group, at one W and theta."""

from __future__ import annotations

import numpy as np

from lmmformula.errors import FitError
from lmmformula.numerics.batched import cholesky, lower_inverse, matmul, transpose
from lmmformula.typing import Array

__all__ = ["inverse_of", "own_block"]


def own_block(diag: Array, lower: Array) -> Array:
    """L'Z'WZ L + I, (m, k, k)."""
    block = diag * lower[0, 0] ** 2 if len(lower) == 1 else lower.T @ diag @ lower
    block += np.eye(len(lower))
    return block


def inverse_of(block: Array, name: str) -> Array:
    """Inverses of positive definite blocks of the group `name`, (m, k, k).

    Raises
    ------
    FitError
        If they are not.
    """
    try:
        if block.shape[-1] == 1 and (block > 0.0).all():
            return 1.0 / block
        half = lower_inverse(cholesky(block))
    except np.linalg.LinAlgError as error:
        raise FitError(
            f"the working weights within the levels of `{name}` are not positive definite in floating "
            "point. The likely cause is a column or weight whose scale differs from the others by many "
            "orders of magnitude; rescale it."
        ) from error
    return matmul(transpose(half), half)
