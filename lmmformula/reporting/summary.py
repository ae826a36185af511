"""The summary of a fit: gathered once, printed as text or HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.inference.conditional import group_names
from lmmformula.inference.posterior import refuse_posterior
from lmmformula.inference.residuals import auxiliary
from lmmformula.inference.structures import structures_in_words
from lmmformula.ir.estimate import Convergence, Quasi
from lmmformula.ir.variance_parameters import term_parameters
from lmmformula.reporting.coefficients import AuxiliaryPart, auxiliary_parts, fixed_effects, is_gaussian
from lmmformula.reporting.convergence import at_limit, counts
from lmmformula.reporting.posterior import (
    PosteriorPart,
    fixed_table,
    posterior_diagnostics,
    posterior_notes,
    posterior_parts,
    worst,
)
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
        root of the dispersion, that of a quasi-likelihood included.
    random : DataFrame
        As :meth:`Fit.varcorr`; the residual's row for Gaussian models and dispersions of a quasi-likelihood only.
    fixed : DataFrame
        ``Estimate, Std. Error, df, t value, Pr(>|t|)``; ``Estimate, Std. Error, z value, Pr(>|z|)`` if not Gaussian.
    notes : tuple of str
        What else a careful reader must know: how the search ended, singular terms, dropped columns.
    family : str
        Empty for Gaussian models.
    links : str
        The link of the mean and of each further parameter, ``mu = log; phi = log``; empty for Gaussian models.
    formulas : dict of str to str
        ``ziformula`` and ``dispformula``, where they were given.
    auxiliary : tuple of AuxiliaryPart
        Dispersion, zero inflation: one number or a table of coefficients each.
    posterior : tuple of PosteriorPart
        Tables of a posterior in brms' columns, which then stand in place of random and fixed effects; `criteria` are numbers of
        draws and the worst diagnostics, `fixed` has these columns too.
    correlation : DataFrame or None
        Of the fixed effects, where it is shown.
    shared : dict of str to SharedTerm
        Groups whose columns share one correlation.
    ddf : str
        Whose denominator degrees of freedom t tests have.
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
    links: str = ""
    formulas: dict[str, str] = field(default_factory=dict)
    auxiliary: tuple[AuxiliaryPart, ...] = field(default=(), repr=False)
    posterior: tuple[PosteriorPart, ...] = field(default=(), repr=False)
    correlation: pd.DataFrame | None = field(default=None, repr=False)
    shared: dict[str, SharedTerm] = field(default_factory=dict, repr=False)
    ddf: str = "satterthwaite"

    @property
    def about(self) -> tuple[str, ...]:
        """Family, links and further formulas, a line each."""
        lines = (("Family", self.family), ("Links", self.links), *self.formulas.items())
        return tuple(f"{label}: {text}" for label, text in lines if text)

    @property
    def residuals_are(self) -> str:
        """Heading of the residuals' quantiles."""
        return "Scaled (Pearson) residuals" if self.family else "Standardised residuals"

    @property
    def is_mixed(self) -> bool:
        """Whether there are random effects."""
        return bool(self.random["var1"].notna().any())

    @property
    def random_are(self) -> str:
        """Heading of the variances."""
        return "Random effects" if self.is_mixed else "Residual variance"

    @property
    def tests_are(self) -> str:
        """Heading of the fixed effects."""
        if self.posterior:
            return "Fixed effects"
        if "df" not in self.fixed:
            return "Fixed effects (z tests)"
        how = f"with {DDF_OF[self.ddf]} df" if self.is_mixed else "on n - p df"
        return f"Fixed effects (t tests {how})"

    def __str__(self) -> str:
        from lmmformula.reporting.text import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from lmmformula.reporting.html import as_html

        return as_html(self)


def summarise(fit: Fit, ddf: str = "satterthwaite", correlation: bool | None = None) -> Summary:
    """Summary of a fit.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger"}
        Denominator degrees of freedom of t tests; Kenward & Roger's come with their standard errors.
    correlation : bool, optional
        Whether the correlations of the fixed effects are shown; by default as lme4, for 2 to 20 of them (and not for a
        posterior).
    """
    if fit.posterior is not None and ddf != "satterthwaite":
        refuse_posterior(fit, f"ddf={ddf!r} is about tests", "Look at conf_int().")
    gaussian = is_gaussian(fit)
    fixed, reason = fixed_effects(fit, ddf) if fit.posterior is None else (fixed_table(fit), "")
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
        notes=(
            *_notes(fit),
            *_unseen(fit, correlation),
            *([f"No standard errors: {reason}"] if reason else []),
        ),
        family="" if gaussian else family.name,
        links="" if gaussian else _links(fit),
        formulas=_formulas(fit),
        auxiliary=() if fit.posterior is not None else auxiliary_parts(fit),
        posterior=() if fit.posterior is None else posterior_parts(fit),
        correlation=None if reason else _correlation(fit, correlation),
        shared=_shared(fit),
        ddf=ddf,
    )


DDF_OF = {"satterthwaite": "Satterthwaite's", "kenward-roger": "Kenward-Roger's"}
MOST_CORRELATED = 20
"""Fixed effects up to which their correlations are shown without being asked for, as lme4 does."""


@dataclass(frozen=True, slots=True)
class SharedTerm:
    """A term whose columns share one correlation: its covariance kind, columns, and whether they share the spread too."""

    kind: str
    columns: tuple[str, ...]
    one_spread: bool


def _shared(fit: Fit) -> dict[str, SharedTerm]:
    """Such terms by the name of their group."""
    found = zip(group_names(fit), fit.problem.terms, term_parameters(fit.problem), strict=True)
    return {
        name: SharedTerm(own.kind, term.columns, len(own.sds) == 1)
        for name, term, own in found
        if own.correlation == "shared"
    }


def _links(fit: Fit) -> str:
    """brms' line of links."""
    family = fit.problem.family
    pairs = [("mu", family.link), *((a.name, a.link) for a in family.auxiliaries)]
    return "; ".join(f"{name} = {link}" for name, link in pairs)


def _formulas(fit: Fit) -> dict[str, str]:
    given = {name: fit.recall.arguments.get(name) for name in ("ziformula", "dispformula")}
    return {name: str(text) for name, text in given.items() if text}


def _correlation(fit: Fit, wanted: bool | None) -> pd.DataFrame | None:
    """Correlations of the fixed effects, where they are shown."""
    import pandas as pd

    if wanted is None:
        wanted = fit.problem.p <= MOST_CORRELATED and fit.posterior is None
    if not wanted or fit.problem.p < 2:
        return None
    cov, names = fit.vcov, list(fit.problem.X.names)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.diagonal(cov))
        values = cov / np.outer(spread, spread)
    return pd.DataFrame(values, index=names, columns=names)


def _unseen(fit: Fit, wanted: bool | None) -> list[str]:
    if wanted is not None or fit.problem.p <= MOST_CORRELATED or fit.posterior is not None:
        return []
    return [
        f"Correlations of the fixed effects are not shown, as there are {fit.problem.p:,} (more than {MOST_CORRELATED}): "
        "summary(correlation=True) shows them."
    ]


_METHODS = {
    "ML": "maximum likelihood",
    "Laplace": "Laplace approximation",
    "Laplace (nAGQ = 0)": "Laplace approximation (nAGQ = 0)",
    "PQL": "penalised quasi-likelihood",
    "PQL (exact traces)": "penalised quasi-likelihood",
    "PQL (corrected)": "penalised quasi-likelihood, corrected to Laplace's approximation",
    "PQL (exact traces, corrected)": "penalised quasi-likelihood, corrected to Laplace's approximation",
}


def _title(fit: Fit) -> str:
    kind = "Linear" if fit.problem.family.is_linear else "Generalised linear"
    model = "mixed model" if fit.problem.terms or any(fit.problem.aux_terms) else "model"
    if fit.posterior is not None:
        sampler = "NUTS" if fit.posterior.sampler == "nuts" else "importance sampling"
        return f"{kind} {model}, posterior by {sampler}"
    how = (
        _METHODS.get(fit.method, fit.method)
        if fit.problem.terms or fit.estimate.quasi is None
        else "quasi-likelihood"
    )
    return f"{kind} {model} fitted by {how}"


def _standardised(fit: Fit) -> Array:
    """Residuals that are about standard if the model holds."""
    if is_gaussian(fit):
        return fit.residuals("quantile").to_numpy()
    dispersion = fit.problem.family.dispersion(auxiliary(fit))
    if fit.estimate.quasi_dispersion:
        dispersion = dispersion * fit.estimate.sigma**2
    return fit.residuals("pearson").to_numpy() / np.sqrt(dispersion)


def random_effects(fit: Fit) -> pd.DataFrame:
    """:meth:`Fit.varcorr`, without a residual's row where the dispersion is an auxiliary parameter."""
    table = fit.varcorr()
    if is_gaussian(fit) or fit.estimate.quasi_dispersion:
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
    how = (
        f"Engine: {fit.method} on the {fit.estimate.engine} engine" if problem.terms else "No random effects"
    )
    engine = f"{how}; {convergence.status.value} ({counts(fit)})."
    notes = [engine] if fit.posterior is None else posterior_notes(fit)
    notes += structures_in_words(problem, fit.estimate.theta)
    if not convergence.status.good and fit.posterior is None:
        notes.append(_not_converged(convergence, quasi=fit.estimate.quasi is not None))
    if fit.estimate.quasi is not None and problem.terms:
        notes.append(_traces(fit.estimate.quasi))
    if fit.llf_stderr:
        notes.append(
            f"The log-likelihood is an estimate with a standard error of {fit.llf_stderr:.2g}; AIC and BIC have twice that."
        )
    if fit.estimate.singular:
        which = " and ".join(f"({label})" for label in fit.estimate.singular)
        notes.append(f"Singular: the covariance matrix of {which} has a direction of zero variance.")
    ends = at_limit(fit)
    notes += [
        f"{name} is estimated as {where}: the simpler family fits as well." for name, where in ends.items()
    ]
    if loose := [name for name in fit.estimate.undetermined if name.split(": ")[0] not in ends]:
        notes.append(
            f"Not determined by the data (separation): {', '.join(loose)}; standard errors are infinite."
        )
    if problem.X.dropped:
        names = ", ".join(problem.X.dropped)
        notes.append(
            f"Rank deficient: dropped {len(problem.X.dropped)} of the fixed-effects columns: {names}."
        )
    if problem.weights is not None:
        low, high = float(problem.weights.min()), float(problem.weights.max())
        word = problem.family.weights_word
        notes.append(f"{word} from {low:.4g} to {high:.4g}.")
    notes += fit.backend.describe()
    if problem.offset is not None:
        notes.append("With an offset.")
    return tuple(notes)


def _not_converged(convergence: Convergence, *, quasi: bool) -> str:
    if quasi:
        return (
            f"NOT CONVERGED: the last outer iteration changed the linear predictors by {convergence.decrement:.2g} of their "
            f"size (tolerance {convergence.tolerance:.2g})."
        )
    return (
        f"NOT CONVERGED: another step promises {convergence.decrement:.2g} of deviance (tolerance "
        f"{convergence.tolerance:.2g}); the largest gradient is {convergence.max_gradient:.2g}."
    )


def _traces(quasi: Quasi) -> str:
    """How the degrees of freedom behind the variances were found, and what that is worth."""
    if quasi.traces == "diagonal":
        return (
            "Variances: effective degrees of freedom of each grouping factor from the factor alone (diagonal approximation); "
            "traces='exact' has no such error."
        )
    exact = "Variances: exact effective degrees of freedom"
    gaps = np.zeros(0) if quasi.gaps is None else quasi.gaps[np.isfinite(quasi.gaps)]
    if not gaps.size:
        return f"{exact}."
    low, high = 100.0 * float(gaps.min()), 100.0 * float(gaps.max())
    if max(-low, high) < 0.01:
        apart = "within 0.01% of these"
    else:
        apart = f"{low:+.2g}% off these" if gaps.size == 1 else f"{low:+.2g}% to {high:+.2g}% off these"
    return f"{exact}; the diagonal approximation puts the standard deviations {apart}."


def diagnostics(fit: Fit) -> dict[str, Any]:
    """Numbers about the search and the boundary.

    Keys: ``converged, status, evaluations, iterations, decrement, tolerance, max_gradient, singular`` (labels of terms),
    ``dropped_columns, rows_dropped, loglik_stderr, engine, method, plan``. Of a quasi-likelihood ``evaluations`` are outer
    iterations, ``iterations`` sweeps and ``decrement`` is the relative change of the linear predictors; further keys are
    ``outer_iterations, sweeps, relative_change, traces`` ("diagonal" or "exact"), ``dispersion`` (phi), ``dispersion_is``
    ("estimated", "held at 1" or "the family's") and ``variance_gap``, for each standard deviation its value with diagonal
    over that with exact traces, minus one (None where both are not known).

    Of a posterior ``evaluations`` are densities computed and ``iterations`` draws; further keys are ``sampler, chains, draws,
    warmup, seed, complete, rhat, ess_bulk, ess_tail`` (by parameter), ``bfmi`` (by chain), ``divergences, warmup_divergences,
    depth_limited, pareto_k, efficiency, log_evidence`` and ``advice``.
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
        "loglik_stderr": fit.llf_stderr,
        "engine": fit.estimate.engine,
        "method": fit.method,
        "plan": str(fit.plan),
        **_quasi_diagnostics(fit),
        **posterior_diagnostics(fit),
    }


def _quasi_diagnostics(fit: Fit) -> dict[str, Any]:
    quasi, convergence = fit.estimate.quasi, fit.estimate.convergence
    if quasi is None:
        return {}
    own = "the family's" if fit.problem.family.auxiliaries else "held at 1"
    names = [
        f"{name}.{column}"
        for name, term in zip(group_names(fit), fit.problem.terms, strict=True)
        for column in term.columns
    ]
    return {
        "outer_iterations": convergence.evaluations,
        "sweeps": convergence.iterations,
        "relative_change": convergence.decrement,
        "traces": quasi.traces,
        "dispersion": fit.estimate.sigma**2,
        "dispersion_is": "estimated" if quasi.free else own,
        "variance_gap": None if quasi.gaps is None else dict(zip(names, map(float, quasi.gaps), strict=True)),
    }


def _criteria(fit: Fit) -> dict[str, float]:
    """The likelihood's criteria; a quasi-likelihood has none, a posterior how well its draws describe it."""
    if fit.posterior is not None:
        return worst(fit.posterior)
    if np.isnan(fit.deviance):
        return {"df.resid": fit.df_resid}
    criterion = "REML criterion" if fit.estimate.restricted else "-2 log L"
    return {
        "logLik": fit.llf,
        **({"SE(logLik)": fit.llf_stderr} if fit.llf_stderr else {}),
        criterion: fit.deviance,
        "AIC": fit.aic,
        "BIC": fit.bic,
        "df.resid": fit.df_resid,
    }
