"""A posterior without some rows, and the density of these rows by it; K-fold cross-validation is made of both.

Fits without rows keep the columns of the whole table (knots, contrasts) and its priors as they were stated or became by
default: a default that is scaled to the data would be another prior in every fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.inference.bayesian.elpd import Elpd
from lmmformula.inference.bayesian.loo import log_mean
from lmmformula.inference.posterior import (
    Effects,
    TermSpreads,
    auxiliary_draws,
    auxiliary_effect_draws,
    auxiliary_spreads,
    drawn_levels,
    effect_draws,
    flat,
    linear_predictors,
    row_densities,
    row_slices,
    term_spreads,
)
from lmmformula.inference.posterior import log_likelihood as pointwise_log_likelihood
from lmmformula.inference.rows import row_labels
from lmmformula.inference.subset import refitted, subset
from lmmformula.ir.design import GroupBlock
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted, FittedT

__all__ = ["kfold", "log_density_of", "without"]


def without(fit: FittedT, gone: NDArray[np.intp]) -> FittedT:
    """The posterior of `fit` without the rows at positions `gone`."""
    fit.problem.refuse_coupled("leaving rows out", "Use loo().")
    stated = {prior.name: str(prior) for prior in fit.inference.draws().priors.rows}
    left = np.setdiff1d(np.arange(fit.problem.n), gone)
    backend = replace(fit.backend, priors=stated)
    return refitted(replace(fit, backend=backend), subset(fit.problem, left))


def log_density_of(
    fit: Fitted, whole: Fitted, rows: NDArray[np.intp], rng: np.random.Generator | None = None
) -> Array:
    """log p(y_r | y of `fit`) of the `rows` of `whole`, of which `fit` is a part, (rows,).

    A level that `fit` has not seen has effects from N(0, Sigma) with the Sigma of each draw: one set a draw for each level.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    problem = whole.problem
    effects: list[Effects] = []
    for i, term in enumerate(problem.terms):
        effects += _effects(
            term, fit.problem.terms[i], effect_draws(fit, i), lambda i=i: term_spreads(fit, i), rows, rng
        )
    beside: list[list[Effects]] = []
    for j, terms in enumerate(problem.aux_terms):
        own: list[Effects] = []
        for i, term in enumerate(terms):
            drawn = auxiliary_effect_draws(fit, j, i)
            known = fit.problem.aux_terms[j][i]
            own += _effects(term, known, drawn, lambda i=i, j=j: auxiliary_spreads(fit, j, i), rows, rng)
        beside.append(own)
    beta = flat(fit.inference.draws().beta)
    X = problem.X.matrix[rows]
    offset = None if problem.offset is None else problem.offset[rows]
    weights = None if problem.weights is None else problem.weights[rows]
    columns = [b.matrix[rows] for b in problem.aux]
    found = []
    for part in row_slices(len(rows), len(beta), 2 + max((t.k for t in problem.terms), default=0)):
        eta = linear_predictors(beta, X, offset, effects, part)
        aux = auxiliary_draws(fit, columns, part)
        for values, own in zip(aux, beside, strict=False):
            for one in own:
                one.add_to(values, part)
        w = None if weights is None else weights[part]
        found.append(log_mean(row_densities(problem.family, problem.y[rows][part], eta, aux, w)))
    return np.concatenate(found)


def _effects(
    term: GroupBlock,
    known: GroupBlock,
    draws: Array,
    spreads: Callable[[], TermSpreads],
    rows: NDArray[np.intp],
    rng: np.random.Generator,
) -> list[Effects]:
    """Draws of the effects of `rows`: those of the levels that the part has, and of the others."""
    codes = term.codes[rows]
    basis = None if term.basis is None else term.basis[rows]
    place = {level: j for j, level in enumerate(known.levels)}
    of_level = np.array([place.get(level, -1) for level in term.levels], dtype=np.int32)
    seen = np.where(codes >= 0, of_level[codes], -1).astype(np.int32)
    out = [Effects(draws, seen, basis)]
    unseen = (codes >= 0) & (seen < 0)
    if unseen.any():
        levels, own = np.unique(codes[unseen], return_inverse=True)
        new = np.full(len(rows), -1, dtype=np.int32)
        new[unseen] = own
        out.append(Effects(drawn_levels(spreads(), len(levels), rng), new, basis))
    return out


def kfold(fit: Fitted, folds: int = 10, group: str | None = None, seed: int = 0) -> Elpd:
    """K-fold cross-validation. See :meth:`lmmformula.verbs.BayesianVerbs.kfold`."""
    import pandas as pd

    posterior = fit.inference.draws("kfold()")
    fit.problem.refuse_elsewhere("cross-validation")
    rng = np.random.default_rng(seed)
    parts = _folds(fit, folds, group, rng)
    elpd = np.empty(fit.problem.n)
    doubtful = 0
    for gone in parts:
        again = without(fit, gone)
        doubtful += not again.converged
        elpd[gone] = log_density_of(again, fit, gone, rng)
    lpd = log_mean(pointwise_log_likelihood(fit).reshape(-1, fit.problem.n))
    pointwise = pd.DataFrame({"elpd": elpd, "p": lpd - elpd}, index=row_labels(fit.problem))
    how = f"{len(parts)} folds" + (f" of whole levels of {group}: rows of another {group}" if group else "")
    note = f"{how}."
    if doubtful:
        note += f" The draws of {doubtful} of {len(parts)} fits do not suffice: take more draws."
    unit = "row" if group is None else f"row of another {group}"
    return Elpd("kfold", fit.formula, unit, pointwise, posterior.chains * posterior.draws, note=note)


def _folds(
    fit: Fitted, folds: int, group: str | None, rng: np.random.Generator
) -> Sequence[NDArray[np.intp]]:
    """Positions of the rows of each fold: rows at random, or whole levels at random."""
    n = fit.problem.n
    if group is None:
        codes, m, what = np.arange(n), n, "rows"
    else:
        codes, m, what = _codes(fit, group)
    if not 2 <= folds <= m:
        raise DataError(f"folds={folds} must lie between 2 and {m}, the number of {what}.")
    fold_of = rng.permutation(np.arange(m) % folds)
    own = np.where(codes >= 0, fold_of[codes], -1)
    return [np.flatnonzero(own == j) for j in range(folds)]


def _codes(fit: Fitted, group: str) -> tuple[NDArray[np.integer], int, str]:
    for term in fit.problem.terms:
        if term.group == group:
            if (term.codes < 0).any():
                raise DataError(f"some rows have no level of {group}, and so belong to no fold.")
            return term.codes, term.m, f"levels of {group}"
    known = ", ".join(dict.fromkeys(t.group for t in fit.problem.terms))
    raise DataError(f"group={group!r} is no grouping factor of the fit; it has {known}.")
