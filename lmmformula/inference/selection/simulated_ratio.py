"""The distribution of a likelihood ratio by simulation: responses of the smaller model, to which both are fitted again.

Each model is fitted to many responses together where its design suits (:mod:`lmmformula.inference.many.deviances`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, FitError
from lmmformula.inference.many.deviances import deviances
from lmmformula.inference.many.draws import drawn_responses
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["ratio", "simulated_ratios"]

LEAST = 0.5
"""Share of the responses to which both models must have been fitted for the rest to be worth anything."""


def ratio(large: Fitted, small: Fitted) -> float:
    """2 log of the likelihood ratio, not below 0: of a smaller model that comes out better the search did."""
    return max(float(small.estimate.deviance - large.estimate.deviance), 0.0)


def simulated_ratios(large: Fitted, small: Fitted, n: int, rng: np.random.Generator) -> Array:
    """Likelihood ratios of responses drawn from `small`, at most `n`; those that cannot be fitted are left out.

    Raises
    ------
    DataError
        Where a row stands for several observations, of which one response cannot be drawn.
    FitError
        If more than half of the responses cannot be fitted.
    """
    large.inference.check("bootstrap")
    if large.problem.family.repeated:
        raise DataError(
            "a parametric bootstrap draws one response for each row, and y | weights(w) says that a row stands for w "
            "observations. Write the rows out w times, or use method='chisq'."
        )
    parts = [deviances(small, y) - deviances(large, y) for y in drawn_responses(small, n, rng)]
    every = np.concatenate(parts)
    out = np.maximum(every[np.isfinite(every)], 0.0)
    if len(out) < LEAST * n:
        raise FitError(
            f"only {len(out):,} of {n:,} responses drawn from {small.formula!r} could be fitted by both models, "
            "too few to say how their likelihood ratio varies. Simplify the model, or use method='chisq'."
        )
    return out
