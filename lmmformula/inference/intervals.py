"""Point, spread and interval of every parameter, by whatever method it was estimated.

Tables and plots that put methods side by side ask here and nowhere else: a fit by likelihood or quasi-likelihood answers with
standard errors and Wald intervals (of t where its tests are t tests), a posterior with means, standard deviations and quantiles
of its draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.coefficients import auxiliary_tables
from lmmformula.inference.conditional import group_names, random_effects
from lmmformula.inference.posterior import quantiles
from lmmformula.inference.records import Intervals
from lmmformula.inference.student import critical
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.fitted import Fitted

__all__ = ["around", "auxiliary_intervals", "of_draws", "spread_draws", "spread_names"]


def auxiliary_intervals(fit: Fitted, level: float = 0.95) -> Intervals:
    """Coefficients of the auxiliary linear predictors, named ``disp: x``, on the predictor's scale."""
    tables = auxiliary_tables(fit)
    names = tuple(f"{component}: {name}" for component, table in tables.items() for name in table.index)
    point = [v for table in tables.values() for v in table["Estimate"]]
    errors = [v for table in tables.values() for v in table["Std. Error"]]
    spread = np.array(errors, dtype=float)
    return around(names, np.array(point, dtype=float), spread, critical(level, np.inf) * spread)


def spread_names(fit: Fitted) -> tuple[tuple[str, ...], Array]:
    """Names of standard deviations and correlations as profiles have them, ``sd_x|g, cor_z.x|g, sigma``, and the estimates."""
    rows = _spread_rows(fit)
    return tuple(_spread_name(group, a, b) for group, a, b, _ in rows), np.array(
        [float(row[-1]) for row in rows]
    )


def _spread_rows(fit: Fitted) -> list[tuple[str, object, object, float]]:
    """Group, columns and estimate of each."""
    groups = dict(zip(group_names(fit), (t.group for t in fit.problem.terms), strict=True))
    rows = random_effects(fit).itertuples(index=False, name=None)
    return [(groups.get(str(grp), str(grp)), a, b, value) for grp, a, b, _, value in rows]


def spread_draws(fit: Fitted, posterior: Posterior) -> Array:
    """Draws (chain, draw, parameter) of the same."""
    return np.stack([_draws_of(posterior, group, a, b) for group, a, b, _ in _spread_rows(fit)], axis=-1)


def around(
    names: tuple[str, ...], point: Array, spread: Array, reach: Array, bayesian: bool = False
) -> Intervals:
    """Intervals from `point` less `reach` to `point` plus `reach`."""
    return Intervals(names, point, spread, point - reach, point + reach, bayesian)


def of_draws(names: tuple[str, ...], draws: Array, level: float | None, point: Array) -> Intervals:
    """Intervals of equal tails from draws (chain, draw, parameter); nan where a parameter has none."""
    flat = draws.reshape(-1, draws.shape[-1])
    low, high = quantiles(flat, 0.95 if level is None else level)
    return Intervals(names, point, flat.std(axis=0, ddof=1), low, high, bayesian=True)


def _spread_name(group: str, a: object, b: object) -> str:
    if isinstance(b, str):
        return f"cor_{b}.{a}|{group}"
    return f"sd_{a}|{group}" if isinstance(a, str) else "sigma"


def _draws_of(posterior: Posterior, group: str, a: object, b: object) -> Array:
    """Draws (chain, draw) of one standard deviation or correlation, which several columns may share."""
    names = ["Intercept" if c == "(Intercept)" else c for c in (a, b) if isinstance(c, str)]
    kind = "cor" if len(names) == 2 else "sd"
    wanted = ":".join([kind, group, *names]) if names else "sigma"
    shared = f"{kind}:{group}"
    for name in (wanted, shared):
        if name in posterior.names:
            return posterior[name]
    return np.full(posterior.x.shape[:2], np.nan)
