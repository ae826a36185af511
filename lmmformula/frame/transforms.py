"""Functions that learn from the rows of the fit and are replayed on new data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.functions import RefusalError, as_factor, as_float, register
from lmmformula.frame.splines import BSpline, NaturalSpline, inner_knots
from lmmformula.frame.values import (
    Basis,
    Factor,
    FactorKind,
    Value,
    align,
    is_column,
    label_index,
    number_label,
    object_array,
)

Array = NDArray[np.float64]


def _column(x: Value, what: str) -> Array:
    array = as_float(x, what)
    if not isinstance(array, np.ndarray) or not is_column(x):
        raise RefusalError(f"{what} needs a numeric column")
    return array


@dataclass(frozen=True, slots=True)
class Shifted:
    """``scale(x)``: subtract, then divide."""

    center: float
    spread: float

    def apply(self, x: Value) -> Value:
        """Values at new `x`."""
        return (_column(x, "scale()") - self.center) / self.spread


@register("scale", "x", "center", "scale", learns=True)
def _scale(x: Value, center: Any = True, scale: Any = True) -> Shifted:
    array = _column(x, "scale()")
    middle = (float(array.mean()) if center else 0.0) if isinstance(center, bool) else float(center)
    if isinstance(scale, bool):
        spread = float(np.sqrt(((array - middle) ** 2).sum() / max(len(array) - 1, 1))) if scale else 1.0
    else:
        spread = float(scale)
    if spread == 0.0:
        raise DataError(
            "scale() of a column that is constant would divide by zero: leave it out of the formula"
        )
    return Shifted(middle, spread)


@dataclass(frozen=True, slots=True)
class Polynomial:
    """``poly(x, d)``: recurrence coefficients and norms; None for raw powers."""

    degree: int
    alpha: tuple[float, ...] | None = None
    norms2: tuple[float, ...] | None = None

    def apply(self, x: Value) -> Value:
        """Basis at new `x`."""
        array = _column(x, "poly()")
        if self.alpha is None or self.norms2 is None:
            matrix = array[:, None] ** np.arange(1, self.degree + 1)
        else:
            from formulaic.transforms import poly

            state = {"alpha": dict(enumerate(self.alpha)), "norms2": dict(enumerate(self.norms2))}
            matrix = np.asarray(poly(array, degree=self.degree, _state=state))
        suffixes = ("",) if self.degree == 1 else tuple(str(i + 1) for i in range(self.degree))
        return Basis(np.ascontiguousarray(matrix, dtype=float), suffixes)


@register("poly", "x", "...", "degree", "coefs", "raw", "simple", learns=True)
def _poly(x: Value, *rest: Value, degree: Any = 1, raw: Any = False, simple: Any = False) -> Polynomial:
    if len(rest) > 1 or any(is_column(value) for value in rest):
        raise RefusalError("poly() of several columns is not available", "write poly(x, 2) * poly(z, 2)")
    power = int(rest[0] if rest else degree)
    array = _column(x, "poly()")
    distinct = len(np.unique(array))
    if power < 1:
        raise RefusalError(f"the degree of poly() must be at least 1, not {power}")
    if raw:
        return Polynomial(power)
    if power >= distinct:
        raise DataError(
            f"poly() of degree {power} needs more than {power} distinct values; there are {distinct}"
        )
    from formulaic.transforms import poly

    state: dict[str, Any] = {}
    poly(array, degree=power, _state=state)
    alpha, norms2 = state["alpha"], state["norms2"]
    return Polynomial(
        power,
        tuple(float(alpha[k]) for k in range(power)),
        tuple(float(norms2[k]) for k in range(power + 1)),
    )


def _boundary(array: Array, given: Any) -> tuple[float, float]:
    if given is None:
        return float(array.min()), float(array.max())
    low, high = sorted(float(v) for v in given)
    return low, high


def _given_knots(knots: Any) -> tuple[float, ...]:
    return tuple(float(k) for k in (knots if isinstance(knots, tuple) else (knots,)))


@dataclass(frozen=True, slots=True)
class Spline:
    """A spline basis behind a check of its argument."""

    curve: BSpline | NaturalSpline
    name: str

    def apply(self, x: Value) -> Value:
        """Basis at new `x`."""
        return self.curve.apply(_column(x, self.name))


@register("bs", "x", "df", "knots", "degree", "intercept", "Boundary.knots", learns=True)
def _bs(
    x: Value,
    df: Any = None,
    knots: Any = None,
    degree: Any = 3,
    intercept: Any = False,
    Boundary_knots: Any = None,
) -> Spline:
    array = _column(x, "bs()")
    boundary, order = _boundary(array, Boundary_knots), int(degree) + 1
    if knots is not None:
        inner = _given_knots(knots)
    elif df is not None:
        n_knots = int(df) - order + (0 if intercept else 1)
        if n_knots < 0:
            raise RefusalError(
                f"bs() of degree {order - 1} has at least {int(df) - n_knots} columns; df is {int(df)}"
            )
        inner = inner_knots(array, n_knots, boundary)
    else:
        inner = ()
    return Spline(BSpline(inner, boundary, order - 1, bool(intercept)), "bs()")


@register("ns", "x", "df", "knots", "intercept", "Boundary.knots", learns=True)
def _ns(
    x: Value, df: Any = None, knots: Any = None, intercept: Any = False, Boundary_knots: Any = None
) -> Spline:
    array = _column(x, "ns()")
    boundary = _boundary(array, Boundary_knots)
    if knots is not None:
        inner = _given_knots(knots)
    else:
        n_knots = (1 if df is None else int(df)) - 1 - int(bool(intercept))
        if n_knots < 0:
            raise RefusalError(f"ns() needs df of at least {1 + int(bool(intercept))}")
        inner = inner_knots(array, n_knots, boundary)
    return Spline(NaturalSpline(inner, boundary, bool(intercept)), "ns()")


@dataclass(frozen=True, slots=True)
class Bins:
    """``cut(x, breaks)``: the breaks and labels."""

    breaks: tuple[float, ...]
    labels: tuple[str, ...]
    right: bool
    include_lowest: bool
    ordered: bool

    def apply(self, x: Value) -> Value:
        """Bins of new `x`; values outside the breaks are missing."""
        array, breaks = _column(x, "cut()"), np.array(self.breaks)
        side = "left" if self.right else "right"
        bins = np.searchsorted(breaks, array, side=side) - 1
        if self.include_lowest:
            bins[array == (breaks[0] if self.right else breaks[-1])] = 0 if self.right else len(breaks) - 2
        outside = (bins < 0) | (bins >= len(breaks) - 1) | np.isnan(array)
        codes = np.where(outside, -1, bins).astype(np.int32)
        return Factor(codes, object_array(self.labels), "ordered" if self.ordered else "factor")


@register("cut", "x", "breaks", "labels", "include.lowest", "right", "dig.lab", "ordered_result", learns=True)
def _cut(
    x: Value,
    breaks: Any,
    labels: Any = None,
    include_lowest: Any = False,
    right: Any = True,
    dig_lab: Any = 3,
    ordered_result: Any = False,
) -> Bins:
    array = _column(x, "cut()")
    if isinstance(breaks, tuple):
        points = sorted(float(b) for b in breaks)
    else:
        points = _equal_breaks(array, int(breaks))
    if len(set(points)) < max(len(points), 2):
        raise RefusalError("the breaks of cut() must be at least two different numbers")
    if labels is False:
        raise RefusalError("cut(labels = FALSE) is not available", "as.numeric(cut(...)) gives the codes")
    texts = (
        labels
        if isinstance(labels, tuple)
        else _bin_labels(points, bool(right), bool(include_lowest), int(dig_lab))
    )
    if len(texts) != len(points) - 1:
        raise RefusalError(f"cut() has {len(points) - 1} intervals but {len(texts)} labels")
    return Bins(
        tuple(points), tuple(map(str, texts)), bool(right), bool(include_lowest), bool(ordered_result)
    )


def _equal_breaks(array: Array, n_bins: int) -> list[float]:
    """R widens equal bins by 1/1000 of the range so that both ends fall inside."""
    low, high = float(array.min()), float(array.max())
    if n_bins < 2:
        raise RefusalError("cut() needs at least two intervals")
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
    """``factor()``, ``ordered()``, ``relevel()``: levels in a fixed order, with other labels if given."""

    levels: tuple[str, ...]
    labels: tuple[str, ...]
    kind: FactorKind
    closed: bool
    """Values outside `levels` are missing because the formula lists the levels."""

    def apply(self, x: Value) -> Value:
        """The factor of new `x`."""
        factor = align(as_factor(x), self.levels, self.kind)
        known = len(self.levels)
        codes = np.where(factor.codes < known, factor.codes, -1) if self.closed else factor.codes
        extra = () if self.closed else tuple(factor.levels[known:])
        return Factor(codes.astype(np.int32), object_array((*self.labels, *extra)), self.kind)


@register("factor", "x", "levels", "labels", "exclude", "ordered", learns=True)
def _factor(x: Value, levels: Any = None, labels: Any = None, ordered: Any = None) -> Relabelled:
    source = as_factor(x)
    is_ordered = source.kind == "ordered" if ordered is None else bool(ordered)
    if levels is None:
        used = np.bincount(source.codes + 1, minlength=len(source.levels) + 1)[1:] > 0
        chosen = tuple(source.levels[used])
    else:
        chosen = tuple(_text(v) for v in (levels if isinstance(levels, tuple) else (levels,)))
    names = (
        chosen
        if labels is None
        else tuple(_text(v) for v in (labels if isinstance(labels, tuple) else (labels,)))
    )
    if len(names) != len(chosen):
        raise RefusalError(f"{len(names)} labels for {len(chosen)} levels")
    return Relabelled(chosen, names, "ordered" if is_ordered else "factor", levels is not None)


@register("ordered", "x", "levels", "labels", learns=True)
def _ordered(x: Value, levels: Any = None, labels: Any = None) -> Relabelled:
    return _factor(x, levels, labels, ordered=True)


@register("relevel", "x", "ref", learns=True)
def _relevel(x: Value, ref: Any) -> Relabelled:
    source = as_factor(x)
    levels = tuple(source.levels)
    if source.kind == "ordered":
        raise RefusalError(
            "relevel() is for unordered factors", "factor(x, ordered = FALSE) removes the order"
        )
    first = _text(ref) if isinstance(ref, str) or not 1 <= int(ref) <= len(levels) else levels[int(ref) - 1]
    if first not in levels:
        raise DataError(f"relevel(): {first!r} is not a level; levels are {', '.join(levels)}")
    order = (first, *(level for level in levels if level != first))
    return Relabelled(order, order, "factor", False)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return value if isinstance(value, str) else number_label(float(value))


@dataclass(frozen=True, slots=True)
class Indicators:
    """``dummy(f, "b")``: one 0/1 column for each level."""

    levels: tuple[str, ...]

    def apply(self, x: Value) -> Value:
        """The columns for new `x`."""
        factor = as_factor(x)
        position = label_index(factor.levels, self.levels)
        matrix = (factor.codes[:, None] == np.where(position < 0, -2, position)[None, :]).astype(float)
        matrix[factor.codes < 0] = np.nan
        return Basis(matrix, ("",) if len(self.levels) == 1 else self.levels)


@register("dummy", "f", "levelsToKeep", learns=True)
def _dummy(f: Value, levelsToKeep: Any = None) -> Indicators:
    factor = as_factor(f)
    levels = tuple(factor.levels)
    if levelsToKeep is None:
        return Indicators(levels[1:])
    keep = tuple(_text(v) for v in (levelsToKeep if isinstance(levelsToKeep, tuple) else (levelsToKeep,)))
    if absent := [level for level in keep if level not in levels]:
        raise DataError(
            f"dummy(): {', '.join(map(repr, absent))} is not a level; levels are {', '.join(levels)}"
        )
    return Indicators(keep)


@dataclass(frozen=True, slots=True)
class Learned:
    """A number (or several) computed once from the fit's rows, such as ``mean(x)``."""

    value: Any

    def apply(self, x: Value) -> Value:
        """The number of the fit, whatever the new rows."""
        return self.value


def _register_summaries() -> None:
    summaries: dict[str, Any] = {
        "mean": np.mean,
        "median": np.median,
        "min": np.min,
        "max": np.max,
        "sum": np.sum,
        "sd": lambda a: np.std(a, ddof=1),
        "var": lambda a: np.var(a, ddof=1),
    }
    for name, reduce in summaries.items():

        def learn(x: Value, na_rm: Any = True, _name: str = name, _reduce: Any = reduce) -> Learned:
            return Learned(float(_reduce(_column(x, f"{_name}()"))))

        register(name, "x", "na.rm", learns=True)(learn)


_register_summaries()


@register("quantile", "x", "probs", "na.rm", learns=True)
def _quantile(x: Value, probs: Any = (0.0, 0.25, 0.5, 0.75, 1.0), na_rm: Any = True) -> Learned:
    array = _column(x, "quantile()")
    asked = probs if isinstance(probs, tuple) else (probs,)
    values = tuple(np.quantile(array, asked).tolist())
    return Learned(values if isinstance(probs, tuple) else values[0])
