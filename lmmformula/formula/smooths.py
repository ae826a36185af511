"""Which calls of a formula are penalised smooths, and where they may stand."""

from __future__ import annotations

from collections.abc import Iterable

from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Call, Expr, Term
from lmmformula.formula.walk import nodes

__all__ = ["SMOOTHS", "is_smooth", "refuse_smooths_within"]

SMOOTHS = ("s", "t2")
"""Functions of mgcv whose call is a smooth: a summand of a formula that becomes fixed and random effects."""


def is_smooth(expr: Expr) -> bool:
    """Whether an expression is the call of a smooth."""
    return isinstance(expr, Call) and expr.function.rpartition("::")[2] in SMOOTHS


def refuse_smooths_within(terms: Iterable[Term], context: Context, *, alone: bool) -> None:
    """Refuse smooths within other terms; `alone` lets them be terms of their own.

    Raises
    ------
    FormulaError
    """
    for term in terms:
        if alone and len(term.factors) == 1 and is_smooth(term.factors[0]):
            continue
        for factor in term.factors:
            for node in nodes(factor):
                if not is_smooth(node):
                    continue
                call = deparse(node)
                if not alone:
                    hint = 'a curve for each level of g is a term of its own: s(x, g, bs = "fs")'
                    raise context.error(f"the smooth `{call}` cannot vary by group", term.span, hint)
                hint = "a curve for each level of f is s(x, by = f), and one that is multiplied by z is s(x, by = z)"
                raise context.error(f"the smooth `{call}` stands within another term", term.span, hint)
