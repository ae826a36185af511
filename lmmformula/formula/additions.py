"""brms' additions to a response: ``y | weights(w) + cens(c, y2)``, each a call with its own arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import IN_A_RESPONSE
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical
from lmmformula.formula.walk import summands

__all__ = ["Additions", "read_additions"]

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "weights": ("x",),
    "trials": ("x",),
    "se": ("x", "sigma"),
    "cens": ("x", "y2"),
    "trunc": ("lb", "ub"),
    "rate": ("denom",),
    "subset": ("x",),
    "mi": (),
}
"""Addition -> brms' names of its arguments."""

_EXAMPLES = {
    "cens": "y | cens(c) ~ ..., or y | cens(c, y2) ~ ... for intervals",
    "trunc": "y | trunc(lb = 0) ~ ..., y | trunc(lb, ub) ~ ...",
    "mi": "y | mi() ~ ..., whose missing values are imputed; of measurement errors there is y | se(s)",
    "se": "y | se(s) ~ ..., or y | se(s, sigma = TRUE) ~ ... for a residual variance besides",
}

_KNOWN = "known: weights, trials, se, cens, trunc, rate, subset, mi, as in y | weights(w) + trials(n) ~ ..."


@dataclass(frozen=True, slots=True)
class Additions:
    """What stands after the bar of a response.

    Attributes
    ----------
    arguments : mapping
        Addition -> its arguments by brms' names, those that are given.
    """

    arguments: dict[str, dict[str, Expr]] = field(default_factory=dict)

    def get(self, addition: str, argument: str = "x") -> Expr | None:
        """One argument of one addition, None if it is not given."""
        return self.arguments.get(addition, {}).get(argument)

    def __contains__(self, addition: str) -> bool:
        return addition in self.arguments

    def __len__(self) -> int:
        return len(self.arguments)


def read_additions(expr: Binary, context: Context) -> Additions:
    """Read what stands right of the bar of a response."""
    found: dict[str, dict[str, Expr]] = {}
    for sign, item in summands(expr.right):
        if not isinstance(item, Call) or expr.operator != "|" or item.function not in _ARGUMENTS:
            raise _unknown(item, expr.operator, context)
        name = item.function
        if sign != "+":
            raise context.error(
                "additions to the response are joined with +",
                item.span,
                "for example y | weights(w) + trials(n) ~ ...",
            )
        if name in found:
            raise context.error(f"{name}() is given twice", item.span, "keep one of them")
        found[name] = _arguments(item, context)
    return Additions(found)


def _unknown(item: Expr, operator: str, context: Context) -> Exception:
    if isinstance(item, Call) and item.function in IN_A_RESPONSE and operator == "|":
        return context.error(
            f"`{deparse(item)}` is not available; it is {IN_A_RESPONSE[item.function]}", item.span, _KNOWN
        )
    return context.error(f"`{deparse(item)}` is no addition to a response", item.span, _KNOWN)


def _arguments(call: Call, context: Context) -> dict[str, Expr]:
    """Arguments by name, checked."""
    known = _ARGUMENTS[call.function]
    found: dict[str, Expr] = {}
    for name, arg in _matched(call, known):
        if name not in known or name in found or _is_missing(arg.value):
            raise _wrong(call, context)
        found[name] = arg.value
    if call.function == "se" and "sigma" in found:
        if found["sigma"] not in (Logical(True), Logical(False)):
            raise _wrong(call, context)
        if found["sigma"] == Logical(False):
            del found["sigma"]
    if call.function != "mi" and (not found or (known[0] not in found and call.function != "trunc")):
        raise _wrong(call, context)
    return found


def _matched(call: Call, known: tuple[str, ...]) -> Iterator[tuple[str, Arg]]:
    """Arguments with the names that R's matching gives them: those without take the places that are left."""
    named = {arg.name for arg in call.args}
    places = iter([name for name in known if name not in named])
    for arg in call.args:
        yield (next(places, "") if arg.name is None else arg.name), arg


def _is_missing(value: Expr) -> bool:
    return isinstance(value, Logical) and value.value is None


def _wrong(call: Call, context: Context) -> Exception:
    name = call.function
    if name in _EXAMPLES:
        return context.error(
            f"{name}() takes {' and '.join(_ARGUMENTS[name]) or 'no argument'}",
            call.span,
            f"write {_EXAMPLES[name]}",
        )
    return context.error(f"{name}() takes one argument", call.span, f"for example y | {name}(w) ~ ...")
