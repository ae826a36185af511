"""Stacks (m, k, k) of small matrices in JAX, written out so that they compile into arithmetic on whole stacks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmmformula.typing import Index, JaxArray, Numbers

__all__ = ["segment_sum", "times", "unit_lower"]

_UNROLLED = 6
"""Side up to which k x k factorisations are written out."""


def unit_lower(a: JaxArray) -> tuple[JaxArray, Numbers]:
    """F^-1 and log|F| of the Cholesky factors of a stack (m, k, k); log|F| is summed over the stack."""
    k = a.shape[-1]
    if k > _UNROLLED:
        lower = jnp.linalg.cholesky(a)
        eye = jnp.broadcast_to(jnp.eye(k), a.shape)
        inverse = jax.scipy.linalg.solve_triangular(lower, eye, lower=True)
        return inverse, jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)).sum()
    f: list[list[Numbers]] = [[None] * k for _ in range(k)]
    back: list[list[Numbers]] = [[jnp.zeros(a.shape[:-2])] * k for _ in range(k)]
    log_det = 0.0
    for j in range(k):
        pivot = jnp.sqrt(a[..., j, j] - sum(f[j][s] ** 2 for s in range(j)))
        log_det = log_det + jnp.log(pivot).sum()
        f[j][j] = pivot
        for i in range(j + 1, k):
            f[i][j] = (a[..., i, j] - sum(f[i][s] * f[j][s] for s in range(j))) / pivot
    for j in range(k):
        back[j][j] = 1.0 / f[j][j]
        for i in range(j + 1, k):
            back[i][j] = -sum(f[i][s] * back[s][j] for s in range(j, i)) / f[i][i]
    return jnp.stack([jnp.stack(row, -1) for row in back], -2), log_det


def times(a: Numbers, b: Numbers) -> JaxArray:
    """Products, matrix by matrix, as elementwise sums."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def segment_sum(values: JaxArray, parent: Index, m: int) -> JaxArray:
    """Sums of values (n, ...) with the same parent, (m, ...)."""
    return jax.ops.segment_sum(values, parent, m)
