"""Predictions from estimates with standard errors: the delta method, normal limits, and responses drawn around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.prediction_error import row_errors
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import response_limits
from lmmformula.inference.records import Rows, Wanted
from lmmformula.inference.simulate import warn_of_dispersion
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["predict_from_errors"]


def predict_from_errors(
    fit: Fitted,
    rows: Rows,
    eta: Array,
    effects: Array,
    wanted: Wanted,
    weights: Array | None,
    rng: np.random.Generator,
) -> pd.Series | pd.DataFrame:
    """On the scale asked for, with standard errors and limits; those for a mean are limits of eta, carried over.

    `effects` are the drawn effects of unseen levels, which eta contains.
    """
    import pandas as pd

    scale = Scale.of(fit.problem.family, wanted.kind)
    values = scale.value(eta, rows.aux)
    if wanted.interval is None and not wanted.se:
        return pd.Series(values, index=rows.index, name=scale.name)
    if scale.parameter is not None and not fit.problem.aux:
        raise DataError(
            f"kind={wanted.kind!r} is profiled out of this fit and has no standard error in predict(): leave out se and "
            "interval, and see conf_int(method='profile')."
        )
    out = {"fit": values}
    plain = not fit.problem.terms and fit.problem.residual is None
    exact = fit.inference.is_gaussian and plain  # t limits, as lm
    if wanted.full or (exact and wanted.interval is not None):
        from lmmformula.inference.full_uncertainty import full_errors

        out |= full_errors(fit, rows, eta, effects, wanted, weights, rng)
        if wanted.full or not wanted.se:
            return pd.DataFrame(out, index=rows.index)
    errors = row_errors(fit, rows, drawn=wanted.new_levels == "sample")
    if wanted.se:
        out["se"] = scale.standard_errors(eta, rows.aux, errors)
    if exact:
        return pd.DataFrame(out, index=rows.index)
    if wanted.interval == "prediction":
        warn_of_dispersion(fit)
        limits = response_limits(fit, rows, eta, errors, weights, wanted.level, rng)
        out |= dict(zip(("lower", "upper"), limits, strict=True))
    elif wanted.interval is not None:
        limits = scale.limits(eta, rows.aux, errors, wanted.level)
        out |= dict(zip(("lower", "upper"), limits, strict=True))
    return pd.DataFrame(out, index=rows.index)
