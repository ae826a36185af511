"""What a profile starts from and moves over, whatever the kind of model: an optimum, and surfaces with one parameter held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.inference.parameters import Parameter, shown_structure
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

__all__ = ["Best", "Surface", "differenced"]

STEP = 1e-4
"""Of differences of gradients, in coordinates without units."""


class Surface(Protocol):
    """The deviance over unconstrained coordinates, for one target that is held.

    Attributes
    ----------
    size : int
        Number of coordinates.
    pinned : int or None
        Coordinate that the target holds; None where it is held within an evaluation.
    limits : tuple of float
        Range of the target.
    reach : (size,) array
        1 where a coordinate has an end at infinity at which the deviance is level, else inf.
    """

    size: int

    @property
    def pinned(self) -> int | None: ...

    @property
    def limits(self) -> tuple[float, float]: ...

    @property
    def reach(self) -> Array: ...

    def coordinate(self, value: float, sigma: float) -> float:
        """The coordinate of the target's value."""
        ...

    def step(self, estimate: float, theta: Array, sigma: float) -> float:
        """A first guess of the change of the target for one unit of zeta."""
        ...

    def psi_of(self, theta: Array, sigma: float, floor: float = ...) -> Array:
        """The coordinates of an estimate, its variances kept off the boundary by `floor` units."""
        ...

    def hessian(self, psi: Array, held: float | None) -> Array:
        """Hessian of the deviance, or what stands for it."""
        ...

    def evaluate(self, psi: Array, held: float | None) -> tuple[float, Array]:
        """Deviance and its gradient."""
        ...


@dataclass(frozen=True, eq=False)
class Best(ABC):
    """The ML optimum in the user's units.

    Attributes
    ----------
    standard : Standard
        The way from the criterion's units to the user's.
    estimate : Estimate
        In the user's units.
    values : dict
        Every parameter by name, an auxiliary one as its coefficient, one of a structure as the coordinate that is profiled.
    """

    standard: Standard
    estimate: Estimate
    values: dict[str, float]

    @property
    def deviance(self) -> float:
        return self.estimate.deviance

    @property
    def theta(self) -> Array:
        return self.estimate.theta

    @property
    def sigma(self) -> float:
        return self.estimate.sigma

    @property
    @abstractmethod
    def dense_side(self) -> int:
        """Side of the largest matrix that is factorised."""

    @abstractmethod
    def surface(self, target: Parameter | None) -> Surface:
        """The deviance with `target` held."""

    def shown(self, target: Parameter) -> Callable[[float], float] | None:
        """From the coordinate that is profiled to what a reader knows; None where they are the same."""
        return shown_structure(self.standard.problem, target)


def differenced(slope: Callable[[Array], Array], psi: Array) -> Array:
    """Hessian (d, d) at psi (d,) by forward differences of a gradient."""
    first = slope(psi)
    out = np.stack([(slope(psi + move) - first) / STEP for move in STEP * np.eye(len(psi))])
    return 0.5 * (out + out.T)
