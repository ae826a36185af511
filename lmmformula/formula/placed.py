"""Positions in random terms: left of the bar of ``ar1()``, ``ou()``, ``exp()``, ``gau()``, ``mat()`` and ``propto()``.

``exp(0 + pos(x, y) | g)``, glmmTMB's ``exp(0 + numFactor(x, y) | g)``, and ``exp(0 + x + y | g)`` all say that the levels of g
have an effect at every point (x, y) where they have rows.
"""

from __future__ import annotations

from lmmformula.formula.bars import OPTIONS, PLACED
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.groups import Group
from lmmformula.formula.spec import Call, Expr, LinearPart, Logical, Name, Number
from lmmformula.formula.walk import is_bar, strip

__all__ = ["POINTS", "along_of", "options_of"]

POINTS = ("pos", "numFactor")
"""Functions whose arguments are coordinates."""
_ONE = ("ar1", "ou", "propto")
_EXAMPLE = {"ar1": "0 + time", "ou": "0 + time", "propto": "0 + f"}


def options_of(call: Call, context: Context) -> tuple[tuple[str, Expr], ...]:
    """What stands beside the bar of a constructor, by name.

    Raises
    ------
    FormulaError
        For what the constructor does not take, or for a matrix that is missing.
    """
    name, known = call.function, OPTIONS.get(call.function, ())
    example = f"for example {name}({_EXAMPLE.get(name, '1 + x')} | g{', A' if name == 'propto' else ''})"
    bars = [arg for arg in call.args if arg.name is None and is_bar(strip(arg.value))]
    if not known and (len(call.args) != 1 or call.args[0].name is not None):
        raise context.error(f"{name}() takes one random term and nothing else", call.span, example)
    if len(bars) != 1 or call.args[0] is not bars[0]:
        raise context.error(f"{name}() takes one random term first", call.span, example)
    found: dict[str, Expr] = {}
    for place, arg in enumerate(call.args[1:]):
        option = arg.name or (known[place] if place < len(known) else "")
        if option not in known or option in found:
            raise context.error(
                f"{name}() cannot take `{deparse(arg.value)}`", arg.value.span, f"known: {', '.join(known)}"
            )
        found[option] = _checked(name, option, strip(arg.value), context)
    if name == "propto" and not found:
        raise context.error("propto() needs a matrix", call.span, f"{example}, A given in data2=")
    return tuple(found.items())


def _checked(name: str, option: str, value: Expr, context: Context) -> Expr:
    """An option of the right kind: a whole number, a positive number, the name of a matrix, or TRUE and FALSE."""
    number = value.value if isinstance(value, Number) else 0.0
    right = {
        "d": number >= 1.0 and number.is_integer(),
        "nu": number > 0.0,
        "cov": isinstance(value, Name),
        "hom": isinstance(value, Logical) and value.value is not None,
    }[option]
    if not right:
        wanted = {
            "d": "a whole number",
            "nu": "a positive number",
            "cov": "the name of a matrix in data2=",
            "hom": "TRUE (one variance) or FALSE (one for each column)",
        }[option]
        raise context.error(f"{option} of {name}() must be {wanted}, not `{deparse(value)}`", value.span)
    return value


def along_of(
    covariance: str, design: LinearPart, group: Group, written: Expr, context: Context
) -> tuple[Expr, ...]:
    """Coordinates of a term's positions; empty where its columns are columns.

    Raises
    ------
    FormulaError
        For positions with an intercept or products, several coordinates where there is one, or a group of another kind.
    """
    if covariance not in PLACED:
        return ()
    single = [term.factors[0] for term in design.terms if len(term.factors) == 1]
    points = [args for f in single if (args := _coordinates(f)) is not None]
    plain = not design.intercept and len(single) == len(design.terms)
    found = points[0] if points else tuple(single)
    if covariance == "ar1" and not (plain and len(single) == 1 and len(found) == 1):
        if points:
            raise context.error(
                "ar1() takes one coordinate", written.span, "points of several: exp(), gau() or mat()"
            )
        return ()  # columns of a design, in their order
    example = f"for example {covariance}({_EXAMPLE.get(covariance, '0 + pos(x, y)')} | g)"
    if not plain or not found or (points and len(design.terms) > 1):
        raise context.error(
            f"left of the bar of {covariance}() stand positions and nothing else, without an intercept",
            written.span,
            example,
        )
    if covariance in _ONE and len(found) > 1:
        raise context.error(
            f"{covariance}() takes one coordinate, and {len(found)} are given", written.span, example
        )
    if group.members or group.by is not None or group.cov is not None or group.prec is not None:
        if covariance == "ar1":
            return ()
        raise context.error(f"{covariance}() takes a plain grouping factor", written.span, example)
    return found


def _coordinates(expr: Expr) -> tuple[Expr, ...] | None:
    """Arguments of ``pos(x, y)``; None for anything else."""
    if isinstance(expr, Call) and expr.function.rpartition("::")[2] in POINTS and expr.args:
        return tuple(arg.value for arg in expr.args)
    return None
