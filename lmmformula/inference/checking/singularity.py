r"""Which direction of which random-effects term has no variance.

Columns of a term have units, so Sigma is first put on the scale of the linear predictor: with D the root mean squares of the
columns over the rows, ``D Sigma D`` is the covariance of what the columns add to it, and its trace their variance. An
eigenvalue of zero beside the trace is a combination ``v'D b`` that is the same for all levels: an axis is a column without
variance, any other direction a correlation of one. A whole term is held against the spread of the linear predictor and the
residuals.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.finding import Finding
from lmmformula.inference.checking.look import Look
from lmmformula.inference.conditional import group_names
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk
from lmmformula.typing import Array

__all__ = ["directions", "singularity"]

NONE, LITTLE = 1e-3, 0.05
"""Standard deviation along a direction as a share of the whole: none below the first, suspiciously little below the second."""
_MEANS = (
    "The data do not support so many variance parameters. Fixed effects stand, but tests of these variances do "
    "not, and standard "
    "errors take the zero for certain."
)


def singularity(look: Look) -> list[Finding]:
    """A finding for each term."""
    fit = look.fit
    problem = fit.problem
    if not problem.terms:
        return []
    spreads = [fit.inference.spread(i)[0] for i in range(len(problem.terms))]
    sizes = [_root_mean_squares(problem, i) for i in range(len(problem.terms))]
    whole = [float(np.trace(c * np.outer(d, d))) for c, d in zip(spreads, sizes, strict=True)]
    residual = fit.sigma**2 if problem.family.has_residual else 1.0 if problem.family.runs_off else 0.0
    total = float(np.var(look.predictor)) + residual + sum(whole)
    out = []
    for i, (term, name) in enumerate(zip(problem.terms, group_names(fit), strict=True)):
        if term.of_mean:  # a smooth without variance is one of its null space, a straight line say
            continue
        label = term.label or name
        said = any(label == known for known in fit.estimate.singular)
        if whole[i] <= NONE**2 * total:
            found = f"the variance of ({label}) is {'zero' if whole[i] == 0.0 else f'{whole[i] / total:.1g} of the total'}."
            advice = (
                "Leave the term out: the model without it has the same likelihood. Or keep it by design "
                "and report it as zero."
            )
            share = float(np.sqrt(whole[i] / total)) if total > 0.0 else 0.0
            out.append(_finding("problem", found, advice, share, label))
            continue
        out.append(_within(label, term, spreads[i], sizes[i], said))
    return out


def _within(label: str, term: GroupBlock, spread: Array, size: Array, said: bool) -> Finding:
    """A direction of one term."""
    share, weights = directions(spread, size)
    if not said and share >= LITTLE:
        kept = "its variance is above zero"
        if term.k > 1:
            kept = f"the least variable direction has {share:.2g} of its standard deviation"
        return _finding("fine", f"({label}) is not singular: {kept}.", "", share, label)
    which = in_columns(term.columns, weights)
    how = "no variance" if said or share < NONE else f"only {share:.2g} of the term's standard deviation"
    advice = (
        f"Take the column of least use out of ({label}), uncouple its columns with ||, or fit with "
        f"method='hmc', whose priors keep "
        "covariances away from the boundary."
    )
    found = f"in ({label}) {which} has {how}."
    return _finding("problem" if said or share < NONE else "doubtful", found, advice, share, label)


def _finding(verdict: str, found: str, advice: str, share: float, label: str) -> Finding:
    means = _MEANS if verdict != "fine" else ""
    name = "least standard deviation of a direction, as a share"
    return Finding("singularity", verdict, found, means, advice, name, share, NONE, about=label)  # type: ignore[arg-type]


def directions(spread: Array, size: Array) -> tuple[float, Array]:
    """Share of the standard deviation along the least variable direction, and its weights for the columns as they are."""
    scaled = spread * np.outer(size, size)
    values, vectors = np.linalg.eigh(scaled)
    share = float(np.sqrt(max(values[0], 0.0) / max(float(np.trace(scaled)), np.finfo(float).tiny)))
    if len(values) == 1:
        return 1.0 if values[0] > 0.0 else 0.0, np.ones(1)
    weights = vectors[:, 0].copy()
    weights[np.abs(weights) < 0.02 * np.abs(weights).max()] = 0.0
    return share, weights * size


def in_columns(columns: tuple[str, ...], weights: Array) -> str:
    """A column, or a combination of columns whose first weight is one."""
    used = [j for j in range(len(columns)) if weights[j] != 0.0]
    if len(used) == 1:
        return f"the column {columns[used[0]]}"
    first = weights[used[0]]
    parts = [columns[used[0]]]
    for j in used[1:]:
        weight = float(weights[j] / first)
        parts.append(f"{'-' if weight < 0.0 else '+'} {abs(weight):.3g} {columns[j]}")
    return f"the combination {' '.join(parts)} of the effects"


def _root_mean_squares(problem: Problem, i: int) -> Array:
    """Of the columns of a term over the rows, shares included, (k,)."""

    def squares(chunk: Chunk) -> Array:
        return np.sum([np.sum(basis**2, axis=0) for _, basis in chunk.terms[i].parts()], axis=0)

    return np.sqrt(problem.data.reduce(squares, coarse=True) / problem.n)
