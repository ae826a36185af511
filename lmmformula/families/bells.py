r"""Where to evaluate sums over k of terms that form a bell, as few of them as full precision needs.

Terms e^q with ``q(m) - q(k) >= s [k log(k/m) - k + m]`` near enough, the form of power series of gamma functions: a
Conway-Maxwell-Poisson distribution (s = nu) and the series of a Tweedie density (s = 1 + b). Those within e^-`DEEP`
of the top are taken: by ``(1 + x) log(1 + x) - x >= x^2 / (2 + 2 x / 3)`` these are k <= m (1 + x), ``x = d/3 +
sqrt(d^2/9 + 2 d)``, d = `DEEP` / (s m), and k >= m (1 - x). They are taken one by one, or, where the bell is far from
its end at 0 and wide, in steps of less than half its standard deviation sqrt(m / s): the trapezoidal rule on the line
leaves exp(-2 pi^2 (sd/h)^2) (Trefethen & Weideman 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.families.records import Array
from lmmformula.typing import Namespace, Numbers

__all__ = ["places", "reach", "spans"]

DEEP = 40.0
FINE = 2.5
"""Steps in a standard deviation."""
MOST_TERMS = 40_000


def reach(m: Numbers, s: Numbers, first: float, xp: Namespace = np) -> tuple[Numbers, Numbers, Numbers]:
    """First place, step and end of each bell."""
    d = DEEP / xp.maximum(s * m, 1e-300)
    x = d / 3.0 + xp.sqrt(d * d / 9.0 + 2.0 * d)
    end = xp.ceil(m * (1.0 + x)) + xp.ceil(DEEP / xp.maximum(s, 1.0)) + 2.0
    low = xp.maximum(xp.floor(m - m * x) - 2.0, first)
    far = (x < 0.9) & (low > first + 1.0)
    step = xp.where(far, xp.maximum(xp.floor(xp.sqrt(m / s) / FINE), 1.0), 1.0)
    return xp.where(far, low, first), step, end


def places(m: Numbers, s: Numbers, first: float) -> tuple[Numbers, Numbers]:
    """Where terms are taken, (n, terms), and the step of each row."""
    low, step, end = reach(m, s, first)
    count = min(int(np.max((end - low) / step)) + 1, MOST_TERMS)
    return low[..., None] + step[..., None] * np.arange(count, dtype=float), step


def spans(m: Array, s: Array, first: float) -> tuple[Array, Array, NDArray[np.int64]]:
    """First place, step and number of terms of each row, (n,): what compiled sums go through."""
    low, step, end = reach(m, s, first)
    count = np.clip(np.nan_to_num((end - low) / step), 0.0, MOST_TERMS - 1.0) + 1.0
    return low, step, count.astype(np.int64)
