"""Fitted values and residuals on the rows of the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["fitted", "linear_predictor", "residuals"]

KINDS = ("response", "pearson", "deviance", "working", "quantile")


def linear_predictor(fit: Fit) -> Array:
    """X beta + Z b + offset, (n,)."""
    problem = fit.problem
    eta = problem.X.matrix @ fit.estimate.beta
    for term, b in zip(problem.terms, fit.estimate.modes, strict=True):
        rows = b[term.codes]
        eta += rows[:, 0] if term.basis is None else np.einsum("nk,nk->n", term.basis, rows)
    return eta if problem.offset is None else eta + problem.offset


def fitted(fit: Fit) -> pd.Series:
    """Fitted values, indexed by the row's position in the data."""
    import pandas as pd

    return pd.Series(linear_predictor(fit), index=fit.problem.rows, name="fitted")


def residuals(fit: Fit, kind: str = "response") -> pd.Series:
    """Residuals of one kind.

    With weights w: "response" and "working" are y - mu, "pearson" and "deviance" sqrt(w) (y - mu) (lme4), and "quantile"
    sqrt(w) (y - mu) / sigma, standard normal under the model.
    """
    if kind not in KINDS:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(KINDS)}.")
    import pandas as pd

    raw = fit.problem.y - fit.fittedvalues.to_numpy()
    if kind not in ("response", "working") and fit.problem.weights is not None:
        raw = raw * np.sqrt(fit.problem.weights)
    if kind == "quantile":
        raw = raw / fit.sigma
    return pd.Series(raw, index=fit.problem.rows, name="residual")
