"""Fitted values and residuals on the rows of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.rows import refuse_in_memory, row_labels
from lmmformula.inference.structure.rows import normalised
from lmmformula.ir.rows import Chunk
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.families.family import Family
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.estimate import Estimate

__all__ = [
    "auxiliary",
    "auxiliary_of",
    "fitted",
    "linear_predictor",
    "overdispersion",
    "pearson_scale",
    "predictor_of",
    "residuals",
]

KINDS = ("response", "pearson", "deviance", "working", "quantile", "normalized")


def linear_predictor(fit: Fitted, effects: Sequence[Array] | None = None) -> Array:
    """X beta + Z b + offset, (n,), with the modes for b, or other `effects` (m, k) of the terms, or none."""
    data, estimate = fit.problem.data, fit.estimate
    return data.whole(data.map(lambda chunk: (predictor_of(estimate, chunk, effects),))[0])


def predictor_of(estimate: Estimate, chunk: Chunk, effects: Sequence[Array] | None = None) -> Array:
    """The same of a chunk of the rows."""
    b = estimate.modes if effects is None else effects
    eta = chunk.fixed @ estimate.beta
    for term, own in zip(chunk.terms if b else (), b, strict=True):
        eta += term.share(0, own)
    return eta if chunk.offset is None else eta + chunk.offset


def auxiliary(fit: Fitted, effects: Sequence[Array] | None = None) -> tuple[Array, ...]:
    """The family's auxiliary linear predictors on the rows of the fit, each (n,), with the modes or other `effects`."""
    if not fit.estimate.aux:  # a profiled sigma
        sigma = np.full(fit.problem.n, fit.estimate.sigma)
        if fit.problem.residual is not None:
            sigma *= fit.problem.residual.deviations(fit.estimate.residual)
        return tuple(a.predictor(sigma) for a in fit.problem.family.auxiliaries)
    data, estimate, family = fit.problem.data, fit.estimate, fit.problem.family
    return tuple(map(data.whole, data.map(lambda chunk: auxiliary_of(estimate, family, chunk, effects))))


def auxiliary_of(
    estimate: Estimate, family: Family, chunk: Chunk, effects: Sequence[Array] | None = None
) -> tuple[Array, ...]:
    """The auxiliary linear predictors of a chunk of the rows, with the modes or other `effects` of the terms."""
    if not estimate.aux:
        sigma = np.full(chunk.n, estimate.sigma)
        return tuple(a.predictor(sigma) for a in family.auxiliaries)
    out = tuple(columns @ alpha for columns, alpha in zip(chunk.aux, estimate.aux, strict=True))
    for eta, terms, modes in zip(out, chunk.aux_terms, estimate.aux_modes, strict=False):
        for term, b in zip(terms, modes, strict=True):
            eta += term.apply(b)
    for term, b in zip(chunk.terms, estimate.modes if effects is None else effects, strict=False):
        for j, eta in enumerate(out if any(term.predictors) else (), 1):
            eta += term.share(j, b)
    return out


def fitted(fit: Fitted) -> pd.Series:
    """Fitted values, under the labels of the rows; of a posterior, the mean of the expected response."""
    import pandas as pd

    refuse_in_memory(fit, "fitted values")
    return pd.Series(fit.inference.mean_response(), index=row_labels(fit.problem), name="fitted")


def residuals(
    fit: Fitted, kind: str = "response", seed: int | np.random.Generator | None = None
) -> pd.Series:
    """Residuals of one kind.

    With mu the fitted values, V the family's variance function and w the weights: "response" is y - mu; "working"
    (y - mu) d eta/d mu; "pearson" (y - mu) sqrt(w / V(mu)); "deviance" the signed root of the unit deviance;
    "quantile" the normal quantile of the distribution function at y, randomised within the jump of a discrete response
    (Dunn & Smyth 1996), standard normal under the model; "normalized" residuals of a Gaussian model are made independent of
    each other and of variance one, by the Cholesky factor of their covariance within groups in the order of positions (nlme's
    word and definition).

    Parameters
    ----------
    kind : {"response", "pearson", "deviance", "working", "quantile", "normalized"}
    seed : int or Generator, optional
        For "quantile" of a discrete response.
    """
    import pandas as pd

    if kind not in KINDS:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(KINDS)}.")
    problem, family, data = fit.problem, fit.problem.family, fit.problem.data
    refuse_in_memory(fit, "residuals")
    if family.distribution.tallies:
        raise PlanError(
            f"a row of family {family.name!r} has a count for each category, and residuals are one number a row: compare the "
            "counts with predict(), the probabilities, times the trials."
        )
    eta, aux, y, weights = linear_predictor(fit), auxiliary(fit), data.whole(data.y), data.whole(data.weights)
    mean, location = fit.fittedvalues.to_numpy(), family.location(eta)
    if kind == "response":
        values = y - mean
    elif kind == "working":
        values = (y - location) / family.slope(eta)
    elif kind == "pearson":
        values = (y - mean) * pearson_scale(fit)
    elif kind == "deviance":
        squared = family.deviance_residual_squared(y, location, weights, aux)
        values = np.sign(y - mean) * np.sqrt(squared)
    elif kind == "normalized":
        values = _normalised(fit, y - mean)
    else:
        values = _quantile(family, (y, eta, aux, weights), seed)
    return pd.Series(values, index=row_labels(problem), name="residual")


def _normalised(fit: Fitted, residuals: Array) -> Array:
    if not fit.problem.family.is_linear:
        raise DataError(
            f"kind='normalized' is that of Gaussian residuals, and {fit.problem.family} has none: use kind='quantile'."
        )
    if fit.problem.residual is not None:
        return normalised(fit, residuals)
    weights = fit.problem.data.whole(fit.problem.data.weights)
    scale = np.exp(auxiliary(fit)[0])
    return residuals * (1.0 if weights is None else np.sqrt(weights)) / scale


def pearson_scale(fit: Fitted) -> Array:
    """sqrt(w / V(mu)), (n,): what Pearson's residuals multiply y - mu by."""
    problem = fit.problem
    family, data = problem.family, problem.data
    location, weights = family.location(linear_predictor(fit)), data.whole(data.weights)
    with np.errstate(divide="ignore"):  # a mean that has run to the end of its range
        return np.sqrt(
            (1.0 if weights is None else weights) / family.unit_variance(location, auxiliary(fit), weights)
        )


def _quantile(family: Family, rows: Data, seed: int | np.random.Generator | None) -> Array:
    if (normal := family.normal) is not None:  # the distribution function would only be undone
        y, eta, (log_sigma, *_), weights = rows
        return (normal.of(y) - eta) * (1.0 if weights is None else np.sqrt(weights)) * np.exp(-log_sigma)
    from scipy.special import ndtri

    upper = family.cdf(*rows)
    if family.has_atoms:
        lower = family.cdf(*rows, below=True)
        upper = lower + (upper - lower) * np.random.default_rng(seed).uniform(size=len(upper))
    edge = np.finfo(float).eps
    return ndtri(np.clip(upper, edge, 1 - edge))


def overdispersion(fit: Fitted) -> pd.Series:
    """Pearson chi-square of the residuals given the random effects, its ratio to n - npar, and the p-value.

    A ratio well above 1 says that the response varies more than the family allows; a rough guide, since the random
    effects are counted as parameters by their variances only (Bolker et al. 2009, box 4).
    """
    import pandas as pd
    from scipy.special import chdtrc

    if fit.problem.family.has_residual:
        raise DataError(
            "a Gaussian model estimates its residual variance, so overdispersion has no meaning for it."
        )
    at_hand = fit.problem.data.at_hand
    chisq = float(np.sum(residuals(fit, "pearson") ** 2)) if at_hand else _pearson(fit)
    return pd.Series(
        {
            "chisq": chisq,
            "df": fit.df_resid,
            "ratio": chisq / fit.df_resid,
            "p_value": chdtrc(fit.df_resid, chisq),
        },
        name="overdispersion",
    )


def _pearson(fit: Fitted) -> float:
    """Pearson's chi-square as a sum over chunks of rows."""
    family, estimate = fit.problem.family, fit.estimate

    def share(chunk: Chunk) -> float:
        eta, aux = predictor_of(estimate, chunk), auxiliary_of(estimate, family, chunk)
        w = 1.0 if chunk.weights is None else chunk.weights
        apart, location = chunk.y - family.mean(eta, aux), family.location(eta)
        return float(np.sum(apart**2 * w / family.unit_variance(location, aux, chunk.weights)))

    return fit.problem.data.reduce(share)
