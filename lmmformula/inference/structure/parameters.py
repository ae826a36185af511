r"""The parameters of a structure of residuals as a reader knows them, with standard errors and intervals.

Their errors are those of (psi, log sigma) by the delta method, derivatives by central differences. An interval of one number
that one element of psi moves alone is formed there and carried back; one of a standard deviation is formed on the log scale,
one of a correlation on Fisher's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.spread import Spread
from lmmformula.inference.structure.record import StructureParameter
from lmmformula.inference.wald import information
from lmmformula.ir.residual import (
    ResidualBlock,
    ResidualParameter,
    residual_label,
    residual_parameters,
    residual_values,
    visits_of,
)
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["structure_parameters"]

STEP = 1e-5


@lru_cache(maxsize=4)
def structure_parameters(fit: Fitted) -> tuple[StructureParameter, ...]:
    """Of a fit with structured residuals; kept for the few fits last asked about."""
    residual = fit.problem.residual
    if residual is None:
        return ()
    psi, at = fit.estimate.residual, float(np.log(fit.estimate.sigma))

    def shown(x: Array) -> Array:
        return residual_values(residual, x[:-1], float(x[-1]))

    x = np.append(psi, at)
    values, slope = shown(x), np.zeros((len(shown(x)), len(x)))
    for j in range(len(x)):
        move = np.zeros(len(x))
        move[j] = STEP
        slope[:, j] = (shown(x + move) - shown(x - move)) / (2.0 * STEP)
    n = fit.problem.n_theta
    cov = information(fit).covariance[n:, n:]
    known = _Known(residual, x, values, slope, cov, shown)
    return tuple(known.of(j, own) for j, own in enumerate(residual_parameters(residual)))


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Values at x = (psi, log sigma), their derivatives there and the covariance matrix of x."""

    residual: ResidualBlock
    x: Array
    values: Array
    slope: Array
    covariance: Array
    shown: Callable[[Array], Array]

    def of(self, j: int, own: ResidualParameter) -> StructureParameter:
        """Parameter j."""
        value, row = float(self.values[j]), self.slope[j]
        error = float(np.sqrt(max(row @ self.covariance @ row, 0.0)))
        visits, label = visits_of(self.residual), residual_label(self.residual)
        if own.kind == "sd":
            spread = Spread(value, error, error / value)
            return StructureParameter(label, visits[own.places[0]], None, value**2, spread, row)
        if own.kind == "cor":
            a, b = own.places
            spread = Spread(value, error, error * (1.0 / (value + 1.0) + 1.0 / (1.0 - value)), -1.0)
            product = value * float(self.values[a] * self.values[b])
            return StructureParameter(label, visits[a], visits[b], product, spread, row)
        (at,) = own.places
        if own.kind == "phi":
            name, inner = self.residual.kind.names[at], float(np.sqrt(max(self.covariance[at, at], 0.0)))
            spread = _carried(value, error, self.x, at, inner, self.shown)
            return StructureParameter(label, name, None, np.nan, spread, row)
        assert self.residual.variance is not None
        name = self.residual.variance.block.names[at]
        return StructureParameter("sigma", name, None, np.nan, Spread(value, error, error, at=value), row)


def _carried(
    value: float, error: float, x: Array, j: int, inner: float, shown: Callable[[Array], Array]
) -> Spread:
    """A parameter that psi_j moves alone."""

    def at(phi: float) -> float:
        moved = x.copy()
        moved[j] = phi
        return float(shown(moved)[j])

    return Spread(value, error, inner, at=float(x[j]), shown=at)
