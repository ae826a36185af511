r"""P-splines: B-splines on evenly spaced knots with a penalty on differences of neighbouring coefficients (Eilers & Marx 1996).

``S = D'D`` with D the differences of order m_2, so that polynomials of degree below m_2 are not seen. Degree of the
B-splines: m_1 + 1. The knots reach 0.1% beyond the range of the data on each side, as in Wood (2017, sec. 5.3.3); beyond
that f goes on as a line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.smooths.base import BasisRecord, register_basis
from lmmformula.typing import Array

__all__ = ["PSpline", "p_spline"]

_DEFAULT = 10
_BEYOND = 0.001
"""Part of the range that the knots reach beyond it."""


@dataclass(frozen=True)
class PSpline:
    """B-splines of a degree on a knot vector, penalised by differences of an order."""

    knots: Array
    degree: int
    differences: int

    @property
    def null_dim(self) -> int:
        return self.differences

    @property
    def penalty(self) -> Array:
        d = np.diff(np.eye(len(self.knots) - self.degree - 1), n=self.differences, axis=0)
        return d.T @ d

    def design(self, x: Array) -> Array:
        from scipy.interpolate import BSpline

        curve = BSpline(self.knots, np.eye(len(self.knots) - self.degree - 1), self.degree)
        low, high = self.knots[self.degree], self.knots[-self.degree - 1]
        z = x[:, 0]
        out = curve(np.clip(z, low, high))
        for beyond, end in ((z < low, low), (z > high, high)):
            if beyond.any():
                out[beyond] += (z[beyond] - end)[:, None] * curve(np.array([end]), nu=1)
        return out


def p_spline(x: Array, k: int | None = None, m: tuple[int, ...] = ()) -> PSpline:
    """The basis for points (n, 1)."""
    order, differences = (m[0], m[-1]) if m else (2, 2)
    size = max(10, order + 1) if k is None else k
    spans = size - order - 1
    if spans < 1 or differences >= size:
        raise DataError(
            f'a smooth with bs = "ps" of orders m = c({order}, {differences}) needs k of at least '
            f"{max(order + 2, differences + 1)}; k is {size}"
        )
    low, high = float(x.min()), float(x.max())
    if not low < high:
        raise DataError('a smooth with bs = "ps" needs an interval, but all values are equal')
    low, high = low - _BEYOND * (high - low), high + _BEYOND * (high - low)
    step = (high - low) / spans
    count = spans + 1 + 2 * (order + 1)
    knots = np.linspace(low - step * (order + 1), high + step * (order + 1), count)
    return PSpline(knots, order + 1, differences)


register_basis(BasisRecord("ps", "P-spline", p_spline))
