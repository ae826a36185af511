"""Left-hand side: the response and brms' additions to it."""

from __future__ import annotations

from lmmformula.formula.additions import Additions, read_additions
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Binary, Call, Expr, Name, Number, Paren, Response
from lmmformula.formula.walk import BARS, is_bar, named_columns, nodes, strip

__all__ = ["read_response"]


def read_response(expr: Expr, context: Context) -> Response:
    """Read ``y``, ``cbind(s, n - s)``, ``y | weights(w) + trials(n)``, ``y | cens(c, y2) + trunc(lb)`` or ``y | se(s)``.

    Parameters
    ----------
    expr : Expr
        What stands left of ``~``.
    context : Context

    Returns
    -------
    Response
    """
    value, additions = expr, Additions()
    if isinstance(expr, Binary) and expr.operator in BARS:
        value, additions = expr.left, read_additions(expr, context)
    _check_value(value, context)
    errors, weights = additions.get("se"), additions.get("weights")
    if errors is not None:
        if others := [name for name in ("weights", "trials", "rate") if name in additions]:
            raise context.error(
                f"se() beside {others[0]}(): the standard errors say how precise each row is",
                expr.span,
                "write y | se(s) ~ ...; cens(), trunc() and subset() may stand beside it",
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
        imputed="mi" in additions,
        besides=additions.get("se", "sigma") is not None,
        span=value.span,
        censored=additions.get("cens"),
        until=additions.get("cens", "y2"),
        least=additions.get("trunc", "lb"),
        most=additions.get("trunc", "ub"),
        rate=additions.get("rate", "denom"),
        chosen=additions.get("subset"),
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
    if len(inner.args) < 2 or any(arg.name for arg in inner.args):
        raise context.error(
            f"cbind() as a response takes two columns or more, not {len(inner.args)}"
            if len(inner.args) < 2
            else "cbind() as a response takes no names",
            inner.span,
            "write cbind(successes, failures), or a count for each category",
        )
    return tuple(arg.value for arg in inner.args)
