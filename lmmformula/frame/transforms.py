"""Functions of numeric columns that learn from the rows of the fit and are replayed on new data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.numbers import MOST_CELLS, RefusalError, refuse_size
from lmmformula.frame.signature import (
    Parameter,
    column,
    columns,
    either,
    flag,
    needed,
    numbers,
    register,
    unavailable,
    whole,
)
from lmmformula.frame.splines import BSpline, NaturalSpline, inner_knots
from lmmformula.frame.values import Basis, Value
from lmmformula.typing import AnyFunction, Record

Array = NDArray[np.float64]

_COLUMN = needed("x", column)


def known(array: Array, what: str) -> Array:
    """The values that are not missing, from which a function learns.

    Rows with missing values leave the fit after a first evaluation; what is learned then is learned again without them.
    """
    there = array[~np.isnan(array)] if array.ndim == 1 else array[~np.isnan(array).any(axis=1)]
    if not len(there):
        raise RefusalError(
            f"{what} has no value that is not missing", "the logarithm or root of negative numbers?"
        )
    return there


@dataclass(frozen=True, slots=True)
class Shifted:
    """``scale(x)``: subtract, then divide; a number for each column."""

    center: tuple[float, ...]
    spread: tuple[float, ...]

    def apply(self, x: Value) -> Value:
        """Values at new `x`."""
        if isinstance(x, Basis):
            return Basis((x.matrix - np.array(self.center)) / np.array(self.spread), x.suffixes)
        return (x - self.center[0]) / self.spread[0]


@register(
    "scale",
    needed("x", columns),
    Parameter("center", either(numbers(), flag)),
    Parameter("scale", either(numbers(), flag)),
    learns=True,
)
def _scale(x: Value, center: Value = True, scale: Value = True) -> Shifted:
    matrix = known(x.matrix if isinstance(x, Basis) else x[:, None], "the argument of scale()")
    k = matrix.shape[1]
    middle = _each(center, k, "center") if isinstance(center, tuple) else matrix.mean(axis=0) * center
    if isinstance(scale, tuple):
        spread = _each(scale, k, "scale")
    else:
        spread = _root_mean_square(matrix - middle) if scale else np.ones(k)
    if not spread.all():
        raise DataError(
            "scale() of a column that is constant would divide by zero: leave it out of the formula"
        )
    return Shifted(tuple(middle.tolist()), tuple(spread.tolist()))


def _each(given: tuple[float, ...], k: int, what: str) -> Array:
    if len(given) != k:
        raise RefusalError(
            f"`{what}` of scale() has {len(given)} numbers for {k} column{'' if k == 1 else 's'}"
        )
    return np.array(given)


def _root_mean_square(centred: Array) -> Array:
    """sqrt(sum x^2 / (n - 1)) of each column, without overflow."""
    largest = np.abs(centred).max(axis=0)
    unit = centred / np.where(largest > 0, largest, 1.0)
    return largest * np.sqrt((unit**2).sum(axis=0) / max(len(centred) - 1, 1))


@dataclass(frozen=True, slots=True)
class Polynomial:
    """``poly(x, d)``: recurrence coefficients and norms; None for raw powers."""

    degree: int
    alpha: tuple[float, ...] | None = None
    norms2: tuple[float, ...] | None = None

    def apply(self, x: Array) -> Value:
        """Basis at new `x`."""
        if self.alpha is None or self.norms2 is None:
            matrix = x[:, None] ** np.arange(1, self.degree + 1)
        else:
            from formulaic.transforms import poly

            state = {"alpha": dict(enumerate(self.alpha)), "norms2": dict(enumerate(self.norms2))}
            matrix = np.asarray(poly(x, degree=self.degree, _state=state))
        suffixes = ("",) if self.degree == 1 else tuple(str(i + 1) for i in range(self.degree))
        return Basis(np.ascontiguousarray(matrix, dtype=float), suffixes)


_DEGREE = whole(1, 1_000_000)


@register(
    "poly",
    _COLUMN,
    Parameter("...", _DEGREE),
    Parameter("degree", _DEGREE),
    Parameter("coefs", unavailable("poly() learns its coefficients from the rows of the fit")),
    Parameter("raw", flag),
    Parameter("simple", flag),
    learns=True,
)
def _poly(x: Array, *rest: int, degree: int = 1, raw: bool = False, simple: bool = False) -> Polynomial:
    if len(rest) > 1:
        raise RefusalError("poly() of several columns is not available", "write poly(x, 2) * poly(z, 2)")
    power = rest[0] if rest else degree
    array = known(x, "the argument of poly()")
    if raw:
        refuse_basis(power, len(x), "poly()")
        return Polynomial(power)
    distinct = len(np.unique(array))
    if power >= distinct:
        raise DataError(
            f"poly() of degree {power} needs more than {power} distinct values; there are {distinct}"
        )
    refuse_basis(power, len(x), "poly()")
    from formulaic.transforms import poly

    state: Record = {}
    poly(array, degree=power, _state=state)
    alpha, norms2 = state["alpha"], state["norms2"]
    return Polynomial(
        power,
        tuple(float(alpha[k]) for k in range(power)),
        tuple(float(norms2[k]) for k in range(power + 1)),
    )


def refuse_basis(k: int, n: int, what: str) -> None:
    """Stop before `k` columns for `n` rows fill the memory; splines also need k x k numbers."""
    refuse_size(
        float(k) * max(k, n), MOST_CELLS, f"{what} has {k:,} columns, {float(k) * max(k, n):,.0f} numbers"
    )


def _boundary(array: Array, given: tuple[float, ...] | None, what: str) -> tuple[float, float]:
    if given is not None and len(given) != 2:
        raise RefusalError(f"`Boundary.knots` of {what} must be two numbers, not {len(given)}")
    low, high = (float(array.min()), float(array.max())) if given is None else sorted(given)
    if not low < high:
        raise RefusalError(
            f"{what} needs an interval, but both boundary knots are {low:g}: a constant column?"
        )
    return low, high


def _quantile_knots(array: Array, count: int, boundary: tuple[float, float], what: str) -> tuple[float, ...]:
    low, high = boundary
    if count and not ((array >= low) & (array <= high)).any():
        raise RefusalError(f"no value lies between the boundary knots {low:g} and {high:g} of {what}")
    return inner_knots(array, count, boundary)


def _inner(knots: tuple[float, ...], boundary: tuple[float, float], what: str) -> tuple[float, ...]:
    low, high = boundary
    outside = [k for k in knots if not low <= k <= high]
    if outside:
        raise RefusalError(
            f"`knots` of {what} must lie between its boundary knots {low:g} and {high:g}; {outside[0]:g} does not"
        )
    return knots


@dataclass(frozen=True, slots=True)
class Spline:
    """A spline basis."""

    curve: BSpline | NaturalSpline

    def apply(self, x: Array) -> Value:
        """Basis at new `x`."""
        missing = np.isnan(x)
        if not missing.any():
            return self.curve.apply(x)
        basis = self.curve.apply(np.where(missing, self.curve.boundary[0], x))
        basis.matrix[missing] = np.nan
        return basis


_COUNT = whole(1, 1_000_000)
_KNOTS = Parameter("knots", numbers())
_ENDS = Parameter("Boundary.knots", numbers(least=2))


@register(
    "bs",
    _COLUMN,
    Parameter("df", _COUNT),
    _KNOTS,
    Parameter("degree", _DEGREE),
    Parameter("intercept", flag),
    _ENDS,
    learns=True,
)
def _bs(
    x: Array,
    df: int | None = None,
    knots: tuple[float, ...] | None = None,
    degree: int = 3,
    intercept: bool = False,
    Boundary_knots: tuple[float, ...] | None = None,
) -> Spline:
    array = known(x, "the argument of bs()")
    boundary, order = _boundary(array, Boundary_knots, "bs()"), degree + 1
    n_knots = len(knots) if knots is not None else 0 if df is None else df - order + (0 if intercept else 1)
    if n_knots < 0 and df is not None:
        raise RefusalError(f"bs() of degree {degree} has at least {df - n_knots} columns; df is {df}")
    refuse_basis(n_knots + order, len(x), "bs()")
    inner = (
        _quantile_knots(array, n_knots, boundary, "bs()")
        if knots is None
        else _inner(knots, boundary, "bs()")
    )
    return Spline(BSpline(inner, boundary, degree, intercept))


@register("ns", _COLUMN, Parameter("df", _COUNT), _KNOTS, Parameter("intercept", flag), _ENDS, learns=True)
def _ns(
    x: Array,
    df: int | None = None,
    knots: tuple[float, ...] | None = None,
    intercept: bool = False,
    Boundary_knots: tuple[float, ...] | None = None,
) -> Spline:
    array = known(x, "the argument of ns()")
    boundary = _boundary(array, Boundary_knots, "ns()")
    n_knots = len(knots) if knots is not None else (1 if df is None else df) - 1 - int(intercept)
    if n_knots < 0:
        raise RefusalError(f"ns() needs df of at least {1 + int(intercept)}")
    refuse_basis(n_knots + 4, len(x), "ns()")
    inner = (
        _quantile_knots(array, n_knots, boundary, "ns()")
        if knots is None
        else _inner(knots, boundary, "ns()")
    )
    return Spline(NaturalSpline(inner, boundary, intercept))


@dataclass(frozen=True, slots=True)
class Learned:
    """A number (or several) computed once from the fit's rows, such as ``mean(x)``."""

    value: Value

    def apply(self, x: Value) -> Value:
        """The number of the fit, whatever the new rows."""
        return self.value


def _register_summaries() -> None:
    summaries: dict[str, AnyFunction] = {
        "mean": np.mean,
        "median": np.median,
        "min": np.min,
        "max": np.max,
        "sum": np.sum,
        "sd": lambda a: np.std(a, ddof=1),
        "var": lambda a: np.var(a, ddof=1),
    }
    for name, reduce in summaries.items():

        def learn(x: Value, na_rm: bool = True, _name: str = name, _reduce: AnyFunction = reduce) -> Learned:
            values = known((x.matrix if isinstance(x, Basis) else x).ravel(), f"the argument of {_name}()")
            if len(values) < 2 and _name in ("sd", "var"):
                raise RefusalError(f"{_name}() needs at least two values")
            return Learned(float(_reduce(values)))

        of = column if name == "var" else columns
        register(
            name, needed("x", of), Parameter("na.rm", flag), learns=True, of_values=name in ("min", "max")
        )(learn)


_register_summaries()

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@register("quantile", _COLUMN, Parameter("probs", numbers(0.0, 1.0)), Parameter("na.rm", flag), learns=True)
def _quantile(x: Array, probs: tuple[float, ...] = _QUARTERS, na_rm: bool = True) -> Learned:
    values = tuple(np.quantile(known(x, "the argument of quantile()"), probs).tolist())
    return Learned(values[0] if len(values) == 1 else values)
