"""Blocks whose rows begin where cache lines do.

A row of 8 numbers is a line of 64 bytes. numpy's arrays begin 16 bytes into one, so that every row that is gathered from
anywhere would take two.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from lmmformula.typing import Array

__all__ = ["LINE", "aligned", "is_aligned"]

LINE = 64
"""Bytes of a cache line."""


def aligned(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Array:
    """An array in C order that begins with a cache line; not filled."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, dtype=np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size].view(dtype).reshape(shape)


def is_aligned(x: Array) -> bool:
    """Whether it begins with a cache line."""
    return x.ctypes.data % LINE == 0
