"""Grouping factors with the columns of all random-effects terms on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.across import Across
from lmmformula.ir.design import GroupBlock, parts_of
from lmmformula.typing import Array, Namespace, Numbers, SparseMatrix

__all__ = ["Group", "GroupRows", "joined", "merge_terms"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A grouping factor with the columns of all terms on it; its rows are elsewhere.

    Attributes
    ----------
    name : str
    m : int
        Number of levels.
    k : int
        Number of columns.
    members : tuple of (int, slice)
        Terms merged here and where their columns stand among the k.
    several : bool
        Whether rows belong to several levels.
    across : Across or None
        Structure of levels that are dependent a priori, so that M couples them.
    has_basis : bool
        Whether rows hold values of the columns; not for a single column of ones.
    """

    name: str
    m: int
    k: int
    members: tuple[tuple[int, slice], ...]
    several: bool = False
    across: Across | None = None
    has_basis: bool = False

    @property
    def is_blockwise(self) -> bool:
        """Whether its own part of M is block diagonal, a block for each level."""
        return not self.several and self.across is None

    @property
    def q(self) -> int:
        return self.m * self.k


@dataclass(frozen=True, slots=True, eq=False)
class GroupRows:
    """Rows of Z_a in memory.

    Attributes
    ----------
    group : Group
    codes : (n,) or (n, r) int32 array
    basis : (n, k) or (n, r, k) float64 array or None
        None for a single column of ones.
    shares : (n, r) float64 array or None
        Of a row's several levels.
    """

    group: Group
    codes: NDArray[np.int32]
    basis: Array | None
    shares: Array | None = None

    @property
    def columns_differ(self) -> bool:
        """Whether columns have a value for each of a row's levels."""
        return self.basis is not None and self.basis.ndim == 3

    @property
    def parts(self) -> tuple[GroupRows, ...]:
        """Rows of one level each whose Z add up to this one's."""
        if self.shares is None:
            return (self,)
        basis = np.ones((len(self.codes), 1)) if self.basis is None else self.basis
        return tuple(GroupRows(self.group, *own) for own in parts_of(self.codes, basis, self.shares))

    def design(self) -> SparseMatrix:
        """Z_a of rows of one level each, (n, q_a), as scipy's compressed rows; its index arrays are the group's."""
        from scipy.sparse import csr_array

        n, k, q = len(self.codes), self.group.k, self.group.q
        narrow = np.int32 if max(n * k, q) < 2**31 else np.int64
        if self.basis is None:
            indices, data = self.codes, np.ones(n)
        else:
            indices = (self.codes[:, None].astype(narrow) * narrow(k) + np.arange(k, dtype=narrow)).ravel()
            data = self.basis.ravel()
        ptr = np.arange(
            0, n * k + 1, k, dtype=narrow
        )  # in the type of the indices, so that scipy copies neither
        return csr_array((data, indices, ptr), shape=(n, q))


def merge_terms(terms: Sequence[GroupBlock]) -> tuple[GroupRows, ...]:
    """Groups of terms with the same codes, in order of first appearance."""
    found: list[list[int]] = []
    for i, term in enumerate(terms):
        for same in found:
            if _has_levels_of(terms[same[0]], term):
                same.append(i)
                break
        else:
            found.append([i])
    return tuple(_merged(terms, same) for same in found)


def _has_levels_of(a: GroupBlock, b: GroupBlock) -> bool:
    """Whether two terms can be one group: independent levels, one a row, the same rows in each."""
    if not (a.is_blockwise and b.is_blockwise):
        return False
    return a.codes is b.codes or (a.m == b.m and np.array_equal(a.codes, b.codes))


def _merged(terms: Sequence[GroupBlock], same: list[int]) -> GroupRows:
    first = terms[same[0]]
    ends = np.cumsum([0, *(terms[i].k for i in same)])
    members = tuple((i, slice(int(ends[j]), int(ends[j + 1]))) for j, i in enumerate(same))
    own = Group(
        first.group,
        first.m,
        int(ends[-1]),
        members,
        first.shares is not None,
        first.covariance.across,
        len(same) > 1 or first.basis is not None,
    )
    if len(same) == 1:
        return GroupRows(own, first.codes, first.basis, first.shares)
    ones = np.ones((len(first.codes), 1))
    columns = [ones if (b := terms[i].basis) is None else b for i in same]
    return GroupRows(own, first.codes, np.hstack(columns))


def joined(groups: Sequence[Group], factors: Sequence[Numbers], xp: Namespace = np) -> tuple[Numbers, ...]:
    """L of each group, (..., k, k): those of the terms, side by side; for any array module."""
    out = []
    for group in groups:
        if len(group.members) == 1:
            out.append(factors[group.members[0][0]])
            continue
        rows = []
        for i, columns in group.members:
            own = factors[i]
            left = xp.zeros((*own.shape[:-1], columns.start))
            right = xp.zeros((*own.shape[:-1], group.k - columns.stop))
            rows.append(xp.concatenate([left, own, right], axis=-1))
        out.append(xp.concatenate(rows, axis=-2))
    return tuple(out)
