"""Structures of residuals by the function of the formula language that names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.residual.base import ResidualKind
from lmmformula.ir.residual.exchangeable import Exchangeable, Independent
from lmmformula.ir.residual.known import KnownCovariance
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.ir.residual.serial import AR1, ARMA11, CAR1, MA1
from lmmformula.ir.residual.spatial import SpatialExponential
from lmmformula.ir.residual.unstructured import Unstructured
from lmmformula.typing import Array

__all__ = ["RESIDUAL_KINDS", "residual_kind"]


def residual_kind(
    name: str,
    codes: NDArray[np.int32],
    positions: Array,
    labels: Sequence[str] = (),
    nugget: bool = False,
    matrix: Array | None = None,
) -> ResidualKind:
    """A structure for these rows.

    Parameters
    ----------
    name : str
        One of :data:`RESIDUAL_KINDS`.
    codes : (n,) int32 array
        Group of each row.
    positions : (n, d) array
        Time, visit (its number) or coordinates of each row.
    labels : sequence of str
        Names of the visits.
    nugget : bool
    matrix : (m, m) array, optional
        Of ``fcor()``, whose positions are places in it.
    """
    if name == "fcor":
        assert matrix is not None
        return KnownCovariance.of(matrix)
    return RESIDUAL_KINDS[name](codes, positions, tuple(labels), nugget)


_Make = Callable[[NDArray[np.int32], Array, tuple[str, ...], bool], ResidualKind]

RESIDUAL_KINDS: dict[str, _Make] = {
    "independent": lambda codes, positions, labels, nugget: Independent(),
    "ar": lambda codes, positions, labels, nugget: AR1(),
    "ma": lambda codes, positions, labels, nugget: MA1(),
    "arma": lambda codes, positions, labels, nugget: ARMA11(),
    "car1": lambda codes, positions, labels, nugget: CAR1(_typical_gap(codes, positions[:, 0])),
    "cosy": lambda codes, positions, labels, nugget: Exchangeable(int(np.bincount(codes).max(initial=1))),
    "unstr": lambda codes, positions, labels, nugget: Unstructured(labels),
    "responses": lambda codes, positions, labels, nugget: OfResponses(labels, correlated=False),
    "rescor": lambda codes, positions, labels, nugget: OfResponses(labels, correlated=True),
    "sp_exp": lambda codes, positions, labels, nugget: SpatialExponential(
        _typical_spread(codes, positions), nugget
    ),
}
"""Name -> what makes the structure from groups, positions, names of visits, and whether there is a nugget."""


def _typical_gap(codes: NDArray[np.int32], times: Array) -> float:
    """Median gap between neighbours of a group."""
    order = np.lexsort((times, codes))
    gaps = np.diff(times[order])[np.diff(codes[order]) == 0]
    return float(np.median(gaps)) if len(gaps) else 1.0


def _typical_spread(codes: NDArray[np.int32], positions: Array) -> float:
    """Root mean square distance of rows from the centre of their group."""
    counts = np.bincount(codes).astype(float)
    total = 0.0
    for x in positions.T:
        centre = np.bincount(codes, x) / np.maximum(counts, 1.0)
        total += float(np.mean((x - centre[codes]) ** 2))
    return float(np.sqrt(total)) or 1.0
