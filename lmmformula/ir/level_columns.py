r"""Columns of X that are constant within the levels of a grouping factor, held once for each level.

Predictors of clients and of items are most of the columns where clients meet items, and a factor's contrasts are many of them.
With S_a the indicators of the levels of group a, and A_a the values in each level, ``X = [R, S_1 A_1, .., S_G A_G]`` up to the
order of its columns; R alone has numbers of the rows. For groups whose effects are an intercept (Z_a = S_a)::

    X beta         = R beta_R + sum_a S_a A_a beta_a
    S_a A_a        in X'r:     A_a'(S_a'r)
    Z_b'W S_a A_a  = (Z_b'WZ_a) A_a                                     (1)
    A_a'S_a'W V    = A_a'(Z_a'WV)      for V any columns of X           (2)

so that sums over rows are those of R, of the levels and of the pairs that meet in a row, which a Gram has anyway; what (1) and
(2) cost beside does not depend on the rows. They are the same sums in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.groups import Group, GroupRows
from lmmformula.ir.patterns import CrossPattern
from lmmformula.numerics.columns import Moments
from lmmformula.numerics.counted import add_values_of, sums_by, together
from lmmformula.numerics.cuts import even_cuts
from lmmformula.numerics.tall import Tall, tall_gram, tall_times, tall_transposed
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Index

__all__ = ["FEW", "ByLevel", "LevelColumns", "first_rows_of", "level_columns", "varying_columns"]

PARTS = 16
ROWS = 65_536
LEVELS = 4_096
"""Levels that are widened at a time: their columns stay in the cache of one core."""
FEW = 4
"""Columns held by level from which on they are worth a place of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelColumns:
    """X by its levels.

    Attributes
    ----------
    rest : (n, r) array
        R.
    rest_at : (r,) array
        Where its columns stand in X.
    values : tuple of (m_a, p_a) arrays
        A_a.
    values_at : tuple of (p_a,) arrays
        Where these columns stand in X.
    """

    rest: Array
    rest_at: Index
    values: tuple[Array, ...]
    values_at: tuple[Index, ...]

    @property
    def p(self) -> int:
        """Number of columns of X."""
        return len(self.rest_at) + sum(map(len, self.values_at))

    def shifts(self, beta: Array) -> list[Array | None]:
        """A_a beta_a of each group, (m_a,); None where it has no columns."""
        parts = zip(self.values, self.values_at, strict=True)
        return [values @ beta[at] if len(at) else None for values, at in parts]

    def wide(
        self,
        groups: Sequence[Group],
        diag: Sequence[Array],
        cross: dict[tuple[int, int], tuple[CrossPattern, Array]],
        rhs: Sequence[Array],
        square: Array,
    ) -> tuple[tuple[Array, ...], Array]:
        """Z'WX and X'WX, from Z'WZ in blocks, Z'WR and R'WR."""
        out = tuple(np.empty((g.m, g.k, self.p)) for g in groups)
        for a, whole in enumerate(out):
            self._fill(a, whole, diag[a], cross, rhs[a])
        return out, self._square(out, diag, rhs, square)

    def _fill(
        self,
        a: int,
        out: Array,
        diag: Array,
        cross: dict[tuple[int, int], tuple[CrossPattern, Array]],
        rhs: Array,
    ) -> None:
        """Z_a'WX of one group, some of its levels at a time."""
        from lmmformula.numerics.level_kernels import pair_products, place_columns, scale_columns

        led = [(b, *cross[a, b]) for b, at in enumerate(self.values_at) if a < b and len(at)]

        def part(i: int, j: int) -> None:
            place_columns(i, j, rhs, self.rest_at, out)
            if len(self.values_at[a]):
                scale_columns(i, j, diag, self.values[a], self.values_at[a], out)
            for b, pattern, w in led:
                given = pattern.indptr, pattern.indices, w, self.values[b], self.values_at[b]
                pair_products(i, j, *given, out)

        in_parts(part, edges(len(out), LEVELS))
        for b in range(a):
            if len(self.values_at[b]):
                out[:, :, self.values_at[b]] = _by_columns(*cross[b, a], self.values[b], len(out))

    def _square(
        self, wide: tuple[Array, ...], diag: Sequence[Array], rhs: Sequence[Array], square: Array
    ) -> Array:
        """X'WX by (2); where two groups meet, from sums of the one of fewer levels."""
        out = np.zeros((self.p, self.p))
        out[np.ix_(self.rest_at, self.rest_at)] = square
        held = [a for a, at in enumerate(self.values_at) if len(at)]
        for a in held:
            at, values = self.values_at[a], self.values[a]
            own = tall_gram(values[:, None], diag[a])
            out[np.ix_(at, at)] = 0.5 * (own + own.T)
            blocks = [(self.rest_at, rhs[a][:, 0])]
            blocks += [
                (self.values_at[b], wide[a][:, 0, self.values_at[b]])
                for b in held
                if (len(values), a) < (len(self.values[b]), b)
            ]
            for other, sums in blocks:
                part = tall_transposed(values, sums)
                out[np.ix_(at, other)], out[np.ix_(other, at)] = part, part.T
        return out


class ByLevel(Tall):
    """X in memory whose products take what is constant within levels from the levels.

    Attributes
    ----------
    matrix : (n, p) array
        X itself; written out when it is first asked for, where it was not given.
    held : LevelColumns
    codes : tuple of (n,) arrays
        Levels of the groups that `held` has.
    """

    held: LevelColumns
    codes: tuple[NDArray[np.int32], ...]

    def __init__(
        self, held: LevelColumns, codes: tuple[NDArray[np.int32], ...], matrix: Array | None = None
    ) -> None:
        for name, value in (("held", held), ("codes", codes), ("_given", matrix)):
            object.__setattr__(self, name, value)

    @cached_property
    def matrix(self) -> Array:  # type: ignore[override]
        given: Array | None = vars(self)["_given"]
        if given is not None:
            return given
        out = np.empty((self.n, self.p))

        def part(i: int, j: int) -> None:
            out[i:j] = self.rows(slice(i, j))

        in_parts(part, edges(self.n, ROWS))
        out.setflags(write=False)
        return out

    @property
    def n(self) -> int:
        return len(self.held.rest)

    @property
    def p(self) -> int:
        return self.held.p

    @property
    def arrays(self) -> tuple[Array, ...]:
        given: Array | None = vars(self)["_given"]
        return () if given is None else (given,)

    def rows(self, some: slice) -> Array:
        beside = self._beside(some)
        out = np.empty_like(beside)
        out[:, self._order] = beside
        return out

    def gram(self, weights: Array | None = None) -> Array:
        def part(i: int, j: int) -> Array:
            rows = self._beside(slice(i, j))
            return rows.T @ (rows if weights is None else weights[i:j, None] * rows)

        out = np.empty((self.p, self.p))
        out[np.ix_(self._order, self._order)] = sum(
            in_parts(part, edges(self.n, ROWS)), np.zeros((self.p, self.p))
        )
        return out

    @cached_property
    def _order(self) -> Index:
        """Where R's columns, and those of A_a in turn, stand in X."""
        return np.concatenate([self.held.rest_at, *self.held.values_at])

    def _beside(self, some: slice) -> Array:
        """Some of the rows of [R, S_1 A_1, ..]: whole rows of each, which lie together."""
        held = self.held
        parts = zip(self.codes, held.values, held.values_at, strict=True)
        own = [np.take(values, codes[some], axis=0) for codes, values, at in parts if len(at)]
        return np.concatenate([held.rest[some], *own], axis=1)

    def of(self, own: Sequence[GroupRows]) -> LevelColumns | None:
        """X by the levels of these groups; None where columns are held by the levels of another, or of none alike."""
        held, none = self.held, np.zeros(0, dtype=np.intp)
        values: list[Array] = [np.zeros((rows.group.m, 0)) for rows in own]
        at: list[Index] = [none] * len(own)
        for codes, numbers, columns in zip(self.codes, held.values, held.values_at, strict=True):
            if not len(columns):
                continue
            plain = (a for a, rows in enumerate(own) if not (rows.group.has_basis or rows.group.several))
            where = next((a for a in plain if own[a].codes is codes), None)
            if where is None:
                return None
            values[where], at[where] = numbers, columns
        return LevelColumns(held.rest, held.rest_at, tuple(values), tuple(at))

    def moments(self) -> Moments:
        """From those of levels, each as often as it has rows."""
        held = self.held
        sums, squares = np.empty(self.p), np.empty(self.p)
        own = Tall(held.rest).moments()
        sums[held.rest_at], squares[held.rest_at] = own.sums, own.squares
        for codes, values, at in zip(self.codes, held.values, held.values_at, strict=True):
            if len(at):
                count = np.asarray(sums_by(codes, None, len(values)), dtype=float)
                with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                    sums[at], squares[at] = count @ values, count @ values**2
        return Moments(self.n, sums, squares)

    def times(self, x: Array) -> Array:
        if x.ndim > 1:
            return tall_times(self.matrix, x)
        held = self.held
        out, parts = np.empty(self.n), list(zip(self.codes, held.shifts(x), strict=True))

        def part(i: int, j: int) -> None:
            np.matmul(held.rest[i:j], x[held.rest_at], out=out[i:j])
            for codes, values in parts:
                if values is not None:
                    add_values_of(codes, values, out, i, j)

        in_parts(part, edges(len(out), ROWS))
        return out

    def transposed(self, r: Array, weights: Array | None = None) -> Array:
        held, wr = self.held, r if weights is None else weights * r
        out = np.empty(self.p)
        out[held.rest_at] = tall_transposed(held.rest, wr)
        parts = [part for part in zip(self.codes, held.values, held.values_at, strict=True) if len(part[2])]
        sums = together([partial(sums_by, codes, wr, len(values)) for codes, values, _ in parts], self.n)
        for (_, values, at), own in zip(parts, sums, strict=True):
            out[at] = values.T @ own
        return out


def level_columns(own: Sequence[GroupRows], x: Array) -> LevelColumns | None:
    """X by its levels; None where few columns are constant within those of a group. One reading of X.

    A column goes to the group of fewest levels that it is constant in: a constant one to the smallest.
    """
    n, p = x.shape
    firsts, at = _constant_within(own, x)
    free = np.ones(p, dtype=bool)
    free[np.concatenate(at)] = False
    if p - int(free.sum()) < FEW:
        return None
    left = np.flatnonzero(free)
    rest = np.empty((n, len(left)))
    in_parts(lambda i, j: np.take(x[i:j], left, axis=1, out=rest[i:j]), edges(n, ROWS))
    values = tuple(
        np.zeros((rows.group.m, 0)) if first is None or not len(here) else x[np.ix_(first, here)]
        for rows, first, here in zip(own, firsts, at, strict=True)
    )
    return LevelColumns(rest, left, values, tuple(at))


def varying_columns(own: Sequence[GroupRows], x: Array) -> int:
    """How many columns of X :func:`level_columns` would leave with numbers of the rows, as the first rows have it."""
    left = x.shape[1] - sum(map(len, _constant_within(own, x[:ROWS])[1]))
    return left if x.shape[1] - left >= FEW else x.shape[1]


def _constant_within(own: Sequence[GroupRows], x: Array) -> tuple[list[Index | None], list[Index]]:
    """For each group its levels' first rows among those of X, None if nobody looked, and the columns that are its own."""
    n, p = x.shape
    free = np.ones(p, dtype=bool)
    firsts: list[Index | None] = [None] * len(own)
    at: list[Index] = [np.zeros(0, dtype=np.intp)] * len(own)
    for a in sorted(range(len(own)), key=lambda a: own[a].group.m):
        rows = own[a]
        if not free.any() or rows.group.has_basis or rows.group.several:
            continue
        first = firsts[a] = first_rows_of(rows, n)
        at[a] = _constant(x, rows.codes[:n], first, np.flatnonzero(free))
        free[at[a]] = False
    return firsts, at


def first_rows_of(rows: GroupRows, n: int) -> Index:
    """The first of n rows in each level, (m,); anything for a level without any."""
    from lmmformula.numerics.level_kernels import first_rows

    out = np.empty(rows.group.m, dtype=np.int32 if n < 2**31 else np.int64)
    first_rows(rows.codes[:n], out)
    return out


def _constant(x: Array, codes: NDArray[np.int32], first: Index, among: Index) -> Index:
    """Which columns `among` X's have one value in all rows of each level."""
    from lmmformula.numerics.level_kernels import constant_columns

    def part(i: int, j: int) -> NDArray[np.bool_]:
        live = np.array(among, dtype=np.int64)
        count = np.full(1, len(live), dtype=np.int64)
        constant_columns(i, j, x, codes, first, live, count)
        return np.isin(among, live[: int(count[0])])

    n = len(codes)
    few = min(n, ROWS)
    among = among[part(0, few)]  # numbers of rows are known as such after some
    parts = in_parts(part, edges(n, -(-n // PARTS)))
    return among[np.logical_and.reduce(parts)]


def _by_columns(pattern: CrossPattern, w: Array, values: Array, m: int) -> Array:
    """W'values, (m_b, k, p), for values on the levels of a and W (nnz, 1, k) on the pattern."""
    from lmmformula.numerics.level_kernels import add_pair_products

    shape = m, w.shape[2], values.shape[1]

    def part(i: int, j: int) -> Array:
        out = np.zeros(shape)
        add_pair_products(i, j, pattern.indptr, pattern.indices, w, values, out)
        return out

    count = max(2, min(PARTS, 8_000_000 // max(1, int(np.prod(shape)))))
    return sum(in_parts(part, even_cuts(pattern.indptr, count)), np.zeros(()))
