r"""Coordinates of a search in which valleys along structured variances are straight.

A field with range r and standard deviation s is known by s^2 / r alone where r is beyond the distances observed (Zhang
2004), and one that says nothing of neighbours may take the residual's place, all theta going to infinity together. In theta
these are curved valleys without end, along which Newton's steps are short; in

    x = arsinh(theta / c)

they are straight: x is log(2 theta / c) of what is large, and theta / c of what is small, on either side of zero, which stays
the ordinary minimum that it is. Gradient and Hessian follow by the chain rule::

    d_x = c cosh(x) d_theta,          d_xx = c^2 cosh(x_i) cosh(x_j) d_theta,theta + [i = j] c sinh(x_i) d_theta

Parameters of structures and correlations have no unit and no such end in theta; they stay as they are.

References
----------
Zhang (2004), Inconsistent estimation and asymptotically equal interpolations in model-based geostatistics, JASA 99, 250-261.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.variance import ROUNDING
from lmmformula.errors import FitError
from lmmformula.ir.problem import Problem
from lmmformula.numerics.trust_region import Minimum, Nowhere, Point
from lmmformula.typing import Array

__all__ = ["Stretch"]

UNIT = 0.1
"""c, relative to the residual standard deviation or in the units of a link."""
END = float(np.arcsinh(1e5 / UNIT))
"""x beyond which a residual standard deviation, 1e-5 of another one, cannot be told from none."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The map between theta, perhaps amid other parameters, and x.

    Attributes
    ----------
    scales : (d,) bool array
        Elements that are standard deviations or elements of L.
    n : int
        Observations.
    """

    scales: NDArray[np.bool_]
    n: int

    @classmethod
    def of(cls, problem: Problem, before: int = 0, after: int = 0) -> Stretch | None:
        """That of a problem's theta, with other parameters before and after it; None where theta does as it is."""
        own = [role.scales for term in problem.terms for role in term.covariance.roles]
        if all(own):
            return None
        return cls(np.array([*([False] * before), *own, *([False] * after)]), problem.n)

    def inward(self, theta: Array) -> Array:
        """x."""
        return np.where(self.scales, np.arcsinh(theta / UNIT), theta)

    def outward(self, x: Array) -> Array:
        """theta."""
        return np.where(self.scales, UNIT * np.sinh(np.clip(x, -END, END)), x)

    def slope(self, x: Array) -> Array:
        """dtheta / dx."""
        return np.where(self.scales, UNIT * np.cosh(np.clip(x, -END, END)), 1.0)

    def gradient(self, x: Array, gradient: Array) -> Array:
        """In x, of one in theta."""
        return self.slope(x) * gradient

    def hessian(self, x: Array, gradient: Array, hessian: Array) -> Array:
        """In x, of one in theta."""
        slope = self.slope(x)
        return hessian * np.outer(slope, slope) + np.diag(self.bend(x, gradient))

    def bend(self, x: Array, gradient: Array) -> Array:
        """What the slope adds to the diagonal of a Hessian."""
        return np.where(self.scales, self.outward(x) * gradient, 0.0)

    def over(
        self, evaluate: Callable[[Array], Point], rounding: Callable[[Point], float]
    ) -> Callable[[Array], Point]:
        """A function of theta as one of x; `rounding` says what a point has lost already."""

        def stretched(x: Array) -> Point:
            try:
                point = evaluate(self.outward(x))
                _ = point.value
            except (FitError, np.linalg.LinAlgError):
                return Nowhere()
            return Stretched(self, x, point, rounding(point))

        return stretched

    def restored(self, found: Minimum) -> Minimum:
        """A minimum in x as one in theta."""
        point = found.point
        assert isinstance(point, Stretched)
        slope, bend = self.slope(found.x), self.bend(found.x, point.inner.gradient)
        curvature = (found.curvature - np.diag(bend)) / np.outer(slope, slope)
        return replace(found, x=self.outward(found.x), point=point.inner, curvature=curvature)


@dataclass(frozen=True, eq=False)
class Stretched:
    """A point of a criterion in x."""

    stretch: Stretch
    x: Array
    inner: Point
    lost: float

    @property
    def value(self) -> float:
        return self.inner.value

    @property
    def error(self) -> float:
        """Also of rounding: what is left of a response beside large effects is a difference."""
        theta = self.stretch.outward(self.x)[self.stretch.scales]
        return self.inner.error + self.lost + ROUNDING * self.stretch.n * (1.0 + float(theta @ theta))

    @property
    def gradient(self) -> Array:
        return self.stretch.gradient(self.x, self.inner.gradient)

    @property
    def hessian(self) -> Array:
        return self.stretch.hessian(self.x, self.inner.gradient, self.inner.hessian)
