r"""Predictions with and without random effects, for seen and unseen levels, with standard errors.

For a row with fixed part x and random part z the prediction is ``x'beta + z'b``. Its error is that of
:mod:`lmmformula.inference.prediction_error`, limits for a new observation those of :mod:`lmmformula.inference.predictive`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError, DataError, PlanError
from lmmformula.frame.opening import open_data
from lmmformula.frame.table import Table
from lmmformula.inference.categories import BY_CATEGORY, of_categories
from lmmformula.inference.new_positions import with_new_positions
from lmmformula.inference.prediction_rows import own_rows, rows_of, selected
from lmmformula.inference.predictive import new_weights
from lmmformula.inference.records import Wanted
from lmmformula.inference.rows import refuse_in_memory
from lmmformula.typing import Data, Numbers

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.to_files import RowFile

__all__ = ["predict"]

POLICIES = ("error", "population", "sample", "na")


def predict(
    fit: Fitted,
    newdata: Data = None,
    *,
    re_form: str | None = "all",
    kind: str = "response",
    new_levels: str = "error",
    interval: str | None = None,
    level: float = 0.95,
    se: bool = False,
    uncertainty: str | None = None,
    weights: Data = None,
    seed: int | np.random.Generator | None = None,
    out: str | Path | None = None,
    columns: str | Sequence[str] = "formula",
) -> pd.Series | pd.DataFrame | RowFile:
    """Predict the response.

    Parameters
    ----------
    newdata : table, dict of columns or path, optional
        Default: the rows of the fit.
    re_form : "all", None, or str
        Which random effects to use: all, none (population), or a one-sided formula such as ``"~ (1 | g)"``.
    kind : {"response", "link", "conditional", "class", "mean"} or the name of a parameter
        The mean of the response, the linear predictor, the mean without zero-inflation, or a parameter of the family such as
        "zi" (also "zprob"), the probability of a structural zero. Of a response of categories "response" is a column with the
        probability of each, "class" the most probable one, "mean" the mean of its number 1, ..., K.
    new_levels : {"error", "population", "sample", "na"}
        Levels the fit has not seen: refuse; effect zero; an effect drawn from the estimated distribution, one for each name;
        nan. A row whose group is missing has such a level too (lme4's rule), and all of them have one and the same.
    interval : {None, "confidence", "prediction"}
        Limits for the row's own mean, or for a new observation on it; of a posterior, quantiles over its draws of everything.

        "confidence": those of the linear predictor, carried over. The covariance of the errors is the one that `bse` shows: of
        beta and the effects given the estimated variances in a Gaussian model (as lme4), of all parameters together in a
        model by Laplace's approximation (as glmmTMB).

        Of a linear model without random effects both are t limits on n - p degrees of freedom, as R's ``predict.lm``.

        "prediction": a normal response has ``eta -+ z sqrt(v + sigma^2 / weight)``, sigma that of the row where it has a
        formula. Limits of any other response are quantiles of 4,000 responses drawn for each row, with effects and parameters
        drawn from their normal approximation; of a discrete one they are possible values, a proportion for a binomial one.
    level : float
    se : bool
        Add the standard error of what is predicted (by the delta method), parameters such as "zi" included.
    uncertainty : {None, "full"}
        What `se` and `interval` hold. None: what is said there. "full": the uncertainty of the variances too, which matters for
        new levels of a factor that has few. A Gaussian model's theta is averaged over its restricted likelihood (500
        evaluations of the criterion, and as many solves for the rows); of a model by Laplace's approximation everything is
        drawn from the joint normal approximation. A posterior has it always.
    weights : str or array, optional
        For ``interval="prediction"`` of new data: prior weights, or the trials of a proportion; a column's name or a number for
        each row. By default the columns that the fit had them from, and where the new data lack these, or the fit was given
        an array, 1 with a warning (R's rule in ``predict.lm``). Rows of the fit have their own.
    seed : int or Generator, optional
        For whatever is drawn: effects under ``new_levels="sample"``, responses that are not normal, and what a posterior has to
        draw. The same seed gives the same numbers.
    out : str or Path, optional
        A .parquet or .csv file that all rows are written to, a batch at a time, in constant memory: `newdata` may then be
        whatever ``fit`` takes, and by default is all of the data of the fit. What is drawn is drawn for each batch from the
        same seed.
    columns : "formula", "all", or names
        Columns of the data that are written beside the predictions.

    Returns
    -------
    Series, or DataFrame with columns ``fit[, se][, lower, upper]``, of categories such columns for each, or the category alone
    above the probabilities; with `out`, what was written where.

    Raises
    ------
    DataError
        Missing columns, unseen levels under "error", unknown options.
    PlanError
        For rows that are read a batch at a time, without `out`.
    """
    _check(fit, kind, new_levels, interval, level)
    if weights is not None and interval != "prediction":
        raise ArgumentError(
            "weights= of new rows make the width of interval='prediction'; leave them out without it."
        )
    wanted = Wanted(kind, new_levels, interval, level, se, full=uncertainty == "full")
    if out is not None:
        from lmmformula.inference.to_files import predict_to

        if fit.problem.family.outcomes and kind in BY_CATEGORY:
            raise PlanError(
                f"out= takes one number a row, and kind={kind!r} has one for each category: use kind='link' or 'mean', or "
                "predict a table in memory."
            )

        return predict_to(
            fit, out, newdata, wanted, re_form=re_form, columns=columns, weights=weights, seed=seed
        )
    if columns != "formula":
        raise ArgumentError(
            f"columns={columns!r} says what a file holds besides predictions: it goes with out=."
        )
    newdata = _in_memory(fit, newdata)
    if not fit.problem.family.outcomes or kind not in BY_CATEGORY:
        return _predicted(fit, newdata, wanted, re_form, weights, seed)
    one = int(np.random.default_rng(seed).integers(2**63))  # the same draws for every category
    return of_categories(
        fit.problem.family, wanted, lambda own: _predicted(fit, newdata, own, re_form, weights, one)
    )


def _predicted(
    fit: Fitted,
    newdata: Data,
    wanted: Wanted,
    re_form: str | None,
    weights: Data,
    seed: int | np.random.Generator | None,
) -> pd.Series | pd.DataFrame:
    """Predictions of one quantity for rows in memory."""
    kind, interval, se = wanted.kind, wanted.interval, wanted.se
    if newdata is None and re_form == "all" and kind == "response" and interval is None and not se:
        return fit.fittedvalues.rename("fit")
    rng = np.random.default_rng(seed)
    chosen, aux_terms = selected(fit, re_form), re_form == "all"
    own = new_weights(fit, newdata, weights) if interval == "prediction" else None
    if newdata is not None:
        fit = with_new_positions(fit, newdata, chosen, errors=se or interval is not None, rng=rng)
        rows = rows_of(fit, newdata, chosen, aux_terms=aux_terms)
        return fit.inference.predict(rows, wanted, own, rng)
    found = [
        fit.inference.predict(rows, wanted, None if own is None else own[at], rng)
        for at, rows in own_rows(fit, chosen, aux_terms=aux_terms)
    ]
    return found[0] if len(found) == 1 else _below(found)


def _in_memory(fit: Fitted, newdata: Data) -> Data:
    """The rows to predict, which are a table or are refused."""
    if newdata is None:
        refuse_in_memory(fit, "predictions")
        return None
    opened = open_data(newdata)
    if not isinstance(opened, Table):
        raise PlanError(
            f"the rows of {opened.name} are read a batch at a time, and so are their predictions written: name a file for "
            'them, as in m.predict(data, out="scored.parquet").'
        )
    return opened


def _below(parts: Sequence[Numbers]) -> Numbers:
    import pandas as pd

    return pd.concat(parts)


def _check(fit: Fitted, kind: str, new_levels: str, interval: str | None, level: float) -> None:
    family = fit.problem.family
    kinds = ["mean", "class"] if family.outcomes else []
    kinds += ["response", "link", "conditional", *(a.name for a in family.auxiliaries)]
    if family.zeros_at is not None:
        kinds.append("zprob")
    if kind not in kinds:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(kinds)}.")
    if new_levels not in POLICIES:
        raise DataError(f"new_levels={new_levels!r} is unknown; use one of {', '.join(POLICIES)}.")
    if interval not in (None, "confidence", "prediction"):
        raise DataError(f"interval={interval!r} is unknown; use None, 'confidence' or 'prediction'.")
    same = family.is_linear and kind in ("link", "conditional")
    if interval == "prediction" and kind != "response" and not same:
        raise DataError(
            f"interval='prediction' is that of a new response, not of kind={kind!r}: use kind='response'."
        )
    if family.outcomes and interval == "prediction":
        raise DataError(
            "interval='prediction' is that of a number, and a new response is a category: kind='response' gives the "
            "probability of each."
        )
    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
