"""Missing responses of ``y | mi()``, drawn from their posterior predictive distribution.

Given the parameters and the effects, a missing response is independent of those that were observed, so that its posterior is
the mixture of the response's distribution over draws of both (Little & Rubin 2019, ch. 10): the parameter ``Ymi`` of brms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.formula import model_spec
from lmmformula.frame.table import open_table
from lmmformula.frame.variables import column_names
from lmmformula.inference.posterior_predict import response_draws
from lmmformula.inference.prediction_rows import rows_of, selected
from lmmformula.inference.predictive import new_weights
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["impute"]


def impute(fit: Fitted, newdata: Data, n: int, seed: int | np.random.Generator | None) -> pd.DataFrame:
    """Draws of the rows of a table that lack the response, a column each, under their labels."""
    import pandas as pd

    response = model_spec(fit.formula).response
    if response is None or not response.imputed:
        raise PlanError(
            f"impute() is of missing responses of y | mi(), and this model is {fit.formula!r}. Write y | mi() ~ ... and fit "
            "again, with method='hmc'."
        )
    total = len(fit.inference.draws("impute()").beta.reshape(-1, fit.problem.p))
    if n > total:
        raise DataError(
            f"n={n:,} draws were asked for, and the posterior has {total:,}: ask for fewer, or extend() it."
        )
    table = open_table(newdata)
    masks = [table.column(name).missing for name in column_names(response.parts) if name in table]
    there = [mask for mask in masks if mask is not None]
    missing = np.flatnonzero(np.any(there, axis=0)) if there else np.zeros(0, dtype=np.intp)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(total, n, replace=False))
    rows = rows_of(fit, newdata, selected(fit, "all"), aux_terms=True)
    y = response_draws(fit, rows.at(missing), _of(new_weights(fit, newdata, None), missing), rng)[chosen]
    return pd.DataFrame(y.T, index=rows.index[missing], columns=[f"draw_{i}" for i in range(1, n + 1)])


def _of(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if weights is None else weights[rows]
