r"""Intervals from the replicates of a parametric bootstrap.

With t the estimate, t* the replicates and z the normal quantile (Davison & Hinkley 1997, ch. 5; Efron 1987)::

    percentile   quantiles of t*
    basic        2 t - quantiles of t*, the other way round
    normal       t - (mean t* - t) +- z sd(t*)
    bca          quantiles of t* at  Phi(z0 + (z0 + z) / (1 - a (z0 + z))),   z0 = Phi^-1(share of t* below t)

a, the acceleration, is a sixth of the skewness of the jackknife's influence values ``mean(t_-i) - t_-i``: the fit without each
level of the grouping factor with the fewest, or without each of 200 blocks of them. So "bca" costs those fits too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FitError
from lmmformula.inference.replicates import as_numbers
from lmmformula.inference.subset import refitted, subset
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.replicates import Statistic

__all__ = ["acceleration", "ends"]

BLOCKS = 200
"""Most fits of the jackknife."""


def ends(
    draws: pd.DataFrame,
    estimate: dict[str, float],
    level: float,
    kind: str,
    bend: Mapping[str, float] | None = None,
) -> Array:
    """Lower and upper ends, (columns, 2), for each column of `draws`.

    Parameters
    ----------
    draws : DataFrame
        A row a replicate; missing where it failed.
    estimate : dict
        The statistics of the fit itself.
    level : float
    kind : {"percentile", "basic", "normal", "bca"}
    bend : dict, optional
        Accelerations by name, for "bca".
    """
    from scipy.special import ndtr, ndtri

    tail, out = (1 - level) / 2, np.full((draws.shape[1], 2), np.nan)
    for j, name in enumerate(draws.columns):
        t, own = draws[name].dropna().to_numpy(), estimate[str(name)]
        if not len(t) or np.isnan(own):
            continue
        if kind == "normal":
            reach = float(ndtri(1 - tail)) * float(t.std(ddof=1))
            out[j] = 2 * own - t.mean() - reach, 2 * own - t.mean() + reach
            continue
        at = np.array([tail, 1 - tail])
        if kind == "bca" and bend is not None:
            below = (t < own).sum() + 0.5 * (t == own).sum()
            z0 = ndtri(np.clip(below / len(t), 0.5 / len(t), 1 - 0.5 / len(t)))
            at = ndtr(z0 + (z0 + ndtri(at)) / (1 - bend[str(name)] * (z0 + ndtri(at))))
        low, high = np.quantile(t, at)
        out[j] = (2 * own - high, 2 * own - low) if kind == "basic" else (low, high)
    return out


def acceleration(fit: Fitted, statistic: Statistic) -> dict[str, float]:
    """a of every statistic, by the jackknife over groups.

    Raises
    ------
    DataError
        If fewer than 3 fits without some of the groups exist.
    """
    found = []
    for gone in _blocks(fit.problem):
        try:
            found.append(as_numbers(statistic(refitted(fit, subset(fit.problem, np.flatnonzero(~gone))))))
        except FitError:
            continue
    if len(found) < 3:
        raise DataError(
            f"type='bca' needs fits that leave out groups one at a time, and only {len(found)} of them exist. Use "
            "type='percentile' or 'basic'."
        )
    out = {}
    for name in found[0]:
        values = np.array([f[name] for f in found])
        influence = np.nanmean(values) - values[~np.isnan(values)]
        size = float((influence**2).sum()) ** 1.5
        out[name] = float((influence**3).sum()) / (6.0 * size) if size > 0.0 else 0.0
    return out


def _blocks(problem: Problem) -> list[NDArray[np.bool_]]:
    """The rows to leave out, one mask for each fit."""
    problem.refuse_coupled('type="bca", which leaves levels out', 'Use type="percentile".')
    if problem.terms:
        few = min(problem.terms, key=lambda t: t.m)
        codes, m = few.codes, few.m
    else:
        codes, m = np.arange(problem.n), problem.n
    block = codes.astype(np.int64) * min(m, BLOCKS) // m
    return [block == b for b in range(min(m, BLOCKS))]
