"""What the parameters of a covariance kind are, and which changes of coordinates leave it itself."""

from __future__ import annotations

from enum import Enum
from typing import Literal

__all__ = ["Role", "Transformations"]


class Role(Enum):
    """What an element of theta is. Its name is for readers: a column of the data may have any name."""

    DIAGONAL = "diagonal"
    """Scales diagonal elements of L: in units of a standard deviation, bounded below by zero."""
    LOWER = "lower"
    """An element of L below its diagonal: in units of a standard deviation, free of sign."""
    CORRELATION = "correlation"
    """An unconstrained number that stands for a correlation: unitless."""
    SHARE = "share"
    """An angle t that stands for a share sin^2 t of a structure across levels: unitless."""

    @property
    def bounded(self) -> bool:
        """Whether zero is the end of its range."""
        return self is Role.DIAGONAL

    @property
    def scales(self) -> bool:
        """Whether it is multiplied by c where the random effects are."""
        return self not in (Role.CORRELATION, Role.SHARE)


Transformations = Literal["linear", "columns", "common"]
"""Changes of coordinates b -> A b under which a kind stays itself: any A; a factor for each column; one factor for all."""
