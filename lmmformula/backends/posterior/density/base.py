"""What every density answers to samplers: log densities of x, (d,), on unconstrained scales, up to a constant.

A density comes in one of two forms. Where nearly everything is integrated out few coordinates are left, and each value may be
dear: such a :class:`Concentrated` density is evaluated by NumPy, and compiled only where that is cheap. Where random effects
are sampled there are many, and each value is a pass over rows: a :class:`Joint` density is traced by JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmmformula.errors import FitError
from lmmformula.numerics.threads import in_order
from lmmformula.typing import Array, Numbers

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.looped import Looped
    from lmmformula.backends.posterior.density.scale import JointScale, Scale

__all__ = ["Concentrated", "Density", "DensityPoint", "Evaluated", "Joint", "Pointwise", "Sloped", "Traced"]

Traced = Callable[[Numbers], Numbers]
"""x (d,) -> log density, traceable by JAX within 64-bit numbers."""


class Density(Protocol):
    """What both forms answer."""

    @property
    def d(self) -> int:
        """Number of coordinates."""
        ...

    @property
    def begin(self) -> Array:
        """Where the search for the mode starts, (d,)."""
        ...

    def traced(self) -> Traced | None:
        """The density as a program; None if it has to be called back."""
        ...

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x; (-inf, 0) where they cannot be computed."""
        ...

    def scale(self) -> Scale | JointScale:
        """The mode, and the map to coordinates in which the density is about standard normal there."""
        ...


class Evaluated(Protocol):
    """What importance sampling asks of a density of few coordinates."""

    @property
    def d(self) -> int: ...

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        ...

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        ...


class Sloped(Evaluated, Protocol):
    """The same with gradients."""

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Log density (S,) and gradient (S, d) of each row of x; -inf and 0 where they cannot be computed."""
        ...


class Concentrated(Density, Sloped, Protocol):
    """A density of few coordinates."""

    @property
    def is_small(self) -> bool:
        """Whether draws can be evaluated in batches."""
        ...

    @property
    def is_dense(self) -> bool:
        """Whether a value takes a dense factorisation."""
        ...

    @property
    def is_dear(self) -> bool:
        """Whether a value takes longer than a polynomial's of some hundred coefficients."""
        ...

    def scale(self) -> Scale: ...

    def looped(self) -> Looped | None:
        """The density as numbers for compiled loops; None if it cannot be stated so."""
        ...


class Joint(Density, Protocol):
    """A density of outer coordinates (coefficients, variances) and of inner ones, which random effects are written in."""

    @property
    def n_outer(self) -> int: ...

    def traced(self) -> Traced: ...

    def gradient(self) -> Callable[[Array], Array]:
        """x -> gradient of the log density, compiled."""
        ...

    def scale(self) -> JointScale: ...

    def spherical(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """x with spherical random effects as inner coordinates, and the log determinant of that change; traceable."""
        ...


class DensityPoint(Protocol):
    """A density at one x; what is not asked for is not computed."""

    @property
    def value(self) -> float: ...

    @property
    def gradient(self) -> Array: ...


class Pointwise:
    """Values and gradients of a density of points: many in threads, and none where arithmetic fails."""

    begin: Array

    @property
    def d(self) -> int:
        return len(self.begin)

    def __call__(self, x: Array) -> DensityPoint:
        """The density at one x, (d,)."""
        raise NotImplementedError

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        return np.array(list(in_order(lambda one: self._guarded(one, slope=False)[0], x)))

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x; (-inf, 0) where they cannot be computed."""
        return self._guarded(x, slope=True)

    def looped(self) -> Looped | None:
        """None."""
        return None

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """The same for each row of x (S, d), in threads."""
        found = list(in_order(self.value_and_gradient, x))
        return np.array([v for v, _ in found]), np.array([g for _, g in found]).reshape(x.shape)

    def _guarded(self, x: Array, *, slope: bool) -> tuple[float, Array]:
        nowhere = -np.inf, np.zeros(self.d)
        try:
            with np.errstate(all="ignore"):
                value, gradient = self._evaluated(x) if slope else (self(x).value, nowhere[1])
        except (FitError, FloatingPointError, ValueError, np.linalg.LinAlgError):
            return nowhere
        return (value, gradient) if np.isfinite(value) and np.isfinite(gradient).all() else nowhere

    def _evaluated(self, x: Array) -> tuple[float, Array]:
        point = self(x)
        return point.value, point.gradient
