r"""Joint tests of factors and their interactions, from means alone.

The effect of a set S of variables is the hypothesis that all products of consecutive differences of the means of S, averaged
with equal weights over the other factors, are zero. That is a type III test which does not depend on the coding. A number
takes part with its mean and three (or more, where it enters by several columns) values around it, and has its mean where it
does not; variables of smooths always have theirs. Where cells are empty only the estimable part is tested; the number of
directions that were lost is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.variables import column_names
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.means.averaging import averages
from lmmformula.inference.means.cells import cell_estimates
from lmmformula.inference.means.grid import Grid, Label, reference_grid, spread_of
from lmmformula.inference.means.record import Means, interactions, refuse_unknown
from lmmformula.inference.means.scales import IDENTITY
from lmmformula.inference.means.specs import names_in
from lmmformula.inference.uncertainty import JointTest
from lmmformula.typing import Arguments, Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["JointRow", "joint_rows", "joint_rows_of_means"]

MOST_VARIABLES = 10


@dataclass(frozen=True, slots=True)
class JointRow:
    """One test.

    Attributes
    ----------
    term : str
        Variables with ``:`` between.
    by : tuple
        Values of the `by` variables.
    test : JointTest or None
        None where nothing is estimable.
    lost : int
        Directions that are not estimable.
    """

    term: str
    by: tuple[Label, ...]
    test: JointTest | None
    lost: int


def joint_rows(
    fit: Fitted,
    *,
    by: str | Iterable[str] | None = None,
    at: Arguments | None = None,
    ddf: str = "satterthwaite",
    vcov: str | None = None,
    cluster: Cluster = None,
    data: Data = None,
) -> list[JointRow]:
    """Tests of every set of variables that some term of the model brings together.

    Raises
    ------
    DataError
        For too many variables, or a `by` that is none.
    """
    fit.inference.check("anova")
    within = () if by is None else names_in(by)
    known, start = known_of_mean(fit, ddf, vcov, cluster), reference_grid(fit, at, data)
    for name in within:
        start.predictor(name)
    out: list[JointRow] = []
    for chosen in _sets(fit, start, within, at or {}):
        held = {n: _values(fit, n, data) for n in chosen if _is_number(start, n, at)} | dict(at or {})
        grid = reference_grid(fit, held, data)
        cells = cell_estimates(fit, grid.X, grid.offset, grid.excess, known)
        found = averages(grid, (*chosen, *within), "equal")
        means = Means(found.labels, within, cells.combined(found.weights), IDENTITY, "emmean")
        out += _tested(means, chosen)
    return _ordered(out)


def joint_rows_of_means(means: Means, by: Iterable[str] | None = None) -> list[JointRow]:
    """The same of given means, averaged with equal weights over the columns that a set leaves out."""
    within = means.by if by is None else tuple(by)
    refuse_unknown(means, within)
    own = [n for n in means.labels if n not in within and len(set(means.labels[n])) > 1]
    out: list[JointRow] = []
    for size in range(1, len(own) + 1):
        for chosen in combinations(own, size):
            out += _tested(_averaged(means, (*chosen, *within), within), chosen)
    return _ordered(out)


def _averaged(means: Means, names: Sequence[str], by: tuple[str, ...]) -> Means:
    groups = means.groups(names)
    matrix = np.zeros((len(groups), len(means.estimates)))
    for row, positions in enumerate(groups.values()):
        matrix[row, positions] = 1.0 / len(positions)
    labels = {name: [key[j] for key in groups] for j, name in enumerate(names)}
    return replace(means, labels=labels, by=by, estimates=means.estimates.combined(matrix))


def _tested(means: Means, chosen: Sequence[str]) -> list[JointRow]:
    contrasts = interactions(means, dict.fromkeys(chosen, "consec"))
    out = []
    for group, positions in contrasts.groups().items():
        test, lost = contrasts.estimates.taken(positions).joint()
        if test is not None or lost:
            out.append(JointRow(":".join(chosen), group, test, lost))
    return out


def _ordered(rows: list[JointRow]) -> list[JointRow]:
    """By group, main effects before interactions, as they came."""
    groups = list(dict.fromkeys(row.by for row in rows))
    return sorted(rows, key=lambda row: (groups.index(row.by), row.term.count(":")))


def _sets(fit: Fitted, grid: Grid, within: Sequence[str], at: Arguments) -> list[tuple[str, ...]]:
    """Sets of variables that lie in a term of the model, those of `within` aside, and those of smooths.

    Whether a smooth is a constant is the test of :meth:`lmmformula.Fit.smooths`; three of its values do not say it.
    """
    design = fit.problem.recipe.fixed
    curved = {name for record in fit.problem.recipe.smooths for name in record.variables}
    order = [p.name for p in grid.predictors if p.name not in curved]
    terms = [set(column_names(part.expr for part in parts)) & set(order) for parts in design.terms]
    if max(map(len, terms), default=0) > MOST_VARIABLES:
        raise DataError(
            f"a term of more than {MOST_VARIABLES} variables has too many joint tests: use anova()."
        )
    sets = {
        chosen
        for term in terms
        for size in range(1, len(term) + 1)
        for chosen in combinations([n for n in order if n in term and n not in within], size)
    }
    kept = [s for s in sets if all(_moves(grid, n, at) for n in s)]
    return sorted(kept, key=lambda s: (len(s), [order.index(n) for n in s]))


def _moves(grid: Grid, name: str, at: Arguments) -> bool:
    """Whether a variable has more than one value here."""
    return len(grid.predictor(name).values) > 1 or _is_number(grid, name, at)


def _is_number(grid: Grid, name: str, at: Arguments | None) -> bool:
    own = grid.predictor(name)
    return not own.is_factor and not isinstance(own.values[0], str) and name not in (at or {})


def _values(fit: Fitted, name: str, data: Data) -> list[float]:
    """Values of a number around its mean: as many as span what the model makes of it."""
    mean, sd = spread_of(fit, name, data)
    parts = {p.name: p for t in fit.problem.recipe.fixed.terms for p in t if name in column_names([p.expr])}
    reach = 1 + sum(len(p.suffixes) for p in parts.values()) // 2
    return [mean + sd * step / reach for step in range(-reach, reach + 1)]
