"""Left-hand side: the response and brms' additions to it."""

from __future__ import annotations

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import IN_A_RESPONSE
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Name, Response
from lmmformula.formula.walk import BARS, is_bar, named_columns, nodes, strip, summands

__all__ = ["read_response"]

ADDITIONS = ("weights", "trials")


def read_response(expr: Expr, context: Context) -> Response:
    """Read ``y``, ``cbind(s, n - s)`` or ``y | weights(w) + trials(n)``.

    Parameters
    ----------
    expr : Expr
        What stands left of ``~``.
    context : Context

    Returns
    -------
    Response
    """
    value, additions = expr, {}
    if isinstance(expr, Binary) and expr.operator in BARS:
        value, additions = expr.left, _additions(expr, context)
    _check_value(value, context)
    return Response(
        parts=_parts(value, context),
        label=deparse(value),
        weights=additions.get("weights"),
        trials=additions.get("trials"),
        span=value.span,
    )


def _check_value(value: Expr, context: Context) -> None:
    for node in nodes(value):
        if is_bar(node):
            raise context.error(
                "several bars in the response",
                node.span,
                "join additions with +, as in y | weights(w) + trials(n) ~ ...",
            )
        if node == Name("."):
            raise context.error("`.` cannot be the response", node.span, "name the column")
    if next(named_columns(value, context.columns), None) is None:
        raise context.error(
            f"the response `{deparse(value)}` names no column", value.span, "the response stands left of ~"
        )


def _parts(value: Expr, context: Context) -> tuple[Expr, ...]:
    inner = strip(value)
    if not (isinstance(inner, Call) and inner.function == "cbind"):
        return (value,)
    if len(inner.args) != 2 or any(arg.name for arg in inner.args):
        raise context.error(
            f"cbind() as a response takes two columns, not {len(inner.args)}"
            if len(inner.args) != 2
            else "cbind() as a response takes no names",
            inner.span,
            "write cbind(successes, failures)",
        )
    return tuple(arg.value for arg in inner.args)


def _additions(expr: Binary, context: Context) -> dict[str, Expr]:
    found: dict[str, Expr] = {}
    for sign, item in summands(expr.right):
        match item:
            case Call(function, (Arg(value, None),)) if function in ADDITIONS and expr.operator == "|":
                if sign != "+":
                    raise context.error(
                        "additions to the response are joined with +",
                        item.span,
                        "for example y | weights(w) + trials(n) ~ ...",
                    )
                if function in found:
                    raise context.error(f"{function}() is given twice", item.span, "keep one of them")
                found[function] = value
            case Call(function) if function in ADDITIONS and expr.operator == "|":
                raise context.error(
                    f"{function}() takes one argument", item.span, f"for example y | {function}(w) ~ ..."
                )
            case Call(function) if function in IN_A_RESPONSE and expr.operator == "|":
                raise context.error(
                    f"`{deparse(item)}` is not available; it is {IN_A_RESPONSE[function]}",
                    item.span,
                    "known: weights, trials, as in y | weights(w) + trials(n) ~ ...",
                )
            case _:
                raise context.error(
                    f"`{deparse(item)}` is no addition to a response",
                    item.span,
                    "known: weights, trials, as in y | weights(w) + trials(n) ~ ...",
                )
    return found
