"""Predictions from a posterior: averages and quantiles over its draws.

A level that the fit has not seen has, in every draw, effects from N(0, Sigma) with that draw's Sigma, so that the interval
holds the uncertainty of Sigma too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.posterior import (
    Effects,
    auxiliary_draws,
    effect_draws,
    flat,
    known,
    linear_predictors,
    quantiles,
    row_slices,
    term_spreads,
)
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import drawn_limits
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["Wanted", "predict_from_draws"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to predict, as in :func:`lmmformula.inference.predict.predict`."""

    kind: str
    new_levels: str
    interval: str | None
    level: float
    se: bool
    full: bool = False


def predict_from_draws(
    fit: Fit, rows: Any, centre: Array, wanted: Wanted, weights: Array | None, rng: np.random.Generator
) -> pd.Series | pd.DataFrame:
    """Posterior means, standard deviations and quantiles.

    Parameters
    ----------
    rows : rows to predict, with ``X, offset, parts, index``
    centre : (n,) array
        Linear predictor at the posterior means, unseen effects zero; nan in rows that are not to be predicted. Of a linear
        model it is the mean, without the error of a sample.
    wanted : Wanted
    weights : (n,) array or None
        Prior weights or trials of new observations.
    rng : Generator
        For effects of unseen levels and new observations.
    """
    import pandas as pd

    _check(fit, wanted)
    seen = [Effects(effect_draws(fit, p.term), p.codes, p.basis) for p in rows.parts]
    unseen = [e for p in rows.parts if (e := _unseen(fit, p, wanted, rng)) is not None]
    beta = flat(known(fit).beta)
    width = 2 + max((p.basis.shape[1] for p in rows.parts), default=0)
    columns = []
    for part in row_slices(rows.n, len(beta), width):
        eta = linear_predictors(beta, rows.X, rows.offset, seen, part)
        aux = auxiliary_draws(fit, rows.aux_columns, part)
        columns.append(_columns(fit, eta, unseen, part, aux, wanted, weights, rng))
    complete = np.isfinite(centre)
    table = {n: np.where(complete, np.concatenate([c[n] for c in columns]), np.nan) for n in columns[0]}
    if fit.problem.family.is_linear and wanted.new_levels != "sample" and wanted.kind in ("response", "link"):
        table["fit"] = centre
    if list(table) == ["fit"]:
        return pd.Series(table["fit"], index=rows.index, name="fit")
    return pd.DataFrame(table, index=rows.index)


def _check(fit: Fit, wanted: Wanted) -> None:
    if any(fit.problem.aux_terms) and (wanted.interval == "prediction" or wanted.kind != "link"):
        raise PlanError(
            "predictions with draws of a parameter that has random effects of its own are available for the linear predictor "
            "only: use kind='link', or simulate() for the rows of the fit."
        )


def _unseen(fit: Fit, part: Any, wanted: Wanted, rng: np.random.Generator) -> Effects | None:
    """Effects of unseen levels, a set for each draw; None where they are not needed."""
    policy = wanted.new_levels
    if (
        not part.new_levels
        or policy == "na"
        or (policy == "population" and wanted.interval is None and not wanted.se)
    ):
        return None
    covariance = term_spreads(fit, part.term).covariance
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    z = rng.standard_normal((len(root), len(part.new_levels), root.shape[-1]))
    return Effects(z @ np.swapaxes(root, -1, -2), part.new_codes, part.basis)


def _columns(
    fit: Fit,
    eta: Array,
    unseen: list[Effects],
    rows: slice,
    aux: tuple[Array, ...],
    wanted: Wanted,
    weights: Array | None,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """``fit[, se][, lower, upper]`` of a slice of rows; unseen effects are zero in `fit` under "population"."""
    family, scale = fit.problem.family, Scale.of(fit.problem.family, wanted.kind)

    def scaled(values: Array) -> Array:
        return np.broadcast_to(scale.value(values, aux), values.shape)

    out: dict[str, Array] = {}
    if wanted.new_levels != "sample":
        out["fit"] = scaled(eta).mean(axis=0)
    for own in unseen:
        own.add_to(eta, rows)
    values = scaled(eta)
    if wanted.new_levels == "sample":
        out["fit"] = values.mean(axis=0)
    if wanted.se:
        out["se"] = values.std(axis=0, ddof=1)
    if wanted.interval == "prediction":
        centre = np.broadcast_to(np.median(eta, axis=0), eta.shape)
        own = None if weights is None else weights[rows]
        out["lower"], out["upper"] = drawn_limits(family, rng, eta, aux, own, wanted.level, centre)
    elif wanted.interval is not None:
        out["lower"], out["upper"] = quantiles(values, wanted.level)
    return out
