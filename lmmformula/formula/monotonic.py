"""Which calls of a formula are monotonic effects, ``mo(x)`` of brms, and where they may stand."""

from __future__ import annotations

from collections.abc import Iterator

from lmmformula.errors import FormulaError
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Call, Expr, ModelSpec
from lmmformula.formula.walk import nodes

__all__ = ["MONOTONIC", "is_monotonic", "refuse_monotonic_within"]

MONOTONIC = "mo"
"""brms' function of an ordered predictor whose effect goes one way."""


def is_monotonic(expr: Expr) -> bool:
    """Whether an expression is the call of a monotonic effect."""
    return isinstance(expr, Call) and expr.function.rpartition("::")[2] == MONOTONIC


def refuse_monotonic_within(spec: ModelSpec) -> None:
    """Refuse monotonic effects anywhere but among the fixed effects of the mean, one in a term.

    Raises
    ------
    FormulaError
    """
    for term in spec.random:
        for factor in (f for own in term.design.terms for f in own.factors):
            for call in _calls(factor):
                x = deparse(call.args[0].value) if call.args else "x"
                problem = f"the monotonic effect `{deparse(call)}` cannot vary by group"
                hint = f"as.numeric({x}) can, as a line: (as.numeric({x}) | g) beside {deparse(call)}"
                raise FormulaError(problem, spec.text, call.span, hint)
        for factor in term.group:
            _refuse_inside(factor, spec.text, "a grouping factor")
    for offset in spec.fixed.offsets:
        _refuse_inside(offset, spec.text, "an offset")
    for own in spec.fixed.terms:
        several = [f for f in own.factors if is_monotonic(f)]
        if len(several) > 1:
            problem = f"`{own.label}` multiplies monotonic effects, so that it is linear in neither"
            hint = "add them, mo(x) + mo(z), or let one of them be a factor or a number in the interaction: mo(x) * z"
            raise FormulaError(problem, spec.text, own.span, hint)
        for factor in own.factors:
            inner = [arg.value for arg in factor.args] if isinstance(factor, Call) and several else [factor]
            for expr in inner:
                if expr not in several:
                    _refuse_inside(expr, spec.text, "another function or operator")
    for parameter, further in spec.distributional:
        for own in further.fixed.terms:
            for call in (c for f in own.factors for c in _calls(f)):
                problem = f"the monotonic effect `{deparse(call)}` in the formula of {parameter}"
                hint = "monotonic effects are effects on the mean; the factor itself may stand here"
                raise FormulaError(problem, spec.text, call.span, hint)


def _refuse_inside(expr: Expr, text: str, where: str) -> None:
    for call in _calls(expr):
        problem = f"the monotonic effect `{deparse(call)}` stands within {where}"
        raise FormulaError(problem, text, call.span, "it is a term of its own, or multiplies one: mo(x) * z")


def _calls(expr: Expr) -> Iterator[Call]:
    for node in nodes(expr):
        if isinstance(node, Call) and is_monotonic(node):
            yield node
