"""A density that is traced, of few coordinates: no random effect is among them, so that importance sampling suits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from lmmformula.backends.posterior.density.base import Joint, Traced
from lmmformula.backends.posterior.density.scale import Scale, find_mode
from lmmformula.numerics.hoisting import hoisted
from lmmformula.numerics.programs import compiled_hoisted
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Array

__all__ = ["Outer"]

_BLOCK = 64
"""Draws evaluated by one call of the compiled program."""


@dataclass(frozen=True, eq=False)
class Outer:
    """The same density as values of many draws at once.

    Attributes
    ----------
    joint : Joint
        Without inner coordinates.
    folded : tuple of (int, tuple of int)
        Places of folded standard deviations, each with the partial correlations that change sign with it.
    """

    joint: Joint
    folded: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return self.joint.d

    @property
    def begin(self) -> Array:
        """Where the search for the mode starts, (d,)."""
        return self.joint.begin

    @property
    def is_small(self) -> bool:
        """True: draws are evaluated in batches."""
        return True

    @property
    def is_dense(self) -> bool:
        """False."""
        return False

    @property
    def is_dear(self) -> bool:
        """False."""
        return False

    def traced(self) -> Traced:
        """The density as a program."""
        return self.joint.traced()

    def looped(self) -> None:
        """None: it is traced."""

    @cached_property
    def _program(self) -> Callable[[Array], Array]:
        """Compiled once for all densities that differ in numbers alone."""
        with x64():
            x = jax.ShapeDtypeStruct((_BLOCK, self.d), np.float64)
            program, numbers = compiled_hoisted(hoisted(jax.vmap(self.joint.traced()), x), x)
        return lambda part: program(numbers, part)

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        filled = np.resize(x, (-(-len(x) // _BLOCK) * _BLOCK, self.d)).reshape(-1, _BLOCK, self.d)
        with x64():
            values = np.concatenate([np.asarray(self._program(part)) for part in filled])[: len(x)]
        return np.where(np.isfinite(values), values, -np.inf)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x; (-inf, 0) where they cannot be computed."""
        return self.joint.value_and_gradient(x)

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """The same for each row of x (S, d)."""
        found = [self.value_and_gradient(one) for one in x]
        return np.array([v for v, _ in found]), np.array([g for _, g in found]).reshape(x.shape)

    def scale(self) -> Scale:
        """The mode and the curvature there."""
        return find_mode(self)
