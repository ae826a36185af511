"""Comparisons and logic inside a call: ``== != < <= > >=``, ``%in%``, ``&``, ``|``, ``!``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmmformula.frame.numbers import RefusalError, as_float, level_text, shown
from lmmformula.frame.values import Factor, Value, align, is_column, labels_of, logical
from lmmformula.typing import Entries

__all__ = ["COMPARISONS", "combine", "compare", "is_in", "negate"]

COMPARISONS: dict[str, Callable[[Value, Value], Entries]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def compare(operator: str, left: Value, right: Value) -> Value:
    """One column with another or with a constant, text included; two constants give TRUE or FALSE."""
    for side in (left, right):
        if isinstance(side, tuple):
            raise RefusalError(
                f"'{operator}' cannot take a list of constants", "x %in% c(1, 2) asks for several"
            )
    if _is_text(left) or _is_text(right):
        return _compare_text(operator, left, right)
    a, b = as_float(left, f"'{operator}'"), as_float(right, f"'{operator}'")
    result = COMPARISONS[operator](a, b)
    return logical(result, np.isnan(a) | np.isnan(b)) if np.ndim(result) else bool(result)


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, Factor) and value.kind != "logical")


def _compare_text(operator: str, left: Value, right: Value) -> Value:
    flip = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    if not isinstance(left, Factor):
        left, right, operator = right, left, flip.get(operator, operator)
    if not isinstance(left, Factor):
        if is_column(left) or is_column(right):
            raise RefusalError(f"'{operator}' cannot compare a numeric column with text")
        raise RefusalError("a comparison needs at least one column")
    if operator in flip and left.kind == "factor":
        raise RefusalError(
            f"'{operator}' has no meaning for an unordered factor", "ordered() gives its levels an order"
        )
    missing = left.codes < 0
    if isinstance(right, Factor):
        aligned = align(right, left.levels)
        return logical(COMPARISONS[operator](left.codes, aligned.codes), missing | (aligned.codes < 0))
    if is_column(right):
        raise RefusalError(f"'{operator}' cannot compare text or a factor with {shown(right)} of numbers")
    label = level_text(right)
    if left.kind == "ordered" and operator in flip:
        if label not in left.levels:
            raise RefusalError(f"{label!r} is not a level ({', '.join(left.levels)})")
        return logical(COMPARISONS[operator](left.codes, list(left.levels).index(label)), missing)
    by_level = np.array([bool(COMPARISONS[operator](level, label)) for level in left.levels], dtype=bool)
    return logical(np.append(by_level, False)[left.codes], missing)


def is_in(left: Value, right: Value) -> Value:
    """``x %in% c(...)``, or in the values of another column; missing values are in nothing, as no NA is listed."""
    if not is_column(left):
        raise RefusalError(f"'%in%' needs a column on its left, not {shown(left)}")
    if isinstance(left, Factor):
        labels = _labels(right)
        inside = np.array([label in labels for label in left.levels] + [False], dtype=bool)
        return logical(inside[left.codes])
    array: Entries = as_float(left, "'%in%'")
    items = as_float(right, "'%in%'") if not isinstance(right, tuple) or _numeric(right) else None
    if items is None:
        raise RefusalError("'%in%' cannot look for text in a numeric column")
    return logical(np.isin(array, items))


def _numeric(items: tuple[object, ...]) -> bool:
    return all(v is None or isinstance(v, bool | int | float) for v in items)


def _labels(value: Value) -> set[str]:
    if isinstance(value, Factor):
        return {str(label) for label in labels_of(value) if label is not None}
    if is_column(value):
        from lmmformula.frame.numbers import as_factor

        return set(as_factor(value).levels)
    items = value if isinstance(value, tuple) else (value,)
    return {level_text(v) for v in items if v is not None}


def combine(operator: str, left: Value, right: Value) -> Value:
    """R's three-valued ``&`` and ``|``: NA & FALSE is FALSE, NA | TRUE is TRUE."""
    a, b = (as_float(side, f"'{operator}'") for side in (left, right))
    if np.ndim(a) and np.ndim(b) and len(a) != len(b):
        raise RefusalError(f"'{operator}' cannot take {len(a):,} and {len(b):,} values")
    settled = 0.0 if operator[0] == "&" else 1.0
    truth_a, truth_b = (np.where(np.isnan(side), np.nan, side != 0) for side in (a, b))
    decided = (truth_a == settled) | (truth_b == settled)
    unknown = ~decided & (np.isnan(truth_a) | np.isnan(truth_b))
    result = np.where(decided, settled, 1.0 - settled) == 1.0
    if np.ndim(result):
        return logical(result, unknown)
    return None if unknown else bool(result)


def negate(value: Value) -> Value:
    """``!x``."""
    number = np.asarray(as_float(value, "'!'"))
    if number.ndim:
        return logical(number == 0, np.isnan(number))
    return None if np.isnan(number) else bool(number == 0)
