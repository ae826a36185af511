"""A parameter of a structure of residuals as a reader knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.inference.spread import Spread
from lmmformula.typing import Array

__all__ = ["StructureParameter"]


@dataclass(frozen=True, slots=True)
class StructureParameter:
    """One of them.

    Attributes
    ----------
    group : str
        The term of the formula, or ``sigma`` for a coefficient of log sigma.
    var1, var2 : str or None
        What it is: a name, a visit, or two visits of a correlation.
    vcov : float
        A variance or covariance; nan for other numbers.
    spread : Spread
        Its value and how well that is known.
    slope : (n_psi + 1,) array
        Its derivative in (psi, log sigma).
    """

    group: str
    var1: str
    var2: str | None
    vcov: float
    spread: Spread
    slope: Array

    @property
    def name(self) -> str:
        """In one string."""
        if self.var2 is not None:
            return f"cor({self.var1}, {self.var2})"
        return f"sd({self.var1})" if np.isfinite(self.vcov) else self.var1
