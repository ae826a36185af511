"""What thresholds change in a formula: they take the intercept's place, and ``cs(x)`` is a covariate of each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.errors import FormulaError, PlanError
from lmmformula.families import Family
from lmmformula.formula.context import Context
from lmmformula.formula.spec import LinearPart, ModelSpec, RandomTerm, Term
from lmmformula.formula.specific import is_specific, within_specific
from lmmformula.formula.terms import linear_part
from lmmformula.ir.design import FixedBlock

__all__ = ["Learned", "refuse_in_batches", "without_constant", "without_specific"]

CONSTANT = LinearPart(intercept=True, terms=())


@dataclass(frozen=True, slots=True)
class Learned:
    """The predictor of each auxiliary parameter that a family has only once its response is known."""

    part: LinearPart = CONSTANT
    random: tuple[RandomTerm, ...] = ()


def without_specific(spec: ModelSpec, family: Family) -> tuple[ModelSpec, Learned]:
    """The formula without its terms ``cs(x)``, and the predictor of each threshold, which has them.

    Raises
    ------
    PlanError
        For cs() within another term, of thresholds that are functions of fewer parameters, or in a model without thresholds.
    """
    own = [term for term in spec.fixed.terms if is_specific(term)]
    if family.distribution.alike:
        if spec.fixed.offsets:
            raise PlanError(
                f"an offset() of family {family.name!r} would be that of every category against the first: leave it out."
            )
        return spec, Learned(spec.fixed, spec.random)
    if family.distribution.intercept:
        return spec, Learned()
    kept = tuple(term for term in spec.fixed.terms if term not in own)
    spec = replace(spec, fixed=replace(spec.fixed, intercept=True, terms=kept))
    if not own:
        return spec, Learned()
    items = []
    for term in own:
        inside = within_specific(term)
        if inside is None:
            raise _refused(spec, term, "an interaction with cs() is written inside it, cs(x * z)")
        items += inside
    if getattr(family.distribution, "threshold", "flexible") != "flexible":
        raise _refused(
            spec, own[0], f"thresholds of {family.name} are no parameters of their own, which cs() would move"
        )
    part = linear_part(items, Context(spec.text))
    return spec, Learned(replace(part, intercept=True))


def without_constant(block: FixedBlock, kept: tuple[int, ...]) -> tuple[FixedBlock, tuple[int, ...]]:
    """The columns without that of the intercept, after which others were coded."""
    rest = [j for j, name in enumerate(block.names) if name != "(Intercept)"]
    matrix = np.ascontiguousarray(block.matrix[:, rest])
    names, assign = (tuple(values[j] for j in rest) for values in (block.names, block.assign))
    return replace(block, matrix=matrix, names=names, assign=assign), tuple(kept[j] for j in rest)


def refuse_in_batches(family: Family, name: str) -> None:
    """Refuse rows that are read a batch at a time.

    Raises
    ------
    PlanError
        For a family whose categories are known once all rows are.
    """
    if family.distribution.support == "categories":
        raise PlanError(
            f"family {family.name!r} takes rows in memory, and those of {name} are read a batch at a time: read the table "
            "first, or a sample of it (sample=)."
        )


def _refused(spec: ModelSpec, term: Term, why: str) -> PlanError:
    return PlanError(str(FormulaError(f"`{term.label}`: {why}", spec.text, term.span)))
