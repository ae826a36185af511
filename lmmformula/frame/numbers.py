"""Values of a formula as numbers: one column, several (a basis), or constants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.formula.spec import Span
from lmmformula.frame.values import Basis, Factor, Value, factor_from_numbers, is_column, number_label
from lmmformula.typing import AnyFunction, Numbers

__all__ = [
    "MOST_CELLS",
    "MOST_CONSTANTS",
    "RefusalError",
    "as_factor",
    "as_float",
    "elementwise",
    "level_text",
    "refuse_size",
    "shown",
]

MOST_CELLS = 2.0**28
"""Numbers that one basis or coding may hold: 2 GB."""

MOST_CONSTANTS = 1_000_000
"""Elements of ``1:n`` and ``seq()``, bins of ``cut()``, levels of ``interaction()``: what text alone may ask for."""


class RefusalError(Exception):
    """A call that means nothing; the evaluator adds the place in the formula."""

    def __init__(self, problem: str, hint: str | None = None, span: Span | None = None) -> None:
        super().__init__(problem)
        self.problem, self.hint, self.span = problem, hint, span


def refuse_size(count: float, most: float, problem: str, hint: str | None = None) -> None:
    """Stop before `count` items are allocated."""
    if count > most:
        raise RefusalError(f"{problem}; at most {most:,.0f} are made", hint)


def as_float(value: Value, what: str = "arithmetic") -> Numbers:
    """A number or one numeric array of `value`; logicals count as 0 and 1.

    Raises
    ------
    RefusalError
        For text, factors, several columns, and whatever else is no number.
    """
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
        return value if value.dtype == np.float64 else value.astype(float)
    if value is None:
        return np.nan
    if isinstance(value, bool | int | float):
        return _plain_number(value, what)
    if isinstance(value, Factor) and value.kind == "logical":
        return np.where(value.codes < 0, np.nan, value.codes.astype(float))
    if isinstance(value, tuple) and all(v is None or isinstance(v, bool | int | float) for v in value):
        return np.array([np.nan if v is None else _plain_number(v, what) for v in value])
    if isinstance(value, Factor):
        kind = "text" if value.kind == "text" else "a factor"
        raise RefusalError(
            f"{what} needs numbers, but this is {kind}", "as.numeric() gives the numbers of its levels"
        )
    if isinstance(value, Basis):
        raise RefusalError(f"{what} needs one column, but this has {value.matrix.shape[1]}")
    raise RefusalError(f"{what} needs a number or a numeric column, not {shown(value)}")


def _plain_number(value: bool | int | float, what: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise RefusalError(f"{what} needs a number below 1.8e308") from None


def as_factor(value: Value) -> Factor:
    """R's ``as.factor``."""
    if isinstance(value, Factor):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
        return factor_from_numbers(value)
    raise RefusalError("a factor is made of one column")


def level_text(value: object) -> str:
    """The level that a constant names: R's ``as.character``."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return number_label(_plain_number(value, "a level"))
    raise RefusalError(f"a level is text or a number, not {shown(value)}")


def shown(value: Value) -> str:
    """A value in the words of an error."""
    if value is None:
        return "NULL"
    if isinstance(value, Factor):
        return (
            "text" if value.kind == "text" else "a logical column" if value.kind == "logical" else "a factor"
        )
    if isinstance(value, Basis):
        return f"{value.matrix.shape[1]} columns"
    if isinstance(value, np.ndarray):
        return "a column" if value.ndim == 1 else f"a matrix of shape {value.shape}"
    if isinstance(value, tuple):
        inside = ", ".join(shown(v) for v in value[:4])
        return f"c({inside}{', ...' if len(value) > 4 else ''})"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return f"{value:.15g}" if abs(value) < 1e300 else repr(float(value)) if np.isfinite(value) else "Inf"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    return f"an object of type {type(value).__name__}"


def elementwise(function: AnyFunction, *values: Value, what: str) -> Value:
    """`function` of numbers, element by element; several columns keep their names, a list of constants stays one.

    One column beside several is used for each of them, as R recycles a vector of n numbers over an n-row matrix.
    """
    bases = [v for v in values if isinstance(v, Basis)]
    if bases:
        return _columnwise(function, values, bases, what)
    arrays = [as_float(v, what) for v in values]
    lists = {len(v) for v in values if isinstance(v, tuple)}
    if any(is_column(v) for v in values):
        if lists:
            raise RefusalError(f"{what} cannot take a column and a list of {lists.pop()} constants")
        return np.asarray(function(*arrays))
    if len(lists) > 1:
        raise RefusalError(f"{what} cannot take lists of {' and '.join(map(str, sorted(lists)))} constants")
    result = np.asarray(function(*arrays))
    return tuple(result.tolist()) if result.ndim else float(result)


def _columnwise(function: AnyFunction, values: tuple[Value, ...], bases: list[Basis], what: str) -> Value:
    widths = sorted({basis.matrix.shape[1] for basis in bases})
    if len(widths) > 1:
        raise RefusalError(f"{what} cannot take {' and '.join(map(str, widths))} columns at once")
    arrays: list[Numbers] = []
    for value in values:
        if isinstance(value, Basis):
            arrays.append(value.matrix)
        elif isinstance(value, tuple):
            raise RefusalError(f"{what} cannot take columns and a list of {len(value)} constants")
        else:
            array: Numbers = as_float(value, what)
            arrays.append(array[:, None] if is_column(value) else array)
    result: NDArray[np.float64] = np.asarray(function(*arrays), dtype=float)
    return Basis(result, bases[0].suffixes)
