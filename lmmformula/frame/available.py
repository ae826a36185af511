"""Parts of the language that parse but that no backend can fit yet."""

from __future__ import annotations

from lmmformula.errors import PlanError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import ModelSpec, RandomTerm

__all__ = ["check_available"]


def check_available(spec: ModelSpec) -> None:
    """Raise a PlanError that names the first part without an implementation."""
    for own in (spec, *(further for _, further in spec.distributional)):
        for term in own.random:
            _check_term(term)


def _check_term(term: RandomTerm) -> None:
    if term.by is not None:
        by = deparse(term.by)
        raise PlanError(
            f"gr({term.group_label}, by = {by}) is not available: give each level of {by} its own term, "
            f'(0 + dummy({by}, "a") | {term.group_label}) + (0 + dummy({by}, "b") | {term.group_label})'
        )
    if term.members:
        members = ", ".join(deparse(m) for m in term.members)
        raise PlanError(
            f"multi-membership mm({members}) is not available: use one term for each, "
            + " + ".join(f"(1 | {deparse(m)})" for m in term.members)
        )
