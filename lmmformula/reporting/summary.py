"""The summary of a fit: gathered once, printed as text or HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.inference.residuals import auxiliary
from lmmformula.reporting.coefficients import AuxiliaryPart, auxiliary_parts, fixed_effects, is_gaussian
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["Summary", "diagnostics", "random_effects", "summarise"]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a statistician reads first of a fit. Printing it gives text; a notebook shows tables.

    Attributes
    ----------
    title : str
    formula : str
    data : str
        Rows used and dropped, and the size of each grouping factor.
    criteria : dict of str to float
        ``logLik, -2 log L (REML criterion), AIC, BIC, df.resid``.
    residuals : dict of str to float
        Quantiles of the standardised residuals: normal under the model if it is Gaussian, else Pearson residuals over the
        root of the dispersion.
    random : DataFrame
        As :meth:`Fit.varcorr`; the residual's row for Gaussian models only.
    fixed : DataFrame
        ``Estimate, Std. Error, df, t value, Pr(>|t|)``; ``Estimate, Std. Error, z value, Pr(>|z|)`` if not Gaussian.
    notes : tuple of str
        What else a careful reader must know: how the search ended, singular terms, dropped columns.
    family : str
        Family and link; empty for Gaussian models.
    auxiliary : tuple of AuxiliaryPart
        Dispersion, zero inflation: one number or a table of coefficients each.
    """

    title: str
    formula: str
    data: str
    criteria: dict[str, float]
    residuals: dict[str, float] = field(repr=False)
    random: pd.DataFrame = field(repr=False)
    fixed: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)
    family: str = ""
    auxiliary: tuple[AuxiliaryPart, ...] = field(default=(), repr=False)

    @property
    def residuals_are(self) -> str:
        """Heading of the residuals' quantiles."""
        return "Scaled (Pearson) residuals" if self.family else "Standardised residuals"

    @property
    def tests_are(self) -> str:
        """Heading of the fixed effects."""
        return (
            "Fixed effects (t tests with Satterthwaite's df)"
            if "df" in self.fixed
            else "Fixed effects (z tests)"
        )

    def __str__(self) -> str:
        from lmmformula.reporting.text import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from lmmformula.reporting.html import as_html

        return as_html(self)


def summarise(fit: Fit) -> Summary:
    """Summary of a fit."""
    gaussian = is_gaussian(fit)
    fixed, reason = fixed_effects(fit)
    quantiles = np.quantile(_standardised(fit), [0.0, 0.25, 0.5, 0.75, 1.0])
    family = fit.problem.family
    return Summary(
        title=_title(fit),
        formula=fit.formula,
        data=_data_line(fit),
        criteria=_criteria(fit),
        residuals=dict(zip(("Min", "1Q", "Median", "3Q", "Max"), map(float, quantiles), strict=True)),
        random=random_effects(fit),
        fixed=fixed,
        notes=(*_notes(fit), *([f"No standard errors: {reason}"] if reason else [])),
        family="" if gaussian else f"{family.name} (link: {family.link})",
        auxiliary=auxiliary_parts(fit),
    )


_METHODS = {
    "ML": "maximum likelihood",
    "Laplace": "Laplace approximation",
    "Laplace (nAGQ = 0)": "Laplace approximation (nAGQ = 0)",
}


def _title(fit: Fit) -> str:
    kind = "Linear" if fit.problem.family.is_linear else "Generalised linear"
    return f"{kind} mixed model fitted by {_METHODS.get(fit.method, fit.method)}"


def _standardised(fit: Fit) -> Array:
    """Residuals that are about standard if the model holds."""
    if is_gaussian(fit):
        return fit.residuals("quantile").to_numpy()
    return fit.residuals("pearson").to_numpy() / np.sqrt(fit.problem.family.dispersion(auxiliary(fit)))


def random_effects(fit: Fit) -> pd.DataFrame:
    """:meth:`Fit.varcorr`, without a residual's row where the dispersion is an auxiliary parameter."""
    table = fit.varcorr()
    if is_gaussian(fit):
        return table
    return table.loc[table["var1"].notna()]


def _data_line(fit: Fit) -> str:
    problem = fit.problem
    dropped = problem.n_rows_data - problem.n
    groups = ", ".join(f"{name} {size:,}" for name, size in fit.ngroups.items())
    rows = f"{problem.n:,} rows" + (
        f" ({dropped:,} of {problem.n_rows_data:,} dropped)" if dropped > 0 else ""
    )
    return f"{rows}; groups: {groups}" if groups else rows


def _notes(fit: Fit) -> tuple[str, ...]:
    convergence, problem = fit.estimate.convergence, fit.problem
    count = f"{convergence.evaluations} evaluation{'' if convergence.evaluations == 1 else 's'}"
    engine = (
        f"Engine: {fit.method} on the {fit.estimate.engine} engine; {convergence.status.value} ({count})."
    )
    notes = [engine]
    if not convergence.status.good:
        notes.append(
            f"NOT CONVERGED: another step promises {convergence.decrement:.2g} of deviance (tolerance "
            f"{convergence.tolerance:.2g}); the largest gradient is {convergence.max_gradient:.2g}."
        )
    if fit.estimate.singular:
        which = " and ".join(f"({label})" for label in fit.estimate.singular)
        notes.append(f"Singular: the covariance matrix of {which} has a direction of zero variance.")
    if fit.estimate.undetermined:
        notes.append(
            f"Not determined by the data (separation): {', '.join(fit.estimate.undetermined)}; standard errors are infinite."
        )
    if problem.X.dropped:
        names = ", ".join(problem.X.dropped)
        notes.append(
            f"Rank deficient: dropped {len(problem.X.dropped)} of the fixed-effects columns: {names}."
        )
    if problem.weights is not None:
        low, high = float(problem.weights.min()), float(problem.weights.max())
        word = "Trials" if problem.family.weights_are == "trials" else "Prior weights"
        notes.append(f"{word} from {low:.4g} to {high:.4g}.")
    if fit.method == "Laplace (nAGQ = 0)":
        notes.append("Standard errors take the covariance parameters as known, as nAGQ = 0 does.")
    if problem.offset is not None:
        notes.append("With an offset.")
    return tuple(notes)


def diagnostics(fit: Fit) -> dict[str, Any]:
    """Numbers about the search and the boundary.

    Keys: ``converged, status, evaluations, iterations, decrement, tolerance, max_gradient, singular`` (labels of terms),
    ``dropped_columns, rows_dropped, engine, method, plan``.
    """
    convergence, problem = fit.estimate.convergence, fit.problem
    return {
        "converged": convergence.status.good,
        "status": convergence.status.value,
        "evaluations": convergence.evaluations,
        "iterations": convergence.iterations,
        "decrement": convergence.decrement,
        "tolerance": convergence.tolerance,
        "max_gradient": convergence.max_gradient,
        "singular": fit.estimate.singular,
        "dropped_columns": problem.X.dropped,
        "rows_dropped": problem.n_rows_data - problem.n,
        "engine": fit.estimate.engine,
        "method": fit.method,
        "plan": str(fit.plan),
    }


def _criteria(fit: Fit) -> dict[str, float]:
    """The likelihood's criteria; a quasi-likelihood has none."""
    if np.isnan(fit.deviance):
        return {"df.resid": fit.df_resid}
    criterion = "REML criterion" if fit.method == "REML" else "-2 log L"
    return {
        "logLik": fit.llf,
        criterion: fit.deviance,
        "AIC": fit.aic,
        "BIC": fit.bic,
        "df.resid": fit.df_resid,
    }
