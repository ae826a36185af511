r"""Limits for new observations: quantiles of their predictive distribution.

A response that is normal around eta, ``Var(e) = sigma_r^2 / w_r`` with the row's own sigma and prior weight, has exactly
``eta +- z sqrt(v + sigma_r^2 / w_r)``, v the variance of eta's error (:mod:`lmmformula.inference.prediction_error`).

Every other response is drawn: parameters and random effects from their joint normal approximation, which gives eta and the
auxiliary predictors, and from these a response of the family with the row's weight (trials). The limits are quantiles of
`DRAWS` such responses; those of a discrete response are values that it can take, with at least the level between them. The
order statistics have a sampling error of ``sqrt(p (1 - p) / DRAWS)`` in probability: .0025 for the ends of a 95% interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, warn
from lmmformula.frame.arguments import row_argument
from lmmformula.frame.row_weights import checked_weights
from lmmformula.frame.table import open_table
from lmmformula.inference.posterior import row_slices
from lmmformula.inference.prediction_error import RowErrors
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.families.family import Family
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows

__all__ = ["drawn_limits", "new_weights", "normal_limits", "predictor_draws", "response_limits"]

DRAWS = 4_000
"""Responses drawn for each row."""

VAGUE = 3.0
"""An auxiliary predictor (a logarithm or logit) with a larger standard error has run to a limit and is held there."""

MOST = 1e15
"""Means of counts beyond this cannot be drawn."""


def normal_limits(eta: Array, variance: Array, level: float) -> tuple[Array, Array]:
    """``eta -+ z sqrt(variance)``."""
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + level / 2)) * np.sqrt(variance)
    return eta - reach, eta + reach


def response_limits(
    fit: Fitted,
    rows: Rows,
    eta: Array,
    errors: RowErrors,
    weights: Array | None,
    level: float,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Limits for a new response of each row.

    Parameters
    ----------
    rows : rows to predict, with ``aux``
    eta : (n,) array
        nan in rows that are not to be predicted.
    errors : RowErrors
    weights : (n,) array or None
        Prior weights or trials of the new observations.

    Returns
    -------
    lower, upper : (n,) arrays
        nan where the data do not determine eta, or where a share beyond the level has no mean that can be drawn.
    """
    if not fit.problem.responses:
        return _limits(fit.problem.family, rows, eta, errors, weights, level, rng)
    found = []
    for j, segment in enumerate(fit.problem.responses):
        n = rows.n // len(fit.problem.responses)
        at = slice(j * n, (j + 1) * n)
        places = (
            segment.aux if fit.problem.aux else range(len(rows.aux))
        )  # a profiled sigma is that of all rows
        own = replace(rows, aux=tuple(rows.aux[a][at] for a in places))
        weight = None if weights is None else weights[at]
        found.append(_limits(segment.family, own, eta[at], errors.of(at, segment.aux), weight, level, rng))
    lower, upper = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return lower, upper


def _limits(
    family: Family,
    rows: Rows,
    eta: Array,
    errors: RowErrors,
    weights: Array | None,
    level: float,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """The same of rows of one family."""
    if family.is_linear:
        sigma = family.auxiliaries[0].value(rows.aux[0])
        noise = sigma**2 / (1.0 if weights is None else weights)
        return normal_limits(eta, errors.variance(1.0) + noise, level)
    possible = ~errors.undetermined if weights is None else ~errors.undetermined & np.isfinite(weights)
    lower, upper = np.full((2, len(eta)), np.nan)
    for at, draws, aux in predictor_draws(rows, eta, errors, possible, rng):
        own = None if weights is None else weights[at]
        lower[at], upper[at] = drawn_limits(family, rng, draws, aux, own, level, eta[at])
    return lower, upper


def predictor_draws(
    rows: Rows,
    eta: Array,
    errors: RowErrors,
    possible: NDArray[np.bool_],
    rng: np.random.Generator,
    e: Array | None = None,
) -> Iterator[tuple[NDArray[np.intp], Array, tuple[Array, ...]]]:
    """Slices of the rows that have a prediction, with `DRAWS` draws of eta and of the auxiliary predictors, (S, rows).

    Parameters
    ----------
    possible : (n,) bool array
        Rows wanted; those whose eta or its variance is not finite are left out.
    e : (S, r) array, optional
        Errors of the parameters, the same for all rows; drawn if not given.
    """
    e = rng.standard_normal((DRAWS, errors.along.shape[1])) if e is None else e
    finite = np.isfinite(errors.own).all(axis=(1, 2))
    for a in rows.aux[: errors.own.shape[1] - 1]:
        finite = finite & np.isfinite(a)
    where = np.flatnonzero(possible & np.isfinite(eta) & finite)
    for part in row_slices(len(where), len(e), 1 + 2 * errors.own.shape[1]):
        at = where[part]
        own = errors.drawn(at, len(e), rng)
        draws = eta[at] + own[..., 0] + e @ errors.along[at].T
        yield at, draws, _auxiliary_draws(rows, errors, at, e, own[..., 1:])


def _auxiliary_draws(
    rows: Rows, errors: RowErrors, at: Index | slice, e: Array, own: Array
) -> tuple[Array, ...]:
    """The auxiliary predictors with their errors and random parts `own`, (S, rows), or (rows,) where taken as known."""
    out = [a[at] for a in rows.aux]
    for j, along in enumerate(errors.aux_along):
        vague = np.sqrt(np.einsum("nr,nr->n", along[at], along[at])) > VAGUE
        out[j] = out[j] + np.where(vague[:, None], 0.0, along[at] @ e.T).T
    for j, random in enumerate(np.moveaxis(own, -1, 0)):
        out[j] = out[j] + random
    return tuple(out)


def drawn_limits(
    family: Family,
    rng: np.random.Generator,
    eta: Array,
    aux: tuple[Array, ...],
    weights: Array | None,
    level: float,
    centre: Array,
) -> tuple[Array, Array]:
    """Quantiles of responses drawn at linear predictors eta (S, rows); `centre` (rows,) stands in where a draw has no mean."""
    tail = 0.5 - level / 2
    mu = family.location(eta)
    without = ~family.valid(eta) | ~np.isfinite(mu) | (family.is_discrete & (np.abs(mu) > MOST))
    inside = np.where(
        family.valid(centre), centre, family.link_function.eta(np.array(0.5))
    )  # a mean of any range
    y = family.simulate(rng, np.where(without, inside, eta), aux, weights)
    how = "inverted_cdf" if family.is_discrete else "linear"
    low, high = np.quantile(y, [tail, 1.0 - tail], axis=0, method=how)
    lost = without.mean(axis=0) > tail
    return np.where(lost, np.nan, low), np.where(lost, np.nan, high)


def new_weights(fit: Fitted, newdata: Data, given: Data) -> Array | None:
    """Prior weights or trials of the rows to predict; None for 1.

    Parameters
    ----------
    newdata : table or None
        None for the rows of the fit, which have their own.
    given : str, array or None
    """
    problem = fit.problem
    if newdata is None and given is not None:
        raise DataError(
            "weights= is for new data: the rows of the fit have the weights that they were fitted with."
        )
    if given is not None:
        argument = row_argument(given, "weights", open_table(newdata))
        return None if argument is None else checked_weights(argument.values, len(argument.values))
    if (
        problem.data.weights is None or problem.family.weights_are == "repeats"
    ):  # one observation stands for itself
        return None
    if newdata is None:
        return problem.data.whole(problem.data.weights)
    found, reason = problem.recipe.row_weights(newdata)
    if found is None:
        what = "one trial" if problem.family.weights_are == "trials" else "a weight of 1"
        warn(
            f"{reason or 'the weights of the new rows are not known'}: the prediction intervals are those of observations with "
            f"{what}. Add the column, or pass weights= (its name, or a number for each new row).",
            LmmformulaWarning,
        )
    return found
