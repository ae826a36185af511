"""Random-effects terms on new rows: levels of the fit, levels that it has not seen, and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.functions import as_float
from lmmformula.frame.grouping import group_factor, match_cells
from lmmformula.frame.levels import shares_of
from lmmformula.frame.member_columns import differ, member_matrix
from lmmformula.frame.values import Value, is_column, missing_rows, n_infinite
from lmmformula.frame.variables import column_names
from lmmformula.typing import Numbers

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.frame.term_recipe import JoinedTerm, TermRecipe

__all__ = ["MISSING", "NewTerm", "checked", "new_term", "spread"]

Array = NDArray[np.float64]

MISSING = "NA"
"""Label of the new level of rows whose group is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class NewTerm:
    """One random-effects term on new rows.

    Attributes
    ----------
    codes : (n,) int32 array
        Level of the fit, -1 where the level was not seen or is missing (or the row is incomplete).
    basis : (n, k) float64 array or None
        As in :class:`lmmformula.ir.problem.GroupBlock`.
    new_levels : tuple of str
        Levels that the fit did not see, in R's order; `MISSING`, last, for the rows that name none.
    new_codes : (n,) int32 array
        Position in `new_levels`, -1 elsewhere.
    """

    codes: NDArray[np.int32]
    basis: Array | None
    new_levels: tuple[str, ...]
    new_codes: NDArray[np.int32]


def checked(evaluator: Evaluator) -> Callable[[Expr], Value]:
    """Values of a term's variables: an entry per row, finite."""

    def value_of(expr: Expr) -> Value:
        value = evaluator(expr)
        if not is_column(value):
            value = np.full(evaluator.n_rows, as_float(value))
        if bad := n_infinite(value):
            raise DataError(f"`{deparse(expr)}` is infinite in {bad:,} of {evaluator.n_rows:,} new rows")
        return value

    return value_of


def spread(array: Array | None, complete: NDArray[np.bool_]) -> Numbers:
    """Rows back in their places, NaN where the row was incomplete."""
    if array is None or len(array) == len(complete):
        return array
    out = np.full((len(complete), *array.shape[1:]), np.nan)
    out[complete] = array
    return out


def new_term(
    term: TermRecipe | JoinedTerm,
    evaluator: Evaluator,
    n: int,
    complete_in: NDArray[np.int64] | None,
    n_all: int,
    places: dict[int, pd.Index] | None,
) -> tuple[NewTerm, ...]:
    """The parts of a term: one, or one for each of the levels that a row has."""
    own = [_new_term(member, evaluator, n, complete_in, n_all, places) for member in term.members]
    return tuple(map(_joined, zip(*own, strict=True)))


def _joined(parts: tuple[NewTerm, ...]) -> NewTerm:
    """Terms on the same levels as one with the columns of each."""
    if len(parts) == 1:
        return parts[0]
    bases = [np.ones((len(p.codes), 1)) if p.basis is None else p.basis for p in parts]
    return replace(parts[0], basis=np.column_stack(bases))


def _new_term(
    term: TermRecipe,
    evaluator: Evaluator,
    n: int,
    complete_in: NDArray[np.int64] | None,
    n_all: int,
    places: dict[int, pd.Index] | None,
) -> tuple[NewTerm, ...]:
    value_of, by_member = checked(evaluator), term.several is not None and differ(term.exprs())
    basis = None
    if not term.design.is_constant and not by_member:
        basis = term.own(term.design.matrix(value_of, n))
    if not term.factors():
        nobody = np.full(n, -1, dtype=np.int32)
        parts = [(np.zeros(n, dtype=np.int32), nobody, (), basis)]
    elif term.several is None:
        parts = [(*_new_levels(term.group, term.cells, evaluator, n, places), basis)]
    else:
        members, weights, scale = term.several
        shares = shares_of(members, weights, scale, value_of, n)
        if by_member:
            matrix = np.asarray(member_matrix(term.design, value_of, n, len(members)), dtype=np.float64)
            columns = np.asarray(term.own(matrix), dtype=np.float64)
        else:
            columns = np.ones((n, 1, 1)) if basis is None else basis[:, None]
        columns = columns * shares[:, :, None]
        parts = [
            (*_new_levels((member,), term.cells, evaluator, n, places), columns[:, j])
            for j, member in enumerate(members)
        ]
    if complete_in is None:
        return tuple(NewTerm(codes, own, new, new_codes) for codes, new_codes, new, own in parts)
    mask = np.zeros(n_all, dtype=bool)
    mask[complete_in] = True
    return tuple(
        NewTerm(_place(codes, mask), spread(own, mask), new, _place(new_codes, mask))
        for codes, new_codes, new, own in parts
    )


def _new_levels(
    group: tuple[Expr, ...],
    cells: tuple[NDArray[np.object_], ...],
    evaluator: Evaluator,
    n: int,
    places: dict[int, pd.Index] | None,
) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[str, ...]]:
    """Level of the fit of each row, its place among the new ones, and these."""
    grouping = group_factor(group, evaluator)
    factor = grouping.factor
    level = np.where(_missing_in(column_names(group), evaluator), np.int32(-1), factor.codes)
    position = np.append(match_cells(cells, grouping.cells, places), np.int32(-1))
    unseen = np.flatnonzero(position[:-1] < 0)
    rank = np.full(len(factor.levels) + 1, -1, dtype=np.int32)
    rank[unseen] = np.arange(len(unseen), dtype=np.int32)
    new_levels = tuple(factor.levels[unseen])
    if n and level.min() < 0:  # an unknown level is a new one
        rank[-1], new_levels = len(unseen), (*new_levels, MISSING)
    return position[level], rank[level], new_levels


def _missing_in(names: Iterable[str], evaluator: Evaluator) -> NDArray[np.bool_]:
    """Rows where a column is missing, whatever an expression made of it."""
    out = np.zeros(evaluator.n_rows, dtype=bool)
    for name in names:
        if name in evaluator.columns and (mask := missing_rows(evaluator.columns[name])) is not None:
            out |= mask
    return out


def _place(codes: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    out = np.full(len(mask), -1, dtype=np.int32)
    out[mask] = codes
    return out
