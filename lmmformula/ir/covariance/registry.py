"""The covariance kinds by name."""

from __future__ import annotations

from typing import TypeVar

from lmmformula.extensions import enter
from lmmformula.formula.bars import CONSTRUCTORS
from lmmformula.ir.covariance.base import Kind
from lmmformula.ir.covariance.correlated import AR1, CompoundSymmetry
from lmmformula.ir.covariance.homogeneous import HeterogeneousAR1, HomogeneousCS, HomogeneousDiagonal
from lmmformula.ir.covariance.independent import IID, Diagonal
from lmmformula.ir.covariance.reduced import ReducedRank
from lmmformula.ir.covariance.toeplitz import HomogeneousToeplitz, Toeplitz
from lmmformula.ir.covariance.unstructured import Unstructured

__all__ = ["KINDS", "register_kind"]

_SHIPPED: tuple[type[Kind], ...] = (
    IID,
    Diagonal,
    Unstructured,
    CompoundSymmetry,
    AR1,
    HomogeneousDiagonal,
    HomogeneousCS,
    HeterogeneousAR1,
    Toeplitz,
    HomogeneousToeplitz,
    ReducedRank,
)
KINDS: dict[str, type[Kind]] = {c.name: c for c in _SHIPPED}
"""Name -> kind; "iid" has no syntax in formulas, it is that of terms made by functions and of problems built by hand."""

_K = TypeVar("_K", bound=type[Kind])


def register_kind(kind: _K) -> _K:
    """Make a kind known to formulas, where its name stands around a bar, and to everything that follows; a class decorator.

    Parameters
    ----------
    kind : subclass of Kind
        Made with the number of columns.
    """
    KINDS[kind.name] = kind
    CONSTRUCTORS[kind.name] = kind.name
    enter(kind)
    return kind
