"""The second part of D, (3) of :mod:`lmmformula.inference.influence.deletion`: what goes through effects that units share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmmformula.inference.influence.eliminated import Eliminated
from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.touched import Touched
from lmmformula.inference.influence.units import Units
from lmmformula.memory import available_memory
from lmmformula.typing import Array

__all__ = ["through_shared"]

CELLS = 4_000_000
"""Numbers of an array that is held at a time."""

Positions = NDArray[np.intp]


def through_shared(
    linear: Linear, units: Units, touched: Touched, eliminated: Eliminated
) -> Iterator[tuple[Positions, Array]]:
    """Units and G'S (I - N S)^-1 G of each, (b, p + 1, p + 1), in batches of units of like size.

    S is made once for all effects if it fits a quarter of the memory that is free, else for those that a batch touches.
    """
    order = np.argsort(units.codes, kind="stable")
    lengths = np.bincount(units.codes, minlength=units.m)
    starts = np.cumsum(lengths) - lengths
    v = np.column_stack([linear.along, linear.score])
    whole = 8.0 * touched.q**2 <= available_memory() / 4
    known = np.arange(touched.q)
    s = _inverse(linear, touched, known) if whole else np.zeros((0, 0))
    for which in _batches(touched.sizes, lengths):
        there = np.arange(lengths[which].max()) < lengths[which][:, None]
        at = np.zeros(there.shape, dtype=np.intp)
        at[there] = order[_spread(starts[which], lengths[which])]
        mine = np.arange(touched.sizes[which].max()) < touched.sizes[which][:, None]
        columns = np.zeros(mine.shape, dtype=np.intp)
        columns[mine] = touched.columns[_spread(touched.pointers[which], touched.sizes[which])]
        if not whole:
            known = np.unique(columns[mine])
            s = _inverse(linear, touched, known)
        columns[mine] = np.searchsorted(known, columns[mine])
        a = _design(touched, at, there, mine.shape[1])
        turned = np.zeros_like(a)
        turned[there] = eliminated.without(at[there], linear.weights[at[there]], a[there])
        back = np.swapaxes(a, 1, 2)
        g, n = back @ (v[at] * there[:, :, None]), back @ turned
        between = s[columns[:, :, None], columns[:, None, :]] * (mine[:, :, None] & mine[:, None, :])
        moved = between @ np.linalg.solve(np.eye(a.shape[2]) - n @ between, g)
        yield which, np.swapaxes(g, 1, 2) @ moved


def _design(touched: Touched, at: Positions, there: NDArray[np.bool_], width: int) -> Array:
    """Z_C Lambda of the rows `at` on the effects of their unit, (b, rows, width); zero where no row is `there`."""
    out = np.zeros((*at.shape, width))
    unit, row = np.nonzero(there)
    rows = at[there]
    for place, values in touched.parts:
        for c in range(values.shape[1]):
            out[unit, row, place[rows] + c] += values[rows, c]
    return out


def _spread(starts: Positions, lengths: Positions) -> Positions:
    """The positions starts[i], ..., starts[i] + lengths[i] - 1 of each i, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)


def _batches(sizes: Positions, lengths: Positions) -> Iterator[Positions]:
    """Units in order of size, as many at a time as `CELLS` allows, one at least."""
    order = np.lexsort((lengths, sizes))
    first, rows = 0, 0
    for last, unit in enumerate(order):
        longest = max(rows, int(lengths[unit]))
        if last > first and (last + 1 - first) * int(sizes[unit]) * (int(sizes[unit]) + longest) > CELLS:
            yield order[first:last]
            first, longest = last, int(lengths[unit])
        rows = longest
    yield order[first:]


def _inverse(linear: Linear, touched: Touched, wanted: Positions) -> Array:
    """(M^-1) between the effects `wanted`, in increasing order among those of the groups of `touched`."""
    groups = linear.blocks.groups
    ends = np.cumsum([groups[a].q for a in touched.groups])
    out = np.empty((len(wanted), len(wanted)))
    step = max(1, min(512, CELLS // max(1, sum(g.q for g in groups))))
    for start in range(0, len(wanted), step):
        some = wanted[start : start + step]
        rhs = tuple(np.zeros((g.m * g.k, len(some))) for g in groups)
        owner = np.searchsorted(ends, some, side="right")
        for x, a in enumerate(touched.groups):
            here = np.flatnonzero(owner == x)
            rhs[a][some[here] - (ends[x] - groups[a].q), here] = 1.0
        solved = linear.factor.solve(tuple(r.reshape(g.m, g.k, -1) for r, g in zip(rhs, groups, strict=True)))
        stacked = np.concatenate([solved[a].reshape(groups[a].q, -1) for a in touched.groups])
        out[:, start : start + step] = stacked[wanted]
    return out
