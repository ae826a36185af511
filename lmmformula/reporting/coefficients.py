"""Coefficients with their tests: the fixed effects, and the auxiliary parameters of generalised models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, FitError
from lmmformula.inference.kenward_roger import kenward_roger
from lmmformula.inference.posterior import auxiliary_draws, flat, known
from lmmformula.reporting.tables import pairwise
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["AuxiliaryPart", "auxiliary_parts", "auxiliary_tables", "fixed_effects", "is_gaussian", "scale"]


@dataclass(frozen=True, slots=True, eq=False)
class AuxiliaryPart:
    """One auxiliary parameter in a summary.

    Attributes
    ----------
    title : str
        With the scale of the coefficients, or the meaning of the number.
    value : float or None
        The parameter on the user's scale, where it is one number for all rows.
    table : DataFrame or None
        Otherwise the coefficients of its predictor: ``Estimate, Std. Error, z value, Pr(>|z|)``.
    note : str
        What there is to say of the value.
    """

    title: str
    value: float | None
    table: pd.DataFrame | None = field(repr=False)
    note: str = ""


def is_gaussian(fit: Fit) -> bool:
    """Whether the fit is a linear mixed model with one residual variance."""
    return fit.problem.is_linear


DDF = ("satterthwaite", "kenward-roger")


def fixed_effects(fit: Fit, ddf: str = "satterthwaite") -> tuple[pd.DataFrame, str]:
    """Fixed effects with tests, and why there are no standard errors (empty if there are).

    The tests are t tests for Gaussian models by likelihood, and z tests for all others; a posterior has none (nan).

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger"}
        Of t tests; with Kenward & Roger's df come their standard errors.

    Raises
    ------
    DataError
        For another `ddf`.
    PlanError
        For "kenward-roger" of a fit for which it is not defined.
    """
    import pandas as pd

    if ddf not in DDF:
        raise DataError(f"ddf={ddf!r} is unknown; use {' or '.join(map(repr, DDF))}.")
    if ddf == "kenward-roger":
        errors, df = kenward_roger(fit).coefficients()
        return _t_table(fit.params.to_numpy(), errors, df, fit.problem.X.names), ""
    try:
        errors, reason = fit.bse.to_numpy(), ""
    except FitError as error:
        errors, reason = np.full(fit.problem.p, np.nan), str(error)
    if fit.posterior is not None:
        return _z_table(fit.params.to_numpy(), errors, fit.problem.X.names) * [1.0, 1.0, np.nan, np.nan], ""
    if reason or not is_gaussian(fit) or fit.estimate.quasi is not None:
        return _z_table(fit.params.to_numpy(), errors, fit.problem.X.names), reason
    columns = {
        "Estimate": fit.params,
        "Std. Error": fit.bse,
        "df": fit.df,
        "t value": fit.tvalues,
        "Pr(>|t|)": fit.pvalues,
    }
    return pd.DataFrame(columns), reason


def _t_table(estimates: Array, errors: Array, df: Array, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd
    from scipy.special import stdtr

    t = estimates / errors
    columns = {"Estimate": estimates, "Std. Error": errors, "df": df, "t value": t}
    return pd.DataFrame(columns | {"Pr(>|t|)": 2.0 * stdtr(df, -np.abs(t))}, index=list(names))


def _z_table(estimates: Array, errors: Array, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = estimates / errors
    return pd.DataFrame(
        {"Estimate": estimates, "Std. Error": errors, "z value": z, "Pr(>|z|)": 2.0 * ndtr(-np.abs(z))},
        index=list(names),
    )


# -- auxiliary parameters ------------------------------------------------------------------------------------------


def auxiliary_tables(fit: Fit) -> dict[str, pd.DataFrame]:
    """Coefficients of each auxiliary predictor with z tests, by component: "disp", "zi", or the parameter's name.

    They are on the predictor's scale: the log of a dispersion, the logit of a probability. Standard errors are missing
    where the Hessian of the deviance is not positive definite.
    """
    return {
        component: _z_table(estimates, _errors(fit, j), fit.problem.aux[j].names)
        for j, (component, estimates) in enumerate(zip(_components(fit), fit.estimate.aux, strict=True))
    }


def _components(fit: Fit) -> tuple[str, ...]:
    """broom.mixed's words for the auxiliary predictors of a fit."""
    if not fit.estimate.aux:
        return ()
    names = [a.name for a in fit.problem.family.auxiliaries]
    return tuple("zi" if name == "zi" else name if j else "disp" for j, name in enumerate(names))


def _errors(fit: Fit, j: int) -> Array:
    """Standard errors of the coefficients of auxiliary predictor j."""
    if fit.posterior is not None:
        return _posterior_errors(fit, j)
    where = fit.optimum.model.layout.aux[j]
    try:
        joint = fit.joint_vcov
    except FitError:
        joint = None
    if joint is None:
        return np.full(len(fit.estimate.aux[j]), np.nan)
    return np.sqrt(np.diagonal(joint)[where])


def _posterior_errors(fit: Fit, j: int) -> Array:
    """Standard deviations of the draws of these coefficients."""
    posterior = known(fit)
    draws = flat(posterior.aux[j]) if j < len(posterior.aux) else auxiliary_draws(fit)[j]
    return draws.std(axis=0, ddof=1)


_TITLES = {"disp": "Dispersion", "zi": "Zero inflation", "df": "Degrees of freedom"}


def auxiliary_parts(fit: Fit) -> tuple[AuxiliaryPart, ...]:
    """The auxiliary parameters as a summary shows them."""
    out = []
    tables = auxiliary_tables(fit)
    for j, component in enumerate(_components(fit)):
        record, estimates = fit.problem.family.auxiliaries[j], fit.estimate.aux[j]
        title = _TITLES.get(component, component)
        meaning = ", ".join(part for part in (record.name, record.meaning) if part not in ("", "zi"))
        if len(estimates) == 1:
            note = f"{record.linked(record.name)} = {_with_error(tables[component])}"
            out.append(AuxiliaryPart(f"{title} ({meaning})", float(record.value(estimates[0])), None, note))
        else:
            link = record.link if record.linked("") == f"{record.link}()" else record.linked(record.name)
            scale = f"{link} scale" if component == "zi" else f"{link} scale; {meaning}"
            out.append(AuxiliaryPart(f"{title} ({scale})", None, tables[component]))
    return (*out, *_quasi_dispersion(fit))


def _with_error(table: pd.DataFrame) -> str:
    """``0.732, SE 0.112`` of the first row: the estimate alone where there is no standard error."""
    value, error = pairwise(table["Estimate"].tolist(), table["Std. Error"].tolist())[0]
    return value if error == "NA" else f"{value}, SE {error}"


def _quasi_dispersion(fit: Fit) -> list[AuxiliaryPart]:
    """phi of a quasi-likelihood, of a family that has no parameter of its own."""
    quasi, family = fit.estimate.quasi, fit.problem.family
    if quasi is None or family.auxiliaries:
        return []
    return [
        AuxiliaryPart(
            "Dispersion (phi)", fit.estimate.sigma**2, None, "estimated" if quasi.free else "held at 1"
        )
    ]


def scale(fit: Fit) -> float:
    """Residual standard deviation or the dispersion parameter: 1 where there is none, NaN where it has predictors.

    The root of an estimated dispersion of a family that has none.
    """
    if is_gaussian(fit) or fit.estimate.quasi_dispersion:
        return fit.sigma
    if "disp" not in _components(fit):
        return 1.0
    estimates = fit.estimate.aux[0]
    return (
        float(fit.problem.family.auxiliaries[0].value(estimates[0])) if len(estimates) == 1 else float("nan")
    )
