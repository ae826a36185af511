"""The rows to predict: columns, offset and levels, seen and unseen, whichever kind of fit predicts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula import model_spec
from lmmformula.formula.spec import RandomTerm
from lmmformula.frame.recipe import MISSING, NewTerm
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.records import Part, Rows
from lmmformula.inference.residuals import auxiliary
from lmmformula.inference.rows import row_labels
from lmmformula.ir.design import GroupBlock, gathered
from lmmformula.ir.problem import Problem
from lmmformula.ir.residual import ResidualBlock
from lmmformula.ir.residual.responses import OfResponses
from lmmformula.ir.stacked import has_several
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = [
    "Selection",
    "Unseen",
    "at_means",
    "of_mean",
    "own_parts",
    "own_rows",
    "population_rows",
    "rows_of",
    "selected",
    "unseen_effects",
    "unseen_parts",
]

Selection = list[tuple[int, NDArray[np.bool_]]]
"""Terms to be used, and which of their columns."""


def selected(fit: Fitted, re_form: str | None) -> Selection:
    """(term, which of its columns) to be used."""
    terms = fit.problem.terms
    if re_form is None or re_form in ("NA", "~0", "~ 0"):
        return of_mean(fit)
    if re_form == "all":
        return [(i, own > 0.0) for i, t in enumerate(terms) if (own := t.columns_in(0)).any()]
    if not isinstance(re_form, str):
        raise DataError(f"re_form={re_form!r} must be 'all', None or a formula such as '~ (1 | g)'.")
    wanted = model_spec(re_form).random
    if not wanted:
        raise FormulaError(
            "re_form names no random-effects term", re_form, None, "write '~ (1 | g)', or None"
        )
    masks: dict[int, NDArray[np.bool_]] = dict(of_mean(fit))
    for term in wanted:
        labels = {t.label for t in term.design.terms} | ({"(Intercept)"} if term.design.intercept else set())
        found = _matching(fit, term, labels, masks)
        if missing := labels - found:
            have = "; ".join(f"({', '.join(t.columns)} | {t.group})" for t in terms)
            raise FormulaError(
                f"the fit has no random effect of {', '.join(sorted(missing))} for {term.group_label}",
                re_form,
                term.span,
                f"it has {have}",
            )
    return sorted(masks.items())


def of_mean(fit: Fitted) -> Selection:
    """The terms that belong to the mean of a population: penalised parts of smooths that all rows share."""
    return [(i, np.ones(t.k, dtype=bool)) for i, t in enumerate(fit.problem.terms) if t.of_mean]


def _matching(
    fit: Fitted, wanted: RandomTerm, labels: set[str], masks: dict[int, NDArray[np.bool_]]
) -> set[str]:
    """Mark in `masks` the columns of the terms on `group` that belong to `labels`; return the labels found."""
    found: set[str] = set()
    for i, term in enumerate(fit.problem.terms):
        recipe = fit.problem.recipe.terms[i]
        if term.group != wanted.group_label or any(term.predictors):
            continue
        if recipe.coordinates:
            if recipe.group[-recipe.coordinates :] == wanted.along:
                masks[i] = np.ones(1, dtype=bool)
                found |= labels
            continue
        for j, label in enumerate(recipe.labels):
            if label in labels:
                masks.setdefault(i, np.zeros(term.k, dtype=bool))[j] = True
                found.add(label)
    return found


def own_rows(fit: Fitted, selection: Selection, *, aux_terms: bool = False) -> Iterator[tuple[slice, Rows]]:
    """The rows of the fit, likewise, as many at a time as lie in one place, and where they stand."""
    several, none = has_several(fit.problem), [np.zeros((t.m, t.k)) for t in fit.problem.terms]
    aux = auxiliary(fit, None if aux_terms or not several else none)
    index, start, residual = row_labels(fit.problem), 0, fit.problem.residual
    for chunk in fit.problem.data.chunks():
        at = slice(start, start := start + chunk.n)
        parts = tuple(p for i, mask in selection for p in own_parts(i, chunk.terms[i], mask))
        beside = chunk.aux_terms if aux_terms else ()
        own = tuple(tuple(p for i, t in enumerate(terms) for p in own_parts(i, t, 1.0)) for terms in beside)
        if several and aux_terms:
            own = tuple(_beside(chunk.terms, j) for j in range(1, len(aux) + 1))
        offset = np.zeros(chunk.n) if chunk.offset is None else chunk.offset
        here = tuple(a[at] for a in aux)
        spread = None if residual is None else partial(_own_deviations, residual, at)
        yield at, Rows(chunk.fixed, offset, parts, index[at], here, chunk.aux, own, spread)


def rows_of(
    fit: Fitted,
    newdata: Data,
    selection: Selection,
    *,
    aux: bool = True,
    aux_terms: bool = False,
    places: dict[int, pd.Index] | None = None,
) -> Rows:
    """New rows with the columns of `selection`, with `aux` auxiliary predictors, and with `aux_terms` their random effects.

    `places` keeps where levels stand, for rows that come in batches.
    """
    problem = fit.problem
    with_aux, spread = bool(problem.aux) and aux, None
    further = _further(problem) if with_aux and aux_terms else []
    wanted = [*(i for i, _ in selection), *further]
    design = problem.recipe.replay(newdata, terms=wanted, aux=with_aux, aux_terms=aux_terms, places=places)
    if design.offset_missing:
        raise DataError(
            "the fit had an offset given as an array, which new data do not carry. Put the offset in a column and "
            "write offset(column) in the formula, or pass its name as offset=."
        )
    chosen = zip(selection, design.terms[: len(selection)], strict=True)
    parts = tuple(_new_part(i, new, mask) for (i, mask), parts in chosen for new in parts)
    own = tuple(
        tuple(_new_part(i, new, 1.0) for i, parts in enumerate(terms) for new in parts)
        for terms in design.aux_terms
    )
    offset = np.zeros(design.n) if design.offset is None else design.offset
    if with_aux:
        beside = tuple(a @ alpha for a, alpha in zip(design.aux, fit.estimate.aux, strict=True))
        if further:
            own = _further_parts(fit, further, design.terms[len(selection) :])
            beside = tuple(a + _at_modes(fit, parts) for a, parts in zip(beside, own, strict=True))
    elif problem.aux:
        beside = ()
    else:
        spread = _deviations(fit, newdata, design.n)
        sigma = fit.sigma * (np.ones(design.n) if spread is None else spread(fit.estimate.residual))
        beside = tuple(a.predictor(sigma) for a in problem.family.auxiliaries)
    return Rows(design.X, offset, parts, design.index, beside, tuple(design.aux), own, spread)


def _beside(terms: Sequence[GroupBlock], j: int) -> tuple[Part, ...]:
    """Parts of the terms in the j-th auxiliary predictor, on the rows of the fit."""
    masks = [(i, term, term.columns_in(j)) for i, term in enumerate(terms)]
    return tuple(part for i, term, own in masks if own.any() for part in own_parts(i, term, own > 0.0))


def _further(problem: Problem) -> list[int]:
    """Terms with columns in other linear predictors than the mean's."""
    return [i for i, term in enumerate(problem.terms) if any(term.predictors)]


def _further_parts(
    fit: Fitted, places: Sequence[int], found: Sequence[Sequence[NewTerm]]
) -> tuple[tuple[Part, ...], ...]:
    """These terms on new rows, for each auxiliary predictor with the columns that are in it."""
    terms = fit.problem.terms
    return tuple(
        tuple(
            _new_part(i, new, own > 0.0)
            for i, news in zip(places, found, strict=True)
            if (own := terms[i].columns_in(j)).any()
            for new in news
        )
        for j in range(1, len(fit.problem.aux) + 1)
    )


def _at_modes(fit: Fitted, parts: Sequence[Part]) -> Array | float:
    """Z b of these parts at the modes; 0 for unseen levels."""
    out: Array | float = 0.0
    for part in parts:
        out = out + np.einsum(
            "nk,nk->n", part.basis, gathered(fit.estimate.modes[part.term], part.codes, None)
        )
    return out


def _own_deviations(residual: ResidualBlock, at: slice, psi: Array) -> Array:
    """Standard deviations of the residuals of rows of the fit relative to sigma, (n,)."""
    return residual.deviations(psi)[at]


def _deviations(fit: Fitted, newdata: Data, n: int) -> Callable[[Array], Array] | None:
    """Standard deviations of the residuals of new rows relative to sigma, (n,), as a function of psi; None for ones.

    nan where the fit has one for each visit.
    """
    residual = fit.problem.residual
    if residual is None:
        return None
    kind, variance, split = residual.kind, residual.variance, residual.split
    if isinstance(kind, OfResponses):  # as many rows of each response
        places = np.repeat(np.arange(float(len(kind.visits))), n // len(kind.visits))
        return lambda psi: kind.deviations(places, split(psi)[0])
    if fit.problem.responses and variance is not None:
        columns = fit.problem.recipe.sigma_columns(newdata)
        return lambda psi: variance.spread(columns, split(psi)[1])
    if not kind.homogeneous:
        return lambda psi: np.full(n, np.nan)
    if variance is None:
        return None
    (columns,) = fit.problem.recipe.replay(newdata, terms=[], fixed=False, aux=True).aux
    return lambda psi: variance.spread(columns, split(psi)[1])


def own_parts(term: int, block: GroupBlock, mask: NDArray[np.bool_] | float) -> list[Part]:
    """A term on the rows of the fit, for each of the levels that a row has; `mask` says which of its columns are used."""
    nobody = np.full(len(block.codes), -1, np.int32)
    return [Part(term, codes, nobody, (), basis * mask) for codes, basis in block.parts()]


def _new_part(term: int, new: NewTerm, mask: NDArray[np.bool_] | float) -> Part:
    """A term on new rows."""
    basis = np.ones((len(new.codes), 1)) if new.basis is None else new.basis
    return Part(term, new.codes, new.new_codes, new.new_levels, basis * mask)


def population_rows(fit: Fitted, newdata: Data) -> Rows:
    """X, offset and auxiliary predictors of `newdata`, with smooths and without random effects; NaN in incomplete rows."""
    return rows_of(fit, newdata, of_mean(fit))


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """A term on the rows whose level the fit has not seen.

    Attributes
    ----------
    term : int
    group : str
    rows : (r,) array
    codes : (r,) array
        Of the new levels.
    levels : tuple of str
    basis : (r, K, k) array
        The term's columns in each linear predictor, the mean's first.
    """

    term: int
    group: str
    rows: NDArray[np.intp]
    codes: NDArray[np.int32]
    levels: tuple[str, ...]
    basis: Array


def unseen_parts(fit: Fitted, rows: Rows) -> list[Unseen]:
    """The terms on rows of unseen levels, one for each of the levels that a row has."""
    predictors, problem = (rows.parts, *rows.aux_parts), fit.problem
    apart = not has_several(problem)  # terms of auxiliary predictors have then numbers of their own
    found: dict[tuple[int, int, int], dict[int, Part]] = {}
    for k, parts in enumerate(predictors):
        for at, part in enumerate(parts):
            turn = sum(before.term == part.term for before in parts[:at])
            found.setdefault((k if apart else 0, part.term, turn), {})[k] = part
    out = []
    for (k, term, _), own in found.items():
        group = (problem.aux_terms[k - 1] if k else problem.terms)[term].group
        first = next(iter(own.values()))
        at = np.flatnonzero(first.new_codes >= 0)
        if not len(at):
            continue
        nothing = np.zeros((len(at), first.basis.shape[1]))
        basis = np.stack([own[k].basis[at] if k in own else nothing for k in range(len(predictors))], axis=1)
        out.append(Unseen(term, group, at, first.new_codes[at], first.new_levels, basis))
    return out


def unseen_effects(fit: Fitted, rows: Rows, policy: str, rng: np.random.Generator) -> Array:
    """What unseen levels add to the linear predictors under `policy`, (K, n), that of the mean first.

    Raises
    ------
    DataError
        Under "error", if there are any.
    """
    out, covariances = np.zeros((1 + len(rows.aux_parts), rows.n)), covariance_matrices(fit)
    for unseen in unseen_parts(fit, rows):
        if policy == "error":
            raise DataError(
                f"{len(unseen.rows)} of {rows.n} rows have levels of {unseen.group} that the fit has not seen: "
                f"{_listed(unseen)}. Choose new_levels='population' (effect zero), 'sample' (drawn) or 'na', or re_form=None."
            )
        if policy == "na":
            out[:, unseen.rows] = np.nan
        elif policy == "sample":
            size = (len(unseen.levels), unseen.basis.shape[2])
            effects = rng.multivariate_normal(
                np.zeros(size[1]), covariances[unseen.term], size=size[0], method="eigh"
            )
            out[:, unseen.rows] += np.einsum("nkc,nc->kn", unseen.basis, effects[unseen.codes])
    return out


def _listed(unseen: Unseen) -> str:
    """The unseen levels of a term, and how many rows name none."""
    levels = unseen.levels
    nameless = int((unseen.codes == len(levels) - 1).sum()) if levels[-1] == MISSING else 0
    names = [repr(v) for v in levels[: -1 if nameless else None]]
    shown = [*names[:5], *(["..."] if len(names) > 5 else [])]
    return ", ".join([*shown, *([f"missing in {nameless}"] if nameless else [])])


def at_means(fit: Fitted, rows: Rows) -> Array:
    """``x'beta + z'b`` at the estimate, effects of unseen levels zero, (n,)."""
    mean = rows.X @ fit.estimate.beta + rows.offset
    for part in rows.parts:
        seen = gathered(fit.estimate.modes[part.term], part.codes, None)
        mean = mean + np.einsum("nk,nk->n", part.basis, seen)
    return mean
