"""Compiled loops over nonzeros. Imported only by problems large enough to repay it; compiled once and cached."""

from __future__ import annotations

from lmmformula.numerics.compiled import compiled

__all__ = ["ragged_gram", "ragged_on_pattern"]


@compiled()
def ragged_gram(ptr, cols, values, out):
    """Add T'T to the lower triangle of `out` (columns increase within a level)."""
    for s in range(len(ptr) - 1):
        for row in range(values.shape[0]):
            for i in range(ptr[s], ptr[s + 1]):
                target, v = out[cols[i]], values[row, i]
                for j in range(ptr[s], i + 1):
                    target[cols[j]] += v * values[row, j]


@compiled()
def ragged_on_pattern(start, stop, ptr, cols, values, z, out):
    """Write T Z on the pattern of T to `out` for levels `start` to `stop`; Z full and symmetric."""
    for s in range(start, stop):
        for i in range(ptr[s], ptr[s + 1]):
            source = z[cols[i]]
            for row in range(values.shape[0]):
                total = 0.0
                for j in range(ptr[s], ptr[s + 1]):
                    total += source[cols[j]] * values[row, j]
                out[row, i] = total
