"""Expressions back to text, letter for letter as R writes them."""

from __future__ import annotations

from lmmformula.formula.literals import escape, exact_number, quote_name, r_number
from lmmformula.formula.spec import (
    Arg,
    Binary,
    Call,
    Expr,
    Logical,
    Name,
    Number,
    Paren,
    String,
    Unary,
)

__all__ = ["deparse"]

_TIGHT = frozenset({"^", ":", "/", "%%", "%/%"})
_LOGICALS = {True: "TRUE", False: "FALSE"}


def deparse(expr: Expr, *, exact: bool = False) -> str:
    """Write an expression exactly as R's ``deparse`` does.

    Coefficients and terms are named by this text, so it decides whether names agree with R's. R writes numbers with 15
    digits; `exact` writes as many as it takes to read the same number back.

    Examples
    --------
    >>> from lmmformula.formula import deparse, parse
    >>> deparse(parse("ns( x,df=3 )"))
    'ns(x, df = 3)'
    """
    match expr:
        case Name(value):
            return quote_name(value)
        case Number(text):
            return exact_number(text) if exact else r_number(text)
        case String(value):
            return f'"{escape(value, chr(34))}"'
        case Logical(None, _, text):
            return text or "NULL"
        case Logical(value):
            return _LOGICALS[bool(value)]
        case Paren(inner):
            return f"({deparse(inner, exact=exact)})"
        case Unary(operator, operand):
            return operator + deparse(operand, exact=exact)
        case Call(function, args):
            return f"{_function(function)}({', '.join(_argument(arg, exact) for arg in args)})"
        case Binary():
            return _binary(expr, exact)


def _function(name: str) -> str:
    package, separator, function = name.partition("::")
    if separator and package and function:
        return f"{quote_name(package)}::{quote_name(function)}"
    return quote_name(name)


def _argument(arg: Arg, exact: bool) -> str:
    value = deparse(arg.value, exact=exact)
    return value if arg.name is None else f"{quote_name(arg.name)} = {value}"


def _binary(expr: Binary, exact: bool) -> str:
    """Walk down the left side in a loop: a long sum must not run out of stack."""
    parts: list[str] = []
    node: Expr = expr
    while isinstance(node, Binary):
        spaced = node.operator if node.operator in _TIGHT else f" {node.operator} "
        parts += [deparse(node.right, exact=exact), spaced]
        node = node.left
    parts.append(deparse(node, exact=exact))
    return "".join(reversed(parts))
