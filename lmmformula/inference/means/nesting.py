r"""Factors whose levels exist only within levels of another one: found, and averaged within it.

Two things make a factor B nested in A, as emmeans has it (Lenth, emmeans: nested fixed effects):

* in the data each level of B comes with one level of A;
* in the formula B has no main effect, and every term that brings it in has A beside it (``A + A:B``).

Cells that a nested factor does not have are no cells of the model, so a mean over B is one over the levels that exist: with B
averaged out first, within each level of A, and then A ::

    mean = sum_a w_a sum_{b in a} w_{b|a} eta_ab,        equal weights: w_{b|a} = 1 / |B_a|,  w_a = 1 / |A|             (1)

A factor nested in several has its levels in each of their combinations; what is nested deepest is averaged out first.
Weights by frequency are those of the factors that a stage averages over, within its cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.design import Design, FactorPart
from lmmformula.frame.variables import column_names
from lmmformula.inference.means.averaging import Averages, averages, check_weights, shares
from lmmformula.inference.means.grid import Grid
from lmmformula.typing import Argument, Array, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Nests", "nested_averages", "nests_of", "nests_words", "within"]

Nests = dict[str, tuple[str, ...]]
"""Factor -> those that it is nested in, outermost ones too."""


def nests_of(fit: Fitted, grid: Grid, nesting: Argument = None, part: int | None = None) -> Nests:
    """What is nested in what: as `nesting` says, else as the data and the formula (of an auxiliary predictor) do.

    Raises
    ------
    DataError
        For names that are no factors of the grid, or a circle.
    """
    factors = [p.name for p in grid.predictors if p.is_factor and len(p.values) > 1]
    if nesting is not None:
        return _closed(_given(nesting, factors), strict=True)
    if len(factors) < 2:
        return {}
    recipe = fit.problem.recipe
    design = recipe.fixed if part is None else recipe.aux[part][0]
    found = _in_data(grid, factors)
    for name, within in _in_formula(design, factors).items():
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *within)))
    return _closed(found)


def nests_words(nests: Nests) -> tuple[str, ...]:
    """A sentence about it."""
    if not nests:
        return ()
    listed = ", ".join(f"{name} within {' and '.join(within)}" for name, within in nests.items())
    return (
        f"Nested factors: {listed}; averages are over levels that exist there (nesting={{}}: all cells).",
    )


def within(by: Sequence[str], nests: Nests) -> tuple[str, ...]:
    """`by` with what its nested factors are nested in before them."""
    outer = (o for name in by for o in nests.get(name, ()) if o not in by)
    return tuple(dict.fromkeys((*outer, *by)))


def _given(nesting: Argument, factors: Sequence[str]) -> Nests:
    out: Nests = {}
    for name, within in dict(nesting or {}).items():
        several = tuple(within) if isinstance(within, list | tuple) else (within,)
        for each in (name, *several):
            if each not in factors:
                raise DataError(
                    f"nesting= names {each!r}, which is no factor of the fixed part with several levels: those are "
                    f"{', '.join(factors) or 'none'}."
                )
        out[str(name)] = several
    return out


def _in_data(grid: Grid, factors: Sequence[str]) -> Nests:
    """By cells of the data: each level of one with a single level of the other."""
    order = [p.name for p in grid.predictors]
    index = np.indices(grid.shape[::-1]).reshape(len(order), -1)[::-1]
    filled = {name: index[order.index(name)][grid.counts > 0.0] for name in factors}
    out: Nests = {}
    for name in factors:
        others = [o for o in factors if o != name and name not in out.get(o, ())]
        within = tuple(o for o in others if _determines(filled[name], filled[o]))
        if within:
            out[name] = within
    return out


def _determines(one: Index, other: Index) -> bool:
    """Whether each value of `one` comes with one value of `other`."""
    pairs = np.unique(np.stack([one, other]), axis=1)
    return pairs.shape[1] == len(np.unique(one))


def _in_formula(design: Design, factors: Sequence[str]) -> Nests:
    """By terms: a factor without a main effect is nested in the factors whose margin its smallest terms lack."""
    terms = [
        frozenset(
            name
            for part in parts
            if isinstance(part, FactorPart)
            for name in column_names([part.expr])
            if name in factors
        )
        for parts in design.terms
    ]
    present, out = set(terms), {}
    for name in factors:
        own = [t for t in terms if name in t]
        if not own or frozenset((name,)) in present:
            continue
        within = [frozenset(o for o in t if o != name and (t - {o}) not in present) for t in own]
        least = [w for w in within if w and not any(v and v < w for v in within)]
        if least:
            out[name] = tuple(o for o in factors if any(o in w for w in least))
    return out


def _closed(found: Nests, *, strict: bool = False) -> Nests:
    """With what the nests are nested in themselves; factors that would be within themselves are nested in nothing."""
    out = dict(found)
    for name in found:
        further = [outer for within in out.get(name, ()) for outer in out.get(within, ())]
        out[name] = tuple(dict.fromkeys((*further, *out.get(name, ()))))
    for name in list(out):
        if name in out[name]:
            if strict:
                raise DataError(
                    f"nesting= has {name!r} within itself: {' within '.join((name, *out[name]))}."
                )
            del out[name]
    return out


# -- averages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Averages on the way: positions of their values, their weights of the cells of the grid, and their rows of the data."""

    names: tuple[str, ...]
    index: Index
    weights: Array
    counts: Array

    def column(self, name: str) -> Index:
        return self.index[:, self.names.index(name)]

    def over(self, kept: Sequence[str], weights: str) -> _Cells:
        """Averages over the factors that are not `kept`, whose cells are all there."""
        gone = [n for n in self.names if n not in kept]
        columns = [self.names.index(n) for n in (*kept, *gone)]
        order = np.lexsort(self.index[:, columns[::-1]].T) if columns else np.zeros(1, dtype=np.intp)
        sizes = tuple(len(np.unique(self.column(n))) for n in gone)
        cells = order.reshape(-1, int(np.prod(sizes, dtype=int)))
        share = shares(weights, self.counts[cells], sizes)
        mixed = np.einsum("mc,mcg->mg", share, self.weights[cells])
        own = self.index[cells[:, 0]][:, [self.names.index(n) for n in kept]]
        return _Cells(tuple(kept), own, mixed, self.counts[cells].sum(axis=1))

    def taken(self, rows: Index) -> _Cells:
        return _Cells(self.names, self.index[rows], self.weights[rows], self.counts[rows])

    @classmethod
    def joined(cls, parts: Sequence[_Cells]) -> _Cells:
        arrays = zip(*((p.index, p.weights, p.counts) for p in parts), strict=True)
        return cls(parts[0].names, *(np.concatenate(a) for a in arrays))


def nested_averages(grid: Grid, names: Sequence[str], weights: str, nests: Nests) -> Averages:
    """Means of the combinations of `names` that exist, and of what these are nested in, the first one fastest.

    Those of :func:`lmmformula.inference.means.averaging.averages` where nothing is nested.

    Raises
    ------
    DataError
        For a name that is no predictor, or unknown weights.
    """
    check_weights(weights)
    for name in names:
        grid.predictor(name)
    outer = [o for name in names for o in nests.get(name, ()) if o not in names]
    shown = tuple(dict.fromkeys((*names, *outer)))
    if not nests or weights == "cells":
        return _existing(grid, averages(grid, shown, weights), nests)
    order = tuple(p.name for p in grid.predictors)
    index = np.indices(grid.shape[::-1]).reshape(len(order), -1)[::-1].T
    cells = _Cells(order, index, np.eye(len(grid.X)), grid.counts)
    while inner := [n for n in nests if n in cells.names and n not in shown]:
        cells = _stage(cells, shown, inner, nests, weights)
    done = cells.over(shown, weights)
    rows = np.lexsort(done.index.T) if shown else np.arange(len(done.index))
    labels = {n: tuple(grid.predictor(n).values[i] for i in done.index[rows, j]) for j, n in enumerate(shown)}
    averaged = tuple(p.name for p in grid.predictors if p.name not in shown and len(p.values) > 1)
    return _existing(grid, Averages(labels, done.weights[rows], averaged), nests)


def _stage(cells: _Cells, shown: Sequence[str], inner: Sequence[str], nests: Nests, weights: str) -> _Cells:
    """The deepest nested factor averaged out, over its levels within each combination of what it is nested in."""
    deepest = max(inner, key=lambda n: len(nests[n]))
    groups = [n for n in cells.names if n in nests[deepest] or (n in inner and n != deepest)]
    kept = [n for n in cells.names if n in shown or n in groups]
    where = cells.index[:, [cells.names.index(n) for n in groups]]
    parts = []
    for group in np.unique(where, axis=0):
        rows = np.flatnonzero((where == group).all(axis=1))
        levels = np.unique(cells.column(deepest)[rows][cells.counts[rows] > 0.0])
        exist = rows[np.isin(cells.column(deepest)[rows], levels)]
        if len(exist):
            parts.append(cells.taken(exist).over(kept, weights))
        else:
            first = cells.taken(rows).over(kept, "equal")
            parts.append(replace(first, weights=np.full_like(first.weights, np.nan)))
    return _Cells.joined(parts)


def _existing(grid: Grid, means: Averages, nests: Mapping[str, Iterable[str]]) -> Averages:
    """Without combinations of a nested factor and what it is nested in that the data do not have."""
    if not nests:
        return means
    order = [p.name for p in grid.predictors]
    index = np.indices(grid.shape[::-1]).reshape(len(order), -1)[::-1]
    kept = np.ones(len(means.weights), dtype=bool)
    for name in (n for n in nests if n in means.labels):
        group = [name, *(o for o in nests[name] if o in means.labels)]
        values = [grid.predictor(n).values for n in group]
        filled = zip(*(index[order.index(n)][grid.counts > 0.0] for n in group), strict=True)
        known = {tuple(v[i] for v, i in zip(values, cell, strict=True)) for cell in filled}
        kept &= np.array([key in known for key in zip(*(means.labels[n] for n in group), strict=True)])
    if kept.all():
        return means
    labels = {n: tuple(v for v, k in zip(own, kept, strict=True) if k) for n, own in means.labels.items()}
    return Averages(labels, means.weights[kept], means.averaged)
