"""One response of a problem of several, as a problem of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmmformula.ir.covariance import CovarianceKind, Unstructured
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import Structured
from lmmformula.typing import Index

__all__ = ["columns_of_response", "narrowed", "of_response"]


def columns_of_response(problem: Problem, term: GroupBlock, j: int) -> Index:
    """Columns of a term that are in the mean of response j."""
    if term.basis is None:
        return np.zeros(0, dtype=np.intp)
    rows = problem.responses[j].rows
    return np.flatnonzero((term.basis[rows] != 0.0).any(axis=0) & (term.columns_in(0) > 0.0))


def of_response(problem: Problem, j: int) -> tuple[Problem, tuple[tuple[int, Index], ...]]:
    """The problem of response j with the random effects of its mean, and which columns of which term these are.

    Columns of a term that other responses have columns of too have an unstructured covariance of their own.
    """
    segment = problem.responses[j]
    rows, places, terms = segment.rows, [], []
    for t, term in enumerate(problem.terms):
        columns = columns_of_response(problem, term, j)
        if len(columns):
            places.append((t, columns))
            terms.append(narrowed(term, columns).at(rows))
    x = problem.X.matrix[rows, segment.columns]
    names = problem.X.names[segment.columns]
    own = replace(
        problem,
        y=segment.family.own(problem.y[rows]),
        X=FixedBlock(x, names, tuple(range(1, len(names) + 1)), names),
        terms=tuple(terms),
        weights=None if problem.weights is None else problem.weights[rows],
        offset=None if problem.offset is None else problem.offset[rows],
        family=segment.family,
        rows=np.arange(segment.n),
        n_rows_data=segment.n,
        aux=tuple(problem.aux[a].at(rows) for a in segment.aux),
        recipe=None,
        labels=None,
        residual=None,
        responses=(),
    )
    return own, tuple(places)


def narrowed(term: GroupBlock, columns: Index) -> GroupBlock:
    """The term with some of its columns, all of the mean; unstructured where these are not all."""
    if term.basis is None:
        return term
    kind: CovarianceKind = term.covariance
    if len(columns) < term.k:
        kind = Unstructured(len(columns))
        if term.covariance.across is not None:
            kind = Structured(kind, term.covariance.across)
    names = tuple(term.columns[c] for c in columns)
    return replace(term, columns=names, basis=term.basis[:, columns], covariance=kind, predictors=())
