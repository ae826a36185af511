"""What is seen of a response: the intervals of ``y | cens(c, y2)`` and ``y | trunc(lb, ub)``, the rows of ``y | subset(x)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family
from lmmformula.families.between import log_between
from lmmformula.families.distribution import Distribution
from lmmformula.families.observed import Observed
from lmmformula.families.seen import Seen
from lmmformula.families.taylor import SERIES, variables
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, Response
from lmmformula.frame.functions import as_float
from lmmformula.frame.values import Factor, Value
from lmmformula.typing import Array

__all__ = ["chosen_rows", "observed", "refuse_unseen", "seen_family", "with_bounds"]

_CODES = {
    "left": -1,
    "none": 0,
    "right": 1,
    "interval": 2,
    "-1": -1,
    "0": 0,
    "1": 1,
    "2": 2,
    "false": 0,
    "true": 1,
}
"""brms' words and numbers of censoring; TRUE is right-censored."""

_WORDS = "'left', 'none', 'right', 'interval', or -1, 0, 1, 2; TRUE is right-censored"


def seen_family(family: Family, response: Response) -> Family:
    """The family of a response that is censored or truncated.

    Raises
    ------
    PlanError
        For a family that gives no distribution function with derivatives, or whose responses are proportions.
    """
    if not response.is_partly_seen:
        return family
    own = family.distribution
    if own.mean_range == "unit" or own.mean_columns != 1 or own.outcomes or not own.intercept:
        raise PlanError(
            f"cens() and trunc() take responses on a line, and family {family.name!r} has proportions or categories."
        )
    _probe(own)
    truncated = response.least is not None or response.most is not None
    return replace(
        family, distribution=Seen(own, censored=response.censored is not None, truncated=truncated)
    )


def _probe(own: Distribution) -> None:
    """Ask for the probability of an interval, by which a distribution says what it lacks."""
    one, (eta, _) = np.ones(1), variables(np.zeros(1), (), derivatives=False)
    try:
        with np.errstate(all="ignore"):
            log_between(own, -np.inf * one, one, (eta,), (0.0,) * len(own.auxiliaries), 1.0, SERIES)
    except AttributeError:
        raise PlanError(
            f"family {own.label!r} gives no derivatives of the probability of an interval, which cens() and trunc() need."
        ) from None


def refuse_unseen(response: Response | None, where: str) -> None:
    """Refuse a response of which part is seen, or some rows alone, `where` rows are not in memory."""
    if response is None:
        return
    given = {
        "cens()": response.censored,
        "trunc()": response.least or response.most,
        "subset()": response.chosen,
        "mi()": response.parts[0] if response.imputed else None,
    }
    for name, expr in given.items():
        if expr is not None:
            raise PlanError(
                f"y | {name} takes rows in memory, and {where}. Read the data into memory, or choose the rows before."
            )


def with_bounds(family: Family, y: Array) -> Family:
    """The family, which knows bounds that all rows share: responses of any row can then be drawn."""
    own = family.distribution
    if not isinstance(own, Seen) or not own.truncated or not isinstance(y, Observed):
        return family
    least, most = y.known[:, 2], y.known[:, 3]
    if (least == least[0]).all() and (most == most[0]).all():
        return replace(family, distribution=replace(own, least=float(least[0]), most=float(most[0])))
    return replace(family, distribution=replace(own, by_row=True))


def observed(response: Response, values: Callable[[Expr], Value], family: Family) -> Callable[[Array], Array]:
    """From the column of a response to what is known of it.

    Parameters
    ----------
    response : Response
    values : callable
        Expression -> its values on the rows.
    family : Family
    """
    own = family.distribution
    if not isinstance(own, Seen):
        return lambda y: y

    def column(expr: Expr | None, default: float, n: int) -> Array:
        if expr is None:
            return np.full(n, default)
        found = as_float(values(expr), f"`{deparse(expr)}`")
        return np.where(np.isnan(found), default, found)

    def known(y: Array) -> Array:
        n, label = len(y), response.label
        code = np.zeros(n)
        if response.censored is not None:
            code = _codes(values(response.censored), deparse(response.censored))
        until = column(response.until, np.nan, n)
        least, most = column(response.least, -np.inf, n), column(response.most, np.inf, n)
        _check_intervals(y, code, until, label)
        lo = np.where(code == -1, -np.inf, y)
        hi = np.select([code == 1, code == 2], [np.inf, until], y)
        _check_bounds(lo, hi, least, most, label, discrete=own.discrete)
        return Observed(y, np.column_stack([lo, hi, least, most]))

    return known


def _codes(value: Value, label: str) -> Array:
    if isinstance(value, Factor):
        words = [str(level).strip().lower() for level in value.levels]
        used = sorted({words[i] for i in np.unique(value.codes)} - set(_CODES))
        if used:
            raise DataError(f"cens(`{label}`) has the value {used[0]!r}; it takes {_WORDS}.")
        return np.array([_CODES.get(word, 0) for word in words], dtype=float)[value.codes]
    found = as_float(value, f"`{label}`")
    wrong = ~np.isin(found, (-1.0, 0.0, 1.0, 2.0))
    if wrong.any():
        raise DataError(
            f"cens(`{label}`) has the value {found[wrong][0]:g} in {int(wrong.sum()):,} of {len(found):,} rows; it "
            f"takes {_WORDS}."
        )
    return found


def _check_intervals(y: Array, code: Array, until: Array, label: str) -> None:
    between = code == 2
    bad = between & ~(until > y)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        what = (
            "no upper end, cens(c, y2)"
            if np.isnan(until[row])
            else f"the interval from {y[row]:g} to {until[row]:g}"
        )
        raise DataError(
            f"{int(bad.sum()):,} of {int(between.sum()):,} interval-censored rows of `{label}` have no interval (first: row "
            f"{row + 1} with {what}); y2 must be above y"
        )


def _check_bounds(lo: Array, hi: Array, least: Array, most: Array, label: str, *, discrete: bool) -> None:
    empty = ~(least < most)
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise DataError(
            f"trunc() of `{label}` leaves nothing between {least[row]:g} and {most[row]:g} (row {row + 1})"
        )
    exact = lo == hi
    low = hi < least if discrete else np.where(exact, hi < least, hi <= least)
    high = np.where(exact, lo > most, lo >= most)
    outside = low | high
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"{int(outside.sum()):,} of {len(lo):,} responses `{label}` lie outside of the bounds of trunc() (first: row "
            f"{row + 1} with {(hi if np.isfinite(hi[row]) else lo)[row]:g}, bounds {least[row]:g} to {most[row]:g}): a "
            "truncated response has none there; values that were recorded at a limit are censored, y | cens(c)"
        )


def chosen_rows(value: Value, label: str) -> NDArray[np.bool_]:
    """The rows that ``y | subset(x)`` keeps; a missing value keeps none."""
    if isinstance(value, Factor):
        words = [str(level).strip().lower() for level in value.levels]
        if value.kind == "logical" or set(words) <= {"true", "false", "1", "0"}:
            keep = np.array([*(word in ("true", "1") for word in words), False])
            return keep[value.codes]
    else:
        found = as_float(value, f"`{label}`")
        if np.isin(found[~np.isnan(found)], (0.0, 1.0)).all():
            return found == 1.0
    raise DataError(f"subset(`{label}`) takes TRUE and FALSE, or 1 and 0: the rows to keep.")
