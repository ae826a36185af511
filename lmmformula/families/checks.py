"""Refusals of responses outside a distribution's range. Every message counts rows and says what to do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, warn
from lmmformula.families.records import Array, Maybe

__all__ = [
    "check_closed_unit",
    "check_counts",
    "check_finite",
    "check_nonnegative",
    "check_open_unit",
    "check_positive",
    "check_proportions",
    "check_some",
    "check_weights",
    "numbers",
    "whole",
]

_ROUNDING = 1e-3
"""How far w y may be from a whole number of successes, as in R's binomial()$initialize."""


def check_finite(y: Array, label: str) -> None:
    """No nan and no infinity."""
    bad = np.flatnonzero(~np.isfinite(y))
    if bad.size:
        raise DataError(
            f"the response `{label}` has {_rows(bad.size, y.size)} that are missing or infinite "
            f"(first: row {bad[0] + 1}); drop or correct them"
        )


def check_weights(w: Maybe, label: str, *, zero: bool) -> None:
    """Weights that are finite and not negative; positive unless `zero` is allowed."""
    values = np.atleast_1d(np.asarray(w, float))
    bad = ~np.isfinite(values) | (values < 0) | ((values == 0) & (not zero))
    if bad.any():
        kind = "missing, infinite or negative" if zero else "missing, infinite, negative or zero"
        raise DataError(
            f"the weights of `{label}` are {kind} in {_rows(int(bad.sum()), values.size)} "
            f"(e.g. {values[bad][0]:g}); drop these rows or correct the weights"
        )


def check_positive(y: Array, label: str, family: str) -> None:
    """Values above zero."""
    check_finite(y, label)
    bad = y <= 0
    if bad.any():
        zeros = int((y == 0).sum())
        hint = (
            "a zero needs a family that can give one (poisson or nbinom2 for counts, gaussian for measurements)"
            if zeros == bad.sum()
            else 'family="gaussian" or "student" takes values of either sign'
        )
        raise DataError(
            f"family {family!r} models positive values, but `{label}` has {_rows(int(bad.sum()), y.size)} "
            f"at or below 0 (lowest {y.min():g}; exactly 0: {zeros:,}); {hint}"
        )


def check_counts(y: Array, label: str, family: str) -> None:
    """Whole numbers from 0 up, not all of them 0."""
    check_finite(y, label)
    negative = y < 0
    if negative.any():
        raise DataError(
            f"family {family!r} models counts, but `{label}` has {_rows(int(negative.sum()), y.size)} below 0 "
            f"(lowest {y.min():g}); is it a difference or a transformed value? Use the counts, or "
            'family="gaussian"'
        )
    broken = np.flatnonzero(np.abs(y - np.rint(y)) > 1e-7 * np.maximum(1.0, np.abs(y)))
    if broken.size:
        raise DataError(
            f"family {family!r} models counts, but `{label}` has {_rows(broken.size, y.size)} that are not whole "
            f"numbers (e.g. {y[broken[0]]:g} in row {broken[0] + 1}); for a rate, model the count itself with "
            'offset(log(exposure)); for a measurement, family="gamma" or "gaussian"'
        )
    if y.size and not y.any():
        raise DataError(
            f"the response `{label}` is 0 in all {y.size:,} rows: the estimated mean would be 0, "
            "minus infinity on the log scale; is this the right column?"
        )


def check_open_unit(y: Array, label: str, family: str) -> None:
    """Values strictly between 0 and 1."""
    check_finite(y, label)
    outside = (y < 0) | (y > 1)
    if outside.any():
        raise DataError(
            f"family {family!r} models proportions between 0 and 1, but `{label}` has "
            f"{_rows(int(outside.sum()), y.size)} outside (range {y.min():g} to {y.max():g}); divide "
            "percentages by 100"
        )
    low, high = int((y == 0).sum()), int((y == 1).sum())
    if low or high:
        raise DataError(
            f"family {family!r} gives no probability to 0 and 1, but `{label}` is 0 in {low:,} and 1 in {high:,} "
            f'of {y.size:,} rows; for successes out of trials use family="binomial" with the trials; otherwise '
            "(y (n - 1) + 0.5) / n moves them inside (Smithson & Verkuilen 2006)"
        )


def check_closed_unit(y: Array, label: str, family: str) -> None:
    """Values from 0 to 1."""
    check_finite(y, label)
    outside = (y < 0) | (y > 1)
    if outside.any():
        raise DataError(
            f"family {family!r} models proportions from 0 to 1, but `{label}` has {_rows(int(outside.sum()), y.size)} outside "
            f"(range {y.min():g} to {y.max():g}); divide percentages by 100"
        )


def check_nonnegative(y: Array, label: str, family: str) -> None:
    """Values from 0 up, not all of them 0."""
    check_finite(y, label)
    bad = y < 0
    if bad.any():
        raise DataError(
            f"family {family!r} models values from 0 up, but `{label}` has {_rows(int(bad.sum()), y.size)} below 0 "
            f'(lowest {y.min():g}); family="gaussian" or "student" takes values of either sign'
        )
    check_some(y != 0, label, "0", family)


def check_some(rows: NDArray[np.bool_], label: str, value: str, family: str) -> None:
    """At least one of the rows that a family's main part models."""
    if np.size(rows) and not rows.any():
        raise DataError(
            f"the response `{label}` is {value} in all {np.size(rows):,} rows, and family {family!r} needs others to model; "
            "is this the right column?"
        )


def check_proportions(y: Array, w: Maybe, label: str, family: str = "binomial") -> None:
    """Proportions of whole numbers of trials, not all failures and not all successes."""
    check_finite(y, label)
    outside = (y < 0) | (y > 1)
    if outside.any():
        raise DataError(
            f"family {family!r} models 0/1 or proportions, but `{label}` has "
            f"{_rows(int(outside.sum()), y.size)} outside 0..1 (range {y.min():g} to {y.max():g}); for counts of "
            "successes write cbind(successes, failures) or successes | trials(n)"
        )
    rows = np.broadcast_to(np.asarray(w, float) > 0, y.shape)
    for value, what in ((0.0, "failures"), (1.0, "successes")):
        if rows.any() and (y[rows] == value).all():
            raise DataError(
                f"the response `{label}` holds nothing but {what} ({value:g} in all {int(rows.sum()):,} rows): "
                "no probability strictly between 0 and 1 fits; is this the right column?"
            )
    broken = ~whole(w * y) & rows
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        warn(
            f"non-integer number of successes in {_rows(int(broken.sum()), y.size)} of `{label}` (weight times "
            f"proportion is {np.broadcast_to(w * y, y.shape)[row]:g} in row {row + 1}); the weights of a binomial "
            'proportion are its trials; for proportions without trials use family="beta"',
            LmmformulaWarning,
        )


def whole(values: Maybe) -> NDArray[np.bool_]:
    """Whether each value is a whole number, up to R's tolerance."""
    return np.asarray(np.abs(values - np.rint(values)) <= _ROUNDING)


def _rows(count: int, n: int) -> str:
    return f"{count:,} of {n:,} rows"


def numbers(part: object, label: str, must: str = "be one column of numbers") -> Array:
    """A column of a response as numbers; what it `must` be is said where it is not.

    Raises
    ------
    DataError
    """
    values = np.asarray(part)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        kind = f"an array of {values.ndim} dimensions" if values.ndim != 1 else f"of type {values.dtype}"
        raise DataError(f"the response `{label}` must {must}, but is {kind}")
    return values.astype(float)
