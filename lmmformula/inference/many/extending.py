"""The rows of a model with more or fewer levels of a grouping factor, as copies of the rows that there are.

Level j of the new design has the rows of level j modulo m of the old one: its covariates, weights and the levels of other
factors. A factor whose levels each lie within one level of the extended one (``g:h`` in ``g/h``) gets new levels with every
copy; a crossed one keeps its levels, so that new subjects answer the same items (simr's ``extend(along=)``; Green & MacLeod
2016).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.typing import Index

__all__ = ["extended", "without_columns"]


def extended(problem: Problem, group: str, size: int) -> Problem:
    """The problem with `size` levels of `group`; its response is that of the copied rows.

    Raises
    ------
    DataError
        For a factor that the model does not have.
    PlanError
        For rows of several levels, dependent levels, or rows that are not in memory.
    """
    term = next((t for t in problem.terms if t.group == group), None)
    if term is None:
        known = ", ".join(dict.fromkeys(t.group for t in problem.terms)) or "none"
        raise DataError(f"there is no grouping factor {group!r} to vary; the model has {known}.")
    problem.refuse_coupled(
        "another number of levels", "Simulate such designs with fit() on data of their size."
    )
    if problem.held is not None or any(problem.aux_terms):
        raise PlanError(
            "another number of levels is made of copies of rows in memory, of models whose auxiliary predictors have no "
            "random effects. Fit a sample of the rows, or use a simpler formula."
        )
    by_level = np.split(np.argsort(term.codes, kind="stable"), np.cumsum(term.counts())[:-1])
    chosen = [by_level[j % term.m] for j in range(size)]
    rows = np.concatenate(chosen)
    new = np.repeat(np.arange(size), [len(part) for part in chosen])
    terms = tuple(_copied(t, term, rows, new) for t in problem.terms)
    return replace(
        problem,
        y=problem.y[rows],
        X=_rows_of(problem.X, rows),
        terms=terms,
        weights=None if problem.weights is None else problem.weights[rows],
        offset=None if problem.offset is None else problem.offset[rows],
        rows=np.arange(len(rows)),
        aux=tuple(_rows_of(block, rows) for block in problem.aux),
        n_rows_data=len(rows),
        labels=None,
    )


def _rows_of(block: FixedBlock, rows: Index) -> FixedBlock:
    return replace(block, matrix=block.matrix[rows])


def _copied(term: GroupBlock, along: GroupBlock, rows: Index, new: Index) -> GroupBlock:
    """A term for rows that belong to the levels `new` of the extended factor."""
    basis = None if term.basis is None else term.basis[rows]
    old = term.codes[rows]
    if (
        len(np.unique(np.stack([term.codes, along.codes]), axis=1).T) == term.m
    ):  # each level in one of the factor
        old = old + term.m * new.astype(np.int64)
    _, first, codes = np.unique(old, return_index=True, return_inverse=True)
    labels = np.array([f"{term.levels[term.codes[rows[i]]]} ({new[i] + 1})" for i in first], dtype=object)
    return replace(term, levels=labels, codes=codes.ravel().astype(np.int32), basis=basis)


def without_columns(problem: Problem, names: tuple[str, ...]) -> Problem:
    """The problem without some columns of X."""
    kept = [j for j, name in enumerate(problem.X.names) if name not in names]
    x = problem.X
    block = replace(
        x,
        matrix=np.ascontiguousarray(x.matrix[:, kept]),
        names=tuple(x.names[j] for j in kept),
        assign=tuple(x.assign[j] for j in kept),
    )
    return replace(problem, X=block)
