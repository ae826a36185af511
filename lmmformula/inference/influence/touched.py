"""Which effects of crossed factors the rows of each unit touch, and where these stand among the unit's own columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.units import Units
from lmmformula.typing import Array

__all__ = ["Touched"]


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """The effects C of each unit, for groups that are not nested in units.

    Attributes
    ----------
    groups : tuple of int
        In the order in which their effects are counted, 0 to q.
    q : int
        Effects of these groups.
    pointers : (m + 1,) array
        Where each unit's effects stand in `columns`.
    columns : (pointers[-1],) array
        Effects, counted over `groups`.
    parts : tuple of ((n,), (n, k)) pairs of arrays
        For each of a row's levels: the first of its effects among those of the row's unit, and the row of Z Lambda there.
    """

    groups: tuple[int, ...]
    q: int
    pointers: NDArray[np.intp]
    columns: NDArray[np.intp]
    parts: tuple[tuple[NDArray[np.intp], Array], ...]

    @classmethod
    def of(cls, linear: Linear, units: Units, groups: tuple[int, ...]) -> Touched:
        """O(n log n)."""
        sizes = np.zeros(units.m, dtype=np.intp)
        found, base = [], 0
        for a in groups:
            own = linear.blocks.own[a]
            group = own.group
            keys = [units.codes * group.m + part.codes for part in own.parts]
            pairs = np.unique(np.concatenate(keys))
            unit, level = pairs // group.m, pairs % group.m
            counts = np.bincount(unit, minlength=units.m)
            local = sizes[unit] + group.k * (np.arange(len(pairs)) - (np.cumsum(counts) - counts)[unit])
            places = tuple(local[np.searchsorted(pairs, key)] for key in keys)
            found.append((own, unit, local, base + group.k * level, places))
            sizes += group.k * counts
            base += group.q
        pointers = np.concatenate([[0], np.cumsum(sizes)])
        columns = np.empty(pointers[-1], dtype=np.intp)
        parts = []
        for a, (own, unit, local, first, places) in zip(groups, found, strict=True):
            for c in range(own.group.k):
                columns[pointers[unit] + local + c] = first + c
            for part, place in zip(own.parts, places, strict=True):
                basis = np.ones((linear.n, 1)) if part.basis is None else part.basis
                parts.append((place, basis @ linear.factors[a]))
        return cls(groups, base, pointers, columns, tuple(parts))

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Effects of each unit, t, (m,)."""
        return np.diff(self.pointers)
