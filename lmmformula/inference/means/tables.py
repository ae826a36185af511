"""Numbers of a result: estimates on the scale that is shown, their intervals, and their tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.means.draws import highest_density, quantile_ends
from lmmformula.inference.means.record import Means
from lmmformula.inference.multiplicity import adjusted, critical_value, method_named, suited
from lmmformula.typing import Array

__all__ = ["Limits", "Tested", "assessed", "limits", "side_of", "standard_errors"]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Ends of simultaneous intervals, and the adjustment that was used."""

    low: Array
    high: Array
    adjust: str


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Statistics and p-values, and the adjustment that was used; of a posterior probabilities of direction."""

    statistic: Array
    p_value: Array
    adjust: str


_SIDES = {
    **dict.fromkeys(("two-sided", "two", "both", "two.sided", "equivalence"), 0),
    **dict.fromkeys(("less", "left", "<", "nonsuperiority"), -1),
    **dict.fromkeys(("greater", "right", ">", "noninferiority"), 1),
}


def side_of(side: str | int) -> int:
    """-1, 0 or 1.

    Raises
    ------
    DataError
    """
    found = _SIDES.get(side.lower()) if isinstance(side, str) else side if side in (-1, 0, 1) else None
    if found is None:
        raise DataError(f"side={side!r} is unknown; use 'two-sided', 'less' or 'greater'.")
    return found


def standard_errors(means: Means) -> Array:
    """On the scale that is shown, by the delta method; standard deviations of draws."""
    own, scale = means.estimates, means.shown
    if own.draws is not None:
        return np.where(own.estimable, scale.value(own.draws).std(axis=0, ddof=1), np.nan)
    return np.abs(scale.slope(own.value)) * own.errors()


def limits(means: Means, level: float, adjust: str, side: int = 0, interval: str = "hpd") -> Limits:
    """Intervals of level `level`; one-sided ones have one end.

    Parameters
    ----------
    interval : {"hpd", "quantile"}
        Of a posterior: the shortest interval, or quantiles.
    """
    own, scale = means.estimates, means.shown
    if own.draws is not None:
        ends = highest_density if interval == "hpd" else quantile_ends
        low, high = ends(scale.value(own.draws), level)
        low, high = (np.where(own.estimable, v, np.nan) for v in (low, high))
        return Limits(low, high, "none")
    value, errors, df = own.value, own.errors(), own.df()
    reach, used = np.full(len(own), np.nan), "none"
    for positions in means.groups().values():
        there = [i for i in positions if np.isfinite(errors[i])]
        used = suited(method_named(adjust), len(there), means.pairs_of, side)
        if there:
            family = means.family(there)
            reach[there] = critical_value(used, level, df[there], family, len(there), side)
    low = np.full(len(own), -np.inf) if side < 0 else value - reach * errors
    high = np.full(len(own), np.inf) if side > 0 else value + reach * errors
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ends = np.stack([scale.value(low), scale.value(high)])
    gone = np.isnan(value)
    low, high = ends.min(axis=0), ends.max(axis=0)
    return Limits(np.where(gone, np.nan, low), np.where(gone, np.nan, high), used)


def assessed(
    means: Means, null: float = 0.0, side: int = 0, delta: float = 0.0, adjust: str = "none"
) -> Tested:
    """Tests on the scale of the estimates.

    With a threshold delta: that the estimate is within delta of `null` (two-sided), not below ``null - delta`` (side 1), or not
    above ``null + delta`` (side -1).
    """
    own = means.estimates
    if own.draws is not None:
        return _probabilities(means, null, side, delta)
    value, errors, df = own.value - null, own.errors(), own.df()
    if not delta:
        statistic, tail = value / errors, side
    elif side == 0:
        statistic, tail = (np.abs(value) - delta) / errors, -1
    else:
        statistic, tail = (value + side * delta) / errors, side
    p, used = np.full(len(own), np.nan), "none"
    for positions in means.groups().values():
        there = [i for i in positions if np.isfinite(statistic[i])]
        used = suited(method_named(adjust), len(there), means.pairs_of, tail)
        if there:
            p[there] = adjusted(used, statistic[there], df[there], means.family(there), tail)
    return Tested(statistic, p, used)


def _probabilities(means: Means, null: float, side: int, delta: float) -> Tested:
    """Of a posterior: that a value lies on its side of `null`; with a threshold, that the hypothesis of the test holds."""
    draws = means.estimates.draws
    assert draws is not None
    away = draws - null
    if delta:
        held = np.abs(away) < delta if side == 0 else side * away > -delta
        share = held.mean(axis=0)
    elif side:
        share = (side * away > 0.0).mean(axis=0)
    else:
        share = np.maximum((away > 0.0).mean(axis=0), (away < 0.0).mean(axis=0))
    share = np.where(means.estimates.estimable, share, np.nan)
    return Tested(np.full(len(share), np.nan), share, "none")
