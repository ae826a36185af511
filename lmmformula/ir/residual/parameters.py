"""The parameters of a structure of residuals by name, and their values.

Of a structure with a variance for each position a reader knows standard deviations and correlations, sigma itself being the
first of these; of others the natural parameters of :class:`lmmformula.ir.residual.base.ResidualKind`; of ``sigma ~`` its
coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.residual.block import ResidualBlock
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.typing import Array

__all__ = ["ResidualParameter", "residual_label", "residual_parameters", "residual_values", "visits_of"]


@dataclass(frozen=True, slots=True)
class ResidualParameter:
    """One of them.

    Attributes
    ----------
    name : str
        ``rho|ar``, ``sd_v1|unstr``, ``cor_v2.v1|unstr``, ``sigma: x``: a model has one structure of residuals.
    kind : {"sd", "cor", "phi", "coefficient"}
    places : tuple of int
        The visit, the two visits, the element of phi, or the column of ``sigma ~``.
    """

    name: str
    kind: str
    places: tuple[int, ...]


def visits_of(residual: ResidualBlock) -> tuple[str, ...]:
    """Positions with a variance each; empty where all have one."""
    return getattr(residual.kind, "visits", ())


def residual_label(residual: ResidualBlock) -> str:
    """What the parameters are of, as tables have it."""
    return "Residual" if isinstance(residual.kind, OfResponses) else residual.label


def residual_parameters(residual: ResidualBlock | None) -> tuple[ResidualParameter, ...]:
    """In the order of :func:`residual_values`."""
    if residual is None:
        return ()
    visits, kind = visits_of(residual), residual.kind
    label = "Residual" if isinstance(kind, OfResponses) else kind.name
    out = [ResidualParameter(f"sd_{v}|{label}", "sd", (i,)) for i, v in enumerate(visits)]
    out += [
        ResidualParameter(f"cor_{visits[b]}.{visits[a]}|{label}", "cor", (a, b))
        for a, b in getattr(kind, "pairs", ())
    ]
    if not visits:
        out += [ResidualParameter(f"{n}|{label}", "phi", (j,)) for j, n in enumerate(kind.names)]
    if residual.variance is not None:
        names = residual.variance.block.names
        out += [ResidualParameter(f"sigma: {n}", "coefficient", (j,)) for j, n in enumerate(names)]
    return tuple(out)


def residual_values(residual: ResidualBlock, psi: Array, log_sigma: float) -> Array:
    """Values: of an unstructured covariance deviations and correlations, of others their natural parameters; then of sigma."""
    known = residual.natural(psi, log_sigma)
    if not visits_of(residual):
        return known
    more, first = len(visits_of(residual)) - 1, float(np.exp(log_sigma))
    return np.concatenate([[first], first * known[:more], known[more:]])
