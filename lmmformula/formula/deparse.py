"""Expressions back to text, letter for letter as R writes them."""

from __future__ import annotations

from lmmformula.formula.literals import escape, quote_name, r_number
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


def deparse(expr: Expr) -> str:
    """Write an expression exactly as R's ``deparse`` does.

    Coefficients and terms are named by this text, so it decides whether names agree with R's.

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
            return r_number(text)
        case String(value):
            return f'"{escape(value, chr(34))}"'
        case Logical(None, _, text):
            return text or "NULL"
        case Logical(value):
            return _LOGICALS[bool(value)]
        case Paren(inner):
            return f"({deparse(inner)})"
        case Unary(operator, operand):
            return operator + deparse(operand)
        case Call(function, args):
            return f"{_function(function)}({', '.join(map(_argument, args))})"
        case Binary():
            return _binary(expr)


def _function(name: str) -> str:
    package, separator, function = name.partition("::")
    if separator and package and function:
        return f"{quote_name(package)}::{quote_name(function)}"
    return quote_name(name)


def _argument(arg: Arg) -> str:
    value = deparse(arg.value)
    return value if arg.name is None else f"{quote_name(arg.name)} = {value}"


def _binary(expr: Binary) -> str:
    """Walk down the left side in a loop: a long sum must not run out of stack."""
    parts: list[str] = []
    node: Expr = expr
    while isinstance(node, Binary):
        spaced = node.operator if node.operator in _TIGHT else f" {node.operator} "
        parts += [deparse(node.right), spaced]
        node = node.left
    parts.append(deparse(node))
    return "".join(reversed(parts))
