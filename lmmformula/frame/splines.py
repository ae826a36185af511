"""R's ``splines::bs`` and ``splines::ns`` bases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.values import Basis

__all__ = ["BSpline", "NaturalSpline", "inner_knots"]

Array = NDArray[np.float64]


def inner_knots(x: Array, n_knots: int, boundary: tuple[float, float]) -> tuple[float, ...]:
    """Equally spaced quantiles (R's type 7) of the `x` inside the boundary."""
    if n_knots <= 0:
        return ()
    inside = x[(x >= boundary[0]) & (x <= boundary[1])]
    return tuple(np.quantile(inside, np.linspace(0.0, 1.0, n_knots + 2)[1:-1]).tolist())


def _evaluate(knots: Array, degree: int, x: Array, derivative: int = 0) -> Array:
    """All B-splines of the knot vector at `x`; beyond the boundary the outermost polynomials go on."""
    from scipy.interpolate import BSpline as Curve

    return Curve(knots, np.eye(len(knots) - degree - 1), degree, extrapolate=True)(x, nu=derivative)


def _padded(knots: tuple[float, ...], boundary: tuple[float, float], degree: int) -> Array:
    low, high = boundary
    return np.array([low] * (degree + 1) + sorted(knots) + [high] * (degree + 1))


def _numbered(matrix: Array) -> Basis:
    return Basis(np.ascontiguousarray(matrix), tuple(str(i + 1) for i in range(matrix.shape[1])))


@dataclass(frozen=True, slots=True)
class BSpline:
    """A B-spline basis with its knots, learned from the rows of the fit."""

    knots: tuple[float, ...]
    boundary: tuple[float, float]
    degree: int
    intercept: bool

    def apply(self, x: Array) -> Basis:
        """The basis at new `x`."""
        full = _evaluate(_padded(self.knots, self.boundary, self.degree), self.degree, x)
        return _numbered(full if self.intercept else full[:, 1:])


@dataclass(frozen=True, slots=True)
class NaturalSpline:
    """A natural cubic spline basis: second derivative zero at the boundary, linear beyond it."""

    knots: tuple[float, ...]
    boundary: tuple[float, float]
    intercept: bool

    def apply(self, x: Array) -> Basis:
        """The basis at new `x`."""
        padded = _padded(self.knots, self.boundary, 3)
        ends = np.array(self.boundary)
        full = _evaluate(padded, 3, np.clip(x, *self.boundary))
        for end, outside in ((ends[0], x < ends[0]), (ends[1], x > ends[1])):
            if outside.any():
                at = np.array([end])
                value, slope = _evaluate(padded, 3, at), _evaluate(padded, 3, at, 1)
                full[outside] = value + (x[outside] - end)[:, None] * slope
        curvature = _evaluate(padded, 3, ends, 2)
        if not self.intercept:
            full, curvature = full[:, 1:], curvature[:, 1:]
        # R takes the null space of the end conditions from the same Householder vectors.
        rotation = np.linalg.qr(curvature.T, mode="complete")[0]
        return _numbered((full @ rotation)[:, 2:])
