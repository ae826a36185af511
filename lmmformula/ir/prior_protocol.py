"""What every distribution that priors are made of answers, and its log density as a sum of functions with coefficients."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np

from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["AtZero", "DensityTerms", "Distribution", "written"]

AtZero = Literal["finite", "vanishing", "infinite", "outside"]
"""Density of a positive parameter as it goes to 0; ``outside`` if 0 is not in the closed support."""


class DensityTerms(NamedTuple):
    """Coefficients of ``c + a log x + b x + e / x + v (log x)^2 + w (x - m)^2 + h log(1 + r (x - m)^2)``, in this order.

    All families of priors of positive numbers are such sums: exponential families in log x, x, 1/x and squares (normal, gamma,
    inverse gamma, lognormal), and Student's t by its last term.
    """

    constant: float = 0.0
    log: float = 0.0
    linear: float = 0.0
    inverse: float = 0.0
    log_square: float = 0.0
    square: float = 0.0
    centre: float = 0.0
    tail: float = 0.0
    spread: float = 0.0


class Distribution(Protocol):
    """A prior of one number."""

    def logpdf(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """Log density, elementwise."""
        ...

    def slope(self, x: Numbers) -> Numbers:
        """Derivative of the log density."""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Independent draws, (size,)."""
        ...

    def scaled(self, c: float) -> Distribution:
        """The distribution of c X, c > 0."""
        ...

    @property
    def at_zero(self) -> AtZero: ...

    @property
    def terms(self) -> DensityTerms | None:
        """The log density as a sum of functions; None if it is no such sum."""
        ...


def written(name: str, *arguments: float) -> str:
    """``name(a, b)`` with numbers as short as they are exact to 12 digits."""
    return f"{name}({', '.join(f'{a:.12g}' for a in arguments)})"
