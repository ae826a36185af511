r"""Models side by side by what a criterion says of them: AIC, AICc, BIC, conditional AIC, and Akaike's weights.

    AICc = AIC + 2 k (k + 1) / (n - k - 1)                     k parameters, n observations (Hurvich & Tsai 1989)
    w_i  = exp(-delta_i / 2) / sum_j exp(-delta_j / 2)         delta: the criterion less its least value

A marginal AIC counts variances as parameters like others, although they end at zero, and so prefers the model without (Greven
& Kneib 2010); for random effects the conditional AIC does not. Restricted likelihoods of models with different fixed parts
are those of different data: such fits are refused, not refitted behind the user's back.

References
----------
Burnham & Anderson (2002), Model Selection and Multimodel Inference, 2nd ed.
Greven & Kneib (2010), Biometrika 97, 773-789.
Hurvich & Tsai (1989), Biometrika 76, 297-307.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.compare import (
    labels_of_fits,
    refuse_different_approximations,
    refuse_what_is_no_fit,
)
from lmmformula.inference.same_rows import refuse_other_rows, row_order
from lmmformula.inference.selection.conditional_aic import conditional_aic

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["CRITERIA", "corrected_aic", "model_selection"]

CRITERIA = {"aicc": "AICc", "aic": "AIC", "bic": "BIC", "caic": "cAIC"}
"""Criterion -> its column."""


def model_selection(*fits: Fitted, criterion: str = "aicc", conditional: bool = False) -> pd.DataFrame:
    """Rank models of the same rows by a criterion.

    Parameters
    ----------
    *fits : Fit
        By likelihood, of the same rows and response.
    criterion : {"aicc", "aic", "bic", "caic"}
        For the order, ``delta`` and ``weight``.
    conditional : bool
        Whether to add the conditional AIC, which takes a fit per row where the response is a count or binary; "caic" does so
        anyway.

    Returns
    -------
    DataFrame
        Best first: ``npar, logLik, AIC, AICc, BIC[, cAIC, cDf], delta, weight``.

    Raises
    ------
    DataError
        For what is no fit, and fits of other rows or responses.
    PlanError
        Without likelihoods, with likelihoods approximated in different ways, or restricted ones (REML) of different fixed
        parts.
    """
    import pandas as pd

    refuse_what_is_no_fit(fits, "model_selection")
    if criterion not in CRITERIA:
        raise DataError(f"criterion={criterion!r} is unknown; use one of {', '.join(map(repr, CRITERIA))}.")
    for fit in fits:
        fit.inference.check("likelihood ratio")
    refuse_other_rows(fits)
    refuse_different_approximations(fits)
    _refuse_different_restrictions(fits)
    columns = {
        "npar": [f.df_model for f in fits],
        "logLik": [f.llf for f in fits],
        "AIC": [f.aic for f in fits],
        "AICc": [corrected_aic(f) for f in fits],
        "BIC": [f.bic for f in fits],
    }
    if conditional or criterion == "caic":
        found = [conditional_aic(f) for f in fits]
        columns |= {"cAIC": [c.caic for c in found], "cDf": [c.df for c in found]}
    out = pd.DataFrame(columns, index=pd.Index(labels_of_fits(list(fits)), name="model"))
    values = out[CRITERIA[criterion]].to_numpy(dtype=float)
    delta = values - np.nanmin(values) if np.isfinite(values).any() else values
    relative = np.where(np.isfinite(delta), np.exp(-0.5 * delta), 0.0)
    out["delta"] = delta
    out["weight"] = relative / relative.sum() if relative.sum() > 0.0 else np.nan
    out = out.iloc[np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")]
    out.attrs["heading"] = f"Models by {CRITERIA[criterion]}, best first"
    out.attrs["note"] = _note(fits, criterion)
    return out


def corrected_aic(fit: Fitted) -> float:
    """AICc; nan with as many parameters as observations."""
    k, n = fit.df_model, float(fit.nobs)
    return fit.aic + 2.0 * k * (k + 1.0) / (n - k - 1.0) if n > k + 1.0 else np.nan


def _note(fits: Sequence[Fitted], criterion: str) -> str:
    restricted = any(f.estimate.restricted for f in fits)
    note = (
        "Likelihoods are restricted (REML): they compare random parts only. " if restricted else ""
    ) + "delta and weight compare these models with each other; they do not say that one of them is right."
    if criterion != "caic" and len({f.problem.n_theta for f in fits}) > 1:
        note += " The random parts differ, for which criterion='caic' is made."
    return note


def _refuse_different_restrictions(fits: Sequence[Fitted]) -> None:
    """Restricted likelihoods beside others, or of different fixed parts."""
    restricted = [f.estimate.restricted for f in fits]
    if not any(restricted):
        return
    if not all(restricted):
        raise PlanError(
            f"{sum(restricted)} of the {len(fits)} models were fitted by REML and the others were not: their "
            "likelihoods are of different kinds. Fit all of them with method='ml'."
        )
    first = fits[0]
    for other in fits[1:]:
        order, x = row_order(first, other), other.problem.X.matrix
        if not np.array_equal(first.problem.X.matrix, x if order is None else x[order]):
            names = [", ".join(f.problem.X.names) for f in (first, other)]
            raise PlanError(
                "restricted likelihoods (REML) of models with different fixed effects are likelihoods of different data: "
                f"{first.formula!r} has {names[0]}; {other.formula!r} has {names[1]}. Fit all of them with method='ml'."
            )
