"""A formula's meaning: text to :class:`ModelSpec`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from lmmformula.errors import FormulaError
from lmmformula.formula.areas import area_columns, is_areas
from lmmformula.formula.associate import associate
from lmmformula.formula.bars import bar_hint, has_random, is_random
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.parse import parse
from lmmformula.formula.random import random_terms, refuse_member_columns
from lmmformula.formula.residuals import is_residual, refuse_residuals_within, residual_term
from lmmformula.formula.response import read_response
from lmmformula.formula.responses import WRAPPERS, Several, family_of, several_responses
from lmmformula.formula.spec import (
    Arg,
    Binary,
    Call,
    Expr,
    LinearPart,
    ModelSpec,
    Name,
    Paren,
    RandomTerm,
    Unary,
)
from lmmformula.formula.terms import linear_part
from lmmformula.formula.walk import is_bar, named_columns, nodes, strip, summands

__all__ = ["WRAPPERS", "model_spec", "split_terms"]


def model_spec(text: str, columns: Sequence[str] | None = None) -> ModelSpec:
    """Read a model formula.

    Parameters
    ----------
    text : str
        A formula of lme4, and most of brms, glmmTMB and MixedModels.jl.
    columns : sequence of str, optional
        Columns of the data; needed only where the formula says ``.``.

    Returns
    -------
    ModelSpec
        Response, fixed part and random terms, all shorthand expanded.

    Raises
    ------
    FormulaError
        If the text is no formula or has no meaning as a model; it marks the place.

    Examples
    --------
    >>> from lmmformula.formula import model_spec, render
    >>> render(model_spec("y ~ a * b + (x || g)"))
    'y ~ 1 + a + b + a:b + diag(1 + x | g)'
    """
    expr = parse(text)
    try:
        return _cached(text, None if columns is None else tuple(map(str, columns)))
    except RecursionError:
        raise FormulaError(
            "the formula is nested too deeply to be read", text, expr.span, "write the terms out"
        ) from None


@lru_cache(maxsize=256)
def _cached(text: str, columns: tuple[str, ...] | None) -> ModelSpec:
    context = Context(text, columns)
    expr = strip(parse(text))
    several = several_responses(expr, context)
    return _one(expr, context) if several is None else _of_several(several, context)


def _one(expr: Expr, context: Context) -> ModelSpec:
    """A model of one response."""
    inner = strip(expr)
    if isinstance(inner, Call) and inner.function in WRAPPERS:
        own, family = family_of(inner, context)
        return replace(_distributional(own, context), family=family)
    return _formula(inner, context)


def _of_several(several: Several, context: Context) -> ModelSpec:
    """A model of several responses, each with a formula of its own."""
    found = [_one(expr, context) for expr in several.formulas]
    seen: set[str] = set()
    for expr, own in zip(several.formulas, found, strict=True):
        if own.response is None:
            raise context.error("a formula without a response", expr.span, "write bf(y1 ~ x) + bf(y2 ~ z)")
        if own.response.label in seen:
            raise context.error(
                f"the response `{own.response.label}` has two formulas", expr.span, "keep one of them"
            )
        seen.add(own.response.label)
    variables = tuple(dict.fromkeys(v for own in found for v in own.variables))
    nothing = LinearPart(intercept=False, terms=())
    return ModelSpec(
        context.text, None, nothing, (), (), variables, responses=tuple(found), rescor=several.rescor
    )


def _formula(expr: Expr, context: Context) -> ModelSpec:
    """One formula: two-sided, or ``~ terms``."""
    match expr:
        case Binary("~", left, right):
            _single_tilde(left, context)
            _single_tilde(right, context)
            response_variables = frozenset(named_columns(left, context.columns))
            context = replace(context, response_variables=response_variables)
            response = read_response(left, context)
        case Unary("~", right):
            _single_tilde(right, context)
            left, response = None, None
        case _:
            raise _no_tilde(expr, context)
    right = associate(right)
    fixed, bars = split_terms(right, context)
    residual = residual_term([item for item in fixed if is_residual(item[1])], context)
    fixed = [item for item in fixed if not is_residual(item[1])]
    refuse_residuals_within(fixed, context)
    part = linear_part(fixed, context)
    refuse_member_columns(part, context)
    if response is not None:
        _refuse_response(part, response.parts, context)
        if response.rate is not None:
            exposure = Call("log", (Arg(response.rate),), response.rate.span)
            part = replace(part, offsets=(*part.offsets, exposure))
    random = random_terms(bars, context)
    sides = [right] if left is None else [left, right]
    return ModelSpec(context.text, response, part, random, (), _variables(sides, random, context), residual)


def _no_tilde(expr: Expr, context: Context) -> FormulaError:
    if isinstance(expr, Binary) and expr.operator == "==":
        return context.error("`==` compares values", expr.span, "between response and terms stands ~")
    wrapper = next((n for n in nodes(expr) if isinstance(n, Call) and n.function in WRAPPERS), None)
    if wrapper is not None:
        return context.error(
            f"{wrapper.function}() stands alone, nothing can be added to it",
            expr.span,
            "further formulas go inside: bf(y ~ x, sigma ~ z)",
        )
    return context.error(
        "the formula has no `~`", expr.span, 'write "response ~ terms", or "~ terms" without a response'
    )


def _single_tilde(side: Expr, context: Context) -> None:
    for node in nodes(side, inside_calls=False):
        if isinstance(node, Binary | Unary) and node.operator == "~":
            raise context.error(
                "`~` may stand only once, between response and terms",
                node.span,
                "several formulas go into bf(y ~ x, sigma ~ z)",
            )


def split_terms(right: Expr, context: Context) -> tuple[list[tuple[str, Expr]], list[Expr]]:
    """Fixed summands and random terms of the right-hand side."""
    if isinstance(right, Binary) and is_bar(right):
        raise context.error(
            f"a random term without parentheses: `{right.operator}` takes everything on both sides",
            right.span,
            f"write {bar_hint(right)}",
        )
    fixed: list[tuple[str, Expr]] = []
    bars: list[Expr] = []
    for sign, item in summands(right):
        if is_random(item):
            if sign == "-":
                raise context.error(
                    "a random term cannot be subtracted", item.span, "leave the term out of the formula"
                )
            bars.append(item)
        elif isinstance(item, Paren) and has_random(item):
            inner = associate(strip(item))
            if sign == "-" or any(s == "-" for s, _ in summands(inner)):
                raise context.error(
                    "a random term inside parentheses with a minus",
                    item.span,
                    "write the random terms outside these parentheses",
                )
            inner_fixed, inner_bars = split_terms(inner, context)
            fixed += inner_fixed
            bars += inner_bars
        else:
            fixed.append((sign, item))
    return fixed, bars


def _refuse_response(part: LinearPart, response: Iterable[Expr], context: Context) -> None:
    for term in part.terms:
        if len(term.factors) == 1 and term.factors[0] in response:
            raise context.error(
                f"the response `{term.label}` is also a term on the right",
                term.span,
                "take it out, or transform it",
            )


def _variables(sides: Iterable[Expr], random: tuple[RandomTerm, ...], context: Context) -> tuple[str, ...]:
    identifiers = {term.correlation_id for term in random}
    found: dict[str, None] = {}
    for side in sides:
        for node in _parts_with_columns(side, identifiers):
            names = context.others() if node == Name(".") else named_columns(node, context.columns)
            found.update(dict.fromkeys(names))
    return tuple(found)


def _parts_with_columns(side: Expr, identifiers: set[str | None]) -> list[Expr]:
    """Leaves of a side in the order of the text, correlation IDs left out."""
    found: list[Expr] = []
    stack = [side]
    while stack:
        node = stack.pop()
        match node:
            case Binary("|", Binary("|", left, Name(value)), right) if value in identifiers:
                stack += [right, left]
            case Binary(_, left, right):
                stack += [right, left]
            case Paren(inner) | Unary(_, inner):
                stack.append(inner)
            case Call("gr", args):
                stack += [arg.value for arg in reversed(args) if arg.name in (None, "by")]
            case Call("fcor", args):
                named = [arg for at, arg in enumerate(args) if arg.name != "M" and (at or arg.name)]
                stack += [arg.value for arg in reversed(named)]
            case Call() if is_areas(node):
                stack += reversed(area_columns(node))
            case Call(_, args) if is_random(node):
                bars = [arg.value for arg in args if is_bar(strip(arg.value))]  # beside one stand options
                stack += bars or [arg.value for arg in reversed(args)]
            case _:
                found.append(node)
    return found


def _distributional(call: Call, context: Context) -> ModelSpec:
    """Read brms' ``bf(y ~ x, sigma ~ z)``: one formula per parameter of the response's distribution."""
    main: ModelSpec | None = None
    others: dict[str, ModelSpec] = {}
    for arg in call.args:
        expr = strip(arg.value)
        if arg.name is not None or not isinstance(expr, Binary) or expr.operator != "~":
            raise context.error(
                f"`{arg.name or deparse(expr)}` in {call.function}() is not a formula",
                expr.span,
                "for example bf(y ~ x + (1 | g), sigma ~ z)",
            )
        if main is None:
            main = _formula(expr, context)
            continue
        parameter = strip(expr.left)
        if not isinstance(parameter, Name):
            raise context.error(
                "a further formula names one parameter of the distribution on its left",
                expr.left.span,
                "for example sigma ~ z",
            )
        if parameter.value in others:
            raise context.error(
                f"the parameter `{parameter.value}` has two formulas", expr.span, "keep one of them"
            )
        one_sided = Unary("~", expr.right, expr.span)
        others[parameter.value] = _formula(one_sided, context)
        if (own := others[parameter.value].residual) is not None:
            raise context.error(
                f"`{own.text}` in the formula of {parameter.value}",
                own.span,
                "a correlation of residuals belongs into the main formula",
            )
    if main is None:
        raise context.error(
            f"{call.function}() is empty", call.span, "for example bf(y ~ x + (1 | g), sigma ~ z)"
        )
    variables = dict.fromkeys(v for spec in (main, *others.values()) for v in spec.variables)
    return replace(main, distributional=tuple(others.items()), variables=tuple(variables))
