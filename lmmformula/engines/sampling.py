"""Noise with covariance M^-1 from a blocked factor: the back substitution of its solve, on standard normal numbers.

With ``M = F F'`` in the order of elimination, ``x = F^-T z`` has covariance ``F^-T F^-1 = M^-1`` for standard normal z.
No row of the data is touched. Cost: half a solve with one column.
"""

from __future__ import annotations

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.engines.blocked import BlockedFactor
from lmmformula.typing import Array

__all__ = ["inverse_noise"]


def inverse_noise(factor: BlockedFactor, rng: np.random.Generator) -> Stacked:
    """One draw of N(0, M^-1), per group (m, k)."""
    plan = factor.plan
    groups = plan.blocks.groups
    dense = _upper_solve(factor.upper, rng.standard_normal((plan.q_dense, 1)))
    work: list[Array] = [rng.standard_normal((groups[a].m, groups[a].k, 1)) for a in plan.chain]
    return tuple(x[..., 0] for x in factor.back_substituted(work, dense))


def _upper_solve(upper: Array, z: Array) -> Array:
    """R^-1 z."""
    if not z.size:
        return z
    from scipy.linalg import solve_triangular

    return solve_triangular(upper, z, check_finite=False)
