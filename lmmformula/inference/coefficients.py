"""Coefficients with their tests: the fixed effects, and the auxiliary predictors of generalised models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.student import two_sided
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster
    from lmmformula.inference.uncertainty import Uncertainty

__all__ = ["auxiliary_tables", "components", "scale", "tested", "z_table"]


def tested(fit: Fitted, ddf: str, vcov: str | None, cluster: Cluster) -> tuple[pd.DataFrame, str]:
    """Fixed effects with tests, and why there are no standard errors (empty if there are).

    The tests are t tests for Gaussian models by likelihood, and z tests for all others.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger", "normal"}
        Of t tests; with Kenward & Roger's df come their standard errors.
    vcov, cluster
        Standard errors by clusters with their degrees of freedom: see :mod:`lmmformula.inference.robust`.

    Raises
    ------
    DataError
        For another `ddf`.
    PlanError
        For "kenward-roger" of a fit for which it is not defined.
    """
    import pandas as pd

    known = fit.inference.uncertainty(ddf, vcov, cluster)
    robust = vcov is not None or cluster is not None
    if robust or (fit.inference.is_gaussian and ddf != "satterthwaite"):
        return _table(fit.params.to_numpy(), known, fit.problem.X.names), ""
    try:
        errors, reason = fit.bse.to_numpy(), ""
    except FitError as error:
        errors, reason = np.full(fit.problem.p, np.nan), str(error)
    if reason or not fit.inference.is_gaussian:
        return z_table(fit.params.to_numpy(), errors, fit.problem.X.names), reason
    columns = {
        "Estimate": fit.params,
        "Std. Error": fit.bse,
        "df": fit.df,
        "t value": fit.tvalues,
        "Pr(>|t|)": fit.pvalues,
    }
    return pd.DataFrame(columns), reason


def _table(estimates: Array, known: Uncertainty, names: tuple[str, ...]) -> pd.DataFrame:
    """t tests, or z tests where no combination has degrees of freedom."""
    import pandas as pd

    errors, df = np.sqrt(np.diagonal(known.covariance)), known.df(np.eye(len(names)))
    if np.isinf(df).all():
        return z_table(estimates, errors, names)
    t = estimates / errors
    columns = {"Estimate": estimates, "Std. Error": errors, "df": df, "t value": t}
    return pd.DataFrame(columns | {"Pr(>|t|)": two_sided(t, df)}, index=list(names))


def z_table(estimates: Array, errors: Array, names: tuple[str, ...]) -> pd.DataFrame:
    """Estimates with z tests."""
    import pandas as pd
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = estimates / errors
    return pd.DataFrame(
        {"Estimate": estimates, "Std. Error": errors, "z value": z, "Pr(>|z|)": 2.0 * ndtr(-np.abs(z))},
        index=list(names),
    )


# -- auxiliary parameters ------------------------------------------------------------------------------------------


def auxiliary_tables(fit: Fitted) -> dict[str, pd.DataFrame]:
    """Coefficients of each auxiliary predictor with z tests, by component: "disp", "zi", or the parameter's name.

    They are on the predictor's scale: the log of a dispersion, the logit of a probability. Standard errors are missing
    where the Hessian of the deviance is not positive definite.
    """
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for j, (component, estimates) in enumerate(zip(components(fit), fit.estimate.aux, strict=True)):
        names, record = fit.problem.aux[j].names, fit.problem.family.auxiliaries[j]
        if record.table:  # rows of one table are told apart by the parameter
            names = tuple(record.name if n == "(Intercept)" else f"{record.name}: {n}" for n in names)
        parts.setdefault(component, []).append(z_table(estimates, fit.inference.auxiliary_errors(j), names))
    return {name: own[0] if len(own) == 1 else pd.concat(own) for name, own in parts.items()}


def components(fit: Fitted) -> tuple[str, ...]:
    """broom.mixed's words for the auxiliary predictors of a fit; of several responses their names, ``sigma_y1``."""
    if not fit.estimate.aux:
        return ()
    known = fit.problem.family.auxiliaries
    return tuple(a.name if fit.problem.responses else a.component for a in known)


def scale(fit: Fitted) -> float:
    """Residual standard deviation or the dispersion parameter: 1 where there is none, NaN where it has predictors.

    The root of an estimated dispersion of a family that has none.
    """
    if fit.problem.is_linear or fit.estimate.quasi_dispersion:
        return fit.sigma
    if fit.problem.responses:
        return float("nan")
    if "disp" not in components(fit):
        return 1.0
    estimates = fit.estimate.aux[0]
    return (
        float(fit.problem.family.auxiliaries[0].value(estimates[0])) if len(estimates) == 1 else float("nan")
    )
