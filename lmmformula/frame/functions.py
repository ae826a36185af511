"""The functions a formula may call: a registry, and the ones that work row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.contrasts import Contrast, contrast_from
from lmmformula.frame.values import (
    Factor,
    Value,
    align,
    factor_from_numbers,
    factor_from_text,
    is_column,
    labels_of,
    logical,
    missing_rows,
    object_array,
)

__all__ = ["FUNCTIONS", "Function", "RefusalError", "as_factor", "as_float", "register"]


class RefusalError(Exception):
    """A call that means nothing; the evaluator adds the place in the formula."""

    def __init__(self, problem: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


@dataclass(frozen=True, slots=True)
class Function:
    """One callable of the formula language.

    Attributes
    ----------
    parameters : tuple of str
        R's names in R's order; ``...`` collects further unnamed arguments.
    call : callable
        Takes the arguments by name, dots replaced by underscores, ``...`` as positional arguments.
    learns : bool
        `call` returns a state whose ``apply(first argument)`` gives the value; a replay on new data
        applies the state of the fit.
    """

    parameters: tuple[str, ...]
    call: Callable[..., Any]
    learns: bool = False


FUNCTIONS: dict[str, Function] = {}
"""Name -> function. ``context=`` of a fit adds more."""


def register(
    name: str, *parameters: str, learns: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the decorated callable in :data:`FUNCTIONS`."""

    def enter(call: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[name] = Function(parameters, call, learns)
        return call

    return enter


def as_float(value: Value, what: str = "arithmetic") -> Any:
    """A number or numeric array of `value`; logicals count as 0 and 1."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value if value.dtype == np.float64 else value.astype(float)
    if value is None:
        return np.nan
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, Factor) and value.kind == "logical":
        return np.where(value.codes < 0, np.nan, value.codes.astype(float))
    if isinstance(value, tuple) and all(isinstance(v, bool | int | float) for v in value):
        return np.array(value, dtype=float)
    if isinstance(value, Factor):
        kind = "text" if value.kind == "text" else "a factor"
        raise RefusalError(
            f"{what} needs numbers, but this is {kind}", "as.numeric() gives the numbers of its levels"
        )
    raise RefusalError(f"{what} needs a number or a numeric column")


def as_factor(value: Value) -> Factor:
    """R's ``as.factor``."""
    if isinstance(value, Factor):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return factor_from_numbers(value)
    raise RefusalError("a factor is made of one column")


def _elementwise(name: str, ufunc: Callable[[Any], Any]) -> None:
    def call(x: Value) -> Value:
        return _plain(ufunc(as_float(x, f"{name}()")))

    FUNCTIONS[name] = Function(("x",), call)


def _plain(result: Any) -> Any:
    return result if isinstance(result, np.ndarray) and result.ndim else float(result)


for _name, _ufunc in {
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "floor": np.floor,
    "ceiling": np.ceil,
    "trunc": np.trunc,
}.items():
    _elementwise(_name, _ufunc)


@register("I", "x")
@register("identity", "x")
@register("offset", "x")
def _identity(x: Value) -> Value:
    return x


@register("log", "x", "base")
def _log(x: Value, base: Value = None) -> Value:
    result = np.log(as_float(x, "log()"))
    return _plain(result if base is None else result / np.log(as_float(base, "log()")))


@register("round", "x", "digits")
def _round(x: Value, digits: Value = 0) -> Value:
    return _plain(np.round(as_float(x, "round()"), int(digits)))


@register("pmin", "...")
def _pmin(*values: Value) -> Value:
    return _reduce(np.minimum, values, "pmin()")


@register("pmax", "...")
def _pmax(*values: Value) -> Value:
    return _reduce(np.maximum, values, "pmax()")


def _reduce(ufunc: Any, values: tuple[Value, ...], what: str) -> Value:
    if not values:
        raise RefusalError(f"{what} needs at least one argument")
    result = as_float(values[0], what)
    for value in values[1:]:
        result = ufunc(result, as_float(value, what))
    return _plain(result)


@register("ifelse", "test", "yes", "no")
def _ifelse(test: Value, yes: Value, no: Value) -> Value:
    condition = as_float(test, "the test of ifelse()")
    missing = np.isnan(condition)
    if any(isinstance(v, str) or (isinstance(v, Factor) and v.kind != "logical") for v in (yes, no)):
        chosen = np.where(condition != 0, _texts(yes), _texts(no))
        return factor_from_text(np.where(missing, None, chosen))
    chosen = np.where(condition != 0, as_float(yes, "ifelse()"), as_float(no, "ifelse()"))
    if all(isinstance(v, bool) or (isinstance(v, Factor) and v.kind == "logical") for v in (yes, no)):
        return logical(chosen == 1, missing | np.isnan(chosen))
    return _plain(np.where(missing, np.nan, chosen))


def _texts(value: Value) -> Any:
    if isinstance(value, Factor):
        return labels_of(value)
    return value if value is None or isinstance(value, str) else _texts(as_factor(value))


@register("is.na", "x")
def _is_na(x: Value) -> Value:
    if not is_column(x):
        raise RefusalError("is.na() needs a column")
    missing = missing_rows(x)
    n = len(x.codes) if isinstance(x, Factor) else len(x)
    return logical(np.zeros(n, dtype=bool) if missing is None else missing)


@register("c", "...")
def _combine(*values: Value) -> Value:
    flat: list[Any] = []
    for value in values:
        if is_column(value):
            raise RefusalError("c() takes constants here, not columns")
        flat.extend(value if isinstance(value, tuple) else (value,))
    return tuple(flat)


@register("seq", "from", "to", "by", "length.out")
def _seq(**named: Value) -> Value:
    start, stop = float(named.get("from", 1.0)), float(named.get("to", 1.0))
    if "length_out" in named:
        return tuple(np.linspace(start, stop, int(named["length_out"])).tolist())
    step = float(named.get("by", 1.0 if stop >= start else -1.0))
    return tuple((start + step * np.arange(int((stop - start) / step + 1e-10) + 1)).tolist())


@register("as.numeric", "x")
@register("as.double", "x")
def _as_numeric(x: Value) -> Value:
    if isinstance(x, Factor) and x.kind in ("factor", "ordered"):
        return np.where(x.codes < 0, np.nan, x.codes + 1.0)
    if isinstance(x, Factor) and x.kind == "text":
        try:
            numbers = np.array([float(label) for label in x.levels] + [np.nan])
        except ValueError:
            bad = next(label for label in x.levels if not _is_number(label))
            raise RefusalError(f"as.numeric() cannot read {bad!r} as a number") from None
        return numbers[x.codes]
    return as_float(x, "as.numeric()")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@register("as.integer", "x")
def _as_integer(x: Value) -> Value:
    return _plain(np.trunc(_as_numeric(x)))


@register("as.logical", "x")
def _as_logical(x: Value) -> Value:
    numbers = np.asarray(as_float(x, "as.logical()"))
    return logical(numbers != 0, np.isnan(numbers))


@register("as.factor", "x")
def _as_factor(x: Value) -> Value:
    factor = as_factor(x)
    if factor.kind == "logical" or factor.kind == "text":
        return Factor(factor.codes, factor.levels, "factor")
    return factor


@register("as.character", "x")
def _as_character(x: Value) -> Value:
    factor = as_factor(x)
    order = np.argsort(factor.levels, kind="stable")
    return Factor(align(factor, factor.levels[order]).codes, factor.levels[order], "text")


@register("interaction", "...", "sep", "lex.order")
def _interaction(*values: Value, sep: str = ".", lex_order: bool = False) -> Value:
    if not values:
        raise RefusalError("interaction() needs at least one factor")
    result = as_factor(values[0])
    for value in values[1:]:
        other = as_factor(value)
        m, k = len(result.levels), len(other.levels)
        missing = (result.codes < 0) | (other.codes < 0)
        if lex_order:
            codes = result.codes * k + other.codes
            labels = [f"{a}{sep}{b}" for a in result.levels for b in other.levels]
        else:
            codes = other.codes * m + result.codes
            labels = [f"{a}{sep}{b}" for b in other.levels for a in result.levels]
        codes = np.where(missing, -1, codes).astype(np.int32)
        if len(set(labels)) < len(labels):
            twice = next(label for label, times in Counter(labels).items() if times > 1)
            raise RefusalError(
                f"interaction() gives two different cells the label {twice!r}",
                "give another sep=, which no level holds",
            )
        result = Factor(codes, object_array(labels), "factor")
    return result


@register("C", "object", "contr", "how.many", "base", "scores")
def _with_contrast(object: Value, contr: Any = None, base: Any = None, scores: Any = None) -> Value:  # noqa: A002
    factor = as_factor(object)
    kind = "ordered" if factor.kind == "ordered" else "factor"
    if contr is None:
        return Factor(
            factor.codes, factor.levels, kind, Contrast("poly" if kind == "ordered" else "treatment")
        )
    if isinstance(contr, tuple):
        contr = np.array(contr, dtype=float)[:, None]
    contrast = contrast_from(contr)
    if base is not None or scores is not None:
        contrast = _contrast_call(contrast.kind, base, scores)
    return Factor(factor.codes, factor.levels, kind, replace(contrast, numbered=True))


def _contrast_call(kind: str, base: Any, scores: Any) -> Contrast:
    where = base if base is None or isinstance(base, str) else int(base)
    return Contrast(kind, where, None if scores is None else tuple(float(s) for s in scores))


def _register_contrasts() -> None:
    for kind in ("treatment", "sum", "helmert", "poly", "SAS"):
        name = f"contr.{kind}"

        def call(n: Any = None, base: Any = None, scores: Any = None, _kind: str = kind) -> Contrast:
            return _contrast_call(_kind, base, scores)

        FUNCTIONS[name] = Function(("n", "scores") if kind == "poly" else ("n", "base"), call)


_register_contrasts()


def compare(operator: str, left: Value, right: Value) -> Factor:
    """``== != < <= > >=`` of columns and constants, text included."""
    ufunc = _COMPARISONS[operator]
    if _is_text(left) or _is_text(right):
        return _compare_text(operator, left, right)
    a, b = as_float(left, f"'{operator}'"), as_float(right, f"'{operator}'")
    return logical(np.atleast_1d(ufunc(a, b)), np.atleast_1d(np.isnan(a) | np.isnan(b)))


_COMPARISONS: dict[str, Any] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, Factor) and value.kind != "logical")


def _compare_text(operator: str, left: Value, right: Value) -> Factor:
    flip = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    if not isinstance(left, Factor):
        left, right, operator = right, left, flip.get(operator, operator)
    if not isinstance(left, Factor):
        raise RefusalError("a comparison needs at least one column")
    if operator in flip and left.kind == "factor":
        raise RefusalError(
            f"'{operator}' has no meaning for an unordered factor", "ordered() gives its levels an order"
        )
    missing = left.codes < 0
    if isinstance(right, Factor):
        aligned = align(right, left.levels)
        return logical(_COMPARISONS[operator](left.codes, aligned.codes), missing | (aligned.codes < 0))
    label = right if isinstance(right, str) else str(as_factor(np.array([float(right)])).levels[0])
    if left.kind == "ordered" and operator in flip:
        if label not in left.levels:
            raise RefusalError(f"{label!r} is not a level ({', '.join(left.levels)})")
        return logical(_COMPARISONS[operator](left.codes, list(left.levels).index(label)), missing)
    by_level = _COMPARISONS[operator](left.levels, label).astype(bool)
    return logical(np.append(by_level, False)[left.codes], missing)


def is_in(left: Value, right: Value) -> Factor:
    """``x %in% c(...)`` inside a call."""
    items = right if isinstance(right, tuple) else (right,)
    if isinstance(left, Factor):
        labels = {v if isinstance(v, str) else str(as_factor(np.array([float(v)])).levels[0]) for v in items}
        return logical(np.array([label in labels for label in left.levels] + [False])[left.codes])
    array: NDArray[Any] = as_float(left, "'%in%'")
    return logical(np.isin(array, np.array([float(v) for v in items])))
