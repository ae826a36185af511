"""Levels at positions within groups: what structures of time and space share.

Levels of one group (a subject, a field) depend on each other by where they are, levels of different groups do not: Q has a
block for each group, and the parameters phi are those of all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Across
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["FARTHEST", "Batch", "Placed", "batches", "block_diagonal", "blocks_of", "refuse_duplicates"]

_P = TypeVar("_P", bound="Placed")

FARTHEST = 150.0
"""Log of the typical distance over the range beyond which correlations have long been zero."""


class Placed(Across, Protocol):
    """A structure of levels at positions within groups."""

    @property
    def groups(self) -> Index:
        """Group of each level, (m,): levels of different groups are independent."""
        ...

    @property
    def points(self) -> Array:
        """Coordinates of each level, (m, d)."""
        ...

    def beside(self: _P, points: Array, groups: Index) -> _P:
        """The same structure, phi meaning what it means here, with further levels behind those that there are."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Groups of one size.

    Attributes
    ----------
    levels : (b, s) int array
        Levels of each of b groups of s.
    """

    levels: Index


def blocks_of(groups: Index | None, m: int) -> Index:
    """Group of each of m levels: a single one where none are given."""
    return np.zeros(m, dtype=np.intp) if groups is None else np.asarray(groups, dtype=np.intp)


def batches(groups: Index) -> tuple[Batch, ...]:
    """Groups by their size, so that a stack of matrices is factorised at a time."""
    order = np.argsort(groups, kind="stable")
    _, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    out = []
    for size in np.unique(sizes):
        starts = first[sizes == size]
        out.append(Batch(order[starts[:, None] + np.arange(size)]))
    return tuple(out)


def block_diagonal(parts: tuple[Batch, ...], values: Sequence[Array], m: int) -> csr_array:
    """The (m, m) matrix with these blocks, every element of a block stored, also zeros: its pattern stays."""
    from scipy.sparse import coo_array, csr_array

    if len(parts) == 1 and parts[0].levels.shape[1] == m:
        order = parts[0].levels[0]
        whole = np.empty((m, m))
        whole[np.ix_(order, order)] = values[0][0]
        return csr_array((whole.ravel(), np.tile(np.arange(m), m), np.arange(0, m * m + 1, m)), shape=(m, m))
    shapes = [(*p.levels.shape, p.levels.shape[1]) for p in parts]
    rows = [np.broadcast_to(p.levels[:, :, None], s).ravel() for p, s in zip(parts, shapes, strict=True)]
    cols = [np.broadcast_to(p.levels[:, None, :], s).ravel() for p, s in zip(parts, shapes, strict=True)]
    data = np.concatenate([v.ravel() for v in values])
    return coo_array((data, (np.concatenate(rows), np.concatenate(cols))), shape=(m, m)).tocsr()


def refuse_duplicates(points: Array, groups: Index, name: str) -> None:
    """Refuse positions that are not finite, or that two levels of a group share.

    Raises
    ------
    DataError
    """
    if bad := int((~np.isfinite(points)).any(axis=1).sum()):
        raise DataError(
            f"{name}() needs finite positions: those of {bad:,} of {len(points):,} levels are not."
        )
    both = np.column_stack([groups, points])
    if twice := len(both) - len(np.unique(both, axis=0)):
        raise DataError(
            f"{name}() needs a different position for each level of a group: {twice:,} of {len(both):,} are where another one "
            "is. Levels that differ only in their label, or positions that were rounded, are the likely cause."
        )
