"""The functions of a formula that work row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmmformula.frame.contrasts import Contrast, contrast_from
from lmmformula.frame.numbers import (
    MOST_CELLS,
    MOST_CONSTANTS,
    RefusalError,
    as_factor,
    as_float,
    elementwise,
    refuse_size,
    shown,
)
from lmmformula.frame.rounding import round_digits
from lmmformula.frame.signature import (
    FUNCTIONS,
    Kind,
    Parameter,
    anything,
    categorical,
    either,
    flag,
    needed,
    number,
    numbers,
    numeric,
    register,
    unavailable,
    whole,
    word,
)
from lmmformula.frame.values import (
    Basis,
    Factor,
    Value,
    align,
    as_number,
    drop_unused,
    factor_from_text,
    is_column,
    labels_of,
    logical,
    missing_rows,
    object_array,
)
from lmmformula.typing import Entries

__all__ = ["FUNCTIONS", "RefusalError", "as_factor", "as_float", "cross_levels", "sequence"]

_X = needed("x", anything)
_NUMBERS = needed("x", numeric)
_ONE = needed("x", categorical)


def _elementwise(name: str, ufunc: Callable[[Entries], Entries]) -> None:
    @register(name, _NUMBERS)
    def call(x: Value) -> Value:
        return elementwise(ufunc, x, what=f"{name}()")


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


@register("I", _X)
@register("identity", _X)
@register("offset", _X)
def _identity(x: Value) -> Value:
    return x


@register("log", _NUMBERS, Parameter("base", number(0.0)))
def _log(x: Value, base: float | None = None) -> Value:
    per = 1.0 if base is None else np.log(base)
    return elementwise(lambda a: np.log(a) / per, x, what="log()")


@register("round", _NUMBERS, Parameter("digits", whole(-10_000, 10_000)))
def _round(x: Value, digits: int = 0) -> Value:
    return elementwise(lambda a: round_digits(a, digits), x, what="round()")


@register("pmin", needed("...", numeric))
def _pmin(*values: Value) -> Value:
    return _reduce(np.minimum, values, "pmin()")


@register("pmax", needed("...", numeric))
def _pmax(*values: Value) -> Value:
    return _reduce(np.maximum, values, "pmax()")


def _reduce(ufunc: np.ufunc, values: tuple[Value, ...], what: str) -> Value:
    result = values[0]
    for value in values[1:]:
        result = elementwise(ufunc, result, value, what=what)
    return result


@register("ifelse", needed("test", numeric), needed("yes", anything), needed("no", anything))
def _ifelse(test: Value, yes: Value, no: Value) -> Value:
    if any(isinstance(v, Basis) for v in (test, yes, no)):
        raise RefusalError(
            "ifelse() takes single columns", "R would use the first of several columns in silence"
        )
    if any(isinstance(v, str) or (isinstance(v, Factor) and v.kind != "logical") for v in (yes, no)):
        return _ifelse_text(test, yes, no)
    chosen = elementwise(_choose, test, yes, no, what="ifelse()")
    truths = all(isinstance(v, bool) or (isinstance(v, Factor) and v.kind == "logical") for v in (yes, no))
    if truths and isinstance(chosen, np.ndarray):
        return logical(chosen == 1, np.isnan(chosen))
    return chosen


def _choose(test: Value, yes: Value, no: Value) -> Value:
    return np.where(np.isnan(test), np.nan, np.where(test != 0, yes, no))


def _ifelse_text(test: Value, yes: Value, no: Value) -> Value:
    condition = as_float(test, "the test of ifelse()")
    if not is_column(test):
        raise RefusalError(f"the test of ifelse() must be a column, not {shown(test)}")
    chosen = np.where(condition != 0, _texts(yes), _texts(no))
    return factor_from_text(np.where(np.isnan(condition), None, chosen))


def _texts(value: Value) -> Value:
    if isinstance(value, Factor):
        return labels_of(value)
    if value is None or isinstance(value, str):
        return value
    if not is_column(value) or isinstance(value, Basis):
        raise RefusalError(f"ifelse() cannot give text for some rows and {shown(value)} for others")
    return _texts(as_factor(value))


@register("is.na", _ONE)
def _is_na(x: Factor) -> Value:
    missing = missing_rows(x)
    return logical(np.zeros(len(x.codes), dtype=bool) if missing is None else missing)


@register("c", Parameter("...", anything))
def _combine(*values: Value) -> Value:
    flat: list[object] = []
    for value in values:
        if is_column(value):
            raise RefusalError("c() takes constants here, not columns", "cbind() puts columns side by side")
        flat.extend(value if isinstance(value, tuple) else (value,))
    return tuple(flat)


@register("cbind", needed("...", numeric), labelled=True)
def _cbind(*values: Value, names: tuple[str, ...] = ()) -> Value:
    n = next((len(_matrix(v)) for v in values if is_column(v)), None)
    if n is None:
        raise RefusalError("cbind() needs at least one column")
    blocks, labels = [], []
    for value, name in zip(values, names, strict=True):
        if isinstance(value, tuple):
            raise RefusalError(f"cbind() takes columns and single numbers, not {shown(value)}")
        blocks.append(_matrix(value) if is_column(value) else np.full((n, 1), as_float(value)))
        labels += value.suffixes if isinstance(value, Basis) else [name]
    if not any(labels):
        labels = [""] if len(labels) == 1 else [str(j + 1) for j in range(len(labels))]
    return Basis(np.ascontiguousarray(np.hstack(blocks), dtype=float), tuple(labels))


@register("mmc", needed("...", numeric))
def _mmc(*values: Value) -> Value:
    plain = not any(isinstance(v, Basis | tuple) for v in values)
    n = next((len(as_float(v, "mmc()")) for v in values if is_column(v)), None) if plain else None
    if n is None:
        raise RefusalError("mmc() takes a column of numbers for each member", "for example mmc(x1, x2)")
    columns = [as_float(v, "mmc()") if is_column(v) else np.full(n, as_float(v)) for v in values]
    return Basis(np.column_stack(columns), tuple(str(j + 1) for j in range(len(columns))))


def _matrix(value: Value) -> Value:
    return value.matrix if isinstance(value, Basis) else as_float(value, "cbind()")[:, None]


@register(
    "seq",
    Parameter("from", number()),
    Parameter("to", number()),
    Parameter("by", number()),
    Parameter("length.out", whole(1, MOST_CONSTANTS)),
)
def sequence(start: float = 1.0, **named: Value) -> Value:
    """R's ``seq`` and ``from:to``, as constants; ``seq(5)`` is ``1:5``."""
    if not named:
        return sequence(1.0, to=start)
    stop, by, count = named.get("to"), named.get("by"), named.get("length_out")
    if count is not None and by is not None:
        if stop is not None:
            raise RefusalError("seq() takes two of `to`, `by` and `length.out`")
        return tuple((start + by * np.arange(count)).tolist())
    stop = 1.0 if stop is None else stop
    if count is not None:
        return tuple(np.linspace(start, stop, count).tolist())
    step = by if by is not None else 1.0 if stop >= start else -1.0
    if step == 0.0 or (stop - start) / step < 0.0:
        raise RefusalError(f"seq() cannot go from {start:g} to {stop:g} in steps of {step:g}")
    steps = (stop - start) / step
    refuse_size(
        steps + 1, MOST_CONSTANTS, f"{start:g} to {stop:g} in steps of {step:g} are {steps + 1:,.0f} numbers"
    )
    return tuple((start + step * np.arange(int(steps + 1e-10) + 1)).tolist())


def _to_number(x: Value, what: str) -> Value:
    if isinstance(x, Factor) and x.kind in ("factor", "ordered"):
        return np.where(x.codes < 0, np.nan, x.codes + 1.0)
    if isinstance(x, Factor) and x.kind == "text":
        return np.array([*(_read(label, what) for label in x.levels), np.nan])[x.codes]
    if isinstance(x, str):
        return _read(x, what)
    as_float(x, what)
    return elementwise(np.positive, x, what=what)


def _read(text: str, what: str) -> float:
    value = as_number(text)
    if value is None:
        raise RefusalError(f"{what} cannot read {text!r} as a number")
    return value


@register("as.numeric", _X)
@register("as.double", _X)
def _as_numeric(x: Value) -> Value:
    return _to_number(x, "as.numeric()")


@register("as.integer", _X)
def _as_integer(x: Value) -> Value:
    return elementwise(np.trunc, _to_number(x, "as.integer()"), what="as.integer()")


@register("as.logical", _ONE)
def _as_logical(x: Factor) -> Value:
    if x.kind == "logical":
        return x
    truths = {"T": 1, "TRUE": 1, "true": 1, "True": 1, "F": 0, "FALSE": 0, "false": 0, "False": 0}
    values = [as_number(level) for level in x.levels]
    if any(v is None for v in values):
        by_level = np.array([truths.get(level, -1) for level in x.levels] + [-1])[x.codes]
        return logical(by_level == 1, by_level < 0)
    read = np.array([*(np.nan if v is None else v for v in values), np.nan])[x.codes]
    return logical(read != 0, np.isnan(read))


@register("as.factor", _ONE)
def _as_factor(x: Factor) -> Value:
    return Factor(x.codes, x.levels, "factor") if x.kind in ("logical", "text") else x


@register("as.ordered", _ONE)
def _as_ordered(x: Factor) -> Value:
    return Factor(x.codes, x.levels, "ordered")


@register("as.character", _ONE)
def _as_character(x: Factor) -> Value:
    order = np.argsort(x.levels, kind="stable")
    return Factor(align(x, x.levels[order]).codes, x.levels[order], "text")


@register(
    "interaction",
    needed("...", categorical),
    Parameter("drop", flag),
    Parameter("sep", word),
    Parameter("lex.order", flag),
)
def _interaction(*values: Factor, drop: bool = False, sep: str = ".", lex_order: bool = False) -> Value:
    result = values[0]
    for other in values[1:]:
        result = cross_levels(result, other, sep, first_slowest=lex_order)
    return drop_unused(result) if drop else result


def cross_levels(a: Factor, b: Factor, sep: str, *, first_slowest: bool) -> Factor:
    """Every pair of levels as a level, in R's order."""
    m, k = len(a.levels), len(b.levels)
    refuse_size(
        float(m) * k,
        MOST_CONSTANTS,
        f"interaction() of {m:,} and {k:,} levels has {m * k:,}",
        "as a grouping factor write (1 | a:b), which makes only the levels that occur",
    )
    missing = (a.codes < 0) | (b.codes < 0)
    if first_slowest:
        codes = a.codes.astype(np.int64) * k + b.codes
        labels = [f"{x}{sep}{y}" for x in a.levels for y in b.levels]
    else:
        codes = b.codes.astype(np.int64) * m + a.codes
        labels = [f"{x}{sep}{y}" for y in b.levels for x in a.levels]
    if len(set(labels)) < len(labels):
        twice = next(label for label, times in Counter(labels).items() if times > 1)
        raise RefusalError(
            f"interaction() gives two different cells the label {twice!r}",
            "give another sep=, which no level holds",
        )
    return Factor(np.where(missing, -1, codes).astype(np.int32), object_array(labels), "factor")


def _contrast(value: Value, what: str) -> Contrast:
    """A contrast by name or matrix, ``c(-1, 0, 1)`` being a matrix of one column."""
    if isinstance(value, Contrast):
        return value
    if isinstance(value, tuple):
        value = np.array(numbers()(value, what))[:, None]
    if isinstance(value, str) or (
        isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "biuf"
    ):
        return contrast_from(value)
    raise RefusalError(
        f"{what} must be a contrast such as contr.sum, or numbers for each level, not {shown(value)}"
    )


_BASE: Kind = either(word, whole(1, 1_000_000))
_SCORES = numbers(least=2)


@register(
    "C",
    needed("object", categorical),
    Parameter("contr", _contrast),
    Parameter("how.many", whole(1, 1_000_000)),
    Parameter("base", _BASE),
    Parameter("scores", _SCORES),
)
def _with_contrast(
    factor: Factor,
    contr: Contrast | None = None,
    how_many: int | None = None,
    base: int | str | None = None,
    scores: tuple[float, ...] | None = None,
) -> Value:
    kind = "ordered" if factor.kind == "ordered" else "factor"
    if contr is None:
        contrast = Contrast("poly" if kind == "ordered" else "treatment")
        return Factor(factor.codes, factor.levels, kind, contrast)
    levels = float(len(factor.levels))
    refuse_size(levels**2, MOST_CELLS, f"the contrasts of {levels:,.0f} levels are {levels**2:,.0f} numbers")
    if base is not None or scores is not None:
        contr = Contrast(contr.kind, base, scores)
    return Factor(
        factor.codes, factor.levels, kind, replace(contr, numbered=True, complete=True, how_many=how_many)
    )


def _register_contrasts() -> None:
    for kind in ("treatment", "sum", "helmert", "poly", "SAS"):

        def call(
            n: int | None = None,
            base: int | str | None = None,
            scores: tuple[float, ...] | None = None,
            contrasts: bool = True,
            _kind: str = kind,
        ) -> Contrast:
            return Contrast(_kind, base, scores, n=n)

        n = Parameter("n", whole(2, 1_000_000))
        own = {"poly": (Parameter("scores", _SCORES),), "treatment": (Parameter("base", _BASE),)}.get(
            kind, ()
        )
        full = Parameter("contrasts", unavailable("a coding of every level is 0 + f"))
        register(f"contr.{kind}", n, *own, full)(call)


_register_contrasts()
