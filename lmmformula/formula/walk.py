"""Small questions about expressions: which operands, which bars, which columns."""

from __future__ import annotations

from collections.abc import Iterator

from lmmformula.formula.spec import Binary, Call, Expr, Logical, Name, Number, Paren, String, Unary

__all__ = ["BARS", "children", "is_bar", "named_columns", "nodes", "strip", "summands"]

BARS = ("|", "||")
_CONSTANT_NAMES = frozenset({"T", "F", "pi"})


def children(expr: Expr) -> tuple[Expr, ...]:
    """Direct parts of an expression, left to right."""
    match expr:
        case Binary(_, left, right):
            return left, right
        case Unary(_, inner) | Paren(inner):
            return (inner,)
        case Call(_, args):
            return tuple(arg.value for arg in args)
        case Name() | Number() | String() | Logical():
            return ()


def nodes(expr: Expr, *, inside_calls: bool = True) -> Iterator[Expr]:
    """Every part of an expression, itself first, in the order of the text."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        if inside_calls or not isinstance(node, Call):
            stack.extend(reversed(children(node)))


def strip(expr: Expr) -> Expr:
    """The expression without the parentheses around it."""
    while isinstance(expr, Paren):
        expr = expr.inner
    return expr


def summands(expr: Expr) -> list[tuple[str, Expr]]:
    """Operands of an unparenthesised chain of ``+`` and ``-`` with the sign before each."""
    found: list[tuple[str, Expr]] = []
    while isinstance(expr, Binary) and expr.operator in ("+", "-"):
        found.append((expr.operator, expr.right))
        expr = expr.left
    found.append(("+", expr))
    found.reverse()
    return [(sign, _without_plus(operand)) for sign, operand in found]


def _without_plus(expr: Expr) -> Expr:
    while isinstance(expr, Unary) and expr.operator == "+":
        expr = expr.operand
    return expr


def is_bar(expr: Expr) -> bool:
    """Whether the expression is ``a | b`` or ``a || b`` itself."""
    return isinstance(expr, Binary) and expr.operator in BARS


def named_columns(expr: Expr, columns: tuple[str, ...] | None = None) -> Iterator[str]:
    """Names in an expression that must be columns of the data, in the order of the text.

    Functions, names of arguments and the contrasts in ``C(x, contr.sum)`` are none; inside a call
    ``T``, ``F`` and ``pi`` are R's constants unless the data have such a column.
    """
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, in_call = stack.pop()
        match node:
            case Name("."):
                pass
            case Name(value):
                if not (in_call and value in _CONSTANT_NAMES and value not in (columns or ())):
                    yield value
            case Call("C" | "stats::C", (first, *rest)):
                options = [a.value for a in rest if not isinstance(a.value, Name)]
                stack += [(part, True) for part in reversed([first.value, *options])]
            case Call():
                stack += [(part, True) for part in reversed(children(node))]
            case _:
                stack += [(part, in_call) for part in reversed(children(node))]
