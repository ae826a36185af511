"""Which coefficients of a fit are those of a smooth, and its functions at any points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.frame.smooths.record import SmoothRecord
from lmmformula.frame.smooths.state import Smooth
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Places", "all_places", "has_smooths", "of_other_predictors", "places_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """A smooth among the coefficients of a fit.

    Attributes
    ----------
    record : SmoothRecord
    state : Smooth
    fixed : tuple of int
        Columns of X.
    terms : tuple of int
        Random-effects terms.
    columns : tuple of int
        Which columns of the smooth these are, those of X before those of the terms.
    levels : tuple of str
        Levels that have a function each; empty where all rows share one.
    """

    record: SmoothRecord
    state: Smooth
    fixed: tuple[int, ...]
    terms: tuple[int, ...]
    columns: tuple[int, ...]
    levels: tuple[str, ...]

    def design(self, x: Array) -> Array:
        """Its columns at points (n, d), (n, K); a numeric ``by`` counts as one."""
        return self.state.columns(x)[:, list(self.columns)]

    @property
    def lead(self) -> Array:
        """The side on which eigenvectors of its test are positive."""
        return self.state.lead[list(self.columns)]

    @property
    def variables(self) -> tuple[str, ...]:
        return self.record.variables


def has_smooths(fit: Fitted) -> bool:
    """Whether the mean of a fit has a smooth."""
    return bool(getattr(fit.problem.recipe, "smooths", ()))


def of_other_predictors(fit: Fitted) -> str:
    """Which smooths other predictors than the mean's have, and what says more of them; empty without any."""
    problem = fit.problem
    own = [t for t in problem.terms if any(t.predictors)]
    names = dict.fromkeys(t.smooth for t in (*own, *(t for ts in problem.aux_terms for t in ts)) if t.smooth)
    if not names:
        return ""
    return (
        f"Smooths of other predictors than the mean's ({', '.join(names)}) have no curve and no test here: varcorr() has their "
        "standard deviations, predict(kind=...) their curves with errors, and anova(m1, m2) compares fits with and "
        "without them."
    )


def all_places(fit: Fitted) -> tuple[Places, ...]:
    """All smooths of the mean, in the order of the formula."""
    if any(term.smooth for term in fit.problem.terms):
        fit.problem.refuse_responses("the curve of a smooth", "Use predict() of rows along its variable.")
    memory = dict(fit.problem.recipe.memory) if has_smooths(fit) else {}
    return tuple(_place(fit, record, memory[record.call]) for record in fit.problem.recipe.smooths)


def _place(fit: Fitted, record: SmoothRecord, state: Smooth) -> Places:
    recipe, problem = fit.problem.recipe, fit.problem
    labels = recipe.fixed.term_labels
    mine = [j for j, own in enumerate(recipe.fixed.assign) if own and labels[own - 1] == record.label]
    fixed = tuple(place for place, j in enumerate(recipe.kept) if j in mine)
    columns = [recipe.kept[place] - mine[0] for place in fixed]
    terms, start = [], state.fixed.shape[1]
    for label, own in zip(record.random, state.random, strict=True):
        i = next(i for i, t in enumerate(problem.terms) if t.smooth == record.label and t.label == label)
        kept = recipe.terms[i].kept
        terms.append(i)
        columns += [start + j for j in (range(own.shape[1]) if kept is None else kept)]
        start += own.shape[1]
    levels = tuple(map(str, problem.terms[terms[0]].levels)) if record.group else ()
    return Places(record, state, fixed, tuple(terms), tuple(columns), levels)


def places_of(fit: Fitted, name: str) -> tuple[Places, ...]:
    """The smooth of a name, however it is spaced, or all levels of one with a ``by`` factor.

    Raises
    ------
    PlanError
        For a fit without smooths.
    DataError
        For a name that none has.
    """
    every, elsewhere = all_places(fit), of_other_predictors(fit)
    if not every:
        raise PlanError(
            f"the mean of the model has no smooth. {elsewhere or 'Write s(x) in its formula, as in y ~ s(x) + (1 | g).'}"
        )
    wanted = _plain(name)
    found = tuple(
        p
        for p in every
        if wanted in (_plain(p.record.label), _plain(p.record.label).partition("):")[0] + ")")
    )
    if not found:
        there = ", ".join(p.record.label for p in every)
        raise DataError(f"there is no smooth {name!r}; there are {there}. {elsewhere}".rstrip())
    return found


def _plain(name: str) -> str:
    return "".join(name.split()).replace("'", '"')


def points_in_range(places: Places, points: int) -> Array:
    """A grid over the range of the rows of the fit, (points^d, d)."""
    axes = [
        np.linspace(low, high, points) for low, high in zip(places.state.low, places.state.high, strict=True)
    ]
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
