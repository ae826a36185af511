"""Point, spread and interval of every parameter, by whatever method it was estimated.

Tables and plots that put methods side by side ask here and nowhere else: a fit by likelihood or quasi-likelihood answers with
standard errors and Wald intervals (of t where its tests are t tests), a posterior with means, standard deviations and quantiles
of its draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.conditional import conditional_covariances, group_names
from lmmformula.inference.spreads import varcorr_spreads
from lmmformula.inference.student import critical
from lmmformula.reporting.coefficients import auxiliary_tables
from lmmformula.reporting.summary import random_effects
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.result import Fit

__all__ = [
    "Intervals",
    "auxiliary_intervals",
    "fixed_intervals",
    "mode_intervals",
    "posterior_of",
    "spread_intervals",
]


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Estimates with their uncertainty, one entry a parameter.

    Attributes
    ----------
    names : tuple of str
    point, spread, low, high : arrays
        Estimate or posterior mean; standard error or posterior standard deviation; ends of the interval. Missing (nan) where
        the method does not give them.
    bayesian : bool
        Whether `spread` is a posterior standard deviation.
    """

    names: tuple[str, ...]
    point: Array
    spread: Array
    low: Array
    high: Array
    bayesian: bool = False


def posterior_of(fit: Fit) -> Any:
    """The draws of a Bayesian fit; None for all others."""
    return getattr(fit, "posterior", None)


def fixed_intervals(fit: Fit, level: float | None = 0.95) -> Intervals:
    """The fixed effects; without intervals, whose degrees of freedom can be dear, if `level` is None."""
    names = fit.problem.X.names
    if (posterior := posterior_of(fit)) is not None:
        draws = np.stack([posterior[name] for name in names], axis=-1) if names else np.empty((1, 1, 0))
        return _of_draws(names, draws, 0.95 if level is None else level, point=fit.params.to_numpy())
    try:
        errors = fit.bse.to_numpy()
    except FitError:
        errors = np.full(len(names), np.nan)
    if level is None or np.isnan(errors).all():
        return _around(names, fit.params.to_numpy(), errors, np.full(len(names), np.nan))
    return _around(names, fit.params.to_numpy(), errors, critical(level, fit.df.to_numpy()) * errors)


def auxiliary_intervals(fit: Fit, level: float = 0.95) -> Intervals:
    """Coefficients of the auxiliary linear predictors, named ``disp: x``, on the predictor's scale."""
    tables = auxiliary_tables(fit)
    names = tuple(f"{component}: {name}" for component, table in tables.items() for name in table.index)
    point = [v for table in tables.values() for v in table["Estimate"]]
    errors = [v for table in tables.values() for v in table["Std. Error"]]
    return _wald(names, np.array(point, dtype=float), np.array(errors, dtype=float), level)


def spread_intervals(fit: Fit, level: float | None = 0.95) -> Intervals:
    """Standard deviations and correlations, named as profiles name them: ``sd_x|g``, ``cor_z.x|g``, ``sigma``.

    Without `level` only the estimates of a fit by likelihood: standard errors need the Hessian in the variances.
    """
    posterior = posterior_of(fit)
    groups = dict(zip(group_names(fit), (t.group for t in fit.problem.terms), strict=True))
    names, point, draws = [], [], []
    for grp, a, b, _, value in random_effects(fit).itertuples(index=False, name=None):
        group = groups.get(str(grp), str(grp))
        name = _spread_name(group, a, b)
        names.append(name)
        point.append(float(value))
        if posterior is not None:
            draws.append(_spread_draws(posterior, group, a, b))
    missing = np.full(len(names), np.nan)
    if not names or (posterior is None and level is None):
        return Intervals(tuple(names), np.array(point), missing, missing, missing)
    level = 0.95 if level is None else level
    if posterior is not None:
        return _of_draws(tuple(names), np.stack(draws, axis=-1), level, point=np.array(point))
    known = varcorr_spreads(fit)[: len(names)]
    ends = np.array([s.interval(level) for s in known])
    errors = np.array([s.error for s in known])
    return Intervals(tuple(names), np.array(point), errors, ends[:, 0], ends[:, 1])


def mode_intervals(
    fit: Fit, term: int, column: int, level: float = 0.95, *, spread: bool = True
) -> Intervals:
    """Random effects of one column of one term, in the order of its levels.

    Parameters
    ----------
    fit : Fit
    term, column : int
    level : float
    spread : bool
        Without it standard deviations and intervals are left out: they need the inverse of the equations.
    """
    block, posterior = fit.problem.terms[term], posterior_of(fit)
    names = tuple(str(level_) for level_ in block.levels)
    point = fit.estimate.modes[term][:, column]
    if posterior is not None:
        return _wald(
            names, posterior.effect_means[term][:, column], posterior.effect_sds[term][:, column], level, True
        )
    if not spread:
        return _wald(names, point, np.full(len(names), np.nan), level)
    variances = conditional_covariances(fit)[term][:, column, column]
    return _wald(names, point, np.sqrt(np.maximum(variances, 0.0)), level)


def _wald(
    names: tuple[str, ...], point: Array, spread: Array, level: float, bayesian: bool = False
) -> Intervals:
    return _around(names, point, spread, critical(level, np.inf) * spread, bayesian)


def _around(
    names: tuple[str, ...], point: Array, spread: Array, reach: Array, bayesian: bool = False
) -> Intervals:
    return Intervals(names, point, spread, point - reach, point + reach, bayesian)


def _of_draws(names: tuple[str, ...], draws: Array, level: float, point: Array) -> Intervals:
    """Intervals of equal tails from draws (chain, draw, parameter); nan where a parameter has none."""
    flat = draws.reshape(-1, draws.shape[-1])
    tail = 0.5 - level / 2
    low, high = np.quantile(flat, [tail, 1 - tail], axis=0)
    return Intervals(names, point, flat.std(axis=0, ddof=1), low, high, bayesian=True)


def _spread_name(group: str, a: Any, b: Any) -> str:
    if isinstance(b, str):
        return f"cor_{b}.{a}|{group}"
    return f"sd_{a}|{group}" if isinstance(a, str) else "sigma"


def _spread_draws(posterior: Any, group: str, a: Any, b: Any) -> Array:
    """Draws (chain, draw) of one standard deviation or correlation, which several columns may share."""
    names = ["Intercept" if c == "(Intercept)" else c for c in (a, b) if isinstance(c, str)]
    kind = "cor" if len(names) == 2 else "sd"
    wanted = ":".join([kind, group, *names]) if names else "sigma"
    shared = f"{kind}:{group}"
    for name in (wanted, shared):
        if name in posterior.names:
            return posterior[name]
    return np.full(posterior.x.shape[:2], np.nan)
