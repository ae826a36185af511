"""Random numbers within compiled loops: xoshiro256++ (Blackman & Vigna 2021), whose state is four 64-bit words."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["fill_normal", "uniform"]

_UNIT = 2.0**-53


@compiled(bare=True)
def uniform(words):
    """A number from [0, 1), of the upper 53 bits; `words` (4,) move on."""
    s0, s1, s2, s3 = words[0], words[1], words[2], words[3]
    total = s0 + s3
    out = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
    moved = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= moved
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    words[0], words[1], words[2], words[3] = s0, s1, s2, s3
    return float(out >> np.uint64(11)) * _UNIT


@compiled(bare=True)
def fill_normal(words, out):
    """Standard normal numbers into `out`, by pairs (Marsaglia & Bray 1964)."""
    for i in range(0, out.shape[0], 2):
        size = 2.0
        u = v = 0.0
        while size >= 1.0 or size == 0.0:
            u, v = 2.0 * uniform(words) - 1.0, 2.0 * uniform(words) - 1.0
            size = u * u + v * v
        scale = np.sqrt(-2.0 * np.log(size) / size)
        out[i] = scale * u
        if i + 1 < out.shape[0]:
            out[i + 1] = scale * v
