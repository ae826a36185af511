r"""Problems of single responses on the same observations as one problem.

With the rows of the responses one after the other, ``y = (y_1', ..., y_J')'``,

    eta = diag(X_1, ..., X_J) beta + Z b,        residuals of one observation ~ N(0, sigma^2 D R D)                        (1)

for responses that are all Gaussian, D their deviations relative to that of the first and R their correlations (the identity
without ``rescor``). A random-effects term of one response is zero in the rows of all others. Terms that share an ID are one
term: its levels have the effects of all responses, with one covariance matrix. So a multivariate model is a model of one long
response (Snijders & Bosker 2012, ch. 16), and whatever is known of that holds.

References
----------
Snijders & Bosker (2012), Multilevel Analysis, 2nd ed., Sage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.observed import one_below_other
from lmmformula.families.several import several_family
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.residual import ResidualBlock, residual_kind, variance_columns
from lmmformula.ir.responses import Segment
from lmmformula.ir.shared import joined, together
from lmmformula.typing import Array

__all__ = ["Member", "members_of", "stacked", "unstacked_sigma"]

Member = tuple[int, int]
"""A response, and the place of a term among those of all its linear predictors."""


def stacked(
    problems: Sequence[Problem], names: Sequence[str], rescor: bool | None, text: str, *, modelled: bool
) -> Problem:
    """One problem of several responses; its recipe and the labels of its rows are still to be put in.

    Parameters
    ----------
    problems : sequence of Problem
        On the same observations, one for each response.
    names : sequence of str
    rescor : bool or None
        Whether residuals of one observation are correlated; None: where it can be.
    text : str
        The formula.
    modelled : bool
        Whether some sigma has a formula.
    """
    n, count = problems[0].n, len(problems)
    gaussian = all(own.family.is_linear and not any(own.aux_terms) for own in problems)
    if rescor is None:
        rescor = gaussian and not modelled
    segments = _segments(problems, names, own_sigma=not gaussian)
    whole = Problem(
        y=one_below_other([own.y for own in problems]),
        X=_beside([own.X for own in problems], names),
        terms=tuple(_terms(problems, names)),
        weights=_column([own.weights for own in problems], n, 1.0),
        offset=_column([own.offset for own in problems], n, 0.0),
        family=problems[0].family if gaussian else several_family([own.family for own in problems], names),
        formula=text,
        rows=np.concatenate([own.rows + j * own.n_rows_data for j, own in enumerate(problems)]),
        n_rows_data=count * problems[0].n_rows_data,
        responses=segments,
    )
    if not gaussian:
        if rescor:
            raise PlanError(
                "rescor: residuals are correlated where all responses are Gaussian with the identity link and one sigma each, "
                f"and these are {', '.join(f'{n}: {own.family}' for n, own in zip(names, problems, strict=True))}. Leave "
                "rescor out and let effects be correlated, (1 |p| g)."
            )
        return replace(whole, aux=_auxiliary(problems, names))
    return replace(whole, residual=_residual(problems, names, rescor, modelled))


def members_of(problems: Sequence[Problem]) -> tuple[tuple[Member, ...], ...]:
    """The terms of the single problems that each term of the whole is made of."""
    each = [(j, i) for j, own in enumerate(problems) for i, _ in enumerate(_own_terms(own))]
    terms = [term for own in problems for term, _ in _own_terms(own)]
    return tuple(tuple(each[at] for at in places) for places in together(terms))


def _own_terms(problem: Problem) -> list[tuple[GroupBlock, int]]:
    """Random effects of the mean and of each auxiliary predictor, with the place of their predictor."""
    found = [(term, 0) for term in problem.terms]
    return found + [(term, j) for j, own in enumerate(problem.aux_terms, 1) for term in own]


def _segments(problems: Sequence[Problem], names: Sequence[str], *, own_sigma: bool) -> tuple[Segment, ...]:
    """Where each response is; its auxiliary predictors are none of the problem where sigma is one of its residuals."""
    out, columns, aux = [], 0, 0
    for j, (own, name) in enumerate(zip(problems, names, strict=True)):
        count = len(own.aux) if own_sigma else 0
        out.append(
            Segment(
                name,
                j * own.n,
                (j + 1) * own.n,
                own.family,
                (columns, columns + own.p),
                tuple(range(aux, aux + count)),
            )
        )
        columns, aux = columns + own.p, aux + count
    return tuple(out)


def _terms(problems: Sequence[Problem], names: Sequence[str]) -> Iterator[GroupBlock]:
    count, aux, long = len(problems), 0, []
    for j, (own, name) in enumerate(zip(problems, names, strict=True)):
        for term, predictor in _own_terms(own):
            parameter = "" if not predictor else own.family.auxiliaries[predictor - 1].name
            head = f"{parameter}_{name}" if parameter else name
            at = 0 if not predictor else aux + predictor
            long.append(_lengthened(term, j, count, head, at))
        aux += len(own.aux)
    for places in together(long):
        yield joined([long[at] for at in places])


def _lengthened(term: GroupBlock, j: int, count: int, head: str, predictor: int) -> GroupBlock:
    """A term of response j on the rows of all."""
    n = len(term.codes)
    basis = np.zeros((count * n, term.k))
    basis[j * n : (j + 1) * n] = 1.0 if term.basis is None else term.basis
    return replace(
        term,
        columns=tuple(f"{head}:{c}" for c in term.columns),
        codes=np.concatenate([term.codes] * count),
        basis=basis,
        shares=None if term.shares is None else np.concatenate([term.shares] * count),
        label=f"{head}: {term.label or term.group}",
        smooth=f"{head}: {term.smooth}" if term.smooth else "",
        predictors=(predictor,) * term.k if predictor else (),
    )


def _beside(blocks: Sequence[FixedBlock], names: Sequence[str]) -> FixedBlock:
    """diag(X_1, ..., X_J); each intercept is a term of its own."""
    n, p = len(blocks[0].matrix), sum(b.matrix.shape[1] for b in blocks)
    matrix, at, labels, assign = np.zeros((len(blocks) * n, p)), 0, [], []
    for j, (block, name) in enumerate(zip(blocks, names, strict=True)):
        width = block.matrix.shape[1]
        matrix[j * n : (j + 1) * n, at : at + width] = block.matrix
        own = ["(Intercept)", *block.term_labels]
        used = sorted(set(block.assign))
        assign += [len(labels) + 1 + used.index(a) for a in block.assign]
        labels += [f"{name}:{own[a]}" for a in used]
        at += width

    def named(of: Callable[[FixedBlock], Sequence[str]]) -> tuple[str, ...]:
        return tuple(f"{name}:{c}" for b, name in zip(blocks, names, strict=True) for c in of(b))

    return FixedBlock(
        matrix, named(lambda b: b.names), tuple(assign), tuple(labels), named(lambda b: b.dropped)
    )


def _column(parts: Sequence[Array | None], n: int, default: float) -> Array | None:
    if all(part is None for part in parts):
        return None
    return np.concatenate([np.full(n, default) if part is None else part for part in parts])


def _auxiliary(problems: Sequence[Problem], names: Sequence[str]) -> tuple[FixedBlock, ...]:
    """Columns of each auxiliary predictor, zero in the rows of other responses."""
    out, n, count = [], problems[0].n, len(problems)
    for j, own in enumerate(problems):
        for block in own.aux:
            matrix = np.zeros((count * n, block.matrix.shape[1]))
            matrix[j * n : (j + 1) * n] = block.matrix
            out.append(replace(block, matrix=matrix))
    return tuple(out)


def _residual(
    problems: Sequence[Problem], names: Sequence[str], rescor: bool, modelled: bool
) -> ResidualBlock:
    """Residuals of Gaussian responses: a deviation for each, or columns of its logarithm, and correlations."""
    n, count = problems[0].n, len(problems)
    if modelled and not rescor:
        free = ResidualBlock.independent(count * n)
        return replace(free, variance=variance_columns(_sigma(problems, names)))
    codes: NDArray[np.int32] = np.tile(np.arange(n, dtype=np.int32), count)
    positions = np.repeat(np.arange(float(count)), n)[:, None]
    label = f"set_rescor({str(rescor).upper()})"
    if modelled and rescor:
        raise PlanError(
            "rescor: residuals are correlated where each response has one sigma, and one has a formula for it (brms' rule). "
            "Leave the formula of sigma out, or write set_rescor(FALSE)."
        )
    kind = residual_kind("rescor" if rescor else "responses", codes, positions, names)
    return ResidualBlock(
        kind, codes if rescor else np.arange(count * n, dtype=np.int32), positions, "", label
    )


def _sigma(problems: Sequence[Problem], names: Sequence[str]) -> FixedBlock:
    """Columns of log sigma."""
    return _beside([own.aux[0] for own in problems], names)


def unstacked_sigma(problem: Problem) -> Problem:
    """The same model of Gaussian responses with each sigma a parameter of its family, for a likelihood of all families.

    The problem itself where residuals are correlated, or where it is of that form already.
    """
    residual = problem.residual
    if not problem.responses or residual is None or residual.kind.n_phi >= len(problem.responses):
        return problem
    segments, aux = [], []
    for j, segment in enumerate(problem.responses):
        matrix = np.zeros((problem.n, 1))
        matrix[segment.rows] = 1.0
        block = FixedBlock(matrix, ("(Intercept)",), (0,), ())
        if residual.variance is not None:
            block = _own_columns(residual.variance.block, segment)
        aux.append(block)
        segments.append(replace(segment, aux=(j,)))
    family = several_family([s.family for s in segments], [s.name for s in segments])
    return replace(problem, family=family, aux=tuple(aux), residual=None, responses=tuple(segments))


def _own_columns(block: FixedBlock, segment: Segment) -> FixedBlock:
    """Columns of log sigma of one response."""
    own = np.flatnonzero((block.matrix[segment.rows] != 0.0).any(axis=0))
    names = tuple(block.names[j].removeprefix(f"{segment.name}:") for j in own)
    return FixedBlock(block.matrix[:, own], names, tuple(range(len(own))), names[1:])
