"""Predictions from a posterior: averages and quantiles over its draws.

A level that the fit has not seen has, in every draw, effects from N(0, Sigma) with that draw's Sigma, so that the interval
holds the uncertainty of Sigma too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import (
    Effects,
    TermSpreads,
    auxiliary_draws,
    auxiliary_effect_draws,
    auxiliary_spreads,
    drawn_levels,
    effect_draws,
    flat,
    linear_predictors,
    quantiles,
    row_slices,
    term_spreads,
)
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import drawn_limits
from lmmformula.inference.records import Part, Rows, Wanted
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["predict_from_draws", "response_draws"]


def predict_from_draws(
    fit: Fitted, rows: Rows, centre: Array, wanted: Wanted, weights: Array | None, rng: np.random.Generator
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

    seen = [Effects(effect_draws(fit, p.term), p.codes, p.basis) for p in rows.parts]
    spreads = [(p, partial(term_spreads, fit, p.term)) for p in rows.parts]
    unseen = [e for p, spread in spreads if (e := _unseen(spread, p, wanted, rng)) is not None]
    beside = _Beside.of(fit, rows, wanted, rng)
    beta = flat(fit.inference.draws().beta)
    width = 2 + max((p.basis.shape[1] for p in rows.parts), default=0) + 2 * len(rows.aux_parts)
    columns = []
    for part in row_slices(rows.n, len(beta), width):
        eta = linear_predictors(beta, rows.X, rows.offset, seen, part)
        columns.append(_columns(fit, eta, unseen, part, beside, wanted, weights, rng))
    complete = np.isfinite(centre)
    table = {n: np.where(complete, np.concatenate([c[n] for c in columns]), np.nan) for n in columns[0]}
    if fit.problem.family.is_linear and wanted.new_levels != "sample" and wanted.kind in ("response", "link"):
        table["fit"] = centre
    if list(table) == ["fit"]:
        return pd.Series(table["fit"], index=rows.index, name="fit")
    return pd.DataFrame(table, index=rows.index)


def response_draws(fit: Fitted, rows: Rows, weights: Array | None, rng: np.random.Generator) -> Array:
    """A response of each row for each draw, (S, n); effects of levels that the fit has not seen are drawn."""
    wanted = Wanted("response", "sample", "prediction", 0.95, se=False)
    seen = [Effects(effect_draws(fit, p.term), p.codes, p.basis) for p in rows.parts]
    spreads = [(p, partial(term_spreads, fit, p.term)) for p in rows.parts]
    unseen = [e for p, spread in spreads if (e := _unseen(spread, p, wanted, rng)) is not None]
    beside = _Beside.of(fit, rows, wanted, rng)
    beta = flat(fit.inference.draws().beta)
    out = np.empty((len(beta), rows.n))
    for part in row_slices(rows.n, len(beta), 3):
        eta = linear_predictors(beta, rows.X, rows.offset, seen, part)
        for own in unseen:
            own.add_to(eta, part)
        aux = beside.at(fit, part, unseen=True)
        out[:, part] = fit.problem.family.simulate(rng, eta, aux, None if weights is None else weights[part])
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Beside:
    """What the auxiliary predictors of the rows are made of.

    Attributes
    ----------
    columns : tuple of (n, p_j) arrays
    seen, unseen : tuple of lists of Effects
        Random effects of each predictor: of levels of the fit, and of others; empty where no predictor has any.
    """

    columns: tuple[Array, ...]
    seen: tuple[list[Effects], ...]
    unseen: tuple[list[Effects], ...]

    @classmethod
    def of(cls, fit: Fitted, rows: Rows, wanted: Wanted, rng: np.random.Generator) -> _Beside:
        seen, unseen = [], []
        for j, parts in enumerate(rows.aux_parts):
            seen.append([Effects(auxiliary_effect_draws(fit, j, p.term), p.codes, p.basis) for p in parts])
            spreads = [(p, partial(auxiliary_spreads, fit, j, p.term)) for p in parts]
            unseen.append([e for p, s in spreads if (e := _unseen(s, p, wanted, rng)) is not None])
        return cls(rows.aux_columns, tuple(seen), tuple(unseen))

    def at(self, fit: Fitted, rows: slice, *, unseen: bool) -> tuple[Array, ...]:
        """The predictors of `rows` for every draw, (S, rows) or (S, 1)."""
        out = auxiliary_draws(fit, self.columns, rows)
        for parts in (self.seen, *([self.unseen] if unseen else [])):
            for aux, effects in zip(out, parts, strict=False):
                for own in effects:
                    own.add_to(aux, rows)
        return out


def _unseen(
    spread: Callable[[], TermSpreads], part: Part, wanted: Wanted, rng: np.random.Generator
) -> Effects | None:
    """Effects of unseen levels, a set for each draw of their `spread`; None where they are not needed."""
    policy = wanted.new_levels
    if (
        not part.new_levels
        or policy == "na"
        or (policy == "population" and wanted.interval is None and not wanted.se)
    ):
        return None
    return Effects(drawn_levels(spread(), len(part.new_levels), rng), part.new_codes, part.basis)


def _columns(
    fit: Fitted,
    eta: Array,
    unseen: list[Effects],
    rows: slice,
    beside: _Beside,
    wanted: Wanted,
    weights: Array | None,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """``fit[, se][, lower, upper]`` of a slice of rows; unseen effects are zero in `fit` under "population"."""
    family, scale = fit.problem.family, Scale.of(fit.problem.family, wanted.kind)

    def scaled(values: Array, aux: tuple[Array, ...]) -> Array:
        return np.broadcast_to(scale.value(values, aux), values.shape)

    out: dict[str, Array] = {}
    if wanted.new_levels != "sample":
        out["fit"] = scaled(eta, beside.at(fit, rows, unseen=False)).mean(axis=0)
    for own in unseen:
        own.add_to(eta, rows)
    aux = beside.at(fit, rows, unseen=True)
    values = scaled(eta, aux)
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
