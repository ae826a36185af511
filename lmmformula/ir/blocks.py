"""The one place that touches rows: products with Z and the weighted Gram blocks [Z V]' W [Z V].

Terms that share a grouping factor are merged into one :class:`Group` whose effects per level are
their columns side by side, so that ``(1 | g) + (0 + x | g)`` costs what ``(1 + x | g)`` does.

With groups a = 1..G of m_a levels and k_a columns, row r of Z_a holds ``basis[r]`` in the k_a
columns of level ``codes[r]`` and zeros elsewhere; with several levels a row it is a sum of such parts, each times a share.
Hence

* ``Z_a' W Z_a`` is block diagonal: m_a blocks of k_a x k_a, and where rows have several levels a block for each pair of these,
* ``Z_a' W Z_b`` has one k_a x k_b block for each pair of levels that meet in some row,
* ``Z_a' W V`` is dense, (m_a k_a) x c.

A Gram is a sum over rows. It is the only thing later stages need of them, so for a fixed W the cost of
everything after it does not depend on n. Cost of a Gram: O(n (sum k)^2 + n sum(k) c). For many rows it is formed in compiled
passes over threads (:mod:`lmmformula.numerics.row_sums`), else by counting and BLAS, which need no compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, TypeVar
from weakref import ref

import numpy as np

from lmmformula.ir.design import GroupBlock
from lmmformula.ir.gram import Gram
from lmmformula.ir.gram_ways import are_compiled, arranged_group, by_level
from lmmformula.ir.groups import GroupRows, merge_terms
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern, cross_pattern, is_sorted, sorted_pairs
from lmmformula.ir.row_products import (
    column_of,
    counted_sums,
    lower_first,
    product_of,
    times_weights,
    where_met,
)
from lmmformula.numerics.counted import add_values_of, are_counted, columns_by, sums_by, together
from lmmformula.numerics.tall import Tall, beside, tall_transposed, weighted
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Index, Record, SparseMatrix

if TYPE_CHECKING:
    from lmmformula.ir.level_columns import LevelColumns
    from lmmformula.numerics.row_sums import Arranged, LevelOrder, RowSums

__all__ = ["Blocks", "Gram"]

T = TypeVar("T")

FEW_PARTS = 8
"""Parts of the levels up to which rows in order of pairs are left aside for those by level of the larger group."""
COUNTED = 100_000
"""Cells whose sums by level are counted column by column, in less time than scipy's sparse matrices take to be imported."""
ROWS = 65_536
"""Rows that are handled at a time where temporaries of n elements would be slow."""


_Sums = tuple[tuple[Array, ...], Array]
"""Z'WV of each group, and V'WV."""
_Meeting = tuple[GroupRows, GroupRows, Index]
"""Parts of two groups, and where the products of their rows are added up."""


class Blocks(Levels):
    """Rows of a model's random-effects design in memory: groups and, when asked for, the patterns of their pairs."""

    def __init__(self, terms: Sequence[GroupBlock], n: int, own: Sequence[GroupRows] | None = None) -> None:
        self.own = merge_terms(terms) if own is None else tuple(own)
        super().__init__([rows.group for rows in self.own], n)
        self._parts = [rows.parts for rows in self.own]
        self._indicators: dict[int, SparseMatrix] = {}
        self._orders: dict[int, LevelOrder] = {}
        self._slots: dict[tuple[int, int], Index] = {}
        self._ordered_slots: dict[tuple[int, int], tuple[int, Index]] = {}
        self._within: dict[int, list[_Meeting]] = {}
        self._last: ref[Array] | None = None
        self._arranged: Arranged | None = None
        self._by_level: tuple[ref[Array], LevelColumns | None] | None = None

    def __getstate__(self) -> Record:
        """Without columns, which are the caller's."""
        return {**vars(self), "_last": None, "_arranged": None, "_by_level": None}

    def _met(self, a: int, b: int) -> CrossPattern:
        first, second = self.own[a], self.own[b]
        if not is_sorted(first, second):
            pattern, self._slots[a, b] = cross_pattern(first, second)
            return pattern
        found = sorted_pairs(first, second)
        self._slots[a, b] = found.slots
        if a not in self._orders and len(found.rows.cuts) > FEW_PARTS:
            self._orders[a], self._ordered_slots[a, b] = found.rows, (a, found.ordered)
        self._orders.setdefault(b, found.other)
        return found.pattern

    def slots(self, a: int, b: int) -> Index:
        """Which pair of :meth:`pattern` each row is of, (n,) or (n, r_a, r_b), see :func:`cross_pattern`."""
        self.pattern(a, b)
        return self._slots[a, b]

    def apply(self, b: Sequence[Array]) -> Array:
        """Z b, (n,), for effects `b` given per group as (m_a, k_a) arrays."""
        out = np.zeros(self.n)
        self.add_to(out, b)
        return out

    def add_to(self, out: Array, b: Sequence[Array]) -> None:
        """Add Z b to `out`, (n,)."""

        def part(start: int, stop: int) -> None:
            for parts, values in zip(self._parts, b, strict=True):
                for own in parts:
                    if own.basis is None:
                        add_values_of(own.codes, values[:, 0], out, start, stop)
                    else:
                        rows = values[own.codes[start:stop]]
                        out[start:stop] += np.einsum("nk,nk->n", own.basis[start:stop], rows)

        in_parts(part, edges(self.n, ROWS))

    def adjoint(self, r: Array) -> tuple[Array, ...]:
        """Z' r, per group (m_a, k_a), or (m_a, k_a, c) for r of shape (n, c)."""
        return tuple(together([partial(self._level_sums, a, r) for a in range(len(self.groups))], self.n))

    def _level_sums(self, a: int, r: Array) -> Array:
        """Z_a' r: (m, k) or (m, k, c); through scipy's product, which reads the rows once, if there are many columns."""
        group, columns = self.groups[a], r[:, None] if r.ndim == 1 else r
        c = columns.shape[1]
        if self._is_dense(a):
            out = (self._dense(a).T @ columns)[None]
        elif c * group.k < 4 or len(columns) * c < COUNTED or group.several:
            first, *more = (counted_sums(part, columns) for part in self._parts[a])
            out = sum(more, first)
        elif (found := self._counted_columns(a, columns)) is not None:
            out = found
        else:
            if a not in self._indicators:
                self._indicators[a] = self.own[a].design().T
            out = (self._indicators[a] @ columns).reshape(group.m, group.k, c)
        return out[:, :, 0] if r.ndim == 1 else out

    def _counted_columns(self, a: int, columns: Array) -> Array | None:
        """The same of many rows with an intercept alone, in a pass over them as they lie; None for others."""
        own = self.own[a]
        sums = (
            None if own.basis is not None or own.group.k > 1 else columns_by(own.codes, columns, own.group.m)
        )
        return None if sums is None else sums[:, None]

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
            for a, values in enumerate(own):
                if self._is_dense(a):
                    z = self._dense(a)[rows]
                    sums += np.einsum("nk,nk->n", z @ values[0], z)
                    continue
                for one, other, codes in self._own(a):
                    if one.basis is None and other.basis is None:
                        add_values_of(codes, values[:, 0, 0], out, start, stop)
                        continue
                    for i in range(one.group.k):
                        for j in range(one.group.k):
                            met = values[:, i, j][codes[rows]]
                            sums += product_of(met, column_of(one, i, rows), column_of(other, j, rows))
            for pair, values in pairs.items():
                for one, other, slots in self._meetings(*pair):
                    if one.basis is None and other.basis is None:
                        add_values_of(slots, values[:, 0, 0], out, start, stop, 2.0)
                        continue
                    for i in range(one.group.k):
                        for j in range(other.group.k):
                            met = values[:, i, j][slots[rows]]
                            sums += 2.0 * product_of(met, column_of(one, i, rows), column_of(other, j, rows))

        in_parts(part, edges(self.n, ROWS))
        return out

    def gram(self, weights: Array | None, v: Array, more: Sequence[Array] = ()) -> Gram:
        """The weighted Gram blocks of [Z V].

        Parameters
        ----------
        weights : (n,) array or None
            Diagonal of W; None stands for ones.
        v : (n, c) array
        more : sequence of (n,) arrays
            Further columns of V, which are copied beside the others only for compiled passes.
        """
        if self._is_compiled(v.shape[1] + len(more)):
            return self.compiled_gram(weights, beside(v, more))
        met = list(self.pairs())
        for pair in met:
            self.pattern(*pair)  # found once, not by several threads
        crossed = [partial(self._cross, a, b, weights) for a, b in met]
        own = [partial(self._level_grams, a, weights) for a in range(len(self.groups))]
        blocks = together([*crossed, *own], self.n)
        apart = more and len(v) > ROWS
        rhs, vv = self._apart(weights, v, more) if apart else self.weighted_columns(weights, beside(v, more))
        return Gram(tuple(blocks[len(met) :]), dict(zip(met, blocks, strict=False)), rhs, vv)

    def compiled_gram(self, weights: Array | None, v: Array, *, often: bool = False) -> Gram:
        """The same in compiled passes, for rows of one level each; `often` if sums of V will be asked for again."""
        from lmmformula.numerics.row_sums import RowSums

        sums = RowSums(weights, v, self._arrangement(v, often=often))
        diag, rhs, vv = self._compiled_levels(sums)
        return Gram(diag, {pair: self._compiled_cross(sums, *pair) for pair in self.pairs()}, rhs, vv)

    def weighted_columns(self, weights: Array | None, v: Array) -> _Sums:
        """Z'WV, per group (m_a, k_a, c), and V'WV, (c, c): the blocks of :meth:`gram` that V has a part in."""
        if self._is_compiled(v.shape[1]):
            from lmmformula.numerics.row_sums import RowSums

            return self._compiled_levels(RowSums(weights, v, self._arrangement(v)))[1:]
        if weights is None:
            return self.adjoint(v), v.T @ v
        if are_counted(*v.shape) and not any(own.group.several or own.basis is not None for own in self.own):
            columns = [partial(columns_by, own.codes, v, own.group.m, weights) for own in self.own]
            sums = tuple(s[:, None] for s in together(columns, self.n) if s is not None)
            return sums, Tall(v).gram(weights)
        wv, vv = weighted(weights, v)
        return self.adjoint(wv), vv

    def _apart(self, weights: Array | None, v: Array, more: Sequence[Array]) -> _Sums:
        """The same of columns that do not lie beside each other."""
        c, (rhs, vv) = v.shape[1], self.weighted_columns(weights, v)
        square, sums = np.empty((c + len(more),) * 2), [[r] for r in rhs]
        square[:c, :c] = vv
        for j, column in enumerate(more):
            wx = column if weights is None else weights * column
            for own, s in zip(sums, self.adjoint(wx), strict=True):
                own.append(s[..., None])
            square[c + j, :c] = square[:c, c + j] = tall_transposed(v, wx)
            square[c + j, c:] = [other @ wx for other in more]
        return tuple(np.concatenate(own, axis=-1) for own in sums), square

    def level_columns(self, v: Array, *, look: bool = True) -> LevelColumns | None:
        """V by levels in which columns are constant, found once for a V; None where that does not pay, or nobody did `look`."""
        if not look:
            known = self._by_level
            return None if known is None or known[0]() is not v else known[1]
        if not by_level(self.groups, self.n, v.shape[1]):
            return None
        if self._by_level is None or self._by_level[0]() is not v:
            from lmmformula.ir.level_columns import level_columns

            self._by_level = ref(v), level_columns(self.own, v)
        return self._by_level[1]

    def varying_columns(self, v: Array) -> int:
        """Columns of V whose numbers a Gram reads of each row, the others being held by level; by a look at the first rows."""
        if not by_level(self.groups, self.n, v.shape[1]):
            return v.shape[1]
        from lmmformula.ir.level_columns import varying_columns

        return varying_columns(self.own, v)

    def _is_compiled(self, columns: int) -> bool:
        return are_compiled(self.groups, self.n, columns)

    def _is_dense(self, a: int) -> bool:
        """Whether a group has one level of several columns, as smooths have: products of matrices then."""
        group = self.groups[a]
        return group.m == 1 and group.k > 1 and not group.several

    def _dense(self, a: int) -> Array:
        basis = self.own[a].basis
        assert basis is not None
        return basis

    def _own(self, a: int) -> list[_Meeting]:
        """What a group's rows have with themselves in one level."""
        if a not in self._within:
            parts = self._parts[a]
            self._within[a] = [(part, part, part.codes) for part in parts]
            for x, y in permutations(range(len(parts)), 2):
                same = parts[x].codes == parts[y].codes
                if same.any():
                    self._within[a].append((where_met(parts[x], same), parts[y], parts[x].codes))
        return self._within[a]

    def _meetings(self, a: int, b: int) -> list[_Meeting]:
        """What the rows of two groups, or of different levels of one, have with each other."""
        met, first, second = self.slots(a, b), self._parts[a], self._parts[b]
        if met.ndim == 1:
            return [(first[0], second[0], met)]
        out = []
        for x, y in product(range(len(first)), range(len(second))):
            if a != b or x < y:
                slots, one, other = met[:, x, y], first[x], second[y]
                if a == b and self.own[a].columns_differ:
                    one, other = lower_first(one, other)
                out.append((where_met(one, slots >= 0), other, np.maximum(slots, 0)))
        return out

    def _compiled_levels(self, sums: RowSums) -> tuple[tuple[Array, ...], tuple[Array, ...], Array]:
        """Z_a'WZ_a, Z_a'WV and V'WV."""
        diag, rhs, vv = [], [], None
        for a, group in enumerate(self.groups):
            own = self.own[a]
            if self._is_dense(a):
                d, r = sums.dense(self._dense(a))
                diag.append(d)
                rhs.append(r)
                continue
            if sums.is_shared(group.m, group.k):
                d, r, square = sums.as_they_come(own.codes, group.m, own.basis, products=vv is None)
                vv = square if vv is None else vv
            else:
                d, r = sums.by_level(self._order(a), own.basis)
            diag.append(d)
            rhs.append(r)
        return tuple(diag), tuple(rhs), sums.products() if vv is None else vv

    def _compiled_cross(self, sums: RowSums, a: int, b: int) -> Array:
        """Z_a'WZ_b on its pattern, led by the group that has the rows in order of pairs, or by that of more levels."""
        nnz, first, second = self.pattern(a, b).nnz, self.own[a], self.own[b]
        if (a, b) not in self._ordered_slots:
            lead = a if first.group.m >= second.group.m else b
            self._ordered_slots[a, b] = lead, self.slots(a, b)[self._order(lead).order]
        lead, slots = self._ordered_slots[a, b]
        return sums.pairs(self._order(lead), slots, nnz, first.basis, second.basis)

    def _arrangement(self, v: Array, *, often: bool = False) -> Arranged | None:
        """V by level of the largest group, from the second time on that its sums are asked for in a row."""
        lead = arranged_group(self.groups, v.shape[1])
        if lead is None:
            return None
        again = self._last is not None and self._last() is v
        if not again:
            self._last, self._arranged = ref(v), None
        if self._arranged is None and (again or often):
            from lmmformula.numerics.row_sums import Arranged

            self._arranged = Arranged.of(self._order(lead), v)
        return self._arranged

    def _order(self, a: int) -> LevelOrder:
        """Rows by level of group a; found once."""
        if a not in self._orders:
            from lmmformula.numerics.row_sums import LevelOrder

            self._orders[a] = LevelOrder.of(self.own[a].codes, self.groups[a].m)
        return self._orders[a]

    def _cross(self, a: int, b: int, weights: Array | None) -> Array:
        if self._is_dense(b) and not self.groups[a].several:
            return self._level_sums(a, times_weights(weights, self._dense(b)))[self.pattern(a, b).rows()]
        if self._is_dense(a) and not self.groups[b].several:
            sums = self._level_sums(b, times_weights(weights, self._dense(a)))
            return np.swapaxes(sums[self.pattern(a, b).indices], 1, 2)
        out = np.zeros((self.pattern(a, b).nnz, self.groups[a].k, self.groups[b].k))
        for one, other, slots in self._meetings(a, b):
            for i in range(one.group.k):
                for j in range(other.group.k):
                    value = product_of(weights, column_of(one, i), column_of(other, j))
                    out[:, i, j] += sums_by(slots, value, len(out))
        return out

    def _level_grams(self, a: int, weights: Array | None) -> Array:
        """Blocks of Z_a' W Z_a within levels, (m, k, k)."""
        group = self.groups[a]
        if self._is_dense(a):
            return (self._dense(a).T @ times_weights(weights, self._dense(a)))[None]
        out = np.zeros((group.m, group.k, group.k))
        for one, other, codes in self._own(a):
            for i in range(group.k):
                for j in range(i + 1):
                    value = product_of(weights, column_of(one, i), column_of(other, j))
                    out[:, i, j] += sums_by(codes, value, group.m)
        for i, j in combinations(range(group.k), 2):
            out[:, i, j] = out[:, j, i]
        return out
