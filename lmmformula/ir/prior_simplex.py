r"""Priors of simplexes: Dirichlet distributions, and the text that gives them.

The simplex of a monotonic effect has ``zeta ~ Dirichlet(alpha)``, by default alpha = 1: uniform (Buerkner & Charpentier 2020,
section 2.3). Where a step stands for several of the D steps (:mod:`lmmformula.ir.monotonic`), its share is their sum, whose
alpha is the sum of theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.prior_protocol import written
from lmmformula.typing import Array

__all__ = ["Dirichlet", "parse_simplex"]

_TEXT = re.compile(r"\s*dirichlet\s*\(\s*(?:c\s*\(([^()]*)\)|([^()]*))\s*\)\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """Simplexes with density proportional to ``prod_j zeta_j^(alpha_j - 1)``."""

    alpha: tuple[float, ...]

    def __str__(self) -> str:
        return written("dirichlet", *(self.alpha if len(set(self.alpha)) > 1 else self.alpha[:1]))

    def logpdf(self, zeta: Array) -> Array:
        """Log density, up to a constant, of simplexes (..., K)."""
        return (np.log(zeta) * (np.array(self.alpha) - 1.0)).sum(axis=-1)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Independent draws, (size, K)."""
        return rng.dirichlet(self.alpha, size)


def parse_simplex(text: object, name: str, widths: tuple[int, ...]) -> Dirichlet:
    """The distribution that `text` means as the prior of a simplex.

    Parameters
    ----------
    text : str
        ``"dirichlet(2)"`` for all steps, or a number for each of them: ``"dirichlet(2, 1, 1)"``, ``"dirichlet(c(2, 1, 1))"``.
    name : str
        What it was given for, for messages.
    widths : tuple of int
        Of the steps.

    Raises
    ------
    PlanError
        Shows the accepted form.
    """
    what = f"priors[{name!r}] = {text!r}"
    form = f"write dirichlet(a), or dirichlet(a1, .., a{len(widths)}) with a number for each of the {len(widths)} steps"
    found = _TEXT.match(text) if isinstance(text, str) else None
    if found is None:
        raise PlanError(f"{what} is no prior of a simplex: {form}.")
    try:
        numbers = [float(part) for part in (found.group(1) or found.group(2) or "").split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(isfinite(v) and v > 0.0 for v in numbers):
        raise PlanError(f"{what}: the concentrations must be positive numbers; {form}.")
    if len(numbers) == 1:
        return Dirichlet(tuple(numbers[0] * width for width in widths))
    if len(numbers) != len(widths):
        raise PlanError(f"{what} has {len(numbers)} numbers; {form}.")
    return Dirichlet(tuple(numbers))
