"""Left-hand side: the response and brms' additions to it."""

from __future__ import annotations

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import IN_A_RESPONSE
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical, Name, Number, Paren, Response
from lmmformula.formula.walk import BARS, is_bar, named_columns, nodes, strip, summands

__all__ = ["read_response"]

ADDITIONS = ("weights", "trials", "se")


def read_response(expr: Expr, context: Context) -> Response:
    """Read ``y``, ``cbind(s, n - s)``, ``y | weights(w) + trials(n)`` or ``y | se(s)``.

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
    errors, weights = additions.get("se"), additions.get("weights")
    if errors is not None:
        if len(additions) > 1:
            raise context.error(
                "se() stands alone: the standard errors say how precise each row is",
                expr.span,
                "write y | se(s) ~ ...",
            )
        weights = Binary(
            "/", Number("1"), Binary("^", Paren(errors, errors.span), Number("2"), errors.span), errors.span
        )
    return Response(
        parts=_parts(value, context),
        label=deparse(value),
        weights=weights,
        trials=additions.get("trials"),
        errors=errors,
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
            case Call("se", (*_, Arg(Logical(True), "sigma"))) if expr.operator == "|":
                raise context.error(
                    "se(sigma = TRUE) is written as a term here: a residual variance beside the known one is that of a random "
                    "effect of each row",
                    item.span,
                    "write y | se(s) ~ ... + (1 | row), with a column `row` that numbers the rows",
                )
            case Call("se", (Arg(value, None), Arg(Logical(False), "sigma"))) if (
                expr.operator == "|" and sign == "+"
            ):
                found["se"] = value
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
                    "known: weights, trials, se, as in y | weights(w) + trials(n) ~ ...",
                )
            case _:
                raise context.error(
                    f"`{deparse(item)}` is no addition to a response",
                    item.span,
                    "known: weights, trials, se, as in y | weights(w) + trials(n) ~ ...",
                )
    return found
