"""The one place that touches rows: products with Z and the weighted Gram blocks [Z V]' W [Z V].

Terms that share a grouping factor are merged into one :class:`Group` whose effects per level are
their columns side by side, so that ``(1 | g) + (0 + x | g)`` costs what ``(1 + x | g)`` does.

With groups a = 1..G of m_a levels and k_a columns, row r of Z_a holds ``basis[r]`` in the k_a
columns of level ``codes[r]`` and zeros elsewhere. Hence

* ``Z_a' W Z_a`` is block diagonal: m_a blocks of k_a x k_a,
* ``Z_a' W Z_b`` has one k_a x k_b block for each pair of levels that meet in some row,
* ``Z_a' W V`` is dense, (m_a k_a) x c.

A Gram is a sum over rows. It is the only thing later stages need of them, so for a fixed W the cost of
everything after it does not depend on n. Cost of a Gram: O(n (sum k)^2 + n sum(k) c). For many rows it is formed in compiled
passes over threads (:mod:`lmmformula.numerics.row_sums`), else by counting and BLAS, which need no compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.problem import GroupBlock
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.numerics.row_sums import LevelOrder, RowSums

__all__ = ["Blocks", "CrossPattern", "Gram", "Group", "merge_terms"]

COMPILED_SUMS = 2e7
"""Products in a Gram from which on compiled passes repay their import (0.5 s)."""
ROWS = 65_536
"""Rows that are handled at a time where temporaries of n elements would be slow."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A grouping factor with the columns of all terms on it.

    Attributes
    ----------
    name : str
    codes : (n,) int32 array
    m : int
        Number of levels.
    basis : (n, k) float64 array or None
        None for a single column of ones.
    members : tuple of (int, slice)
        Terms merged here and where their columns stand among the k.
    """

    name: str
    codes: NDArray[np.int32]
    m: int
    basis: Array | None
    members: tuple[tuple[int, slice], ...]

    @property
    def k(self) -> int:
        return 1 if self.basis is None else self.basis.shape[1]

    @property
    def q(self) -> int:
        return self.m * self.k


def merge_terms(terms: Sequence[GroupBlock]) -> tuple[Group, ...]:
    """Groups of terms with the same codes, in order of first appearance."""
    found: list[list[int]] = []
    for i, term in enumerate(terms):
        for same in found:
            other = terms[same[0]]
            if other.codes is term.codes or (other.m == term.m and np.array_equal(other.codes, term.codes)):
                same.append(i)
                break
        else:
            found.append([i])
    return tuple(_merged(terms, same) for same in found)


def _merged(terms: Sequence[GroupBlock], same: list[int]) -> Group:
    first = terms[same[0]]
    ends = np.cumsum([0, *(terms[i].k for i in same)])
    members = tuple((i, slice(int(ends[j]), int(ends[j + 1]))) for j, i in enumerate(same))
    if len(same) == 1:
        return Group(first.group, first.codes, first.m, first.basis, members)
    ones = np.ones((len(first.codes), 1))
    columns = [ones if (b := terms[i].basis) is None else b for i in same]
    return Group(first.group, first.codes, first.m, np.hstack(columns), members)


@dataclass(frozen=True, eq=False)
class CrossPattern:
    """Which levels of two groups meet, in compressed rows.

    Attributes
    ----------
    indptr : (m_a + 1,) int64 array
    indices : (nnz,) int32 array
        Levels of b, increasing within a level of a.
    slots : (n,) int32 or int64 array
        Pair of each row.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    slots: Index

    @property
    def nnz(self) -> int:
        return len(self.indices)

    @cached_property
    def by_column(self) -> Index:
        """Order that puts the pairs by levels of b, levels of a increasing within, (nnz,)."""
        return np.argsort(self.indices, kind="stable")

    @cached_property
    def compressed(self) -> tuple[Index, Index]:
        """Indices and pointers in one type, as scipy takes them without a copy; the narrow one where it suffices."""
        wide = self.nnz >= 2**31
        return (
            (self.indices.astype(np.int64), self.indptr)
            if wide
            else (self.indices, self.indptr.astype(np.int32))
        )

    def rows(self) -> Index:
        """Level of a for each pair, (nnz,)."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))


def cross_pattern(a: Group, b: Group) -> CrossPattern:
    """Pattern of Z_a' Z_b. O(n + min(m_a m_b, n)) by counting, never by comparison."""
    n, cells = len(a.codes), a.m * b.m
    if cells <= 4 * n + 4096:
        key = a.codes.astype(np.int64) * b.m + b.codes
        present = np.zeros(cells, dtype=bool)
        present[key] = True
        number = np.cumsum(present) - 1
        pairs = np.flatnonzero(present)
        slots, row, indices = number[key], pairs // b.m, pairs % b.m
    else:
        order = _counting_order(b.codes, b.m)
        order = order[_counting_order(a.codes[order], a.m)]
        ca, cb = a.codes[order], b.codes[order]
        first = np.ones(n, dtype=bool)
        first[1:] = (ca[1:] != ca[:-1]) | (cb[1:] != cb[:-1])
        slots = np.empty(n, dtype=np.int32 if n < 2**31 else np.int64)
        slots[order] = np.cumsum(first) - 1
        row, indices = ca[first], cb[first]
    indptr = np.zeros(a.m + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=a.m), out=indptr[1:])
    return CrossPattern(indptr, indices.astype(np.int32), slots)


def _counting_order(codes: NDArray[np.int32], m: int) -> Index:
    """Stable order of rows by code, by scipy's counting sort of compressed columns."""
    from scipy.sparse import csr_array

    n = len(codes)
    ones = np.ones(n, dtype=np.int8)
    return csr_array((ones, codes, np.arange(n + 1)), shape=(n, m)).tocsc().indices


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """[Z V]' W [Z V] in blocks.

    Attributes
    ----------
    diag : tuple of (m_a, k_a, k_a) arrays
    cross : dict (a, b) -> (nnz, k_a, k_b) array, a < b
        Values on the pattern of the pair.
    rhs : tuple of (m_a, k_a, c) arrays
        Z_a' W V.
    vv : (c, c) array
        V' W V.
    """

    diag: tuple[Array, ...]
    cross: dict[tuple[int, int], Array]
    rhs: tuple[Array, ...]
    vv: Array


class Blocks:
    """Rows of a model's random-effects design: groups and, when asked for, the patterns of their pairs."""

    def __init__(self, terms: Sequence[GroupBlock], n: int) -> None:
        self.groups = merge_terms(terms)
        self.n = n
        self._patterns: dict[tuple[int, int], CrossPattern] = {}
        self._indicators: dict[int, Any] = {}
        self._orders: dict[int, LevelOrder] = {}
        self._slots: dict[tuple[int, int], Index] = {}

    def pattern(self, a: int, b: int) -> CrossPattern:
        """Pattern of the pair (a, b), a < b; computed once."""
        if (a, b) not in self._patterns:
            self._patterns[a, b] = cross_pattern(self.groups[a], self.groups[b])
        return self._patterns[a, b]

    def apply(self, b: Sequence[Array]) -> Array:
        """Z b, (n,), for effects `b` given per group as (m_a, k_a) arrays."""
        out = np.zeros(self.n)
        self.add_to(out, b)
        return out

    def add_to(self, out: Array, b: Sequence[Array]) -> None:
        """Add Z b to `out`, (n,)."""

        def part(start: int, stop: int) -> None:
            for group, values in zip(self.groups, b, strict=True):
                rows = values[group.codes[start:stop]]
                if group.basis is None:
                    out[start:stop] += rows[:, 0]
                else:
                    out[start:stop] += np.einsum("nk,nk->n", group.basis[start:stop], rows)

        in_parts(part, edges(self.n, ROWS))

    def adjoint(self, r: Array) -> tuple[Array, ...]:
        """Z' r, per group (m_a, k_a), or (m_a, k_a, c) for r of shape (n, c)."""
        return tuple(self._level_sums(a, r) for a in range(len(self.groups)))

    def _level_sums(self, a: int, r: Array) -> Array:
        """Z_a' r: (m, k) or (m, k, c); through scipy's product, which reads the rows once, if there are many columns."""
        group, columns = self.groups[a], r[:, None] if r.ndim == 1 else r
        c = columns.shape[1]
        if c * group.k < 4 or len(columns) * c < 20_000:
            out = _counted_sums(group, columns)
        else:
            if a not in self._indicators:
                self._indicators[a] = _indicator(group)
            out = (self._indicators[a] @ columns).reshape(group.m, group.k, c)
        return out[:, :, 0] if r.ndim == 1 else out

    def row_quadratic(self, own: Sequence[Array], pairs: dict[tuple[int, int], Array]) -> Array:
        """z_r' C z_r for each row, (n,), from blocks of a symmetric C over effects.

        Parameters
        ----------
        own : sequence of (m_a, k_a, k_a) arrays
            Diagonal blocks of C.
        pairs : dict (a, b) -> (nnz, k_a, k_b) array, a < b
            Blocks on the pattern of the pair.
        """
        out = np.zeros(self.n)

        def part(start: int, stop: int) -> None:
            rows, sums = slice(start, stop), out[start:stop]
            for a, group in enumerate(self.groups):
                codes = group.codes[rows]
                for i in range(group.k):
                    for j in range(group.k):
                        sums += _product(
                            own[a][:, i, j][codes], _column(group, i, rows), _column(group, j, rows)
                        )
            for (a, b), values in pairs.items():
                slots, ga, gb = self.pattern(a, b).slots[rows], self.groups[a], self.groups[b]
                for i in range(ga.k):
                    for j in range(gb.k):
                        value = _product(values[:, i, j][slots], _column(ga, i, rows), _column(gb, j, rows))
                        sums += 2.0 * value

        in_parts(part, edges(self.n, ROWS))
        return out

    def gram(self, weights: Array | None, v: Array) -> Gram:
        """The weighted Gram blocks of [Z V].

        Parameters
        ----------
        weights : (n,) array or None
            Diagonal of W; None stands for ones.
        v : (n, c) array
        """
        if self._products(v.shape[1]) >= COMPILED_SUMS:
            from lmmformula.numerics.row_sums import RowSums

            sums = RowSums(weights, v)
            diag, rhs, vv = self._compiled_levels(sums)
            return Gram(diag, {pair: self._compiled_cross(sums, *pair) for pair in self._pairs()}, rhs, vv)
        pairs = {pair: self._cross(*pair, weights) for pair in self._pairs()}
        rhs, vv = self.weighted_columns(weights, v)
        return Gram(tuple(_level_grams(g, weights) for g in self.groups), pairs, rhs, vv)

    def weighted_columns(self, weights: Array | None, v: Array) -> tuple[tuple[Array, ...], Array]:
        """Z'WV, per group (m_a, k_a, c), and V'WV, (c, c): the blocks of :meth:`gram` that V has a part in."""
        if self._products(v.shape[1]) >= COMPILED_SUMS:
            from lmmformula.numerics.row_sums import RowSums

            return self._compiled_levels(RowSums(weights, v))[1:]
        if weights is None:
            return self.adjoint(v), v.T @ v
        wv, vv = _weighted(weights, v)
        return self.adjoint(wv), vv

    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.groups)), 2))

    def _products(self, c: int) -> float:
        """Products of three that a Gram with c columns of V sums; a pair of levels, found through its row, counts as three."""
        k = [g.k for g in self.groups]
        pairs = (sum(k) ** 2 - sum(x * x for x in k)) / 2
        return float(self.n) * (sum(x * (x + c) for x in k) + 3 * pairs)

    def _compiled_levels(self, sums: RowSums) -> tuple[tuple[Array, ...], tuple[Array, ...], Array]:
        """Z_a'WZ_a, Z_a'WV and V'WV."""
        diag, rhs, vv = [], [], None
        for a, group in enumerate(self.groups):
            if sums.is_shared(group.m, group.k):
                d, r, square = sums.as_they_come(group.codes, group.m, group.basis, products=vv is None)
                vv = square if vv is None else vv
            else:
                d, r = sums.by_level(self._order(a), group.basis)
            diag.append(d)
            rhs.append(r)
        return tuple(diag), tuple(rhs), sums.products() if vv is None else vv

    def _compiled_cross(self, sums: RowSums, a: int, b: int) -> Array:
        """Z_a'WZ_b on its pattern, led by the group of more levels."""
        pattern, ga, gb = self.pattern(a, b), self.groups[a], self.groups[b]
        order = self._order(a if ga.m >= gb.m else b)
        if (a, b) not in self._slots:
            self._slots[a, b] = pattern.slots[order.order]
        return sums.pairs(order, self._slots[a, b], pattern.nnz, ga.basis, gb.basis)

    def _order(self, a: int) -> LevelOrder:
        """Rows by level of group a; found once."""
        if a not in self._orders:
            from lmmformula.numerics.row_sums import LevelOrder

            self._orders[a] = LevelOrder.of(self.groups[a].codes, self.groups[a].m)
        return self._orders[a]

    def _cross(self, a: int, b: int, weights: Array | None) -> Array:
        pattern, ga, gb = self.pattern(a, b), self.groups[a], self.groups[b]
        out = np.empty((pattern.nnz, ga.k, gb.k))
        for i in range(ga.k):
            for j in range(gb.k):
                value = _product(weights, _column(ga, i), _column(gb, j))
                out[:, i, j] = np.bincount(pattern.slots, value, pattern.nnz)
        return out


def _column(group: Group, j: int, rows: slice = slice(None)) -> Array | None:
    return None if group.basis is None else group.basis[rows, j]


def _product(*factors: Array | None) -> Any:
    """Product of those that are not None; None if none is left."""
    out: Any = None
    for f in factors:
        if f is not None:
            out = f if out is None else out * f
    return out


def _weighted(weights: Array, v: Array) -> tuple[Array, Array]:
    """WV and V'WV, in slices of the rows that stay in the cache if there are many."""
    if len(v) <= ROWS:
        wv = weights[:, None] * v
        return wv, v.T @ wv
    out = np.empty(v.shape)

    def part(start: int, stop: int) -> Array:
        some = np.multiply(weights[start:stop, None], v[start:stop], out=out[start:stop])
        return v[start:stop].T @ some

    square = np.zeros((v.shape[1],) * 2)
    for some in in_parts(part, edges(len(v), ROWS // 16)):
        square += some
    return out, square


def _level_grams(group: Group, weights: Array | None) -> Array:
    """Blocks of Z_a' W Z_a, (m, k, k)."""
    out = np.empty((group.m, group.k, group.k))
    for i in range(group.k):
        for j in range(i + 1):
            value = _product(weights, _column(group, i), _column(group, j))
            out[:, i, j] = out[:, j, i] = np.bincount(group.codes, value, group.m)
    return out


def _counted_sums(group: Group, columns: Array) -> Array:
    """Z_a' r by one count for each column, (m, k, c)."""
    out = np.empty((group.m, group.k, columns.shape[1]))
    for i in range(group.k):
        for j in range(columns.shape[1]):
            value = _product(columns[:, j], _column(group, i))
            out[:, i, j] = np.bincount(group.codes, value, group.m)
    return out


def _indicator(group: Group) -> Any:
    """Z_a' as scipy's compressed columns; its index arrays are those of the group."""
    from scipy.sparse import csr_array

    n, k = len(group.codes), group.k
    narrow = np.int32 if max(n * k, group.q) < 2**31 else np.int64
    if group.basis is None:
        indices, data = group.codes, np.ones(n)
    else:
        indices = (group.codes[:, None].astype(narrow) * narrow(k) + np.arange(k, dtype=narrow)).ravel()
        data = group.basis.ravel()
    ptr = np.arange(0, n * k + 1, k, dtype=narrow)  # in the type of the indices, so that scipy copies neither
    return csr_array((data, indices, ptr), shape=(n, group.q)).T
