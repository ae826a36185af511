r"""The parameters of a structure of residuals as a reader knows them, with standard errors and intervals.

Their errors are those of (psi, log sigma) by the delta method, derivatives by central differences. An interval of one number
that one element of psi moves alone is formed there and carried back; one of a standard deviation is formed on the log scale,
one of a correlation on Fisher's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.spread import Spread
from lmmformula.inference.structure.record import StructureParameter
from lmmformula.inference.wald import information
from lmmformula.ir.residual import ResidualBlock
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["structure_parameters", "structure_values"]

STEP = 1e-5


def structure_values(residual: ResidualBlock, psi: Array, log_sigma: float) -> Array:
    """Values: of an unstructured covariance deviations and correlations, of others their natural parameters; then of sigma."""
    known = residual.natural(psi, log_sigma)
    if not _visits(residual):
        return known
    more, first = len(_visits(residual)) - 1, float(np.exp(log_sigma))
    return np.concatenate([[first], first * known[:more], known[more:]])


def _visits(residual: ResidualBlock) -> tuple[str, ...]:
    return getattr(residual.kind, "visits", ())


@lru_cache(maxsize=4)
def structure_parameters(fit: Fitted) -> tuple[StructureParameter, ...]:
    """Of a fit with structured residuals; kept for the few fits last asked about."""
    residual = fit.problem.residual
    if residual is None:
        return ()
    psi, at = fit.estimate.residual, float(np.log(fit.estimate.sigma))

    def shown(x: Array) -> Array:
        return structure_values(residual, x[:-1], float(x[-1]))

    x = np.append(psi, at)
    values, slope = shown(x), np.zeros((len(shown(x)), len(x)))
    for j in range(len(x)):
        move = np.zeros(len(x))
        move[j] = STEP
        slope[:, j] = (shown(x + move) - shown(x - move)) / (2.0 * STEP)
    n = fit.problem.n_theta
    cov = information(fit).covariance[n:, n:]
    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slope, cov, slope), 0.0))
    roots = np.sqrt(np.maximum(np.diagonal(cov), 0.0))
    return tuple(_parameters(residual, x, values, errors, roots, shown))


def _parameters(
    residual: ResidualBlock,
    x: Array,
    values: Array,
    errors: Array,
    roots: Array,
    shown: Callable[[Array], Array],
) -> list[StructureParameter]:
    out, visits = [], _visits(residual)
    label = "Residual" if isinstance(residual.kind, OfResponses) else residual.label
    i = 0
    for v in visits:
        spread = Spread(float(values[i]), float(errors[i]), float(errors[i] / values[i]))
        out.append(StructureParameter(label, v, None, float(values[i]) ** 2, spread))
        i += 1
    for a, b in getattr(residual.kind, "pairs", ()):
        r, error = float(values[i]), float(errors[i])
        spread = Spread(r, error, error * (1.0 / (r + 1.0) + 1.0 / (1.0 - r)), -1.0)
        cov = r * float(values[a] * values[b])
        out.append(StructureParameter(label, visits[a], visits[b], cov, spread))
        i += 1
    if not visits:
        for j, name in enumerate(residual.kind.names):
            spread = _carried(float(values[i]), float(errors[i]), x, j, float(roots[j]), shown)
            out.append(StructureParameter(residual.label, name, None, np.nan, spread))
            i += 1
    if residual.variance is not None:
        for name in residual.variance.block.names:
            value, error = float(values[i]), float(errors[i])
            out.append(StructureParameter("sigma", name, None, np.nan, Spread(value, error, error, at=value)))
            i += 1
    return out


def _carried(
    value: float, error: float, x: Array, j: int, inner: float, shown: Callable[[Array], Array]
) -> Spread:
    """A parameter that psi_j moves alone."""

    def at(phi: float) -> float:
        moved = x.copy()
        moved[j] = phi
        return float(shown(moved)[j])

    return Spread(value, error, inner, at=float(x[j]), shown=at)
