"""What the functions of a formula take: one check of every argument, before the function sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lmmformula.formula.bars import TERM_FUNCTIONS
from lmmformula.formula.spec import Arg, Call, Expr, Logical, Name
from lmmformula.frame.numbers import RefusalError, as_factor, as_float, level_text, shown
from lmmformula.frame.values import Basis, Value, is_column
from lmmformula.typing import AnyFunction

__all__ = [
    "FUNCTIONS",
    "Bound",
    "Function",
    "Kind",
    "Parameter",
    "anything",
    "bind",
    "categorical",
    "column",
    "columns",
    "either",
    "flag",
    "levels",
    "needed",
    "number",
    "numbers",
    "numeric",
    "register",
    "register_term",
    "unavailable",
    "whole",
    "word",
]

Kind: TypeAlias = Callable[[Value, str], Value]
"""``(value, what) -> what the function is given``, or a RefusalError that says of `what` how it should be."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function.

    Attributes
    ----------
    name : str
        R's.
    kind : callable
        What it takes.
    required : bool
        Whether it must be given.
    null_matters : bool
        NULL is a value of its own and NA the default; elsewhere NULL leaves an option out and NA means nothing.
    """

    name: str
    kind: Kind
    required: bool = False
    null_matters: bool = False

    @property
    def key(self) -> str:
        """The name as a Python argument."""
        return self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Function:
    """One callable of the formula language.

    Attributes
    ----------
    parameters : tuple of Parameter
        In R's order; ``...`` collects further unnamed arguments.
    call : callable
        Takes the first parameter and ``...`` by position, the others by name, dots replaced by underscores.
    learns : bool
        `call` returns a state whose ``apply(first argument)`` gives the value; a replay on new data
        applies the state of the fit.
    labelled : bool
        ``...`` may be named; `call` gets the names as ``names=``.
    of_values : bool
        What `call` learns depends on which values there are, not on how many rows have each.
    replayed : tuple of str or None
        ``apply`` takes all arguments of ``...`` by position and these by name; None for the first argument alone.
    """

    parameters: tuple[Parameter, ...]
    call: AnyFunction
    learns: bool = False
    labelled: bool = False
    of_values: bool = False
    replayed: tuple[str, ...] | None = None


FUNCTIONS: dict[str, Function] = {}
"""Name -> function. ``context=`` of a fit adds more."""


def register(
    name: str,
    *parameters: Parameter,
    learns: bool = False,
    labelled: bool = False,
    of_values: bool = False,
    replayed: tuple[str, ...] | None = None,
) -> Callable[[AnyFunction], AnyFunction]:
    """Enter the decorated callable in :data:`FUNCTIONS`."""

    def enter(call: AnyFunction) -> AnyFunction:
        FUNCTIONS[name] = Function(parameters, call, learns, labelled, of_values, replayed)
        return call

    return enter


def register_term(
    name: str, *parameters: Parameter, learns: bool = False
) -> Callable[[AnyFunction], AnyFunction]:
    """Enter a function whose columns have independent random effects with one variance: a term of one level.

    In a formula ``y ~ x + f(z)`` the decorated callable gives the columns, as a :class:`Basis` or what `learns` says; they
    make a random-effects term ``b ~ N(0, sigma^2 theta^2 I)`` as the penalised part of a smooth does.
    """
    TERM_FUNCTIONS.add(name)
    return register(name, *parameters, learns=learns)


def needed(name: str, kind: Kind) -> Parameter:
    """A parameter without default."""
    return Parameter(name, kind, required=True)


# -- kinds of arguments ------------------------------------------------------------------------------------------------


def anything(value: Value, what: str) -> Value:
    """No check; the function makes its own."""
    return value


def column(value: Value, what: str) -> Value:
    """One numeric column, finite; missing values may stand in it."""
    if isinstance(value, Basis):
        raise RefusalError(f"{what} needs one numeric column, but this has {value.matrix.shape[1]}")
    array = as_float(value, what)
    if not is_column(value):
        raise RefusalError(f"{what} needs a numeric column, not the constant {shown(value)}")
    return _finite(array, what)


def columns(value: Value, what: str) -> Value:
    """One numeric column or several, finite."""
    if isinstance(value, Basis):
        _finite(value.matrix, what)
        return value
    return column(value, what)


def _finite(array: Value, what: str) -> Value:
    if count := int(np.isinf(array).sum()):
        raise RefusalError(
            f"{what} needs finite numbers, but {count:,} of {array.size:,} are infinite",
            "the logarithm or inverse of zero? Correct or drop these rows",
        )
    return array


def numeric(value: Value, what: str) -> Value:
    """Numbers of any shape."""
    if not isinstance(value, Basis):
        as_float(value, what)
    return value


def categorical(value: Value, what: str) -> Value:
    """One column, read as a factor."""
    if not is_column(value) or isinstance(value, Basis):
        raise RefusalError(f"{what} needs one column, not {shown(value)}")
    return as_factor(value)


def flag(value: Value, what: str) -> bool:
    """TRUE or FALSE."""
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    raise RefusalError(f"{what} must be TRUE or FALSE, not {shown(value)}")


def word(value: Value, what: str) -> str:
    """Text."""
    if isinstance(value, str):
        return value
    raise RefusalError(f"{what} must be text, not {shown(value)}")


def number(low: float = -np.inf, high: float = np.inf) -> Kind:
    """A finite number in a range."""

    def check(value: Value, what: str) -> float:
        if _is_number(value) and np.isfinite(value) and low <= value <= high:
            return float(value)
        raise RefusalError(f"{what} must be a number{_range(low, high)}, not {shown(value)}")

    return check


def whole(low: int, high: int) -> Kind:
    """A whole number in a range."""

    def check(value: Value, what: str) -> int:
        if _is_number(value) and np.isfinite(value) and float(value).is_integer() and low <= value <= high:
            return int(value)
        raise RefusalError(f"{what} must be a whole number{_range(low, high)}, not {shown(value)}")

    return check


def numbers(low: float = -np.inf, high: float = np.inf, *, least: int = 1, infinite: bool = False) -> Kind:
    """A number or several, ``c(1, 2)``, as a tuple."""

    def check(value: Value, what: str) -> tuple[float, ...]:
        items = value if isinstance(value, tuple) else (value,)
        fine = all(
            _is_number(v) and not np.isnan(v) and (infinite or np.isfinite(v)) and low <= v <= high
            for v in items
        )
        if fine and len(items) >= least:
            return tuple(float(v) for v in items)
        few = f"at least {least} " if least > 1 else ""
        raise RefusalError(f"{what} must be {few}numbers{_range(low, high)}, not {shown(value)}")

    return check


def levels(value: Value, what: str) -> tuple[str, ...]:
    """Levels or labels: text, numbers or logicals, one or ``c(...)``, as text."""
    items = value if isinstance(value, tuple) else (value,)
    if items and all(isinstance(v, str | bool | int | float) for v in items):
        return tuple(level_text(v) for v in items)
    raise RefusalError(f"{what} must be text or numbers, not {shown(value)}")


def either(*kinds: Kind) -> Kind:
    """The first kind that suits; the last one's message if none does."""

    def check(value: Value, what: str) -> Value:
        for kind in kinds[:-1]:
            try:
                return kind(value, what)
            except RefusalError:
                continue
        return kinds[-1](value, what)

    return check


def unavailable(instead: str) -> Kind:
    """A parameter that R has and this language does not."""

    def check(value: Value, what: str) -> Value:
        raise RefusalError(f"{what} is not available", instead)

    return check


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(low: float, high: float) -> str:
    if np.isfinite(low) and np.isfinite(high):
        return f" from {low:,.15g} to {high:,.15g}"
    return (
        f" of at least {low:g}" if np.isfinite(low) else f" of at most {high:g}" if np.isfinite(high) else ""
    )


# -- from a call to arguments ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bound:
    """An argument with the parameter it goes to, and the name it was given."""

    parameter: Parameter
    expr: Expr
    label: str = ""

    def checked(self, value: Value, function: str) -> Value:
        """The value as the function takes it; a refusal knows its place."""
        own = f"`{self.parameter.name}` of {function}()" if self.parameter.name != "..." else f"{function}()"
        try:
            return self.parameter.kind(value, own)
        except RefusalError as refusal:
            span = self.expr.span if refusal.span is None else refusal.span
            raise RefusalError(refusal.problem, refusal.hint, span) from None


def bind(function: Function, name: str, call: Call) -> tuple[list[Bound], list[Bound]]:
    """Match arguments as R does: exact names, unique beginnings of names, then position.

    Returns
    -------
    tuple
        The first parameter and those of ``...``, which go by position; the others, which go by name. An option given as
        NULL is left out.
    """
    by_name = {p.name: p for p in function.parameters if p.name != "..."}
    variadic = next((p for p in function.parameters if p.name == "..."), None)
    named: dict[str, Bound] = {}
    rest: list[Arg] = []
    for arg in call.args:
        if arg.name is None or (function.labelled and arg.name not in by_name):
            rest.append(arg)
            continue
        key = _parameter(arg.name, list(by_name), name)
        if key in named:
            raise RefusalError(f"argument {key!r} of {name}() is given twice", None, arg.value.span)
        named[key] = Bound(by_name[key], arg.value)
    for parameter in function.parameters:
        if parameter.name == "...":
            break
        if parameter.name not in named and rest:
            named[parameter.name] = Bound(parameter, rest.pop(0).value)
    if rest and variadic is None:
        takes = ", ".join(by_name)
        raise RefusalError(
            f"{name}() takes at most {len(by_name)} argument{'' if len(by_name) == 1 else 's'}: {takes}",
            None,
            rest[0].value.span,
        )
    several = [] if variadic is None else [Bound(variadic, arg.value, _label(arg)) for arg in rest]
    for parameter in function.parameters:
        absent = not several if parameter.name == "..." else parameter.name not in named
        if parameter.required and absent:
            what = "an argument" if parameter.name == "..." else f"the argument `{parameter.name}`"
            raise RefusalError(f"{name}() needs {what}", _usage(function, name))
    first = function.parameters[0].name
    positional = ([named.pop(first)] if first in named else []) + several
    return positional, [b for b in named.values() if not _is_null(b, name)]


def _parameter(given: str, known: list[str], name: str) -> str:
    if given in known:
        return given
    matches = [p for p in known if p.startswith(given)]
    if len(matches) == 1:
        return matches[0]
    takes = f"its arguments are {', '.join(known)}" if known else "it takes columns, without names"
    raise RefusalError(f"{name}() has no argument {given!r}", takes)


def _is_null(bound: Bound, function: str) -> bool:
    parameter, expr = bound.parameter, bound.expr
    if parameter.required or not isinstance(expr, Logical) or expr.value is not None:
        return False
    if parameter.null_matters:
        return expr.text == "NA"
    if expr.text == "NA":
        raise RefusalError(f"`{parameter.name}` of {function}() cannot be NA", None, expr.span)
    return True


def _label(arg: Arg) -> str:
    if arg.name is not None:
        return arg.name
    return arg.value.value if isinstance(arg.value, Name) else ""


def _usage(function: Function, name: str) -> str:
    return f"{name}({', '.join(p.name for p in function.parameters)})"
