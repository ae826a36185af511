"""Formulas of a family's further parameters: those of ``bf(y ~ x, sigma ~ z)`` put beside those given as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from lmmformula.errors import PlanError
from lmmformula.families import Family
from lmmformula.families.auxiliary import ZEROS
from lmmformula.formula.spec import ModelSpec

__all__ = ["further_formulas"]


def further_formulas(
    spec: ModelSpec, family: Family, given: Sequence[ModelSpec | None]
) -> tuple[ModelSpec | None, ...]:
    """One-sided formulas of the auxiliary predictors in the family's order; None stands for an intercept.

    Raises
    ------
    PlanError
        For a parameter that the family does not have, or that has a formula already; for offsets in such a formula.
    """
    for own in given:
        if own is not None and (own.residual or own.fixed.offsets or own.response is not None):
            raise PlanError(
                f"`{own.text}`: formulas of further parameters given as arguments are written as '~ x' or '~ x + (1 | g)'; "
                "response and offsets belong to the main formula"
            )
    if not spec.distributional:
        return tuple(given)
    out = list(given) or [None] * len(family.auxiliaries)
    for name, own in spec.distributional:
        place = _place(name, family)
        if out[place] is not None:
            raise PlanError(f"{name} has a formula in bf() and another as an argument; keep one of them.")
        if own.fixed.offsets:
            raise PlanError(
                f"the formula of {name} has an offset(); offsets belong to the main formula. To fix {name} at known "
                "ratios use weights=."
            )
        out[place] = own
    return tuple(out)


def _place(name: str, family: Family) -> int:
    known = {}
    for j, parameter in enumerate(family.auxiliaries):
        known |= dict.fromkeys((parameter.name, *parameter.aliases), j)
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if name == ZEROS:
        hint = f" For structural zeros use family='zero_inflated_{family.name}', or ziformula=."
    has = ", ".join(p.name for p in family.auxiliaries) or "none"
    raise PlanError(f"family {family.name!r} has no parameter {name!r} for a formula; it has: {has}.{hint}")
