"""Fitted values and residuals on the rows of the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.rows import row_labels
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["auxiliary", "fitted", "linear_predictor", "overdispersion", "residuals"]

KINDS = ("response", "pearson", "deviance", "working", "quantile")


def linear_predictor(fit: Fitted) -> Array:
    """X beta + Z b + offset, (n,)."""
    problem = fit.problem
    eta = problem.X.matrix @ fit.estimate.beta
    for term, b in zip(problem.terms, fit.estimate.modes, strict=True):
        eta += term.apply(b)
    return eta if problem.offset is None else eta + problem.offset


def auxiliary(fit: Fitted) -> tuple[Array, ...]:
    """The family's auxiliary linear predictors on the rows of the fit, each (n,)."""
    if not fit.estimate.aux:  # a profiled sigma
        sigma = np.full(fit.problem.n, fit.estimate.sigma)
        return tuple(a.predictor(sigma) for a in fit.problem.family.auxiliaries)
    out = [b.matrix @ a for b, a in zip(fit.problem.aux, fit.estimate.aux, strict=True)]
    for eta, terms, modes in zip(out, fit.problem.aux_terms, fit.estimate.aux_modes, strict=False):
        for term, b in zip(terms, modes, strict=True):
            eta += term.apply(b)
    return tuple(out)


def fitted(fit: Fitted) -> pd.Series:
    """Fitted values, under the labels of the rows; of a posterior, the mean of the expected response."""
    import pandas as pd

    return pd.Series(fit.inference.mean_response(), index=row_labels(fit.problem), name="fitted")


def residuals(
    fit: Fitted, kind: str = "response", seed: int | np.random.Generator | None = None
) -> pd.Series:
    """Residuals of one kind.

    With mu the fitted values, V the family's variance function and w the weights: "response" is y - mu; "working"
    (y - mu) d eta/d mu; "pearson" (y - mu) sqrt(w / V(mu)); "deviance" the signed root of the unit deviance;
    "quantile" the normal quantile of the distribution function at y, randomised within the jump of a discrete response
    (Dunn & Smyth 1996), standard normal under the model.

    Parameters
    ----------
    kind : {"response", "pearson", "deviance", "working", "quantile"}
    seed : int or Generator, optional
        For "quantile" of a discrete response.
    """
    import pandas as pd

    if kind not in KINDS:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(KINDS)}.")
    problem, family = fit.problem, fit.problem.family
    eta, aux = linear_predictor(fit), auxiliary(fit)
    mean, location, y = fit.fittedvalues.to_numpy(), family.location(eta), problem.y
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    if kind == "response":
        values = y - mean
    elif kind == "working":
        values = (y - location) / family.link_function.mean_jet(eta).d1
    elif kind == "pearson":
        with np.errstate(divide="ignore"):  # a mean that has run to the end of its range
            values = (y - mean) * np.sqrt(weights / family.unit_variance(location, aux))
    elif kind == "deviance":
        squared = family.deviance_residual_squared(y, location, problem.weights, aux)
        values = np.sign(y - mean) * np.sqrt(squared)
    else:
        values = _quantile(fit, eta, aux, seed)
    return pd.Series(values, index=row_labels(problem), name="residual")


def _quantile(
    fit: Fitted, eta: Array, aux: tuple[Array, ...], seed: int | np.random.Generator | None
) -> Array:
    from scipy.special import ndtri

    problem, family = fit.problem, fit.problem.family
    upper = family.cdf(problem.y, eta, aux, problem.weights)
    if family.is_discrete:
        lower = family.cdf(problem.y, eta, aux, problem.weights, below=True)
        upper = lower + (upper - lower) * np.random.default_rng(seed).uniform(size=problem.n)
    edge = np.finfo(float).eps
    return ndtri(np.clip(upper, edge, 1 - edge))


def overdispersion(fit: Fitted) -> pd.Series:
    """Pearson chi-square of the residuals given the random effects, its ratio to n - npar, and the p-value.

    A ratio well above 1 says that the response varies more than the family allows; a rough guide, since the random
    effects are counted as parameters by their variances only (Bolker et al. 2009, box 4).
    """
    import pandas as pd
    from scipy.special import chdtrc

    chisq = float(np.sum(residuals(fit, "pearson") ** 2))
    if fit.problem.family.has_residual:
        raise DataError(
            "a Gaussian model estimates its residual variance, so overdispersion has no meaning for it."
        )
    return pd.Series(
        {
            "chisq": chisq,
            "df": fit.df_resid,
            "ratio": chisq / fit.df_resid,
            "p_value": chdtrc(fit.df_resid, chisq),
        },
        name="overdispersion",
    )
