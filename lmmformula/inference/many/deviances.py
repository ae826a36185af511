"""-2 log likelihoods of many responses on the rows of a fit, which is all that a likelihood ratio needs of their fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.refitting import refit_drawn
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["deviances"]


def deviances(fit: Fitted, y: Array) -> Array:
    """Those of the responses y (rows, B) at their own estimates, (B,); nan where one cannot be fitted.

    Fitted together where :meth:`lmmformula.backends.base.Backend.batch` can; one by one, from the estimate of `fit`, else, and
    where a search among many did not end.
    """
    together = None if fit.problem.monotonic is not None else fit.backend.batch(fit.optimum)
    if together is None:
        return np.array([_alone(fit, response) for response in y.T])
    stack = together.fit(fit.standard.response_in(y), fit.optimum.theta, errors=False)
    shift = fit.standard.deviance_shift(restricted=fit.estimate.restricted)
    out = np.where(stack.converged, stack.deviance + shift, np.nan)
    for i in np.flatnonzero(~stack.converged):
        out[i] = _alone(fit, y[:, i])
    return out


def _alone(fit: Fitted, y: Array) -> float:
    try:
        return float(refit_drawn(fit, y).estimate.deviance)
    except FitError:
        return np.nan
