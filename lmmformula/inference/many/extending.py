"""The rows of a model with more or fewer levels of a grouping factor, or rows within levels, as copies of rows that there are.

A new level has the rows of an old one: its covariates, weights and the levels of other factors. A factor whose levels each lie
within one level of the extended one (``g:h`` in ``g/h``) gets new levels with every copy; a crossed one keeps its levels, so
that new subjects answer the same items (simr's ``extend(along=)``, ``extend(within=)``; Green & MacLeod 2016).

Which are copied: of m that are sorted by the columns of X that are constant within them, the columns with the fewest values
first, number ``floor((j + 1/2) m / size)`` for j = 0, 1, ..., so that half of the subjects of two treatments are half of each.
Likewise for rows within a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Index

__all__ = ["extended", "more_rows", "without_columns"]


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
    _refuse(problem, "another number of levels")
    by_level = np.split(np.argsort(term.codes, kind="stable"), np.cumsum(term.counts())[:-1])
    first = np.array([part[0] for part in by_level])
    x = problem.X.matrix
    constant = (x == x[first][term.codes]).all(axis=0)
    chosen = [by_level[j] for j in np.sort(_spread(x[first][:, constant], size))]
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


def more_rows(problem: Problem, within: str | Sequence[str] | None, size: int) -> Problem:
    """The problem with `size` rows in each level of `within`; its response is that of the copied rows.

    Parameters
    ----------
    problem : Problem
    within : str, sequence of str, or None
        A grouping factor, or several, whose combinations that occur have the rows; by default all of the model.
    size : int

    Raises
    ------
    DataError
        For a factor that the model does not have.
    PlanError
        As :func:`extended`.
    """
    _refuse(problem, "another number of rows")
    terms = {t.group: t for t in problem.terms}
    chosen = tuple(terms) if within is None else (within,) if isinstance(within, str) else tuple(within)
    if missing := [name for name in chosen if name not in terms]:
        raise DataError(
            f"within= names {missing[0]!r}, which is no grouping factor; the model has {', '.join(terms) or 'none'}."
        )
    codes = np.zeros(problem.n, dtype=np.int64)
    for name in chosen:
        codes = codes * terms[name].m + terms[name].codes
        codes = np.unique(codes, return_inverse=True)[1].ravel()
    counts = np.bincount(codes)
    by_level = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    x = problem.X.matrix
    rows = np.concatenate([part[np.sort(_spread(x[part], size))] for part in by_level])
    return replace(problem.at(rows), rows=np.arange(len(rows)), n_rows_data=len(rows), labels=None)


def _by_fewness(values: Array) -> Index:
    """Columns in the order of how many different values they have."""
    return np.argsort([len(np.unique(column)) for column in values.T], kind="stable")


def _spread(values: Array, size: int) -> Index:
    """Positions of `size` of the rows of `values`, evenly over their order; each once or more if `size` is larger."""
    sorted_ = values[:, _by_fewness(values)] if values.shape[1] else values
    order = np.lexsort(sorted_.T[::-1]) if values.shape[1] else np.arange(len(values))
    return order[((np.arange(size) + 0.5) * len(values) / size).astype(np.int64)]


def _refuse(problem: Problem, what: str) -> None:
    """Rows that cannot be copied."""
    problem.refuse_coupled(what, "Simulate such designs with fit() on data of their size.")
    if problem.held is not None or any(problem.aux_terms):
        raise PlanError(
            f"{what} is made of copies of rows in memory, of models whose auxiliary predictors have no random effects. Fit a "
            "sample of the rows, or use a simpler formula."
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
