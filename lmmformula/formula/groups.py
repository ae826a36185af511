"""Right-hand side of a bar: which grouping factors a random term has."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmmformula.formula.areas import AREAS, car_matrix
from lmmformula.formula.associate import associate
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import OF_A_GROUP
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical, Name, Paren, String
from lmmformula.formula.walk import is_bar, named_columns, strip

__all__ = ["Group", "groups"]


@dataclass(frozen=True, slots=True)
class Group:
    """One grouping factor and what brms' ``gr()`` and ``mm()`` say about it.

    Attributes
    ----------
    factors : tuple of Expr
        Factors whose interaction groups the rows; empty for ``mm()``.
    label : str
        R's name of the grouping factor.
    correlated : bool
        False for ``gr(g, cor = FALSE)``.
    by, correlation_id, members, member_weights, member_scale, cov, prec
        As in :class:`RandomTerm`.
    """

    factors: tuple[Expr, ...]
    label: str
    correlated: bool = True
    by: Expr | None = None
    correlation_id: str | None = None
    members: tuple[Expr, ...] = ()
    member_weights: Expr | None = None
    member_scale: bool = True
    cov: Expr | None = None
    prec: Expr | None = None


def groups(expr: Expr, context: Context) -> list[Group]:
    """Grouping factors of a random term, the finest of a nested chain first, as lme4 orders them.

    Parameters
    ----------
    expr : Expr
        What stands right of the bar, for example ``a/b``, ``a:b``, ``a + b`` or ``gr(g, by = f)``.
    context : Context

    Returns
    -------
    list of Group
        ``b:a`` and ``a`` for ``a/b``; one entry per summand for ``a + b``.
    """
    match associate(expr):
        case Paren(inner):
            return groups(inner, context)
        case Binary("+", left, right):
            return groups(left, context) + groups(right, context)
        case Binary("/", left, right):
            return _nested(left, right, context)
        case Binary(":" | "&") as interaction:
            return [_interaction(interaction, context)]
        case Call("gr") as call:
            return _gr(call, context)
        case Call("mm") as call:
            return [_mm(call, context)]
        case Call("interaction", (_, _, *_) as args) as call if all(a.name is None for a in args):
            return [Group(tuple(_factor(a.value, context) for a in args), deparse(call))]
        case other:
            return [Group((_factor(other, context),), deparse(other))]


def _factor(expr: Expr, context: Context) -> Expr:
    """Check that `expr` is a column, or a function of one."""
    if isinstance(expr, Name) and expr.value != ".":
        return expr
    if isinstance(expr, Call) and expr.function not in ("gr", "mm"):
        if next(named_columns(expr, context.columns), None) is not None:
            return expr
        raise context.error(f"`{deparse(expr)}` names no column", expr.span, "group by a column")
    match expr:
        case Binary("*", left, right):
            crossed = f"{deparse(left)}:{deparse(right)}"
            raise context.error(
                "`*` between grouping factors does not say which groups are meant",
                expr.span,
                f"write each term: + (1 | {deparse(left)}) + (1 | {deparse(right)}) + (1 | {crossed})",
            )
        case _ if is_bar(expr):
            raise context.error(
                "a bar inside a grouping factor", expr.span, "write each random term on its own"
            )
    raise context.error(
        f"`{deparse(expr)}` is not a grouping factor",
        expr.span,
        "known here: a column, a function of one, a:b, a/b, a + b, gr(g, ...), mm(g, h)",
    )


def _interaction(expr: Binary, context: Context) -> Group:
    """``a:b`` with `a` and `b` columns or, in parentheses, such interactions again."""
    factors: list[Expr] = []
    labels: list[str] = []
    node: Expr = expr
    while isinstance(node, Binary) and node.operator in (":", "&"):
        part, label = _member(node.right, context)
        factors[:0], labels[:0] = part, [label]
        node = node.left
    part, label = _member(node, context)
    return Group((*part, *factors), ":".join([label, *labels]))


def _member(expr: Expr, context: Context) -> tuple[tuple[Expr, ...], str]:
    inner = associate(strip(expr))
    if isinstance(inner, Binary) and inner.operator in (":", "&"):
        group = _interaction(inner, context)
        return group.factors, f"({group.label})"
    if isinstance(inner, Binary) and inner.operator in ("+", "/"):
        raise context.error(
            f"`{inner.operator}` inside an interaction of grouping factors",
            inner.span,
            "write each random term on its own",
        )
    return (_factor(inner, context),), deparse(inner)


def _nested(left: Expr, right: Expr, context: Context) -> list[Group]:
    """``a/b``: `b` within `a`, then `a`; the label puts the inner factor first, as lme4 does."""
    outer, inner = groups(left, context), groups(right, context)
    around = associate(strip(left))
    if isinstance(around, Binary) and around.operator == "+":
        raise context.error(
            "several grouping factors left of `/`", left.span, "write each random term on its own"
        )
    parts = [*outer, *inner]
    for group in parts:
        if group.members or group.by is not None or group != Group(group.factors, group.label):
            raise context.error(
                "gr() and mm() cannot be nested with `/`",
                (left.span[0], right.span[1]),
                "write each random term on its own, for example (1 | gr(a)) + (1 | gr(a:b))",
            )
    finest = outer[0]
    within = [
        Group(group.factors + finest.factors, f"{_grouped(group)}:{_grouped(finest)}") for group in inner
    ]
    return within + outer


def _grouped(group: Group) -> str:
    """The label in parentheses if it is an interaction itself."""
    return f"({group.label})" if len(group.factors) > 1 and ":" in group.label else group.label


def _gr(call: Call, context: Context) -> list[Group]:
    """Read brms' ``gr(g, by = f, cov = A, cor = FALSE, id = p)``, with ``prec =`` for an inverse of A."""
    positional = [arg for arg in call.args if arg.name is None]
    if len(positional) != 1:
        raise context.error("gr() takes one grouping factor", call.span, "for an interaction write gr(a:b)")
    by: Expr | None = None
    correlated, identifier = True, None
    known: dict[str, Expr] = {}
    for arg in call.args:
        match arg:
            case Arg(_, None):
                pass
            case Arg(Logical(bool(value)), "cor"):
                correlated = value
            case Arg(Name() | Call() as value, "by"):
                by = _factor(value, context)
            case Arg(Name(value) | String(value), "id"):
                identifier = value
            case Arg(Name() | String() as value, "cov" | "prec" as name):
                known[name] = value
            case Arg(Call(function) as value, "cov") if function == AREAS:
                known["cov"] = car_matrix(value, context)
            case Arg(value, "dist" as name):
                raise context.error(
                    f"gr({name} = ...) is not available; it is {OF_A_GROUP[name]}",
                    value.span,
                    "without it the levels are independent and normal: (1 | g)",
                )
            case _:
                raise context.error(
                    f"gr() cannot take `{arg.name} = {deparse(arg.value)}`",
                    arg.value.span,
                    "known: by = a column, cov = a covariance of the levels (a name in context=, or a structure such as "
                    '"ar1"), prec = its inverse, cor = TRUE or FALSE, id = a name',
                )
    if len(known) == 2:
        raise context.error("gr() takes cov or prec", call.span, "one is the inverse of the other")
    found = groups(positional[0].value, context)
    return [
        replace(
            group,
            by=by or group.by,
            correlated=correlated and group.correlated,
            correlation_id=identifier or group.correlation_id,
            cov=known.get("cov", group.cov),
            prec=known.get("prec", group.prec),
        )
        for group in found
    ]


def _mm(call: Call, context: Context) -> Group:
    """Read brms' ``mm(g, h, weights = cbind(w1, w2), scale = TRUE)``: a row belongs to several levels."""
    members: list[Expr] = []
    weights: Expr | None = None
    scale = True
    for arg in call.args:
        if arg.name is None:
            members.append(_factor(arg.value, context))
        elif arg.name == "weights":
            weights = arg.value
        elif arg.name == "scale" and isinstance(arg.value, Logical):
            scale = bool(arg.value.value)
        elif arg.name in ("scale", "by", "cor", "id", "cov", "dist", "multimembership"):
            raise context.error(
                f"`{arg.name} = {deparse(arg.value)}` of brms' mm() is not available",
                arg.value.span,
                "known: weights, scale = TRUE or FALSE",
            )
        else:
            raise context.error(
                f"the argument `{arg.name}` of mm() is not known", arg.value.span, "known: weights, scale"
            )
    if len(members) < 2:
        raise context.error(
            "mm() needs at least two grouping factors", call.span, "for example mm(school1, school2)"
        )
    label = deparse(Call("mm", tuple(Arg(member) for member in members)))
    return Group((), label, members=tuple(members), member_weights=weights, member_scale=scale)
