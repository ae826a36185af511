"""Which calls of a formula are penalised smooths, and where they may stand."""

from __future__ import annotations

from collections.abc import Iterator

from lmmformula.errors import FormulaError
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Call, Expr, LinearPart, ModelSpec
from lmmformula.formula.walk import nodes

__all__ = ["SMOOTHS", "is_smooth", "refuse_smooths_within"]

SMOOTHS = ("s", "t2")
"""Functions of mgcv whose call is a smooth: a summand of a formula that becomes fixed and random effects."""


def is_smooth(expr: Expr) -> bool:
    """Whether an expression is the call of a smooth."""
    return isinstance(expr, Call) and expr.function.rpartition("::")[2] in SMOOTHS


def refuse_smooths_within(spec: ModelSpec) -> None:
    """Refuse smooths that are no summands of their own.

    Raises
    ------
    FormulaError
    """
    for term in spec.random:
        for expr in (*_factors(term.design), *term.group):
            for call in _smooths(expr):
                hint = 'a curve for each level of g is a term of its own: s(x, g, bs = "fs")'
                problem = f"the smooth `{deparse(call)}` cannot vary by group"
                raise FormulaError(problem, spec.text, call.span, hint)
    for term in spec.fixed.terms:
        if len(term.factors) == 1 and is_smooth(term.factors[0]):
            continue
        for call in (c for factor in term.factors for c in _smooths(factor)):
            hint = (
                "a curve for each level of f is s(x, by = f), and one that is multiplied by z is s(x, by = z)"
            )
            problem = f"the smooth `{deparse(call)}` stands within another term"
            raise FormulaError(problem, spec.text, call.span, hint)


def _factors(part: LinearPart) -> Iterator[Expr]:
    for term in part.terms:
        yield from term.factors


def _smooths(expr: Expr) -> Iterator[Call]:
    for node in nodes(expr):
        if isinstance(node, Call) and is_smooth(node):
            yield node
