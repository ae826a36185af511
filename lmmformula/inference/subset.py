"""A fit of some of its rows: the same columns and recipe, levels that are left, by the same backend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.monotonic import face_of
from lmmformula.errors import FitError
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.inference.fitted import FittedT

__all__ = ["refitted", "subset"]


def subset(problem: Problem, left: NDArray[np.intp]) -> Problem:
    """`problem` with the rows at positions `left`.

    What columns learned from all rows (knots, centres, the scale of a polynomial) stays: it depends on predictors alone.

    Raises
    ------
    FitError
        If these rows do not determine the fixed effects.
    """
    part = problem.at(left)
    matrix = part.X.matrix if part.monotonic is None else part.monotonic.full.matrix
    if np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        raise FitError(
            f"the {len(left):,} rows that are left do not determine the {matrix.shape[1]} fixed effects."
        )
    return replace(
        part,
        terms=tuple(map(_with_own_levels, part.terms)),
        aux_terms=tuple(tuple(map(_with_own_levels, terms)) for terms in part.aux_terms),
    )


def refitted(fit: FittedT, problem: Problem) -> FittedT:
    """The fit of another problem of the same form, from its own start; of its own steps, where effects are monotonic."""
    if problem.monotonic is not None and problem.monotonic.is_held:
        problem = face_of(problem, fit.backend)
    bare = replace(fit, problem=problem, point=None, twin=None, posterior=None)
    standard = replace(fit, problem=problem, twin=None).inference.standardised()
    solution = fit.backend.afresh().fit(standard.problem)
    estimate = standard.outward(solution.estimate)
    return replace(bare, estimate=estimate, point=solution.point, posterior=solution.posterior, twin=standard)


def _with_own_levels(term: GroupBlock) -> GroupBlock:
    """The term without levels that no row has."""
    there = term.codes >= 0
    levels, codes = np.unique(term.codes[there], return_inverse=True)
    new = np.full(len(term.codes), -1, dtype=term.codes.dtype)
    new[there] = codes
    owners = None if term.owners is None else term.owners[levels]
    return replace(term, levels=term.levels[levels], codes=new, owners=owners)
