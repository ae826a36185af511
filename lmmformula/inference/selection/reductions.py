"""Formulas with one piece of the random part less: columns of a term, or the whole term.

Random terms are reduced as lmerTest's ``ranova`` does (Kuznetsova, Brockhoff & Christensen 2017): of ``(a * b | g)`` the
terms that no other contains go one by one, of ``(a | g)`` what is left is ``(1 | g)``, and ``(1 | g)`` goes as a whole.
Columns without correlations, ``(a || g)``, go one by one, the intercept too. Of ``(0 + f | g)``, f a factor, ``(1 | g)`` is
left, which it contains; ``(0 + x | g)``, x a number, goes as a whole, since ``(1 | g)`` is no part of it (lmerTest puts it in
its place all the same). Terms of another covariance, whose parameters all columns share, go as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmmformula.formula import LinearPart, ModelSpec, RandomTerm, droppable, without_random
from lmmformula.frame.design import FactorPart
from lmmformula.inference.selection.refits import own_spec

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import GroupBlock

__all__ = ["Reduction", "random_reductions"]


@dataclass(frozen=True, slots=True)
class Reduction:
    """A formula with one piece less in its random part.

    Attributes
    ----------
    label : str
        As lmerTest names it: ``Days in (Days | Subject)``, ``(1 | Subject)``.
    spec : ModelSpec
        What is left.
    place : int or None
        Position of the term among those of the problem; None where the formula's terms are not those of the problem one by one.
    """

    label: str
    spec: ModelSpec
    place: int | None


def random_reductions(fit: Fitted, *, reduce: bool = True) -> list[Reduction]:
    """Each of the formulas with one piece less, in the order of the formula.

    Parameters
    ----------
    reduce : bool
        Whether terms are reduced where they can be; if not, each goes as a whole.
    """
    spec = own_spec(fit)
    matched = len(fit.problem.terms) == len(spec.random)
    out, texts = [], [_shown(fit, term, place, matched) for place, term in enumerate(spec.random)]
    for place, (term, shown) in enumerate(zip(spec.random, texts, strict=True)):
        block = fit.problem.terms[place] if matched else None
        if texts.count(shown) > 1:  # of one bar over nested factors
            bar = "||" if "||" in shown else "|"
            shown = f"{shown.partition('|')[0].strip()} {bar} {term.group_label}"
        at = place if matched else None
        smaller = _smaller(fit, term, block, place) if reduce and block is not None else []
        for piece, design in smaller:
            out.append(Reduction(f"{piece} in ({shown})", without_random(spec, place, design), at))
        if not smaller:
            out.append(Reduction(f"({shown})", without_random(spec, place), at))
    return out


def _shown(fit: Fitted, term: RandomTerm, place: int, matched: bool) -> str:
    """A term as the formula has it."""
    return (fit.problem.terms[place].label if matched else "") or term.text


def _smaller(
    fit: Fitted, term: RandomTerm, block: GroupBlock, place: int
) -> list[tuple[str, LinearPart | None]]:
    """What of a term can go, and the columns that are then left, None for none; nothing where the term has no pieces."""
    design, kind = term.design, block.covariance.within
    if kind.directions is None or kind.shared_sd or not design.terms or not (term.group or term.members):
        return []
    if len(design.terms) == 1 and not design.intercept:
        return [(design.terms[0].label, LinearPart(True, ()) if _contains_one(fit, block, place) else None)]
    out: list[tuple[str, LinearPart | None]] = [
        (gone.label, replace(design, terms=tuple(t for t in design.terms if t is not gone)))
        for gone in droppable(design)
    ]
    if design.intercept and not kind.correlated:
        out.insert(0, ("1", replace(design, intercept=False)))
    return out


def _contains_one(fit: Fitted, block: GroupBlock, place: int) -> bool:
    """Whether columns are levels of factors and correlated, so that an intercept is one of their distributions."""
    parts = [part for own in fit.problem.recipe.terms[place].design.terms for part in own]
    return block.covariance.within.correlated and all(isinstance(part, FactorPart) for part in parts)
