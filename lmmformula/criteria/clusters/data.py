r"""Sums over clusters of quadratic forms in their rows D = [X y], for blocks that patterns share.

Where a pattern has many clusters their products are added up once, ``G_b[r, s] = sum_i d_ir d_is'`` over its clusters i, and

    sum_i D_i'A_b D_i = sum_rs A_b[r, s] G_b[r, s],      sum_i D_i K D_i' = [<G_b[r, s], K>]_rs

do not depend on their number. Otherwise D itself is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.criteria.clusters.layout import Patterns
from lmmformula.typing import Array

__all__ = ["Sums", "sums_of"]

LARGEST = 2e7
"""Elements of G beyond which clusters are kept one by one."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Rows of the clusters of `patterns`.

    Attributes
    ----------
    patterns : Patterns
    data : (c, n, m) array
        D of each cluster.
    products : (b, n, n, m, m) array or None
        G.
    """

    patterns: Patterns
    data: Array
    products: Array | None

    def quadratic(self, a: Array) -> Array:
        """sum D'AD for blocks A of the patterns, (b, n, n): (m, m)."""
        if self.products is not None:
            return np.tensordot(a, self.products, 3)
        d = self.data
        ad = np.matmul(a[self.patterns.pattern], d)
        m = d.shape[-1]
        return d.reshape(-1, m).T @ ad.reshape(-1, m)

    def moment(self, k: Array) -> Array:
        """sum D K D' of each pattern, (b, n, n)."""
        if self.products is not None:
            return np.tensordot(self.products, k, 2)
        each = np.matmul(self.data @ k, self.data.swapaxes(1, 2))
        return np.add.reduceat(each, self.patterns.ends[:-1], axis=0)

    def along(self, blocks: Array, v: Array) -> Array:
        """sum D'A_j D v for each of (P, b, n, n) blocks: (P, m)."""
        if self.products is not None:
            seen = self.products @ v
            return blocks.reshape(len(blocks), -1) @ seen.reshape(-1, seen.shape[-1])
        d, at = self.data, self.patterns.pattern
        e = np.einsum("pcrs,cs->pcr", blocks[:, at], d @ v, optimize=True)
        return e.reshape(len(blocks), -1) @ d.reshape(-1, d.shape[-1])

    def half(self, v: Array) -> Array:
        """K with ``K K' = sum D v v'D'`` of each pattern, (b, n, r)."""
        if self.products is None and len(self.data) == len(self.patterns.counts):
            return (self.data @ v)[..., None]
        values, vectors = np.linalg.eigh(self.moment(np.outer(v, v)))
        return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


def sums_of(patterns: Patterns, d: Array) -> Sums:
    """Of the rows d (N, m) of the whole model."""
    data, m = d[patterns.rows], d.shape[1]
    b, n = patterns.positions.shape[:2]
    if len(data) < 2 * b or b * (n * m) ** 2 > LARGEST:
        return Sums(patterns, data, None)
    products = np.empty((b, n, n, m, m))
    for j, (start, stop) in enumerate(zip(patterns.ends[:-1], patterns.ends[1:], strict=True)):
        flat = data[start:stop].reshape(stop - start, n * m)
        products[j] = (flat.T @ flat).reshape(n, m, n, m).transpose(0, 2, 1, 3)
    return Sums(patterns, data, products)
