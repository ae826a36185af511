"""Several responses in one model, as brms writes them: which formulas a text holds, before any of them is read.

``bf(mvbind(y1, y2) ~ x + (1 |p| g))`` has one formula for all of its responses, ``bf(y1 ~ x) + bf(y2 ~ z)`` and
``mvbf(bf(y1 ~ x), bf(y2 ~ z))`` have one for each; ``+ set_rescor(TRUE)`` correlates the residuals of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical, Name, String
from lmmformula.formula.walk import BARS, nodes, strip, summands

__all__ = ["RESPONSES", "WRAPPERS", "Several", "family_of", "several_responses"]

WRAPPERS = ("bf", "brmsformula")
_TOGETHER = ("mvbf", "mvbrmsformula")
_RESCOR = "set_rescor"
RESPONSES = "mvbind"
"""The function that names several responses of one formula."""


@dataclass(frozen=True, slots=True)
class Several:
    """Formulas of several responses.

    Attributes
    ----------
    formulas : tuple of Expr
        One for each response: two-sided, or ``bf()`` of one.
    rescor : bool or None
        Whether residuals of one row are correlated; None where it is not said.
    """

    formulas: tuple[Expr, ...]
    rescor: bool | None


def several_responses(expr: Expr, context: Context) -> Several | None:
    """The formulas of a text with several responses; None where it has one, or where it is no formula at all.

    Raises
    ------
    FormulaError
        For what cannot be added to ``bf()``, and for ``set_rescor()`` beside a single response.
    """
    items = [strip(item) for _, item in summands(expr)]
    wrapped = [item for item in items if _calls(item, (*WRAPPERS, *_TOGETHER))]
    if not wrapped:
        own = _each(expr, context)
        return None if len(own) < 2 else Several(tuple(own), None)
    found, rescor = _added(expr, context)
    formulas = [one for item in found for one in _each(item, context)]
    if len(formulas) < 2:
        if rescor is None:
            return None
        raise context.error(
            "set_rescor() needs several responses, and this formula has one",
            expr.span,
            "write bf(mvbind(y1, y2) ~ x) + set_rescor(TRUE), or bf(y1 ~ x) + bf(y2 ~ z) + set_rescor(TRUE)",
        )
    return Several(tuple(formulas), rescor)


def family_of(call: Call, context: Context) -> tuple[Call, str]:
    """``bf()`` without its family, and that as ``family=`` takes it; empty where there is none."""
    given = [arg for arg in call.args if arg.name == "family"]
    if not given:
        return call, ""
    if len(given) > 1:
        raise context.error("two families of one response", given[1].value.span, "keep one of them")
    value = strip(given[0].value)
    match value:
        case String(text) | Name(text):
            name = text
        case Call(function, ()):
            name = function
        case Call():
            name = deparse(value)
        case _:
            raise context.error(
                f"`{deparse(value)}` is no family", value.span, "for example bf(y ~ x, family = poisson)"
            )
    rest = tuple(arg for arg in call.args if arg.name != "family")
    return Call(call.function, rest, call.span), name


def _added(expr: Expr, context: Context) -> tuple[list[Expr], bool | None]:
    """Formulas and what ``set_rescor()`` says, of a sum of these."""
    found: list[Expr] = []
    rescor: bool | None = None
    for sign, item in summands(expr):
        own = strip(item)
        if sign == "-" or not _calls(own, (*WRAPPERS, *_TOGETHER, _RESCOR)):
            raise context.error(
                f"`{deparse(item)}` cannot be {'subtracted from' if sign == '-' else 'added to'} bf()",
                item.span,
                "further parameters go inside, bf(y ~ x, sigma ~ z, family = gaussian); further responses are added, "
                "bf(y1 ~ x) + bf(y2 ~ z) + set_rescor(TRUE)",
            )
        assert isinstance(own, Call)
        if own.function in WRAPPERS:
            found.append(own)
            continue
        together = own.function in _TOGETHER
        said = [a for a in own.args if a.name == "rescor" or (a.name is None and not together)]
        inner = [a.value for a in own.args if a.name is None and together]
        if len(said) + len(inner) != len(own.args) or len(said) > 1:
            raise context.error(
                f"{own.function}() does not take these arguments",
                own.span,
                "for example mvbf(bf(y1 ~ x), bf(y2 ~ z), rescor = TRUE)" if together else "set_rescor(TRUE)",
            )
        if said or not together:
            if rescor is not None:
                raise context.error("rescor is said twice", own.span, "keep one of them")
            rescor = _flag(own, said, context)
        found += inner
    return found, rescor


def _flag(call: Call, said: Sequence[Arg], context: Context) -> bool:
    if not said:
        return True
    value = strip(said[0].value)
    if isinstance(value, Logical) and value.value is not None:
        return value.value
    raise context.error(f"rescor is TRUE or FALSE, not {deparse(value)}", call.span, "set_rescor(TRUE)")


def _calls(expr: Expr, functions: Sequence[str]) -> bool:
    return isinstance(expr, Call) and expr.function in functions


def _each(expr: Expr, context: Context) -> list[Expr]:
    """A formula for each response of one: the same right-hand side for every argument of ``mvbind()``."""
    inner = strip(expr)
    if isinstance(inner, Call):
        if inner.function not in WRAPPERS or not inner.args or inner.args[0].name is not None:
            return [inner]
        first, rest = inner.args[0], inner.args[1:]
        return [Call(inner.function, (Arg(one), *rest), inner.span) for one in _each(first.value, context)]
    if not (isinstance(inner, Binary) and inner.operator == "~"):
        return [inner]
    left, additions = strip(inner.left), None
    if isinstance(left, Binary) and left.operator in BARS:
        left, additions = strip(left.left), left
    if not _calls(left, (RESPONSES,)):
        _refuse_within(inner.left, context)
        return [inner]
    assert isinstance(left, Call)
    if len(left.args) < 2 or any(arg.name for arg in left.args):
        raise context.error(
            "mvbind() takes two responses or more, without names",
            left.span,
            "for example mvbind(y1, y2) ~ x",
        )
    out: list[Expr] = []
    for arg in left.args:
        own = arg.value
        if additions is not None:
            own = Binary(additions.operator, own, additions.right, own.span)
        out.append(Binary("~", own, inner.right, inner.span))
    return out


def _refuse_within(left: Expr, context: Context) -> None:
    for node in nodes(left):
        if _calls(node, (RESPONSES,)):
            raise context.error(
                "mvbind() stands within another function",
                node.span,
                "the functions go inside: mvbind(log(y1), log(y2)) ~ x",
            )
