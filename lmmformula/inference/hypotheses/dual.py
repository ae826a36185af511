r"""Numbers with their derivatives: forward-mode differentiation of functions of a few parameters.

A dual number is ``g(b)`` with its gradient ``dg/db`` at one b; sums, products, powers and functions carry both by the chain
rule, so that derivatives are exact. It also carries of which degree in b it is as a formula: 0 (no parameter in it), 1
(affine), 2 (anything else).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from lmmformula.typing import Array

__all__ = ["FUNCTIONS", "Dual", "Function", "Quantity", "constant_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """A function of parameters at one point.

    Attributes
    ----------
    value : float
    slope : (p,) array
    degree : {0, 1, 2}
    """

    value: float
    slope: Array
    degree: int

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, self.slope + other.slope, max(self.degree, other.degree))

    def __sub__(self, other: Dual) -> Dual:
        return self + (-other)

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope, self.degree)

    def __mul__(self, other: Dual) -> Dual:
        slope = self.slope * other.value + self.value * other.slope
        return Dual(self.value * other.value, slope, min(2, self.degree + other.degree))

    def __truediv__(self, other: Dual) -> Dual:
        value = _quotient(self.value, other.value)
        slope = (self.slope - value * other.slope) / (other.value or np.nan)
        return Dual(value, slope, self.degree if other.degree == 0 else 2)

    def __pow__(self, other: Dual) -> Dual:
        value = float(np.power(self.value, other.value))
        slope = other.value * float(np.power(self.value, other.value - 1.0)) * self.slope
        if other.degree:
            slope = slope + value * np.log(self.value) * other.slope
        return Dual(value, slope, 2 if self.degree or other.degree else 0)


def constant_of(size: int) -> Callable[[float], Dual]:
    """Numbers as functions of `size` parameters."""
    return lambda value: Dual(value, np.zeros(size), 0)


def _quotient(a: float, b: float) -> float:
    return float(np.divide(a, b))


Quantity = TypeVar("Quantity", Dual, Array)
"""What a hypothesis is evaluated in: a number with derivatives, or draws."""

_Real: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of one number with its derivative."""

    of: _Real
    slope: _Real

    def __call__(self, x: Quantity) -> Quantity:
        if isinstance(x, Dual):
            at = np.asarray(x.value)
            return Dual(float(self.of(at)), float(self.slope(at)) * x.slope, 2 if x.degree else 0)
        return self.of(x)


def _expit(x: Array) -> Array:
    from scipy.special import expit

    return expit(x)


def _ndtr(x: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(x)


_logit = Function(lambda x: np.log(x) - np.log1p(-x), lambda x: 1.0 / (x * (1.0 - x)))
_inverse_logit = Function(_expit, lambda x: _expit(x) * _expit(-x))

FUNCTIONS: Mapping[str, Function] = {
    "exp": Function(np.exp, np.exp),
    "expm1": Function(np.expm1, np.exp),
    "log": Function(np.log, lambda x: 1.0 / x),
    "log1p": Function(np.log1p, lambda x: 1.0 / (1.0 + x)),
    "log2": Function(np.log2, lambda x: 1.0 / (x * np.log(2.0))),
    "log10": Function(np.log10, lambda x: 1.0 / (x * np.log(10.0))),
    "sqrt": Function(np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "abs": Function(np.abs, np.sign),
    "sin": Function(np.sin, np.cos),
    "cos": Function(np.cos, lambda x: -np.sin(x)),
    "tan": Function(np.tan, lambda x: 1.0 / np.cos(x) ** 2),
    "tanh": Function(np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
    "plogis": _inverse_logit,
    "inv_logit": _inverse_logit,
    "qlogis": _logit,
    "logit": _logit,
    "pnorm": Function(_ndtr, lambda x: np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)),
}
"""Functions that hypotheses may use, by R's names and brms'."""
