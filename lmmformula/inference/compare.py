"""Likelihood-ratio tables of several fits of the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.arguments import checked
from lmmformula.errors import DataError, PlanError
from lmmformula.inference.anova import terms_table
from lmmformula.inference.monotonic import CAUTIOUS, has_monotonic, parameters_of_model
from lmmformula.inference.same_rows import refuse_other_rows, same_columns
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.correlated import Correlated
    from lmmformula.backends.exact import Exact
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["anova", "labels_of_fits", "refuse_different_approximations", "refuse_what_is_no_fit"]


@checked
def anova(
    *fits: Fitted,
    refit: bool = True,
    type: int | str | None = None,  # noqa: A002
    ddf: str | None = None,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
    """Likelihood-ratio tests of nested models; for a single fit, tests of its terms.

    Parameters
    ----------
    *fits : Fit
        Models of the same rows and response, in any order.
    refit : bool
        Whether REML fits are refitted by ML, because restricted likelihoods of models with different fixed effects are
        likelihoods of different data. False compares them as they are (lme4's ``refit = FALSE``), which tests random effects
        by REML; all models must then have the same fixed-effects columns.
    type : {1, 2, 3}, optional
        Of the tests of a single fit; 3 by default. See :meth:`Fit.anova`.
    ddf : {"satterthwaite", "kenward-roger"}, optional
        The same.
    vcov, cluster
        The same: errors by clusters.

    Returns
    -------
    DataFrame
        One row a model, fewest parameters first: ``npar, AIC, BIC, logLik, -2*log(L), Chisq, Df, Pr(>Chisq)``, each test
        against the row above; ``SE(logLik)`` too where likelihoods are estimates. ``attrs["refitted"]`` counts the models
        refitted by ML; ``attrs["note"]`` is there if families or links differ (the index then names them), if likelihoods
        are estimates, or if they are restricted.

    Raises
    ------
    DataError
        For different rows, responses or numbers of trials, and for what is no fit. Rows are compared by their labels in pandas
        frames, else by their positions: see :mod:`lmmformula.inference.same_rows`.
    PlanError
        For likelihoods that were approximated in different ways, or restricted and of different fixed effects.

    Notes
    -----
    The chi-square reference is conservative where the smaller model has a variance of zero (the boundary); that the models
    are nested is for the caller to know.
    """
    import pandas as pd
    from scipy.special import chdtrc

    refuse_what_is_no_fit(fits, "anova")
    if len(fits) == 1:
        rule = "satterthwaite" if ddf is None else ddf
        return terms_table(fits[0], 3 if type is None else type, rule, vcov, cluster)
    of_one = {"type": type, "ddf": ddf, "vcov": vcov, "cluster": cluster}
    if given := {name: value for name, value in of_one.items() if value is not None}:
        name, value = next(iter(given.items()))
        raise DataError(
            f"{name}={value!r} is for the tests of one fit's terms, and anova() got {len(fits)} fits, which it compares by "
            f"their likelihoods. Leave it out, or call fit.anova({name}={value!r})."
        )
    for fit in fits:
        fit.inference.check("likelihood ratio")
    refuse_other_rows(fits)
    refuse_different_approximations(fits)
    if not refit:
        _refuse_different_criteria(fits)
    ordered = sorted(fits, key=parameters_of_model)
    estimates = [_ml_estimate(f) if refit else f.estimate for f in ordered]
    deviance = np.array([e.deviance for e in estimates])
    errors = 0.5 * np.array([e.deviance_stderr for e in estimates])
    npar = np.array([f.df_model for f in ordered])
    chisq = np.append(np.nan, np.maximum(-np.diff(deviance), 0.0))
    df = np.append(np.nan, np.diff([parameters_of_model(f) for f in ordered]))
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
        index=pd.Index(labels_of_fits(ordered), name="model"),
    )
    restricted = sum(f.estimate.restricted for f in fits)
    table.attrs["refitted"] = restricted if refit else 0
    notes = [_DIFFERENT_FAMILIES] if len({str(f.problem.family) for f in fits}) > 1 else []
    notes += [_RESTRICTED] if restricted and not refit else []
    if errors.any():
        apart = 2.0 * float(np.sqrt(errors[1:] ** 2 + errors[:-1] ** 2).max())
        notes.append(
            f"Log-likelihoods are estimates: a Chisq has a standard error of up to {apart:.2g}, less where fits share their "
            "probes (the same seed and random effects)."
        )
    notes += [CAUTIOUS] if has_monotonic(fits) else []
    if notes:
        table.attrs["note"] = " ".join(notes)
    return table


_DIFFERENT_FAMILIES = (
    "The models have different families or links. The p-value is that of a likelihood-ratio test only if one family contains "
    "the other (poisson in nbinom2, a family in its zero-inflated form); AIC and BIC compare the others, as long as all of "
    "them are discrete or all are continuous."
)


_RESTRICTED = (
    "Likelihoods are restricted (REML) and those of the fits as they are: they compare random effects only, and AIC and BIC "
    "only among models with the same fixed effects."
)


def refuse_what_is_no_fit(fits: tuple[object, ...], called: str) -> None:
    """Refuse no fits at all, and what is none, by the name of the function that was called."""
    if not fits:
        raise DataError(f"{called}() was called without a fit; give one fit, or two or more to compare.")
    for place, given in enumerate(fits, 1):
        if isinstance(getattr(given, "problem", None), Problem) and hasattr(given, "estimate"):
            continue
        kind = given.__class__.__name__
        if isinstance(given, list | tuple):
            cause = f"Give fits one by one: {called}(*fits)."
        elif isinstance(given, str):
            cause = "Give fits, not names; for tests of the terms of one fit call fit.anova()."
        else:
            cause = "Give what fit() or load() returns."
        raise DataError(
            f"{called}() compares fits, and argument {place} is of type {kind}: {str(given)[:60]!r}. {cause}"
        )


def labels_of_fits(fits: list[Fitted]) -> list[str]:
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


def _refuse_different_criteria(fits: tuple[Fitted, ...]) -> None:
    """Restricted likelihoods are those of y without what X explains: of different data where X differs."""
    restricted = [f.estimate.restricted for f in fits]
    if not any(restricted):
        return
    if not all(restricted):
        methods = sorted({f.method for f in fits})
        raise PlanError(
            f"refit=False compares the likelihoods as they are, and these are of different kinds ({', '.join(methods)}). Leave "
            "refit out, or fit all models by the same method."
        )
    first = fits[0]
    for other in fits[1:]:
        if not same_columns(first, other):
            names = [", ".join(f.problem.X.names) for f in (first, other)]
            raise PlanError(
                "refit=False compares restricted likelihoods (REML), which of models with different fixed effects are "
                f"likelihoods of different data: {first.formula!r} has {names[0]}; {other.formula!r} has {names[1]}. Leave "
                "refit out: the models are then refitted by ML."
            )


def refuse_different_approximations(fits: tuple[Fitted, ...]) -> None:
    """Errors of approximations differ by more than the differences that are tested."""
    approximate = [f for f in fits if f.problem.terms and not f.problem.family.is_linear]
    if len(methods := sorted({f.method for f in approximate})) > 1:
        raise PlanError(
            f"the likelihoods were approximated in different ways ({'; '.join(methods)}), so their difference says nothing "
            "about the models. Fit all of them with the same nagq."
        )
    if len({f.backend.approximation for f in approximate if not f.problem.family.is_canonical}) > 1:
        raise PlanError(
            "one model was fitted with information='observed' and another with 'expected': different approximations of the "
            "likelihood. Fit all of them with the same."
        )


def _ml_estimate(fit: Fitted) -> Estimate:
    """The ML fit of the same model."""
    if not fit.estimate.restricted:
        return fit.estimate
    return fit.standard.outward(cast("Exact | Correlated", fit.backend).unrestricted(fit.optimum).estimate)
