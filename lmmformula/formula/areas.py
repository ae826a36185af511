"""Areas on a map: brms' ``car(W, gr = area, type = "bym2")``, and ``car(W | area)``, ``car(x | area, W)``.

All of them are ``(x | gr(area, cov = car(W, type = "bym2")))``: random effects of the levels of a grouping factor that depend
on each other by a matrix W of neighbours, which is given in ``data2=``.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Name, Number, String
from lmmformula.formula.walk import is_bar, strip

__all__ = ["AREAS", "CAR_TYPES", "Areas", "area_columns", "areas_of", "car_matrix", "is_areas"]

AREAS = "car"
CAR_TYPES: dict[str, str] = {
    "escar": "escar",
    "proper": "escar",
    "esicar": "icar",
    "icar": "icar",
    "bym2": "bym2",
}
"""brms' names of the structures, and which are one model: esicar and icar differ in how brms samples them."""
_EXAMPLE = 'for example car(W, gr = area, type = "icar"), W given in data2='


@dataclass(frozen=True, slots=True)
class Areas:
    """What such a summand says.

    Attributes
    ----------
    design : Expr
        Columns whose effects vary over the areas.
    group : Expr
        The areas.
    cov : Call
        ``car(W, type = "...")``.
    """

    design: Expr
    group: Expr
    cov: Call


def is_areas(expr: Expr) -> bool:
    """Whether a summand is ``car()``."""
    return isinstance(expr, Call) and expr.function == AREAS


def areas_of(call: Call, context: Context) -> Areas:
    """Take ``car()`` apart.

    Raises
    ------
    FormulaError
        For an argument that it does not take, or without a matrix or areas.
    """
    given: dict[str, Expr] = {}
    one: Expr = Number("1", call.span)
    for arg in call.args:
        inner, name = strip(arg.value), arg.name
        if name is None:
            name = next((n for n in ("M", "gr", "type") if n not in given and not _met(n, given)), "")
        if name == "M" and is_bar(inner) and "bar" not in given:
            given["bar"] = inner
            continue
        if name not in ("M", "gr", "type") or name in given:
            raise context.error(
                f"car() cannot take `{arg.name or deparse(arg.value)}` here", arg.value.span, _EXAMPLE
            )
        given[name] = inner
    bar = given.get("bar")
    if bar is None:
        if "gr" not in given:
            raise context.error("car() without areas", call.span, f"name their column: {_EXAMPLE}")
        design, group = one, given["gr"]
    else:
        assert isinstance(bar, Binary)
        if bar.operator == "||" or is_bar(bar.left) or "gr" in given:
            raise context.error("car() takes one bar between columns and areas", bar.span, _EXAMPLE)
        if "M" in given:
            design, group = bar.left, bar.right
        else:
            given["M"], design, group = strip(bar.left), one, bar.right
    if "M" not in given:
        raise context.error("car() without a matrix of neighbours", call.span, _EXAMPLE)
    matrix = (Arg(given["M"]), *([Arg(given["type"], "type")] if "type" in given else []))
    return Areas(design, group, car_matrix(Call(AREAS, matrix, call.span), context))


def _met(name: str, given: dict[str, Expr]) -> bool:
    """Whether a bar has said already what an unnamed argument in this place would."""
    return name == "gr" and "bar" in given


def car_matrix(call: Call, context: Context) -> Call:
    """``car(W, type = "icar")`` with the type spelled out.

    Raises
    ------
    FormulaError
        For anything but the name of a matrix and a type that is known.
    """
    kind: Expr = String("escar", call.span)
    matrix: Expr | None = None
    for arg in call.args:
        if arg.name in (None, "M") and matrix is None:
            matrix = strip(arg.value)
        elif arg.name in (None, "type"):
            kind = strip(arg.value)
        else:
            raise context.error(f"car() does not take `{arg.name}` here", arg.value.span, _EXAMPLE)
    if not isinstance(matrix, Name):
        what = call if matrix is None else matrix
        raise context.error(
            f"car() takes the name of a matrix of neighbours, not `{deparse(what)}`", what.span, _EXAMPLE
        )
    name = kind.value if isinstance(kind, String | Name) else ""
    if name not in CAR_TYPES:
        raise context.error(
            f"car() has no type `{deparse(kind)}`", kind.span, f"known: {', '.join(map(repr, CAR_TYPES))}"
        )
    return Call(AREAS, (Arg(matrix), Arg(String(CAR_TYPES[name], kind.span), "type")), call.span)


def area_columns(call: Call) -> list[Expr]:
    """Parts of ``car()`` that name columns of the data, in the order of the text."""
    positional = [strip(arg.value) for arg in call.args if arg.name in (None, "M")]
    bars = [expr for expr in positional if is_bar(expr)]
    groups = [arg.value for arg in call.args if arg.name == "gr"]
    if not bars:
        return groups or positional[1:2]
    (bar, *_) = bars
    assert isinstance(bar, Binary)
    return [bar.left, bar.right] if len(positional) > 1 else [bar.right]
