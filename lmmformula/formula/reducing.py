"""Formulas with one piece less: a term of the fixed part, a random term, columns of one."""

from __future__ import annotations

from dataclasses import replace

from lmmformula.formula.spec import LinearPart, ModelSpec, RandomTerm, Term

__all__ = ["droppable", "without_fixed", "without_random"]


def droppable(part: LinearPart) -> list[Term]:
    """Terms that no other term contains (R's ``drop.scope``).

    Examples
    --------
    >>> from lmmformula.formula import model_spec
    >>> [term.label for term in droppable(model_spec("y ~ a * b + c").fixed)]
    ['c', 'a:b']
    """
    sets = [frozenset(term.factors) for term in part.terms]
    return [
        term for term, own in zip(part.terms, sets, strict=True) if not any(own < other for other in sets)
    ]


def without_fixed(spec: ModelSpec, label: str) -> ModelSpec:
    """The formula without one term of its fixed part."""
    fixed = replace(spec.fixed, terms=tuple(t for t in spec.fixed.terms if t.label != label))
    return replace(spec, fixed=fixed)


def without_random(spec: ModelSpec, place: int, design: LinearPart | None = None) -> ModelSpec:
    """The formula without one random term, or with other columns for its groups.

    An intercept alone has one variance and no covariance kind to speak of; where another term has one for the same groups
    already, none is added.
    """
    term, others = spec.random[place], [*spec.random[:place], *spec.random[place + 1 :]]
    if design is None or (not design.terms and any(_is_intercept_of(other, term) for other in others)):
        return replace(spec, random=tuple(others))
    kind = term.covariance if design.terms else "us"
    others.insert(place, replace(term, design=design, covariance=kind))
    return replace(spec, random=tuple(others))


def _is_intercept_of(other: RandomTerm, term: RandomTerm) -> bool:
    same = (other.group_label, other.by, other.members, other.along) == (
        term.group_label,
        term.by,
        term.members,
        term.along,
    )
    return same and other.design.intercept
