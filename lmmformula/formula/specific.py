"""``cs(x)`` of a fixed part: a covariate with a coefficient for each threshold of an ordinal model (brms)."""

from __future__ import annotations

from lmmformula.formula.spec import Call, Expr, Term
from lmmformula.formula.walk import summands

__all__ = ["is_specific", "within_specific"]


def is_specific(term: Term) -> bool:
    """Whether a term has ``cs()`` in it."""
    return any(_is_call(factor) for factor in term.factors)


def within_specific(term: Term) -> list[tuple[str, Expr]] | None:
    """Summands inside ``cs()`` with their signs; None where the term is an interaction with it."""
    call, *others = term.factors
    if others or not isinstance(call, Call):
        return None
    return [item for arg in call.args for item in summands(arg.value)]


def _is_call(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.function == "cs"
