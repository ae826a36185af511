"""The summary of a fit: gathered once, printed as text or HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.conditional import group_names, random_effects
from lmmformula.inference.monotonic import flat_steps
from lmmformula.inference.residuals import auxiliary
from lmmformula.inference.smooths.places import has_smooths
from lmmformula.inference.smooths.tests import smooth_table
from lmmformula.inference.structures import structures_in_words
from lmmformula.ir.rows import range_of
from lmmformula.ir.variance_parameters import term_parameters
from lmmformula.planner.record import seconds_in_words
from lmmformula.reporting.auxiliary import auxiliary_parts, structure_parts
from lmmformula.reporting.contents import Contents, SharedTerm
from lmmformula.reporting.convergence import at_limit, residuals_replaced
from lmmformula.reporting.html import as_html
from lmmformula.reporting.text import as_text
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["Summary", "diagnostics", "summarise"]


class Summary(Contents):
    """What a statistician reads first of a fit. Printing it gives text; a notebook shows tables."""

    __slots__ = ()

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def summarise(
    fit: Fitted,
    ddf: str = "satterthwaite",
    correlation: bool | None = None,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> Summary:
    """Summary of a fit.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger"}
        Denominator degrees of freedom of t tests; Kenward & Roger's come with their standard errors.
    correlation : bool, optional
        Whether the correlations of the fixed effects are shown; by default as lme4, for 2 to 20 of them (and not for a
        posterior).
    vcov, cluster
        Standard errors by clusters with their degrees of freedom: see :mod:`lmmformula.inference.robust`.
    """
    gaussian, parts = fit.problem.is_linear, fit.inference.parts()
    robust = vcov is not None or cluster is not None
    fixed, reason = fit.inference.fixed_table(ddf, vcov, cluster)
    known = fit.inference.uncertainty(ddf, vcov, cluster) if robust else None
    correlated = fit.problem.p <= MOST_CORRELATED and not parts if correlation is None else correlation
    family = fit.problem.family
    return Summary(
        title=_title(fit),
        formula=fit.formula,
        data=_data_line(fit),
        criteria=fit.inference.criteria(),
        residuals=_quartiles(fit),
        random=random_effects(fit),
        fixed=fixed,
        notes=(
            *_notes(fit),
            *([] if known is None else [f"Standard errors of the fixed effects by clusters: {known.label}."]),
            *([] if parts or correlation is not None else _unseen(fit)),
            *([f"No standard errors: {reason}"] if reason else []),
        ),
        family="" if gaussian else family.name,
        links="" if gaussian else _links(fit),
        formulas=_formulas(fit),
        auxiliary=() if parts else (*auxiliary_parts(fit), *structure_parts(fit)),
        posterior=parts,
        correlation=None
        if reason or not correlated
        else _correlation(fit, fit.vcov if known is None else known.covariance),
        shared=_shared(fit),
        ddf=ddf if known is None else "bell-mccaffrey",
        smooths=smooth_table(fit) if has_smooths(fit) else None,
        structured=fit.problem.residual is not None,
        monotonic=None if fit.problem.monotonic is None else fit.inference.monotonic(),
    )


MOST_CORRELATED = 20
"""Fixed effects up to which their correlations are shown without being asked for, as lme4 does."""


def _shared(fit: Fitted) -> dict[str, SharedTerm]:
    """Such terms by the name of their group."""
    found = zip(group_names(fit), fit.problem.terms, term_parameters(fit.problem), strict=True)
    return {
        name: SharedTerm(own.kind.name, term.columns, len(own.sds) == 1)
        for name, term, own in found
        if own.kind.one_correlation
    }


def _links(fit: Fitted) -> str:
    """brms' line of links."""
    family = fit.problem.family
    pairs = [
        (family.distribution.mean_name or "mu", family.link),
        *((a.table or a.name, family.link_of(a)) for a in family.auxiliaries),
    ]
    return "; ".join(f"{name} = {link}" for name, link in dict.fromkeys(pairs))


def _formulas(fit: Fitted) -> dict[str, str]:
    given = {name: fit.recall.arguments.get(name) for name in ("ziformula", "dispformula")}
    return {name: str(text) for name, text in given.items() if text}


def _correlation(fit: Fitted, cov: Array) -> pd.DataFrame | None:
    """Correlations of the fixed effects."""
    import pandas as pd

    if fit.problem.p < 2:
        return None
    names = list(fit.problem.X.names)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.diagonal(cov))
        values = cov / np.outer(spread, spread)
    return pd.DataFrame(values, index=names, columns=names)


def _unseen(fit: Fitted) -> list[str]:
    if fit.problem.p <= MOST_CORRELATED:
        return []
    return [
        f"Correlations of the fixed effects are not shown, as there are {fit.problem.p:,} (more than {MOST_CORRELATED}): "
        "summary(correlation=True) shows them."
    ]


def _title(fit: Fitted) -> str:
    kind = "Linear" if fit.problem.family.is_linear else "Generalised linear"
    model = "mixed model" if fit.problem.terms or any(fit.problem.aux_terms) else "model"
    return f"{kind} {model}{fit.inference.how}"


def _quartiles(fit: Fitted) -> dict[str, float]:
    """Quartiles of standardised residuals; none where a number for each row is not at hand."""
    if not fit.problem.data.at_hand or fit.problem.family.distribution.tallies:
        return {}
    quantiles = np.quantile(_standardised(fit), [0.0, 0.25, 0.5, 0.75, 1.0])
    return dict(zip(("Min", "1Q", "Median", "3Q", "Max"), map(float, quantiles), strict=True))


def _standardised(fit: Fitted) -> Array:
    """Residuals that are about standard if the model holds."""
    if fit.problem.is_linear:
        return fit.residuals("quantile").to_numpy()
    dispersion = fit.problem.family.dispersion(auxiliary(fit))
    if fit.estimate.quasi_dispersion:
        dispersion = dispersion * fit.estimate.sigma**2
    return fit.residuals("pearson").to_numpy() / np.sqrt(dispersion)


def _data_line(fit: Fitted) -> str:
    problem = fit.problem
    dropped = problem.n_rows_data - problem.n_used
    groups = ", ".join(f"{name} {size:,}" for name, size in fit.ngroups.items())
    rows = f"{problem.n_used:,} rows" + (
        f" ({dropped:,} of {problem.n_rows_data:,} dropped)" if dropped > 0 else ""
    )
    rows += _seen_line(fit)
    origin = getattr(fit.recall.data, "origin", "")
    rows += f", {origin}" if origin else ""
    return f"{rows}; groups: {groups}" if groups else rows


def _seen_line(fit: Fitted) -> str:
    """How many rows are censored, and how, and how many are truncated; of several responses of all together."""
    found = [f"{count:,} {how}" for how, count in fit.problem.not_seen.items() if count]
    return f", {', '.join(found)}" if found else ""


def _notes(fit: Fitted) -> tuple[str, ...]:
    problem = fit.problem
    notes = [*fit.inference.notes(), *structures_in_words(problem, fit.inference.shown_theta)]
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
    notes += [
        f"The effects {label} take the residual's place: their standard deviation is {ratio:,.0f} times the residual's."
        for label, ratio in residuals_replaced(fit).items()
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
    if flat := flat_steps(fit):
        notes.append(f"{flat}; they have no standard errors.")
    if problem.n_rows_used is not None:
        notes.append(f"Equal rows were counted once: {problem.n:,} stand for {problem.n_used:,}.")
    elif problem.data.weights is not None:
        low, high = range_of(problem.data, problem.data.weights)
        word = problem.family.weights_word
        notes.append(f"{word} from {low:.4g} to {high:.4g}.")
    notes += fit.backend.describe()
    if fit.estimate.log_prior is not None:
        notes.append(f"Log density of the priors at the estimate: {fit.estimate.log_prior:.2f}.")
    if (search := fit.estimate.convergence).continued:
        times = "once" if search.continued == 1 else f"{search.continued} times"
        notes.append(f"Continued from a checkpoint {times}: {seconds_in_words(search.seconds)} in all.")
    if problem.data.offset is not None:
        notes.append("With an offset.")
    return tuple(notes)


def diagnostics(fit: Fitted) -> Record:
    """Numbers about the search and the boundary.

    Keys: ``converged, status, evaluations, iterations, decrement, tolerance, max_gradient, continued`` (how often, from a
    checkpoint), ``singular`` (labels of terms),
    ``dropped_columns, rows_dropped, loglik_stderr, engine, method, plan``. Of a quasi-likelihood ``evaluations`` are outer
    iterations, ``iterations`` sweeps and ``decrement`` is the relative change of the linear predictors; further keys are
    ``outer_iterations, sweeps, relative_change, traces`` ("diagonal" or "exact"), ``dispersion`` (phi), ``dispersion_is``
    ("estimated", "held at 1" or "the family's") and ``variance_gap``, for each standard deviation its value with diagonal
    over that with exact traces, minus one (None where both are not known).

    Of a posterior ``evaluations`` are densities computed and ``iterations`` draws; further keys are ``sampler, chains, draws,
    warmup, seed, complete, rhat, ess_bulk, ess_tail`` (by parameter), ``bfmi`` (by chain), ``divergences, warmup_divergences,
    depth_limited, pareto_k, efficiency, log_evidence, interpolation_error, correction_k, correction_efficiency`` and
    ``advice``.
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
        "continued": convergence.continued,
        "singular": fit.estimate.singular,
        "dropped_columns": problem.X.dropped,
        "rows_dropped": problem.n_rows_data - problem.n_used,
        "loglik_stderr": fit.llf_stderr,
        "engine": fit.estimate.engine,
        "method": fit.method,
        "plan": str(fit.plan),
        **fit.inference.diagnostics(),
    }
