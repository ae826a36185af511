"""What a deletion takes away from the equations of the fixed effects."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.typing import Array

__all__ = ["Taken"]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """D of (1) in :mod:`lmmformula.inference.influence.deletion`, for m units.

    Attributes
    ----------
    xx : (m, p, p) array
    xr : (m, p) array
    rr : (m,) array
    """

    xx: Array
    xr: Array
    rr: Array
