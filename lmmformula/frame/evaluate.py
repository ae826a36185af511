"""Evaluate an expression of a formula over columns. A formula is data: nothing here runs Python from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lmmformula.errors import FormulaError, PlanError
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical, Name, Number, Paren, Span, String, Unary
from lmmformula.frame import transforms  # noqa: F401  (enters its functions in the registry)
from lmmformula.frame.contrasts import CONTRAST_NAMES, Contrast
from lmmformula.frame.functions import FUNCTIONS, Function, RefusalError, as_float, compare, is_in
from lmmformula.frame.values import (
    Basis,
    Factor,
    Value,
    factor_from_text,
    is_column,
    labels_of,
    logical,
    object_array,
)

__all__ = ["Evaluator", "is_constant_name"]

_CONSTANTS: dict[str, Value] = {
    "pi": float(np.pi),
    "T": True,
    "F": False,
    "Inf": float("inf"),
    "NaN": float("nan"),
}

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "^": np.power,
    "**": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})

_NOT_AVAILABLE: dict[str, str] = {
    "mo": "monotonic effects are not available: use the ordered factor itself (polynomial contrasts), or "
    "as.numeric() of it for a linear trend",
    "s": "smooth terms are not available: use ns(x, df = 4) or bs(x, df = 6)",
    "t2": "tensor-product smooths are not available: use ns(x, 3) * ns(z, 3)",
    "gp": "Gaussian-process terms are not available: use ns(x, df = 4)",
    "me": "measurement-error terms are not available",
    "mi": "imputed terms are not available: rows with missing values are dropped",
}


def is_constant_name(name: str) -> bool:
    """Whether a name that is no column still has a value, such as ``pi`` or ``contr.sum``."""
    return name in _CONSTANTS or name in CONTRAST_NAMES


class Evaluator:
    """Values of expressions over one set of rows, each computed once.

    Parameters
    ----------
    columns : mapping
        Values of the columns by name.
    n_rows : int
    text : str
        The formula, for errors.
    context : mapping
        What the caller adds: functions and constants.
    memory : dict
        States that functions learned, by call; filled when `learn`, only read otherwise.
    learn : bool
    """

    def __init__(
        self,
        columns: Mapping[str, Value],
        n_rows: int,
        text: str,
        context: Mapping[str, Any],
        memory: dict[Expr, Any],
        *,
        learn: bool,
    ) -> None:
        self.columns, self.n_rows, self.text, self.context = columns, n_rows, text, context
        self.memory, self.learn = memory, learn
        self._values: dict[Expr, Value] = {}

    def __call__(self, expr: Expr) -> Value:
        """Value of `expr`."""
        if type(expr) is Name and expr.value in self.columns:
            return self.columns[expr.value]
        try:
            return self._values[expr]
        except KeyError:
            pass
        try:
            with np.errstate(all="ignore"):
                value = self._evaluate(expr)
        except RefusalError as refusal:
            raise FormulaError(refusal.problem, self.text, expr.span, refusal.hint) from None
        self._values[expr] = value
        return value

    def _evaluate(self, expr: Expr) -> Value:
        match expr:
            case Name(name):
                return self._name(name, expr.span)
            case Number():
                return expr.value
            case String(text):
                return text
            case Logical(value):
                return value
            case Paren(inner):
                return self(inner)
            case Unary(operator, operand):
                return self._unary(operator, self(operand))
            case Binary(operator, left, right):
                return self._binary(operator, self(left), self(right))
            case Call():
                return self._call(expr)
        raise FormulaError("this cannot be evaluated", self.text, expr.span)

    def _name(self, name: str, span: Span) -> Value:
        if name in self.context:
            return self._imported(self.context[name], span)
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in CONTRAST_NAMES:
            return Contrast(CONTRAST_NAMES[name])
        raise FormulaError(f"`{name}` is neither a column nor a name given in context=", self.text, span)

    def _unary(self, operator: str, value: Value) -> Value:
        if operator == "!":
            number = np.asarray(as_float(value, "'!'"))
            return logical(number == 0, np.isnan(number)) if number.ndim else number == 0
        result = as_float(value, f"unary '{operator}'")
        return -result if operator == "-" else result

    def _binary(self, operator: str, left: Value, right: Value) -> Value:
        if operator in _ARITHMETIC:
            a, b = as_float(left, f"'{operator}'"), as_float(right, f"'{operator}'")
            result = _ARITHMETIC[operator](a, b)
            return result if np.ndim(result) else float(result)
        if operator in _COMPARISONS:
            return compare(operator, left, right)
        if operator in ("&", "|", "&&", "||"):
            a, b = as_float(left, f"'{operator}'") != 0, as_float(right, f"'{operator}'") != 0
            return logical(np.atleast_1d(a & b if operator[0] == "&" else a | b))
        if operator == "%in%":
            return is_in(left, right)
        if operator == ":":
            return (
                FUNCTIONS["seq"].call(**{"from": left, "to": right})
                if not is_column(left)
                else (FUNCTIONS["interaction"].call(left, right, sep=":", lex_order=True))
            )
        raise RefusalError(f"operator '{operator}' has no meaning inside an expression")

    def _call(self, call: Call) -> Value:
        name = call.function.rpartition("::")[2]
        if name in self.context and callable(self.context[name]):
            return self._foreign(call, self.context[name])
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._unknown(name, call)
        if function.learns and not self.learn:
            return self.memory[call].apply(self(_bound(function, name, call.args)[0][0]))
        exprs, named = _bound(function, name, call.args)
        values = [self(e) for e in exprs]
        options = {key: self._argument(name, key, e) for key, e in named.items()}
        try:
            result = function.call(*values, **options)
        except TypeError as error:
            raise RefusalError(f"wrong arguments of {name}(): {error}") from None
        if not function.learns:
            return result
        self.memory[call] = result
        return result.apply(values[0])

    def _argument(self, function: str, key: str, expr: Expr) -> Value:
        if function == "C" and key == "contr" and isinstance(expr, Name) and expr.value in CONTRAST_NAMES:
            return Contrast(CONTRAST_NAMES[expr.value])
        return self(expr)

    def _unknown(self, name: str, call: Call) -> Exception:
        if name in _NOT_AVAILABLE:
            return PlanError(f"{name}(): {_NOT_AVAILABLE[name]}\n  in: {self.text}")
        near = difflib.get_close_matches(name, [*FUNCTIONS, *self.context], n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return FormulaError(
            f"unknown function {name}()",
            self.text,
            (call.span[0], call.span[0] + len(call.function)),
            hint + f"pass your own with context={{{name!r}: function}}",
        )

    def _foreign(self, call: Call, function: Callable[..., Any]) -> Value:
        """Call a function of the caller's: arrays in, an array (or several columns) out."""
        positional = [_exported(self(a.value)) for a in call.args if a.name is None]
        named = {a.name: _exported(self(a.value)) for a in call.args if a.name is not None}
        return self._imported(function(*positional, **named), call.span)

    def _imported(self, result: Any, span: Span) -> Value:
        if result is None or isinstance(result, bool | int | float | str | tuple | Contrast | Factor):
            return result
        array = np.asarray(result)
        if array.ndim == 0:
            return array.item()
        if array.ndim == 2 and len(array) == self.n_rows and self.n_rows:
            names = getattr(result, "columns", range(1, array.shape[1] + 1))
            return Basis(array.astype(float), tuple(str(c) for c in names))
        if array.ndim == 2:
            return array
        if len(array) != self.n_rows:
            return tuple(array.tolist())
        if array.dtype.kind == "b":
            return logical(array)
        if array.dtype.kind in "iuf":
            return array
        if array.dtype.kind in "OUST":
            return factor_from_text(object_array(array.tolist()))
        raise FormulaError(f"this gives values of type {array.dtype}, which have no coding", self.text, span)


def _exported(value: Value) -> Any:
    """A value as the caller's function sees it: labels instead of codes."""
    if isinstance(value, Factor):
        if value.kind == "logical" and (value.codes.min(initial=0) >= 0):
            return value.codes.astype(bool)
        return labels_of(value)
    return value.matrix if isinstance(value, Basis) else value


def _bound(function: Function, name: str, args: tuple[Arg, ...]) -> tuple[list[Expr], dict[str, Expr]]:
    """Match arguments as R does: exact names, unique beginnings of names, then position.

    The first parameter and those of ``...`` come as a list, the others by name.
    """
    parameters = [p for p in function.parameters if p != "..."]
    variadic = "..." in function.parameters
    named: dict[str, Expr] = {}
    for arg in args:
        if arg.name is not None:
            key = _parameter(arg.name, parameters, name)
            if key in named:
                raise RefusalError(f"argument {key!r} of {name}() is given twice")
            named[key] = arg.value
    unnamed = [arg.value for arg in args if arg.name is None]
    before = list(function.parameters[: function.parameters.index("...")]) if variadic else parameters
    for key in before:
        if key not in named and unnamed:
            named[key] = unnamed.pop(0)
    if unnamed and not variadic:
        raise RefusalError(f"{name}() takes at most {len(parameters)} arguments: {', '.join(parameters)}")
    first = [named.pop(function.parameters[0])] if function.parameters[0] in named else []
    if not first and not (variadic and unnamed) and function.parameters[0] in ("x", "f", "object"):
        raise RefusalError(f"{name}() needs an argument")
    return first + unnamed, {key.replace(".", "_"): value for key, value in named.items()}


def _parameter(given: str, parameters: list[str], name: str) -> str:
    if given in parameters:
        return given
    matches = [p for p in parameters if p.startswith(given)]
    if len(matches) == 1:
        return matches[0]
    raise RefusalError(f"{name}() has no argument {given!r}", f"its arguments are {', '.join(parameters)}")
