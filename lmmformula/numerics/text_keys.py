"""Numbers that stand for texts: two hashes of 64 bits of each, from the bytes as Arrow holds them.

The first is a key; equal keys of different texts, of which there is one pair in 4e5 draws of 1e7 texts, show by the second.
Both are Fowler-Noll-Vo hashes (FNV-1a, with two primes) whose bits are then mixed by the finaliser of splitmix64
(Steele, Lea & Flood 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.compiled import compiled

__all__ = ["text_keys"]

_Words = NDArray[np.uint64]


@compiled(fast=False)
def _mixed(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@compiled(fast=False)
def _hashed(
    ends: NDArray[np.int64], data: NDArray[np.uint8], seed: np.uint64, keys: _Words, checks: _Words
) -> None:
    start = _mixed(seed + np.uint64(0x9E3779B97F4A7C15))
    for i in range(len(keys)):
        a, b = np.uint64(0xCBF29CE484222325) ^ start, np.uint64(0x84222325CBF29CE4) ^ start
        for j in range(ends[i], ends[i + 1]):
            byte = np.uint64(data[j])
            a = (a ^ byte) * np.uint64(0x00000100000001B3)
            b = (b ^ byte) * np.uint64(0x9E3779B97F4A7C55)
        length = np.uint64(ends[i + 1] - ends[i])
        keys[i], checks[i] = _mixed(a + length), _mixed(b ^ length)


def text_keys(
    ends: NDArray[np.int64], data: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Key and check of each text; text i has the bytes ``data[ends[i]:ends[i + 1]]``. O(bytes)."""
    keys, checks = (np.empty(len(ends) - 1, dtype=np.uint64) for _ in range(2))
    _hashed(ends, data, np.uint64(seed), keys, checks)
    return keys.view(np.int64), checks.view(np.int64)
