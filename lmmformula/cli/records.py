"""Results as JSON: numbers with all their digits, null where there is no number."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from lmmformula.families.auxiliary import DISPERSION, ZEROS

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.planner import Plan
    from lmmformula.reporting.comparison import MethodComparison
    from lmmformula.result import Fit
    from lmmformula.typing import Json, Record

__all__ = ["comparison_record", "fit_record", "plain", "plan_record"]


def fit_record(fit: Fit, seen: list[str]) -> Record:
    """Everything that a script asks of a fit; what does not exist for its family is null."""
    from lmmformula.inference.coefficients import auxiliary_tables, scale
    from lmmformula.inference.conditional import random_effects

    (table, no_errors), auxiliary = fit.inference.coefficients(), auxiliary_tables(fit)
    statistic = table.columns[-2]
    return {
        "formula": fit.formula,
        "family": fit.family,
        "link": fit.problem.family.link,
        "method": fit.method,
        "engine": fit.estimate.engine,
        "converged": fit.converged,
        "nobs": fit.nobs,
        "rows_in_data": fit.problem.n_rows_data,
        "ngroups": fit.ngroups,
        "params": fit.params.to_dict(),
        "se": table["Std. Error"].to_dict(),
        "df": table["df"].to_dict() if "df" in table else None,
        "t": table[statistic].to_dict() if statistic == "t value" else None,
        "z": table[statistic].to_dict() if statistic == "z value" else None,
        "p": table.iloc[:, -1].to_dict(),
        "theta": fit.theta.to_dict(),
        "sigma": scale(fit),
        "dispersion": _auxiliary(auxiliary.get(DISPERSION)),
        ZEROS: _auxiliary(auxiliary.get(ZEROS)),
        "varcorr": random_effects(fit).to_dict("records"),
        "llf": fit.llf,
        "llf_stderr": fit.llf_stderr,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "bic": fit.bic,
        "df_model": fit.df_model,
        "df_resid": fit.df_resid,
        "diagnostics": fit.diagnostics,
        "warnings": [*seen, no_errors] if no_errors else seen,
    }


def _auxiliary(table: pd.DataFrame | None) -> Record | None:
    """Coefficients of an auxiliary predictor, on its scale (log of a dispersion, logit of a probability)."""
    if table is None:
        return None
    return {"params": table["Estimate"].to_dict(), "se": table["Std. Error"].to_dict()}


def plan_record(plan: Plan) -> Record:
    """The fields of a plan."""
    return _fields(plan)


def comparison_record(comparison: MethodComparison) -> Record:
    """The long table of a comparison, with what is to be said of it."""
    return {
        "formula": comparison.formula,
        "level": comparison.level,
        "reference": comparison.reference,
        "methods": {
            name: {"method": one.method, "engine": one.estimate.engine, "converged": one.converged}
            for name, one in comparison.fits.items()
        },
        "refused": comparison.refused,
        "flags": comparison.flags,
        "notes": comparison.notes,
        "table": comparison.tidy().to_dict("records"),
        "differences": comparison.differences().to_dict("records"),
    }


def _fields(record: Json) -> Record:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def plain(value: Json) -> Json:
    """`value` in JSON's types; what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, str | bool) or value is None:
        return value
    if is_dataclass(value):
        return plain(_fields(value))
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, int) else str(value)
