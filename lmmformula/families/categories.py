"""Responses that are categories: which there are, and which a row has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, warn
from lmmformula.families.checks import numbers
from lmmformula.families.records import Array

__all__ = ["Categories", "categories_of", "learnt_categories", "positions_among"]

Categories: TypeAlias = object
"""A factor (an object with codes, levels and kind, or the pair of the first two) or whole numbers."""

_SHOWN = 8
ONE = "be one column: an ordered factor, or whole numbers for its categories"


def learnt_categories(part: Categories, name: str, family: str, *, ordered: bool = True) -> tuple[str, ...]:
    """Names of the categories that rows have, in their order; unless `ordered` that of their levels, of text the alphabet's.

    Raises
    ------
    DataError
        For text, factors without an order, numbers that are not whole, and fewer than two categories.

    Warns
    -----
    LmmformulaWarning
        For categories that no row has: levels of the factor, or whole numbers between others.
    """
    factor = _factor(part)
    if factor is None:
        used, unused = _whole_numbers(part, name, family)
    else:
        codes, levels, kind = factor
        known = [str(level) for level in levels]
        if ordered and kind in ("text", "factor"):
            raise DataError(_no_order(known, name, family, kind))
        there = np.zeros(len(known), bool)
        there[codes[codes >= 0]] = True
        used = [c for c, here in zip(known, there.tolist(), strict=True) if here]
        unused = [c for c, here in zip(known, there.tolist(), strict=True) if not here]
    if len(used) < 2:
        raise DataError(
            f"family {family!r} needs at least two categories, but `{name}` has {len(used)} ({', '.join(used)}): there is "
            "nothing to explain; is this the right column?"
        )
    if unused:
        warn(
            f"no row of `{name}` has the categor{'y' if len(unused) == 1 else 'ies'} {_listed(unused)}: left out; the "
            f"categories are {_listed(used)}",
            LmmformulaWarning,
        )
    return tuple(used)


def positions_among(part: Categories, categories: Sequence[str], name: str) -> Array:
    """1, ..., K of each row; NaN where it is missing.

    Raises
    ------
    DataError
        For a category that is not among these.
    """
    place = {c: j + 1.0 for j, c in enumerate(categories)}
    codes, levels = categories_of(part, name)
    numbers = np.array([place.get(level, -1.0) for level in levels] + [np.nan])
    y = numbers[codes]
    if (y < 0.0).any():
        strange = sorted({levels[c] for c in codes[np.nan_to_num(y) < 0.0]})
        raise DataError(
            f"`{name}` has the categor{'y' if len(strange) == 1 else 'ies'} {_listed(strange)}; the model knows "
            f"{_listed(categories)}"
        )
    return y


def categories_of(part: Categories, name: str) -> tuple[NDArray[np.integer], list[str]]:
    """Position of each row in a list of labels, -1 where it is missing."""
    factor = _factor(part)
    if factor is not None:
        return factor[0], [str(level) for level in factor[1]]
    values = numbers(part, name, ONE)
    there = ~np.isnan(values)
    distinct, inverse = np.unique(values[there], return_inverse=True)
    codes = np.full(values.shape, -1)
    codes[there] = inverse
    return codes, [_text(v) for v in distinct.tolist()]


def _whole_numbers(part: Categories, name: str, family: str) -> tuple[list[str], list[str]]:
    values = numbers(part, name, ONE)
    what = "categories" if family == "categorical" else "ordered categories"
    broken = np.flatnonzero(values != np.rint(values))
    if broken.size:
        raise DataError(
            f"family {family!r} models {what}, but `{name}` has {broken.size:,} of {values.size:,} rows that are not "
            f"whole numbers (e.g. {values[broken[0]]:g} in row {broken[0] + 1}); for a measurement use family='gaussian', or "
            "cut it into categories (pandas.cut)"
        )
    distinct = np.unique(values)
    if distinct.size == values.size and values.size > _SHOWN:
        raise DataError(
            f"family {family!r} models {what}, but every one of the {values.size:,} rows of `{name}` has a value of "
            f"its own (from {distinct[0]:g} to {distinct[-1]:g}); is this the right column?"
        )
    gaps = np.arange(distinct[0], distinct[-1] + 1.0) if distinct[-1] - distinct[0] < 1e4 else distinct
    return [_text(v) for v in distinct.tolist()], [_text(v) for v in gaps.tolist() if v not in distinct]


def _factor(part: Categories) -> tuple[NDArray[np.integer], Sequence[object], str] | None:
    if isinstance(part, tuple) and len(part) == 2:
        return np.asarray(part[0]), part[1], "ordered"
    codes, levels = getattr(part, "codes", None), getattr(part, "levels", None)
    if codes is None or levels is None:
        return None
    return np.asarray(codes), levels, getattr(part, "kind", "ordered")


def _no_order(levels: Sequence[str], name: str, family: str, kind: str) -> str:
    what = "text" if kind == "text" else "a factor without an order"
    example = ", ".join(repr(level) for level in levels[:3]) + (", ..." if len(levels) > 3 else "")
    return (
        f"family {family!r} models ordered categories, but `{name}` is {what} ({_listed(levels)}): say in which order they "
        f"are, with pandas.Categorical(x, categories=[{example}], ordered=True) or whole numbers; categories without an order "
        "are family='categorical'"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (f", ... ({len(labels)} in all)" if len(labels) > _SHOWN else "")


def _text(value: float) -> str:
    return f"{value:.0f}"
