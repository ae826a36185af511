"""Likelihood-ratio tables of several fits of the same data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.anova import terms_table
from lmmformula.inference.posterior import refuse_posterior
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["compare"]


def compare(*fits: Fit) -> pd.DataFrame:
    """Likelihood-ratio tests of nested models; for a single fit, its type 3 tests.

    Parameters
    ----------
    *fits : Fit
        Models of the same rows and response, in any order. REML fits are refitted by ML, because restricted likelihoods
        of models with different fixed effects are likelihoods of different data.

    Returns
    -------
    DataFrame
        One row a model, fewest parameters first: ``npar, AIC, BIC, logLik, -2*log(L), Chisq, Df, Pr(>Chisq)``, each test
        against the row above; ``SE(logLik)`` too where likelihoods are estimates. ``attrs["refitted"]`` counts the models
        refitted by ML; ``attrs["note"]`` is there if families or links differ (the index then names them), or if likelihoods
        are estimates.

    Raises
    ------
    DataError
        For different rows, responses or numbers of trials.
    PlanError
        For likelihoods that were approximated in different ways.

    Notes
    -----
    The chi-square reference is conservative where the smaller model has a variance of zero (the boundary); that the models
    are nested is for the caller to know.
    """
    import pandas as pd
    from scipy.special import chdtrc

    if not fits:
        raise DataError("anova() was called without a fit; give one fit, or two or more to compare.")
    if len(fits) == 1:
        return terms_table(fits[0], 3)
    for fit in fits:
        refuse_posterior(
            fit,
            "a likelihood-ratio test needs maxima of the likelihood",
            "Compare posteriors by arviz_stats.compare({'a': a.to_datatree(), 'b': b.to_datatree()}), or fit with method='ml'.",
        )
    _refuse_different_data(fits)
    _refuse_different_approximations(fits)
    ordered = sorted(fits, key=lambda f: f.df_model)
    estimates = [_ml_estimate(f) for f in ordered]
    deviance = np.array([e.deviance for e in estimates])
    errors = 0.5 * np.array([e.deviance_stderr for e in estimates])
    npar = np.array([f.df_model for f in ordered])
    chisq = np.append(np.nan, np.maximum(-np.diff(deviance), 0.0))
    df = np.append(np.nan, np.diff(npar))
    with np.errstate(invalid="ignore"):
        p = np.where(df > 0, chdtrc(np.where(df > 0, df, 1.0), chisq), np.nan)
    table = pd.DataFrame(
        {
            "npar": npar,
            "AIC": deviance + 2.0 * npar,
            "BIC": deviance + np.log(ordered[0].nobs) * npar,
            "logLik": -0.5 * deviance,
            **({"SE(logLik)": errors} if errors.any() else {}),
            "-2*log(L)": deviance,
            "Chisq": chisq,
            "Df": df,
            "Pr(>Chisq)": p,
        },
        index=pd.Index(_labels(ordered), name="model"),
    )
    table.attrs["refitted"] = sum(f.method == "REML" for f in fits)
    notes = [_DIFFERENT_FAMILIES] if len({str(f.problem.family) for f in fits}) > 1 else []
    if errors.any():
        apart = 2.0 * float(np.sqrt(errors[1:] ** 2 + errors[:-1] ** 2).max())
        notes.append(
            f"Log-likelihoods are estimates: a Chisq has a standard error of up to {apart:.2g}, less where fits share their "
            "probes (the same seed and random effects)."
        )
    if notes:
        table.attrs["note"] = " ".join(notes)
    return table


_DIFFERENT_FAMILIES = (
    "The models have different families or links. The p-value is that of a likelihood-ratio test only if one family contains "
    "the other (poisson in nbinom2, a family in its zero-inflated form); AIC and BIC compare the others, as long as all of "
    "them are discrete or all are continuous."
)


def _labels(fits: list[Fit]) -> list[str]:
    """Formulas, with the family and the auxiliary formulas where those differ."""
    labels = [f.formula for f in fits]
    families = [str(f.problem.family) for f in fits]
    if len(set(families)) > 1:
        labels = [f"{label}, {family}" for label, family in zip(labels, families, strict=True)]
    for name in ("ziformula", "dispformula"):
        given = [f.recall.arguments.get(name) for f in fits]
        if len(set(given)) > 1:
            labels = [
                f"{label}, {name}={text!r}" if text else label
                for label, text in zip(labels, given, strict=True)
            ]
    return labels


def _refuse_different_data(fits: tuple[Fit, ...]) -> None:
    first = fits[0].problem
    for other in (f.problem for f in fits[1:]):
        if other.n != first.n:
            raise DataError(
                f"the models were fitted to {first.n:,} and {other.n:,} rows; a likelihood-ratio test needs the same rows. "
                "The likely cause is missing values in a variable of one model only: drop those rows first."
            )
        if not np.array_equal(other.y, first.y):
            raise DataError(
                f"the models {first.formula!r} and {other.formula!r} have different responses or different rows; their "
                "likelihoods cannot be compared."
            )
        counts = {other.family.weights_are, first.family.weights_are} - {"precision"}
        if counts and not _same_weights(other, first):
            raise DataError(
                f"the models {first.formula!r} and {other.formula!r} have different weights, which count trials or repeated "
                "rows here: different data. Give both the same weights."
            )


def _same_weights(a: Problem, b: Problem) -> bool:
    ones = np.ones(a.n)
    return np.array_equal(ones if a.weights is None else a.weights, ones if b.weights is None else b.weights)


def _refuse_different_approximations(fits: tuple[Fit, ...]) -> None:
    """Errors of approximations differ by more than the differences that are tested; a quasi-likelihood is none."""
    if without := [f.formula for f in fits if np.isnan(f.deviance)]:
        raise PlanError(
            f"{without[0]} was fitted by penalised quasi-likelihood, which has no likelihood to compare: llf, AIC and BIC are "
            "nan. Fit both models with method='laplace' (Gaussian: 'ml'), or test terms of one fit with .anova()."
        )
    approximate = [f for f in fits if not f.problem.family.is_linear]
    if len(methods := sorted({f.method for f in approximate})) > 1:
        raise PlanError(
            f"the likelihoods were approximated in different ways ({'; '.join(methods)}), so their difference says nothing "
            "about the models. Fit all of them with the same nagq."
        )
    if len({f.backend.information for f in approximate if not f.problem.family.is_canonical}) > 1:
        raise PlanError(
            "one model was fitted with information='observed' and another with 'expected': different approximations of the "
            "likelihood. Fit all of them with the same."
        )


def _ml_estimate(fit: Fit) -> Estimate:
    """The ML fit of the same model."""
    if fit.method != "REML":
        return fit.estimate
    model = replace(fit.optimum.model, reml=False)
    start = np.where(
        np.abs(fit.estimate.theta) < 1e-2, 1e-2, fit.estimate.theta
    )  # zero is a stationary point
    return replace(fit.backend, reml=False, start=start).optimise(model).estimate
