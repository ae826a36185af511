"""Terms of several linear predictors whose effects are correlated: one term with the columns of each (brms' ``|ID|``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.covariance import CovarianceKind, Unstructured
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import Structured

__all__ = ["joined", "shared_across", "together"]


def together(terms: Sequence[GroupBlock]) -> tuple[tuple[int, ...], ...]:
    """Places of the terms that become one, in the order of the first of each.

    Raises
    ------
    PlanError
        For one ID of terms on one grouping factor that cannot be one term.
    """
    found: dict[str, list[int]] = {}
    known: dict[tuple[str, str], str] = {}
    for i, term in enumerate(terms):
        found.setdefault(term.shared or f" {i}", []).append(i)
        if term.shared:
            name, what = term.shared.split("\n")[0], term.shared.split("\n")[1]
            if known.setdefault((name, term.group), what) != what:
                raise PlanError(
                    f"|{name}| stands for effects of {term.group} that are correlated, and their levels are related in "
                    "different ways. Write the same gr(), by, cov and prec in each, or another ID."
                )
    return tuple(map(tuple, found.values()))


def shared_across(problem: Problem) -> str:
    """The ID of effects that several linear predictors share, where their terms are still those of each; empty if none."""
    seen = {term.shared for term in problem.terms if term.shared}
    for own in problem.aux_terms:
        here = {term.shared for term in own if term.shared}
        if found := sorted(here & seen):
            return found[0].split("\n")[0]
        seen |= here
    return ""


def joined(terms: Sequence[GroupBlock]) -> GroupBlock:
    """One term with the columns of all of `terms`, which have the same rows and levels.

    Raises
    ------
    PlanError
        If one of them is not unstructured within a level.
    """
    first = terms[0]
    if len(terms) == 1:
        return first
    name = first.shared.split("\n")[0]
    for term in terms:
        if not isinstance(term.covariance.within, Unstructured):
            raise PlanError(
                f"|{name}| correlates effects of {term.group} of several predictors, and ({term.label}) has a covariance of "
                f"its own, {term.covariance.within.name}: write (... |{name}| {term.group}) in each, without || and without a "
                f"kind, or leave |{name}| out."
            )
        if term.m != first.m or not np.array_equal(term.codes, first.codes):
            raise PlanError(
                f"|{name}| correlates effects of {term.group}, whose levels differ between predictors: use another ID for each."
            )
    bases = [np.ones((len(t.codes), 1)) if t.basis is None else t.basis for t in terms]
    k = sum(t.k for t in terms)
    kind: CovarianceKind = Unstructured(k)
    if first.covariance.across is not None:
        kind = Structured(kind, first.covariance.across)
    predictors = tuple(p for t in terms for p in t.predictors or (0,) * t.k)
    return replace(
        first,
        columns=tuple(c for t in terms for c in t.columns),
        basis=np.column_stack(bases),
        covariance=kind,
        label=" + ".join(t.label for t in terms),
        predictors=predictors if any(predictors) else (),
    )
