"""Functions that make factors: they learn levels or breaks from the rows of the fit and are replayed on new data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.numbers import MOST_CONSTANTS, RefusalError
from lmmformula.frame.signature import (
    Parameter,
    categorical,
    column,
    flag,
    levels,
    needed,
    numbers,
    register,
    whole,
)
from lmmformula.frame.transforms import known, refuse_basis
from lmmformula.frame.values import Basis, Factor, FactorKind, Value, align, label_index, object_array

Array = NDArray[np.float64]

_COLUMN = needed("x", column)
_FACTOR = needed("x", categorical)


def _merged(labels: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Different labels, and the place of each of `labels` among them; -1 stays missing."""
    distinct = tuple(dict.fromkeys(labels))
    place = {label: j for j, label in enumerate(distinct)}
    return distinct, np.array([*(place[label] for label in labels), -1], dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Bins:
    """``cut(x, breaks)``: the breaks and labels; equal labels make one level, as in R."""

    breaks: tuple[float, ...]
    labels: tuple[str, ...]
    right: bool
    include_lowest: bool
    ordered: bool

    def apply(self, x: Array) -> Value:
        """Bins of new `x`; values outside the breaks are missing."""
        breaks = np.array(self.breaks)
        side = "left" if self.right else "right"
        bins = np.searchsorted(breaks, x, side=side) - 1
        if self.include_lowest:
            bins[x == (breaks[0] if self.right else breaks[-1])] = 0 if self.right else len(breaks) - 2
        outside = (bins < 0) | (bins >= len(breaks) - 1) | np.isnan(x)
        distinct, place = _merged(self.labels)
        codes = place[np.where(outside, -1, bins)]
        return Factor(codes, object_array(distinct), "ordered" if self.ordered else "factor")


def _cut_labels(value: Value, what: str) -> tuple[str, ...]:
    if value is False:
        raise RefusalError("cut(labels = FALSE) is not available", "as.numeric(cut(...)) gives the codes")
    return levels(value, what)


@register(
    "cut",
    _COLUMN,
    needed("breaks", numbers(infinite=True)),
    Parameter("labels", _cut_labels),
    Parameter("include.lowest", flag),
    Parameter("right", flag),
    Parameter("dig.lab", whole(1, 15)),
    Parameter("ordered_result", flag),
    learns=True,
    of_values=True,
)
def _cut(
    x: Array,
    breaks: tuple[float, ...],
    labels: tuple[str, ...] | None = None,
    include_lowest: bool = False,
    right: bool = True,
    dig_lab: int = 3,
    ordered_result: bool = False,
) -> Bins:
    if len(breaks) > 1:
        points = sorted(breaks)
    else:
        n_bins = whole(2, MOST_CONSTANTS)(next(iter(breaks)), "the number of intervals of cut()")
        points = _equal_breaks(known(x, "the argument of cut()"), n_bins)
    if len(set(points)) < len(points):
        raise RefusalError("the breaks of cut() must be at least two different numbers")
    texts = _bin_labels(points, right, include_lowest, dig_lab) if labels is None else labels
    if len(texts) != len(points) - 1:
        raise RefusalError(f"cut() has {len(points) - 1:,} intervals but {len(texts):,} labels")
    return Bins(tuple(points), texts, right, include_lowest, ordered_result)


def _equal_breaks(array: Array, n_bins: int) -> list[float]:
    """R widens equal bins by 1/1000 of the range so that both ends fall inside."""
    low, high = float(array.min()), float(array.max())
    width = high - low
    if width == 0.0:
        margin = abs(low) or 1.0
        return np.linspace(low - margin / 1000, high + margin / 1000, n_bins + 1).tolist()
    points = np.linspace(low, high, n_bins + 1)
    points[0], points[-1] = low - width / 1000, high + width / 1000
    return points.tolist()


def _bin_labels(points: list[float], right: bool, include_lowest: bool, digits: int) -> tuple[str, ...]:
    shown: list[str] = []
    for precision in range(digits, max(12, digits) + 1):
        shown = [_break_label(p, precision) for p in points]
        if len(set(shown)) == len(shown):
            break
    opening, closing = ("(", "]") if right else ("[", ")")
    labels = [f"{opening}{a},{b}{closing}" for a, b in pairwise(shown)]
    if include_lowest and right:
        labels[0] = "[" + labels[0][1:]
    elif include_lowest:
        labels[-1] = labels[-1][:-1] + "]"
    return tuple(labels)


def _break_label(value: float, digits: int) -> str:
    if np.isinf(value):
        return " Inf" if value > 0 else "-Inf"
    return f"{value:.{digits}g}"


@dataclass(frozen=True, slots=True)
class Relabelled:
    """``factor()``, ``ordered()``, ``relevel()``: levels in a fixed order, with other labels if given; equal ones merge."""

    levels: tuple[str, ...]
    labels: tuple[str, ...]
    kind: FactorKind
    closed: bool
    """Values outside `levels` are missing because the formula lists the levels."""
    excluded: tuple[str, ...] = ()
    """Levels that the formula makes missing."""

    def apply(self, x: Factor) -> Value:
        """The factor of new `x`."""
        factor = align(x, self.levels, self.kind)
        count = len(self.levels)
        distinct, place = _merged(self.labels)
        new = [str(level) for level in factor.levels[count:]]
        extra = [] if self.closed else [level for level in new if level not in self.excluded]
        position = {level: len(distinct) + j for j, level in enumerate(extra)}
        later = np.array([position.get(level, -1) for level in new], dtype=np.int32)
        codes = np.concatenate([place[:-1], later, place[-1:]])[factor.codes]
        # a value without label must not pass for the label that another value has
        known = set(distinct)
        names = [f"{level} (no label)" if level in known else level for level in extra]
        return Factor(codes.astype(np.int32), object_array((*distinct, *names)), self.kind)


def _exclude(value: Value, what: str) -> tuple[str, ...]:
    if value is None:
        raise RefusalError(
            f"{what} cannot be NULL: rows with missing values are left out, so a missing value is no level",
            'make it one beforehand, or ifelse(is.na(f), "missing", f)',
        )
    return levels(value, what)


_LEVELS = Parameter("levels", levels)
_LABELS = Parameter("labels", levels)


@register(
    "factor",
    _FACTOR,
    _LEVELS,
    _LABELS,
    Parameter("exclude", _exclude, null_matters=True),
    Parameter("ordered", flag),
    learns=True,
    of_values=True,
)
def _factor(
    source: Factor,
    levels: tuple[str, ...] | None = None,
    labels: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] = (),
    ordered: bool | None = None,
) -> Relabelled:
    is_ordered = source.kind == "ordered" if ordered is None else ordered
    chosen = _used(source) if levels is None else levels
    if len(set(chosen)) < len(chosen):
        twice = next(level for level in chosen if chosen.count(level) > 1)
        raise RefusalError(f"the level {twice!r} is listed twice")
    chosen = tuple(level for level in chosen if level not in exclude)
    names = chosen if labels is None else labels
    if len(names) == 1 < len(chosen):
        names = tuple(f"{names[0]}{j + 1}" for j in range(len(chosen)))
    if len(names) != len(chosen):
        raise RefusalError(f"{len(names):,} labels for {len(chosen):,} levels ({', '.join(chosen[:12])})")
    return Relabelled(chosen, names, "ordered" if is_ordered else "factor", levels is not None, exclude)


def _used(source: Factor) -> tuple[str, ...]:
    used = np.bincount(source.codes + 1, minlength=len(source.levels) + 1)[1:] > 0
    return tuple(source.levels[used])


@register("ordered", _FACTOR, _LEVELS, _LABELS, learns=True, of_values=True)
def _ordered(
    source: Factor, levels: tuple[str, ...] | None = None, labels: tuple[str, ...] | None = None
) -> Relabelled:
    return _factor(source, levels, labels, ordered=True)


def _reference(value: Value, what: str) -> str | float:
    """A level, or its position."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    return levels(value, what)[0]


@register("relevel", _FACTOR, needed("ref", _reference), learns=True, of_values=True)
def _relevel(source: Factor, ref: str | float) -> Relabelled:
    known_levels = tuple(source.levels)
    if source.kind == "ordered":
        raise RefusalError(
            "relevel() is for unordered factors", "factor(x, ordered = FALSE) removes the order"
        )
    first = ref if isinstance(ref, str) else _at(ref, known_levels)
    if first not in known_levels:
        raise DataError(f"relevel(): {first!r} is not a level; levels are {', '.join(known_levels)}")
    order = (first, *(level for level in known_levels if level != first))
    return Relabelled(order, order, "factor", False)


def _at(position: float, known_levels: tuple[str, ...]) -> str:
    if position.is_integer() and 1 <= position <= len(known_levels):
        return known_levels[int(position) - 1]
    return levels(position, "`ref` of relevel()")[0]


@dataclass(frozen=True, slots=True)
class Indicators:
    """``dummy(f, "b")``: one 0/1 column for each level."""

    levels: tuple[str, ...]

    def apply(self, x: Factor) -> Value:
        """The columns for new `x`."""
        position = label_index(x.levels, self.levels)
        matrix = (x.codes[:, None] == np.where(position < 0, -2, position)[None, :]).astype(float)
        matrix[x.codes < 0] = np.nan
        return Basis(matrix, ("",) if len(self.levels) == 1 else self.levels)


@register("dummy", needed("f", categorical), Parameter("levelsToKeep", levels), learns=True, of_values=True)
def _dummy(f: Factor, levelsToKeep: Value = None) -> Indicators:
    names = tuple(f.levels)
    keep = names[1:] if levelsToKeep is None else levelsToKeep
    if not keep:
        raise DataError(f"dummy() of a factor with one level ({', '.join(names)}) has no column")
    if absent := [level for level in keep if level not in names]:
        raise DataError(
            f"dummy(): {', '.join(map(repr, absent))} is not a level; levels are {', '.join(names)}"
        )
    refuse_basis(len(keep), len(f.codes), "dummy()")
    return Indicators(keep)
