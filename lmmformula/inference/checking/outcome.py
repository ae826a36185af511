"""One test: what was measured, and how often a right model would show as much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmmformula.typing import Array

__all__ = ["Alternative", "Outcome", "simulated_p"]

Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "greater", "less")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a test.

    Attributes
    ----------
    test : str
        What was tested.
    statistic_is : str
        What the statistic is, in words.
    statistic : float
    p_value : float
        Of the data if the model is right. By simulation it is a multiple of 1/n, and 0 stands for less than that.
    alternative : {"two-sided", "greater", "less"}
    observed, expected : float
        What the statistic compares; nan where it is no comparison.
    least_p : float
        The smallest p-value that the method can tell from 0; 0 for exact distributions.
    note : str
    """

    test: str
    statistic_is: str
    statistic: float
    p_value: float
    alternative: Alternative = "two-sided"
    observed: float = np.nan
    expected: float = np.nan
    least_p: float = 0.0
    note: str = ""

    @property
    def p_text(self) -> str:
        """``p = 0.032`` or ``p < 0.004``."""
        if np.isnan(self.p_value):
            return "p unknown"
        if self.p_value < self.least_p:
            return f"p < {self.least_p:.2g}"
        return f"p = {self.p_value:.3g}" if self.p_value >= 1e-15 else "p < 1e-15"

    def __str__(self) -> str:
        seen = (
            f" (observed {self.observed:.4g}, expected {self.expected:.4g})"
            if np.isfinite(self.observed) and np.isfinite(self.expected)
            else ""
        )
        after = f"; {self.note}" if self.note else ""
        return f"{self.test}: {self.statistic_is} {self.statistic:.4g}{seen}, {self.alternative} {self.p_text}{after}"

    def __repr__(self) -> str:
        return str(self)


def simulated_p(simulated: Array, observed: float, alternative: Alternative) -> float:
    """Share of simulated statistics as extreme; twice the smaller side, at most 1, for two-sided (DHARMa's ``getP``)."""
    above, below = float(np.mean(simulated >= observed)), float(np.mean(simulated <= observed))
    if alternative == "greater":
        return above
    return below if alternative == "less" else min(2.0 * min(above, below), 1.0)
