"""R's ``round``: the nearest number of that many digits, ties to even (R 4.0.0 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["round_digits"]

_DIGITS = 15
"""Decimal digits that every double holds; more leave it as it is."""

_LARGEST = 308
"""Power of ten that is still a double."""


def round_digits(x: ArrayLike, digits: int) -> NDArray[np.float64]:
    """`x` to `digits` decimals: of the two neighbours ``floor(x 10^d) / 10^d`` and ``ceil(x 10^d) / 10^d`` the nearer one.

    Where both are as near in double precision, the one whose last digit is even. So 0.15 gives 0.1: the double below it is
    nearer to 0.1 than to 0.2. (R Core Team 2020, "Rounding to Decimal Digits in Binary"; ``nmath/fround.c``.)
    """
    values = np.asarray(x, dtype=float)
    if digits == 0:
        return np.rint(values)
    if digits > _LARGEST + _DIGITS:
        return values
    size = np.abs(values)
    with np.errstate(all="ignore"):
        binary = np.frexp(np.where(size > 0, size, 1.0))[1] - 1
        done = (digits + (binary + 0.5) * np.log10(2.0) > _DIGITS) | (size == 0) | ~np.isfinite(size)
        low, high, even = _neighbours(size, digits)
        below, above = size - low, high - size
        rounded = np.where((below < above) | ((below == above) & even), low, high)
    if digits < -_LARGEST:
        rounded = np.zeros_like(size)
    return np.where(done, values, np.copysign(rounded, values))


def _neighbours(size: Numbers, digits: int) -> tuple[Numbers, Numbers, Numbers]:
    # 10^d is exact as a double up to 10^22, so powers are split rather than inverted
    if digits > _LARGEST:
        scaled = size * 10.0**_LARGEST * 10.0 ** (digits - _LARGEST)
        floor, ceiling = np.floor(scaled), np.ceil(scaled)
        back = [v / 10.0**_LARGEST / 10.0 ** (digits - _LARGEST) for v in (floor, ceiling)]
    elif digits > 0:
        power = 10.0**digits
        floor, ceiling = np.floor(size * power), np.ceil(size * power)
        back = [floor / power, ceiling / power]
    else:
        power = 10.0 ** min(-digits, _LARGEST)
        floor, ceiling = np.floor(size / power), np.ceil(size / power)
        back = [floor * power, ceiling * power]
    return back[0], back[1], np.fmod(floor, 2.0) == 0.0
