"""Steps of the variances in one search: Schall's update in logarithms of standard deviations, mixed, with care near zero.

The update multiplies, so it moves the logarithm of a standard deviation that goes to zero by a constant, for ever, and can
hardly bring it back. Three rules follow. While the working model is rough no variance may fall far. One that falls towards
zero is left out of the mixing, which would extrapolate the others along with it, and falls by longer steps instead. One that
is near zero and rises is lifted.
"""

from __future__ import annotations

import numpy as np

from lmmformula.backends.optimum import boundary_elements
from lmmformula.criteria.working import WorkingModel
from lmmformula.numerics.anderson import Anderson
from lmmformula.typing import Array

__all__ = ["ZERO", "SchallSteps"]

FLOOR = 1e-5
"""Smallest standard deviation, relative, that a search tries."""
ZERO = 10.0 * FLOOR
"""One below this is zero at the end."""
DEPTH = 4
"""Updates that are mixed."""
LONGEST, MANY = 2.0, 1000.0
"""Longest step in a log standard deviation that mixing may add, and in multiples of the update's own."""
FALL = 1.0
"""Farthest that a log standard deviation may fall in one rough working model."""
SMALL = 0.03
"""A relative standard deviation below this is near zero."""
FALLING = 4.0
"""Updates that a standard deviation near zero takes at once if it falls."""
RISE, LIFTED, LIFTS = 0.01, 0.1, 3
"""One that rises by more than `RISE` there starts again from `LIFTED`, at most `LIFTS` times in a search."""


class SchallSteps:
    """The steps of one search in x: log standard deviations, other elements of theta, and log phi / 2 if it is free.

    Attributes
    ----------
    lifts : (x,) array
        How often each has been lifted; all that a search remembers from one working model to the next.
    """

    def __init__(self, model: WorkingModel) -> None:
        bounded = boundary_elements(model.problem, np.ones(model.problem.n_theta))
        self._free = model.free
        self._bounded = np.append(bounded, False) if model.free else bounded
        self.lifts = np.zeros(len(self._bounded), dtype=int)
        self._lowest = np.full(len(self._bounded), -np.inf)
        self._aside = np.zeros(len(self._bounded), dtype=bool)
        self._mixer, self._last = Anderson(DEPTH), np.inf

    def of(self, theta: Array, phi: float) -> Array:
        """x at (theta, phi)."""
        x = np.append(theta, np.sqrt(phi)) if self._free else np.array(theta)
        logs = np.append(self._bounded[:-1], True) if self._free else self._bounded
        floor = np.append(np.full(len(theta), FLOOR), 0.0) if self._free else FLOOR
        x[logs] = np.log(np.maximum(np.abs(x), floor)[logs])
        return x

    def back(self, x: Array) -> tuple[Array, float]:
        """theta and phi at x."""
        inside = x[:-1] if self._free else x
        bounded = self._bounded[: len(inside)]
        with np.errstate(over="ignore"):
            theta = np.where(bounded, np.maximum(np.exp(inside), FLOOR), inside)
        return theta, float(np.exp(2.0 * x[-1])) if self._free else 1.0

    def begin(self, x: Array, *, rough: bool) -> None:
        """A new working model, met at `x`."""
        self._mixer, self._last = Anderson(DEPTH), np.inf
        self._lowest = np.where(self._bounded, x - FALL, -np.inf) if rough else np.full(len(x), -np.inf)

    def target(self, here: Array, theta: Array, phi: float) -> Array:
        """x at (theta, phi), the update of `here`; a rough model sets bounds, and what has gone to zero stands still."""
        there = np.maximum(self.of(theta, phi), self._lowest)
        gone = self._bounded & (here <= np.log(ZERO)) & (there - here <= RISE)
        return np.where(gone, here, there)

    def __call__(self, here: Array, there: Array) -> Array:
        """The next x, given that the update takes `here` to `there`."""
        moved = float(np.abs(there - here).max(initial=0.0))
        near = self._bounded & (here < np.log(SMALL))
        falls = near & (there < here)
        if moved > 2.0 * self._last or (falls != self._aside).any():
            self._mixer.forget()
        self._last, self._aside = moved, falls
        reach = min(LONGEST, MANY * moved)
        mixed = self._mixer(np.where(falls, 0.0, here), np.where(falls, 0.0, there))
        x = np.clip(mixed, there - reach, there + reach)
        x[falls] = (here + FALLING * (there - here))[falls]
        lifted = near & (there - here > RISE) & (self.lifts < LIFTS)
        if lifted.any():
            self.lifts += lifted
            self._mixer.forget()
            x[lifted] = np.log(LIFTED)
        return np.maximum(x, self._lowest)
