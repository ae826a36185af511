"""A standard deviation, a correlation or an auxiliary parameter, and how well it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmmformula.inference.student import critical

__all__ = ["Spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard deviation, a correlation or an auxiliary parameter, and how well it is known.

    Attributes
    ----------
    value : float
    error : float
        Standard error on the scale of `value`; nan where there is none.
    inner : float
        Standard error of the log, of Fisher's z, or of the coefficient of the auxiliary predictor.
    low : float
        Least correlation; 0 for a standard deviation.
    reason : str
        Why there is no standard error; empty if there is one.
    at : float
        The coefficient itself, of an auxiliary predictor.
    shown : callable or None
        From it to `value`.
    """

    value: float
    error: float
    inner: float
    low: float = 0.0
    reason: str = ""
    at: float = np.nan
    shown: Callable[[float], float] | None = None

    def interval(self, level: float) -> tuple[float, float]:
        """Ends of the Wald interval of `level`."""
        if np.isnan(self.inner):
            return np.nan, np.nan
        reach = float(critical(level, np.inf)) * self.inner
        if np.isfinite(self.at):
            ends = self.at - reach, self.at + reach
            return ends if self.shown is None else (float(self.shown(ends[0])), float(self.shown(ends[1])))
        if self.low == 0.0:
            with np.errstate(over="ignore"):
                return self.value * float(np.exp(-reach)), self.value * float(np.exp(reach))
        z = np.log((self.value - self.low) / (1.0 - self.value))
        shares = [float(0.5 * (1.0 + np.tanh(0.5 * (z + move)))) for move in (-reach, reach)]
        return self.low + (1.0 - self.low) * shares[0], self.low + (1.0 - self.low) * shares[1]
