"""Compiled loops over nonzeros. Imported only by problems large enough to repay it; compiled once and cached."""

from __future__ import annotations

import numba

__all__ = ["ragged_gram", "ragged_on_pattern"]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def ragged_gram(ptr, cols, values, out):
    """Add T'T to the lower triangle of `out` (columns increase within a level)."""
    for s in range(len(ptr) - 1):
        for row in range(values.shape[0]):
            for i in range(ptr[s], ptr[s + 1]):
                target, v = out[cols[i]], values[row, i]
                for j in range(ptr[s], i + 1):
                    target[cols[j]] += v * values[row, j]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath={"contract", "reassoc"})
def ragged_on_pattern(ptr, cols, values, z, out):
    """Write T Z on the pattern of T to `out`; Z full and symmetric."""
    for s in numba.prange(len(ptr) - 1):
        for i in range(ptr[s], ptr[s + 1]):
            source = z[cols[i]]
            for row in range(values.shape[0]):
                total = 0.0
                for j in range(ptr[s], ptr[s + 1]):
                    total += source[cols[j]] * values[row, j]
                out[row, i] = total
