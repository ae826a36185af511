"""Correlations of residuals: ``ar(time, gr = g)`` and its relatives, summands that belong to neither fixed nor random part."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Call, Expr, Logical, Name, Number, ResidualTerm
from lmmformula.formula.walk import nodes, strip

__all__ = ["RESIDUALS", "is_residual", "refuse_residuals_within", "residual_term"]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a function takes: names of its arguments in their order, how many are needed, and what it means."""

    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    example: str


RESIDUALS: dict[str, _Form] = {
    "ar": _Form(("time", "gr", "p", "cov"), (), "ar(time, gr = g)"),
    "ma": _Form(("time", "gr", "q", "cov"), (), "ma(time, gr = g)"),
    "arma": _Form(("time", "gr", "p", "q", "cov"), (), "arma(time, gr = g)"),
    "car1": _Form(("time", "gr"), ("time",), "car1(time, gr = g)"),
    "cosy": _Form(("time", "gr"), ("gr",), "cosy(gr = g)"),
    "unstr": _Form(("time", "gr"), ("time", "gr"), "unstr(visit, gr = g)"),
    "fcor": _Form(("M", "label"), ("M",), "fcor(M), M given in data2="),
    "sp_exp": _Form(("gr", "nugget"), (), "sp_exp(x, y, gr = g, nugget = TRUE)"),
}
"""Function -> its arguments. ``ar, ma, arma, cosy, unstr, fcor`` are those of brms, ``sp_exp`` that of mmrm."""


def is_residual(expr: Expr) -> bool:
    """Whether a summand is a correlation of residuals."""
    inner = strip(expr)
    return isinstance(inner, Call) and inner.function in RESIDUALS


def residual_term(found: list[tuple[str, Expr]], context: Context) -> ResidualTerm | None:
    """The one correlation of residuals among the signed summands `found`; None if there is none.

    Raises
    ------
    FormulaError
        For a second one, one that is subtracted, and for arguments that the function does not take.
    """
    if not found:
        return None
    for sign, expr in found[:2]:
        if sign == "-":
            raise context.error(
                "a correlation of residuals cannot be subtracted", expr.span, "leave it out of the formula"
            )
    if len(found) > 1:
        raise context.error(
            "a second correlation of residuals", found[1][1].span, "a model has one: keep one of them"
        )
    call = strip(found[0][1])
    assert isinstance(call, Call)
    given, along = _arguments(call, context)
    for name in ("p", "q"):
        if name in given:
            _refuse_order(call, name, given[name], context)
    cov = given.get("cov")
    if cov is not None and cov != Logical(True):
        raise context.error(
            f"{call.function}() with cov = {deparse(cov)}",
            cov.span,
            "residuals have a covariance matrix here, brms' cov = TRUE: leave cov out",
        )
    nugget = given.get("nugget", Logical(False))
    if not (isinstance(nugget, Logical) and nugget.value is not None):
        raise context.error("nugget is TRUE or FALSE", nugget.span, "for example nugget = TRUE")
    if "time" in given:
        along = (given["time"],)
    if call.function == "fcor":
        _refuse_unnamed(given["M"], context)
        along = (given["label"],) if "label" in given else ()
    return ResidualTerm(
        call.function,
        along,
        given.get("gr"),
        bool(nugget.value),
        given.get("M"),
        deparse(call),
        found[0][1].span,
    )


def refuse_residuals_within(part: list[tuple[str, Expr]], context: Context) -> None:
    """Refuse a correlation of residuals that is multiplied with something."""
    for _, expr in part:
        for node in nodes(expr):
            if isinstance(node, Call) and node.function in RESIDUALS:
                raise context.error(
                    f"`{deparse(node)}` stands within another term",
                    node.span,
                    f"a correlation of residuals is a summand of its own: y ~ x + {RESIDUALS[node.function].example}",
                )


def _arguments(call: Call, context: Context) -> tuple[dict[str, Expr], tuple[Expr, ...]]:
    """Arguments by name, and coordinates of a function that takes several."""
    form, given = RESIDUALS[call.function], {}
    spatial = call.function == "sp_exp"
    free = [] if spatial else list(form.arguments)
    along: list[Expr] = []
    for arg in call.args:
        name = arg.name
        if name is None and spatial:
            along.append(arg.value)
            continue
        if name is None and free:
            name = next((n for n in free if n not in given), None)
        if name is None or name not in form.arguments or name in given:
            raise context.error(
                f"{call.function}() does not take `{deparse(arg.value) if arg.name is None else arg.name}` here",
                arg.value.span,
                f"for example {form.example}",
            )
        given[name] = arg.value
    missing = [n for n in form.needs if n not in given]
    if missing or (spatial and not along):
        what = "coordinates" if spatial else missing[0]
        raise context.error(f"{call.function}() without {what}", call.span, f"for example {form.example}")
    return given, tuple(along)


def _refuse_unnamed(matrix: Expr, context: Context) -> None:
    """Refuse a matrix that is no name."""
    if not isinstance(matrix, Name):
        raise context.error(
            f"fcor() takes the name of a matrix, not `{deparse(matrix)}`",
            matrix.span,
            "for example fcor(M) with M in data2=",
        )


def _refuse_order(call: Call, name: str, value: Expr, context: Context) -> None:
    """Refuse an order p or q other than one."""
    if isinstance(value, Number) and value.value == 1.0:
        return
    raise context.error(
        f"{call.function}() with {name} = {deparse(value)}",
        value.span,
        "orders above one are not available: leave it out for order one, or use unstr(visit, gr = g)",
    )
