"""V of each pattern of clusters at one point, its inverse and its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.clusters.layout import Patterns
from lmmformula.ir.residual import ResidualBlock
from lmmformula.typing import Array

__all__ = ["Block", "block_of", "residual_of"]


@dataclass(frozen=True, eq=False)
class Block:
    """V of b patterns.

    Attributes
    ----------
    lower : (b, n, n) array
        Cholesky factor of V.
    lower_inverse, inverse : (b, n, n) arrays
    slopes : (P, b, n, n) array
        dV/domega.
    """

    lower: Array
    lower_inverse: Array
    inverse: Array
    slopes: Array

    @property
    def logdet(self) -> Array:
        """log|V| of each pattern, (b,)."""
        return 2.0 * np.log(np.diagonal(self.lower, axis1=1, axis2=2)).sum(axis=1)


def residual_of(patterns: Patterns, residual: ResidualBlock, psi: Array) -> tuple[Array, Array]:
    """R of each pattern and its derivatives, (b, n, n) and (n_psi, b, n, n)."""
    phi, delta = residual.split(psi)
    c, slope = residual.kind.relative(patterns.positions, phi)
    log_s = patterns.log_scale + patterns.directions @ delta
    s = np.exp(log_s)
    scale = patterns.same * s[:, :, None] * s[:, None, :]
    r = c * scale
    parts = [slope * scale] if len(phi) else []
    if len(delta):
        w = np.moveaxis(patterns.directions, -1, 0)
        parts.append((w[:, :, :, None] + w[:, :, None, :]) * r)
    return r, np.concatenate(parts) if parts else np.zeros((0, *r.shape))


def block_of(
    patterns: Patterns,
    residual: ResidualBlock,
    psi: Array,
    factors: Sequence[Array],
    moves: Sequence[Array],
) -> Block:
    """V at psi, and at L with derivatives dL of each term."""
    v, slope = residual_of(patterns, residual, psi)
    slopes = []
    for z, meets, lower, move in zip(patterns.bases, patterns.meets, factors, moves, strict=True):
        zl = z @ lower
        v = v + meets * (zl @ zl.swapaxes(1, 2))
        half = np.matmul(z @ move[:, None], zl.swapaxes(1, 2))
        slopes.append(meets * (half + half.swapaxes(-1, -2)))
    lower = np.linalg.cholesky(v)
    if not np.isfinite(lower).all():
        raise np.linalg.LinAlgError
    eye = np.broadcast_to(np.eye(v.shape[-1]), v.shape)
    inverse = np.linalg.solve(lower, eye)
    return Block(lower, inverse, inverse.swapaxes(1, 2) @ inverse, np.concatenate([*slopes, slope]))
