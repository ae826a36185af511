"""Positions of new rows within the groups of a fit: those where it has no effect yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.aligning import Aligning
from lmmformula.frame.grouping import group_factor, match_cells
from lmmformula.frame.placing import first_rows, place_labels
from lmmformula.frame.recipe import Recipe
from lmmformula.frame.table import Table
from lmmformula.frame.term_recipe import TermRecipe
from lmmformula.frame.values import Factor, Value, as_number
from lmmformula.frame.variables import column_names
from lmmformula.ir.across import Placed, positions_of
from lmmformula.ir.design import GroupBlock
from lmmformula.typing import Array, Index

__all__ = ["Located", "unseen_positions", "with_levels"]

Labels = NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """New positions within known groups.

    Attributes
    ----------
    groups : (r,) int array
        Of the structure.
    points : (r, d) array
    cells : tuple of (r,) object arrays
        As in :class:`lmmformula.frame.grouping.Grouping`.
    """

    groups: Index
    points: Array
    cells: tuple[Labels, ...]


def unseen_positions(recipe: Recipe, place: int, term: GroupBlock, table: Table) -> Located | None:
    """Positions of a table's rows at which the groups of a term have no level; None if there are none.

    Rows of groups that the fit has not seen, and positions that it cannot place, are left out: these are new levels.
    """
    own, across = cast("TermRecipe", recipe.terms[place]), term.covariance.across
    if not own.coordinates or across is None:
        return None
    structure: Placed = across  # type: ignore[assignment]
    names = column_names(own.group)
    missing = [mask for name in names if (mask := table.column(name).missing) is not None]
    rows = None if not missing else np.flatnonzero(~np.any(missing, axis=0))
    n = table.n_rows if rows is None else len(rows)
    if not n:
        return None
    columns = {name: table.column(name).at(rows) for name in names}
    value_of = Aligning(
        recipe.levels_known, columns, n, recipe.text, dict(recipe.context), dict(recipe.memory)
    )
    grouping = group_factor(own.group, value_of)
    new = np.flatnonzero(match_cells(own.cells, grouping.cells) < 0)
    if not new.size:
        return None
    d = own.coordinates
    cells = tuple(labels[new] for labels in grouping.cells)
    known = dict(zip(zip(*own.cells[:-d], strict=True), structure.groups.tolist(), strict=True))
    groups = np.array([known.get(cell, -1) for cell in zip(*cells[:-d], strict=True)])
    first = first_rows(grouping.factor.codes, len(grouping.factor.levels))[new]
    values = [value_of(expr) for expr in own.group[-d:]]
    points = _points(own, structure, cells[-d:], values, first)
    kept = (groups >= 0) & np.isfinite(points).all(axis=1)
    if not kept.any():
        return None
    return Located(groups[kept], points[kept], tuple(labels[kept] for labels in cells))


def with_levels(recipe: Recipe, place: int, found: Located) -> tuple[Recipe, Labels]:
    """The recipe with these positions among the levels of a term, and their labels."""
    own = cast("TermRecipe", recipe.terms[place])
    cells = tuple(np.concatenate([a, b]) for a, b in zip(own.cells, found.cells, strict=True))
    return recipe.with_cells(place, cells), place_labels(found.cells, own.coordinates)


def _points(
    own: TermRecipe, structure: Placed, labels: tuple[Labels, ...], values: list[Value], first: Index
) -> Array:
    """Coordinates, (r, d): as they stand, or what a label meant at the fit; nan where it meant nothing."""
    whole = len(values) == 1 < structure.points.shape[1]
    out = []
    for j, (value, text) in enumerate(zip(values, labels, strict=True)):
        if not isinstance(value, Factor):
            out.append(np.asarray(value, dtype=float)[first][:, None])
            continue
        there = structure.points if whole else structure.points[:, [j]]
        meant = dict(zip(own.cells[len(own.cells) - len(values) + j], there, strict=True))
        numbers = structure.name not in ("ar1", "propto")
        out.append(
            np.stack([meant[t] if t in meant else _read(t, there.shape[1], numbers=numbers) for t in text])
        )
    return np.hstack(out)


def _read(label: str, size: int, *, numbers: bool) -> Array:
    """Numbers in a label."""
    plain = as_number(label)
    if numbers and plain is not None and size == 1:
        return np.array([plain])
    found = (
        positions_of([label], "a new position")[0]
        if numbers and any(c.isdigit() for c in label)
        else np.zeros(0)
    )
    return found if len(found) == size else np.full(size, np.nan)
