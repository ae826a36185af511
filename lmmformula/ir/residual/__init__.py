"""How residuals vary and hang together: R = sigma^2 S C S, C a correlation within groups, S standard deviations of rows."""

from __future__ import annotations

from lmmformula.ir.residual.base import ResidualKind
from lmmformula.ir.residual.block import ResidualBlock, VarianceColumns, variance_columns
from lmmformula.ir.residual.known import KnownCovariance, components
from lmmformula.ir.residual.parameters import (
    ResidualParameter,
    residual_label,
    residual_parameters,
    residual_values,
    visits_of,
)
from lmmformula.ir.residual.registry import RESIDUAL_KINDS, residual_kind

__all__ = [
    "RESIDUAL_KINDS",
    "KnownCovariance",
    "ResidualBlock",
    "ResidualKind",
    "ResidualParameter",
    "VarianceColumns",
    "components",
    "residual_kind",
    "residual_label",
    "residual_parameters",
    "residual_values",
    "variance_columns",
    "visits_of",
]
