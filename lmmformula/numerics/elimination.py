r"""What a sparse Cholesky factorisation can know before it sees a number.

For P M P' = L L' the parent of column j in the elimination tree is the row of the first nonzero below L's diagonal; the rows of
column j but its own are among those of its parent. So the pattern of L follows from tree and pattern of M:

- tree, by Liu's (1990, algorithm 4.2) union of paths; a postorder puts each subtree into consecutive columns;
- |L_j| for all j without forming L, by Gilbert, Ng & Peyton (1994): row i of L is the tree's paths from the leaves of its row
  subtree up to i, and counts are sums over the tree of +1 at such leaves and -1 where two of their paths meet;
- supernodes: neighbouring columns with (nearly) equal rows, kept as dense blocks. A child is merged with its parent where few
  zeros come in by that (Ashcraft & Grimes 1989);
- the tail: fill-in makes the last columns of most factors full. From some column on a dense factorisation by LAPACK costs
  less, at its higher rate, than the sparse one: the column that minimises `_SLOWER` sum_{j < t} |L_j|^2 + (n - t)^3 / 3.

The tail is the last supernode; a diagonal matrix has a tail too, if only of one column.

References
----------
Liu (1990), The role of elimination trees in sparse factorization, SIAM J. Matrix Anal. Appl. 11, 134-172.
Gilbert, Ng & Peyton (1994), An efficient algorithm to compute row and column counts for sparse Cholesky factorization,
SIAM J. Matrix Anal. Appl. 15, 1075-1091.
Ashcraft & Grimes (1989), The influence of relaxed supernode partitions on the multifrontal method, ACM TOMS 15, 291-309.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.ordering import minimum_degree
from lmmformula.typing import Array, Index

__all__ = ["Elimination", "Supernodes"]

_SLOWER = 8.0
"""Time of a multiplication in sparse columns over that in LAPACK."""


@dataclass(frozen=True, slots=True, eq=False)
class Elimination:
    """Order, tree and counts.

    Attributes
    ----------
    order : (n,) array
        Column k of P M P' is variable ``order[k]``.
    place : (n,) array
        The inverse of `order`.
    low, high : (nonzeros below the diagonal,) arrays
        Columns and rows of M's nonzeros in the new order.
    parent : (n,) array
        Of each column in the elimination tree, -1 at roots.
    counts : (n,) array
        Nonzeros of each column of L with its diagonal.
    tail : int
        Column from which on L is held as full.
    """

    order: Index
    place: Index
    low: Index
    high: Index
    parent: Index
    counts: Index
    tail: int

    @classmethod
    def of(cls, rows: Index, columns: Index, n: int) -> Elimination:
        """From the places of nonzeros below the diagonal, in any order.

        Time is that of the ordering, a few steps for each nonzero of M; none of it grows with L.
        """
        order = minimum_degree(*_grouped(np.concatenate([rows, columns]), np.concatenate([columns, rows]), n))
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        low, high = _lower(place, rows, columns)
        work = np.full((5, n), -1, dtype=np.int64)
        _elimination_tree(*_grouped(low, high, n), work)
        parent, post = work[0], work[3]
        order = order[post]
        rank = np.empty(n + 1, dtype=np.int64)
        rank[post], rank[n] = np.arange(n), -1
        parent = rank[parent[post]]
        place[order] = np.arange(n)
        low, high = _lower(place, rows, columns)
        work[:] = -1
        _column_counts(*_grouped(high, low, n), parent, work)
        counts = work[4].copy()
        return cls(order, place, low, high, parent, counts, _tail_start(counts))

    @property
    def nonzeros(self) -> int:
        """Of L, the tail as a full square."""
        side = len(self.order) - self.tail
        return int(self.counts[: self.tail].sum()) + side * side

    @property
    def flops(self) -> float:
        """Multiplications and additions of a factorisation."""
        side = float(len(self.order) - self.tail)
        return float(np.square(self.counts[: self.tail], dtype=float).sum()) + side**3 / 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Supernodes:
    """Where L is kept: supernode s holds columns ``first[s]`` to ``first[s + 1]`` as a block (columns, rows).

    Attributes
    ----------
    first : (s + 1,) array
    owner : (n,) array
        Supernode of each column.
    row_ptr, rows : (s + 1,) array and array
        Rows of each supernode, its own columns first, increasing.
    value_ptr : (s + 1,) array
        Where each block begins.
    """

    first: Index
    owner: Index
    row_ptr: Index
    rows: Index
    value_ptr: Index

    @classmethod
    def of(cls, known: Elimination) -> Supernodes:
        """Time and memory O(rows of all supernodes)."""
        n = len(known.order)
        starts = np.zeros(n + 1, dtype=np.int64)
        first = starts[: _supernodes(known.parent, known.counts, known.tail, starts) + 1].copy()
        widths, last = np.diff(first), first[1:] - 1
        owner = np.repeat(np.arange(len(widths)), widths)
        above = np.where(known.parent[last] >= 0, owner[known.parent[last]], -1)
        heights = widths + known.counts[last] - 1
        above[-1:], heights[-1:] = -1, widths[-1:]
        row_ptr, value_ptr = (np.concatenate([[0], np.cumsum(x)]) for x in (heights, widths * heights))
        rows = np.empty(row_ptr[-1], dtype=np.int64)
        _supernode_rows(*_grouped(known.low, known.high, n), first, owner, above, row_ptr, rows)
        return cls(first, owner, row_ptr, rows, value_ptr)

    @property
    def arrays(self) -> tuple[Index, Index, Index, Index, Index]:
        """What compiled loops take."""
        return self.first, self.owner, self.row_ptr, self.rows, self.value_ptr

    def tail(self, values: Array) -> Array:
        """The last block (side, side), a view: T[j, i] is row i and column j; what lies left of its diagonal means nothing."""
        side = int(self.first[-1] - self.first[-2]) if len(self.first) > 1 else 0
        return values[len(values) - side * side :].reshape(side, side)

    def locations(self, low: Index, high: Index) -> Index:
        """Where the entries of columns `low` and rows `high` stand among the values, -1 if they are no part of L."""
        out = np.empty(len(low), dtype=np.int64)
        _locations(low, high, self.first, self.owner, self.row_ptr, self.rows, self.value_ptr, out)
        return out


def _grouped(indices: Index, by: Index, n: int) -> tuple[Index, Index]:
    """Where each group begins, and `indices` by groups, in the order in which they came."""
    ptr, out = np.zeros(n + 2, dtype=np.int64), np.empty(len(by), dtype=np.int64)
    _by_groups(np.asarray(indices, dtype=np.int64), np.asarray(by, dtype=np.int64), ptr, out)
    return ptr[:-1], out


def _lower(place: Index, rows: Index, columns: Index) -> tuple[Index, Index]:
    """Columns and rows of the lower triangle in the new order."""
    i, j = place[rows], place[columns]
    return np.minimum(i, j), np.maximum(i, j)


def _tail_start(counts: Index) -> int:
    """The column from which on L is held as full."""
    n = len(counts)
    if not n:
        return 0
    before = np.concatenate([[0.0], np.cumsum(np.square(counts, dtype=float))])[:-1]
    return int(np.argmin(_SLOWER * before + np.arange(n, 0, -1.0) ** 3 / 3.0))


@compiled()
def _by_groups(indices, by, ptr, out):
    """Counting sort; `ptr`, zeros, has a place more than there are ends of groups."""
    for k in range(len(by)):
        ptr[by[k] + 2] += 1
    for g in range(2, len(ptr)):
        ptr[g] += ptr[g - 1]
    for k in range(len(by)):
        out[ptr[by[k] + 1]] = indices[k]
        ptr[by[k] + 1] += 1


@compiled()
def _elimination_tree(ptr, columns, work):
    """Parents in row 0 of `work` and a postorder in row 3, from the columns left of the diagonal of each row."""
    n = work.shape[1]
    parent, root, sibling, post, child = work[0], work[1], work[2], work[3], work[4]
    for i in range(n):
        for p in range(ptr[i], ptr[i + 1]):
            j = columns[p]
            while root[j] != -1 and root[j] != i:
                above = root[j]
                root[j] = i
                j = above
            if root[j] == -1:
                root[j] = i
                parent[j] = i
    top = -1
    for j in range(n - 1, -1, -1):  # so that the lists of children increase
        if parent[j] == -1:
            sibling[j], top = top, j
        else:
            sibling[j], child[parent[j]] = child[parent[j]], j
    k, j = 0, top
    while j != -1:
        while child[j] != -1:
            down = child[j]
            child[j] = -1
            j = down
        post[k] = j
        k += 1
        j = sibling[j] if sibling[j] != -1 else parent[j]


@compiled()
def _column_counts(ptr, rows, parent, work):
    """Counts in row 4 of `work`, from the rows below the diagonal of each column of a postordered matrix."""
    n = work.shape[1]
    first, seen, leaf, ancestor, counts = work[0], work[1], work[2], work[3], work[4]
    for k in range(n):
        counts[k] = 1 if first[k] == -1 else 0
        ancestor[k] = k
        j = k
        while j != -1 and first[j] == -1:
            first[j] = k
            j = parent[j]
    for j in range(n):
        if parent[j] != -1:
            counts[parent[j]] -= 1
        for p in range(ptr[j], ptr[j + 1]):
            i = rows[p]
            if first[j] <= seen[i]:
                continue
            seen[i] = first[j]  # j is a leaf of the subtree of row i
            counts[j] += 1
            if leaf[i] != -1:
                q = leaf[i]
                while ancestor[q] != q:
                    q = ancestor[q]
                x = leaf[i]
                while x != q:
                    above = ancestor[x]
                    ancestor[x] = q
                    x = above
                counts[q] -= 1
            leaf[i] = j
        if parent[j] != -1:
            ancestor[j] = parent[j]
    for j in range(n):
        if parent[j] != -1:
            counts[parent[j]] += counts[j]


@compiled()
def _supernodes(parent, counts, tail, first):
    """Write where supernodes begin, and the end; their number."""
    n = len(parent)
    s, total, end = (
        0,
        0,
        0,
    )  # supernodes before the one that grows, its nonzeros without zeros, and where it ends
    kept = np.empty(n, dtype=np.int64)  # nonzeros of the supernodes before it
    for j in range(tail):
        first[s], kept[s], end = j, counts[j], j + 1
        # what stands left of column j is merged with its supernode while it is a child and brings few zeros
        while s > 0:
            top = first[s] - 1
            if parent[top] < first[s] or parent[top] >= end:
                break
            width = end - first[s - 1]
            size = width * (width + counts[end - 1] - 1) - width * (width - 1) // 2
            total = kept[s - 1] + kept[s]
            zeros = size - total
            if zeros > (0.4 if width <= 16 else 0.1 if width <= 48 else 0.05) * size:
                break
            s -= 1
            kept[s] = total
        s += 1
    if tail < n:
        first[s] = tail
        s += 1
    first[s] = n
    return s


@compiled()
def _supernode_rows(ptr, columns, first, owner, above, row_ptr, rows):
    """Rows of each supernode: row by row up the tree, from the columns left of the diagonal."""
    n, count = len(owner), len(first) - 1
    after, seen = np.empty(count, dtype=np.int64), np.full(count, -1)
    for s in range(count):
        after[s] = row_ptr[s]
        for j in range(first[s], first[s + 1]):
            rows[after[s]] = j
            after[s] += 1
    for i in range(n):
        for p in range(ptr[i], ptr[i + 1]):
            s = owner[columns[p]]
            while s != owner[i] and seen[s] != i:
                seen[s] = i
                rows[after[s]] = i
                after[s] += 1
                s = above[s]


@compiled()
def _locations(low, high, first, owner, row_ptr, rows, value_ptr, out):
    """Places of entries among the values, by bisection among the rows of their supernodes."""
    for k in range(len(low)):
        s, i = owner[low[k]], high[k]
        a, b = row_ptr[s], row_ptr[s + 1] - 1
        while a < b:
            middle = (a + b) // 2
            if rows[middle] < i:
                a = middle + 1
            else:
                b = middle
        height = row_ptr[s + 1] - row_ptr[s]
        out[k] = value_ptr[s] + (low[k] - first[s]) * height + a - row_ptr[s] if rows[a] == i else -1
