"""Evaluate an expression of a formula over columns. A formula is data: nothing here runs Python from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lmmformula.errors import DataError, FormulaError, LmmformulaError
from lmmformula.formula.spec import Binary, Call, Expr, Logical, Name, Number, Paren, Span, String, Unary
from lmmformula.frame import recoding, steps, transforms  # noqa: F401  (they enter their functions in the registry)
from lmmformula.frame.available import unavailable_call
from lmmformula.frame.comparisons import COMPARISONS, combine, compare, is_in, negate
from lmmformula.frame.contrasts import CONTRAST_NAMES, Contrast
from lmmformula.frame.functions import cross_levels, sequence
from lmmformula.frame.numbers import RefusalError, as_factor, elementwise
from lmmformula.frame.signature import FUNCTIONS, Bound, Function, bind, number
from lmmformula.frame.smooths import calls  # noqa: F401  (likewise)
from lmmformula.frame.smooths.state import COLUMNS, columns_of
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
from lmmformula.typing import AnyFunction, Context, Data, Entries, Numbers

__all__ = ["Evaluator", "is_constant_name"]

_CONSTANTS: dict[str, Value] = {
    "pi": float(np.pi),
    "T": True,
    "F": False,
    "Inf": float("inf"),
    "NaN": float("nan"),
}

_ARITHMETIC: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "^": np.power,
    "**": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
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
    known : mapping, optional
        Values that have been computed.
    """

    def __init__(
        self,
        columns: Mapping[str, Value],
        n_rows: int,
        text: str,
        context: Context,
        memory: dict[Expr, Value],
        *,
        learn: bool,
        known: Mapping[Expr, Value] | None = None,
    ) -> None:
        self.columns, self.n_rows, self.text, self.context = columns, n_rows, text, context
        self.memory, self.learn = memory, learn
        self._values: dict[Expr, Value] = dict(known or {})

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
            raise FormulaError(refusal.problem, self.text, refusal.span or expr.span, refusal.hint) from None
        except RecursionError:
            raise FormulaError(
                "this expression is nested too deeply", self.text, expr.span, "compute the column beforehand"
            ) from None
        self._values[expr] = value
        return value

    @property
    def found(self) -> Mapping[Expr, Value]:
        """Values of expressions and their parts so far, columns apart."""
        return self._values

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
            case Binary():
                return self._chain(expr)
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
            return negate(value)
        if operator not in ("-", "+"):
            raise RefusalError(f"`{operator}` has no meaning inside an expression")
        return elementwise(np.negative if operator == "-" else np.positive, value, what=f"unary '{operator}'")

    def _chain(self, expr: Binary) -> Value:
        """Operands of a long sum one after the other: recursion down its left side would run out of stack."""
        chain: list[Binary] = []
        node: Expr = expr
        while isinstance(node, Binary):
            chain.append(node)
            node = node.left
        value = self(node)
        for step in reversed(chain):
            try:
                value = self._binary(step.operator, value, self(step.right))
            except RefusalError as refusal:
                raise RefusalError(refusal.problem, refusal.hint, refusal.span or step.span) from None
        return value

    def _binary(self, operator: str, left: Value, right: Value) -> Value:
        if operator in _ARITHMETIC:
            return elementwise(_ARITHMETIC[operator], left, right, what=f"'{operator}'")
        if operator in COMPARISONS:
            return compare(operator, left, right)
        if operator in ("&", "|", "&&", "||"):
            return combine(operator, left, right)
        if operator == "%in%":
            return is_in(left, right)
        if operator == ":" and is_column(left):
            return cross_levels(as_factor(left), as_factor(right), ":", first_slowest=True)
        if operator == ":":
            ends = [
                number()(side, f"the {where} of `:`") for side, where in ((left, "start"), (right, "end"))
            ]
            return sequence(ends[0], to=ends[1])
        raise RefusalError(f"operator '{operator}' has no meaning inside an expression")

    def _call(self, call: Call) -> Value:
        name = call.function.rpartition("::")[2]
        if name == COLUMNS:
            return columns_of(*(self(arg.value) for arg in call.args))
        if name in self.context and callable(self.context[name]):
            return self._foreign(call, self.context[name])
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._unknown(name, call)
        by_position, by_name = bind(function, name, call)
        if function.learns and not self.learn:
            return self._applied(function, self.memory[call], name, by_position, by_name)
        values = [self._argument(name, bound) for bound in by_position]
        options = {bound.parameter.key: self._argument(name, bound) for bound in by_name}
        if function.labelled:
            options["names"] = tuple(bound.label for bound in by_position)
        try:
            result = function.call(*values, **options)
        except DataError as error:  # the function knows its numbers, this place where they stand
            raise DataError(str(FormulaError(str(error), self.text, call.span))) from None
        if not function.learns:
            return result
        self.memory[call] = result
        return self._applied(function, result, name, by_position, by_name)

    def _applied(
        self, function: Function, state: Value, name: str, by_position: list[Bound], by_name: list[Bound]
    ) -> Value:
        """What was learned, on these rows."""
        if function.replayed is None:
            return state.apply(self._argument(name, by_position[0]))
        chosen = [bound for bound in by_name if bound.parameter.name in function.replayed]
        options = {bound.parameter.key: self._argument(name, bound) for bound in chosen}
        return state.apply(*(self._argument(name, bound) for bound in by_position), **options)

    def _argument(self, function: str, bound: Bound) -> Value:
        expr = bound.expr
        if bound.parameter.name == "contr" and isinstance(expr, Name) and expr.value in CONTRAST_NAMES:
            return Contrast(CONTRAST_NAMES[expr.value])
        return bound.checked(self(expr), function)

    def _unknown(self, name: str, call: Call) -> Exception:
        place = (call.span[0], call.span[0] + len(call.function))
        if (refusal := unavailable_call(call, self.text, self.context)) is not None:
            return refusal
        near = difflib.get_close_matches(name, [*FUNCTIONS, *self.context], n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return FormulaError(
            f"unknown function {name}()",
            self.text,
            place,
            hint + f"pass your own with context={{{name!r}: function}}",
        )

    def _foreign(self, call: Call, function: AnyFunction) -> Value:
        """Call a function of the caller's: arrays in, an array (or several columns) out."""
        positional = [_exported(self(a.value)) for a in call.args if a.name is None]
        named = {a.name: _exported(self(a.value)) for a in call.args if a.name is not None}
        try:
            result = function(*positional, **named)
        except LmmformulaError:
            raise
        except Exception as error:
            raise FormulaError(
                f"{call.function}() of context= raised {type(error).__name__}: {error}", self.text, call.span
            ) from error
        return self._imported(result, call.span)

    def _imported(self, result: Any, span: Span) -> Value:
        if result is None or isinstance(result, bool | int | float | str | tuple | Contrast | Factor):
            return result
        try:
            array: Entries = np.asarray(result)
        except ValueError:
            array = np.empty(0, dtype="V1")
        if array.ndim == 0 and array.dtype.kind in "biufU":
            return array.item()
        if array.ndim == 2 and array.dtype.kind in "biuf":
            if len(array) != self.n_rows or not self.n_rows:
                return array
            names = getattr(result, "columns", range(1, array.shape[1] + 1))
            return Basis(array.astype(float), tuple(str(c) for c in names))
        if array.ndim == 1 and array.dtype.kind in "biufOUST":
            return self._imported_column(array, span)
        kind = f"{array.ndim} dimensions" if array.ndim > 2 else f"type {array.dtype}"
        raise FormulaError(f"this gives values of {kind}, which have no coding", self.text, span)

    def _imported_column(self, array: Entries, span: Span) -> Value:
        if len(array) != self.n_rows:
            return tuple(array.tolist())
        if array.dtype.kind == "b":
            return logical(array)
        if array.dtype.kind in "iuf":
            return array
        items = array.tolist()
        if odd := next((v for v in items if not (v is None or isinstance(v, str | int | float))), None):
            raise FormulaError(f"this gives an object of type {type(odd).__name__}", self.text, span)
        return factor_from_text(object_array(items))


def _exported(value: Value) -> Data:
    """A value as the caller's function sees it: labels instead of codes."""
    if isinstance(value, Factor):
        if value.kind == "logical" and (value.codes.min(initial=0) >= 0):
            return value.codes.astype(bool)
        return labels_of(value)
    return value.matrix if isinstance(value, Basis) else value
