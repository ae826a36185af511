"""Iterations whose steps shrink by a steady ratio, and where they lead (Aitken's extrapolation).

Steps of length s, r s, r^2 s, ... add up to s / (1 - r): behind the present one there is r / (1 - r) of its length to go. That
holds of a fixed-point iteration once the slowest of its directions is left alone, and along this direction only; what other
directions are moved by, wrongly, is of the size of their present step, which has become small against that of the slowest.

References
----------
Aitken (1926), On Bernoulli's numerical solution of algebraic equations, Proc. R. Soc. Edinburgh 46.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["SteadySteps", "beyond"]

SLOWEST = 0.6
"""Ratio up to which an extrapolation is trusted: it adds 1.5 times the step."""
STEADY = 1.3
"""Factor within which two ratios after each other are the same."""


def beyond(ratio: float) -> float:
    """How far the limit lies behind a step, in lengths of the step, if steps shrink by `ratio`; infinite if they do not."""
    return ratio / (1.0 - ratio) if ratio < 1.0 else math.inf


@dataclass(slots=True)
class SteadySteps:
    """Watches the lengths of steps, in a measure that does not change; a lengthened step that gains nothing was the last.

    Attributes
    ----------
    last, ratio : float
        Length of the last step, if it tells the next ratio, and the last ratio.
    promised : float
        What the step after a lengthened one must not be longer than.
    useful : bool
        Whether no such promise has been broken.
    """

    last: float = math.nan
    ratio: float = math.nan
    promised: float = math.inf
    useful: bool = True

    def further(self, length: float) -> float:
        """What a step of `length` is to be lengthened by, as a share of it; 0 unless the last three shrank by one ratio."""
        self.useful &= length <= self.promised
        ratio = length / self.last if self.last > 0.0 else math.nan
        steady = self.useful and ratio <= SLOWEST and self.ratio / STEADY <= ratio <= self.ratio * STEADY
        self.last = math.nan if steady else length  # the step after a longer one says nothing of the ratio
        self.ratio = self.ratio if math.isnan(ratio) else ratio
        self.promised = ratio * length if steady else math.inf
        return beyond(ratio) if steady else 0.0
