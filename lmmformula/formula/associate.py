"""MixedModels.jl's ``&``: interaction, as tight as ``*``.

R's grammar, which this language follows, binds ``&`` looser than ``+``, so ``a + b & c`` arrives as
``(a + b) & c``. Between terms, where R has no use for ``&``, the chain is put together anew.
"""

from __future__ import annotations

from lmmformula.formula.spec import Binary, Expr

__all__ = ["INTERACTIONS", "associate"]

INTERACTIONS = frozenset({":", "*", "/", "%in%", "&"})


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "&": 2, "%in%": 3, ":": 4, "^": 5}
"""Operators that may stand between terms; ``^`` groups to the right, the others to the left."""


def associate(expr: Expr) -> Expr:
    """Regroup a chain of unparenthesised operators that contains ``&``; return others as they are."""
    operands, operators = _flat(expr)
    if "&" not in operators:
        return expr
    return _climb(operands, operators)


def _flat(expr: Expr) -> tuple[list[Expr], list[str]]:
    """Operands and the operators between them, in the order of the text."""
    operands: list[Expr] = []
    operators: list[str] = []
    stack: list[Expr | str] = [expr]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            operators.append(item)
        elif isinstance(item, Binary) and item.operator in _PRECEDENCE:
            stack += [item.right, item.operator, item.left]
        else:
            operands.append(item)
    return operands, operators


def _climb(operands: list[Expr], operators: list[str]) -> Expr:
    """Operator precedence with two stacks."""
    values = [operands[0]]
    pending: list[str] = []

    def reduce() -> None:
        right, left = values.pop(), values.pop()
        values.append(Binary(pending.pop(), left, right, (left.span[0], right.span[1])))

    for operator, operand in zip(operators, operands[1:], strict=True):
        tightest = _PRECEDENCE[operator] + (operator == "^")
        while pending and _PRECEDENCE[pending[-1]] >= tightest:
            reduce()
        pending.append(operator)
        values.append(operand)
    while pending:
        reduce()
    return values[0]
