"""Products with a ragged matrix T: level s of k rows is nonzero in the columns ``cols[ptr[s]:ptr[s+1]]``.

T (m k x q) is what couples the levels of an eliminated group to the dense part. Two products carry the cost of
a likelihood evaluation,

* ``T'T``                        (the Schur complement),
* ``T Z`` on the pattern of T    (selected inversion; Z symmetric q x q),

each with ``pairs = k sum_s c_s^2`` multiplications if done level by level (c_s = columns of level s). Three ways,
chosen by size alone: BLAS on a dense copy when that is small or T is nearly full; scipy's sparse product when there is little
to do; a compiled loop over pairs otherwise, which is imported only then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.numerics.blas import gram_lower, times_symmetric
from lmmformula.numerics.cuts import even_cuts
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

__all__ = ["Ragged", "RaggedSize"]


_DENSE_CELLS = 400_000
"""Below this many cells a dense copy costs less than any bookkeeping."""
_COMPILED_PAIRS = 3_000_000
"""From this many multiplications on, the compiled loop repays its import."""
_BLAS_ADVANTAGE = 15.0
"""Multiplications per second of BLAS over those of the pair loop (measured 10-20)."""
SLAB = 4_000_000
"""Cells of a product that stand at a time."""
PARTS = 32
"""Parts of the columns in a compiled product; at most so many threads are of use."""
SPARSE_PARTS = 16
MUCH = 2_000_000
"""Parts of the levels in sparse products with vectors of so many multiplications at least."""


@dataclass(frozen=True, slots=True, eq=False)
class RaggedSize:
    """How many columns each level of T has, which is all that its cost depends on.

    Attributes
    ----------
    ptr : (m + 1,) int64 array
    q : int
        Number of columns of T.
    k : int
        Rows per level; values come as (k, total) arrays.
    pairs : float
        k sum_s c_s^2.
    """

    ptr: NDArray[np.int64]
    q: int
    k: int
    pairs: float

    @classmethod
    def of(cls, ptr: NDArray[np.int64], q: int, k: int) -> RaggedSize:
        counts = np.diff(ptr).astype(float)
        return cls(ptr, q, k, float(k * (counts @ counts)))

    @property
    def m(self) -> int:
        return len(self.ptr) - 1

    @property
    def entries(self) -> int:
        """Columns of all levels, total."""
        return int(self.ptr[-1])

    def way(self) -> str:
        """How products with T are done."""
        cells = float(self.m) * self.k * self.q
        if cells <= _DENSE_CELLS:
            return "dense"
        if self.pairs < _COMPILED_PAIRS:
            return "sparse"
        dense_fits = cells < 2.0e8
        return "dense" if dense_fits and cells * self.q < _BLAS_ADVANTAGE * self.pairs else "compiled"


@dataclass(frozen=True, eq=False)
class Ragged:
    """The pattern of T.

    Attributes
    ----------
    size : RaggedSize
    cols : (total,) int32 array, increasing within a level
    width : int
        Columns come in blocks of so many, side by side from multiples of it.
    """

    size: RaggedSize
    cols: NDArray[np.int32]
    width: int = 1

    @classmethod
    def of(cls, ptr: NDArray[np.int64], cols: NDArray[np.int32], q: int, k: int, width: int = 1) -> Ragged:
        return cls(RaggedSize.of(ptr, q, k), cols, width)

    @property
    def ptr(self) -> NDArray[np.int64]:
        return self.size.ptr

    @property
    def q(self) -> int:
        return self.size.q

    @property
    def k(self) -> int:
        return self.size.k

    @property
    def m(self) -> int:
        return self.size.m

    @property
    def pairs(self) -> float:
        return self.size.pairs

    def way(self) -> str:
        return self.size.way()

    @property
    def is_single(self) -> bool:
        """Whether levels have one row each, and columns stand by themselves."""
        return self.k == self.width == 1

    @cached_property
    def is_full(self) -> bool:
        """Whether every level meets every column, so that values are T itself and nothing is looked up."""
        return self.size.entries == self.m * self.q

    def levels(self) -> NDArray[np.int64]:
        """Level of every entry, (total,)."""
        return self._few_levels if self._is_small() else self._levels()

    @cached_property
    def _few_levels(self) -> NDArray[np.int64]:
        """The same, kept."""
        return self._levels()

    def _levels(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.m), np.diff(self.ptr))

    def by_level(self, x: Array, row: Array) -> Array:
        """A row of each level's columns times that level's entry of x, (total,), for x of shape (m,)."""
        if self.is_full:
            return (x[:, None] * row.reshape(self.m, self.q)).ravel()
        return np.repeat(x, np.diff(self.ptr)) * row

    @cached_property
    def _meetings(self) -> _Meetings:
        """Where each block of columns stands; found once."""
        return _Meetings.of(self)

    def _is_small(self) -> bool:
        """Whether a few columns are sooner multiplied by a dense T than by a sparse one."""
        return self.m * self.k * self.q <= 50_000

    def dense(self, values: Array) -> Array:
        """T as an (m k, q) array, rows ordered (row within level, level); the values themselves where they are all of it."""
        if self.is_full:
            return values.reshape(-1, self.q)
        out = np.zeros((self.k, self.m, self.q))
        out[:, self.levels(), self.cols] = values
        return out.reshape(-1, self.q)

    def _csr(self, values: Array, start: int = 0, stop: int | None = None):
        """One row of each level from `start` on."""
        from scipy.sparse import csr_array

        stop = self.m if stop is None else stop
        i, j = self.ptr[start], self.ptr[stop]
        return csr_array(
            (values[i:j], self.cols[i:j], self.ptr[start : stop + 1] - i), shape=(stop - start, self.q)
        )

    def gram(self, values: Array) -> Array:
        """T'T, (q, q); only the lower triangle is meaningful."""
        way = self.way()
        if way == "dense":
            return gram_lower(self.dense(values))
        if way == "sparse":
            out = np.zeros((self.q, self.q))
            for row in values:
                t = self._csr(row)
                out += (t.T @ t).toarray()
            return out
        out = np.zeros((self.q, self.q))
        self.less_gram(out, values)
        return -out

    def less_gram(self, out: Array, values: Array) -> None:
        """Take T'T from the lower triangle of `out`, in place and in its precision."""
        if self.way() != "compiled":
            out -= self.gram(values)
            return
        from lmmformula.numerics.kernels import ragged_gram, single_gram

        met, alike = self._meetings, np.ascontiguousarray(values, dtype=out.dtype)
        arrays = (*met.arrays, self.ptr, self.cols, alike, out)
        if self.is_single:
            in_parts(lambda i, j: single_gram(i, j, *arrays), met.cuts)
        else:
            in_parts(lambda i, j: ragged_gram(i, j, self.width, *arrays), met.cuts)

    def on_pattern(self, values: Array, z: Array) -> Array:
        """(T Z) on the pattern of T, (k, total), for symmetric full Z of shape (q, q)."""
        way = self.way()
        if way == "compiled":
            from lmmformula.numerics.kernels import ragged_on_pattern, single_on_pattern

            out, met = np.empty_like(values), self._meetings
            alike = np.ascontiguousarray(values, dtype=z.dtype)
            arrays = (*met.arrays, self.ptr, self.cols, alike, z, out)
            if self.is_single:
                in_parts(lambda i, j: single_on_pattern(i, j, *arrays), met.cuts)
            else:
                in_parts(lambda i, j: ragged_on_pattern(i, j, self.width, *arrays), met.cuts)
            return out
        if way == "dense":
            full = times_symmetric(self.dense(values), z)
            if self.is_full:
                return full.reshape(self.k, -1)
            return full.reshape(self.k, self.m, self.q)[:, self.levels(), self.cols]
        levels = self.levels()
        return np.stack([self._sparse_on_pattern(row, z, levels) for row in values])

    def _sparse_on_pattern(self, row: Array, z: Array, levels: NDArray[np.int64]) -> Array:
        """One row per level through scipy, in slabs of levels so that the product stays small."""
        out, t = np.empty_like(row), self._csr(row)
        step = max(1, int(SLAB // self.q))
        for start in range(0, self.m, step):
            stop = min(start + step, self.m)
            i, j = self.ptr[start], self.ptr[stop]
            out[i:j] = (t[start:stop] @ z)[levels[i:j] - start, self.cols[i:j]]
        return out

    def times(self, values: Array, x: Array) -> Array:
        """T x, (m, k, c), for x of shape (q, c)."""
        if self._is_small():
            return np.swapaxes((self.dense(values) @ x).reshape(self.k, self.m, -1), 0, 1)
        if self.way() == "compiled":
            return self._compiled_times(values, x)
        out = np.empty((self.m, self.k, x.shape[1]))

        def part(i: int, j: int) -> None:
            for r, row in enumerate(values):
                out[i:j, r] = self._csr(row, i, j) @ x

        in_parts(part, self._cuts(x.shape[1]))
        return out

    def transposed_times(self, values: Array, x: Array) -> Array:
        """T' x, (q, c), for x of shape (m, k, c)."""
        if self._is_small():
            return self.dense(values).T @ np.swapaxes(x, 0, 1).reshape(self.k * self.m, -1)
        if self.way() == "compiled":
            return self._compiled_transposed_times(values, x)

        def part(i: int, j: int) -> Array:
            own = (self._csr(row, i, j).T @ x[i:j, r] for r, row in enumerate(values))
            return sum(own, np.zeros((self.q, x.shape[2])))

        return sum(in_parts(part, self._cuts(x.shape[1] * x.shape[2])), np.zeros(()))

    def _compiled_times(self, values: Array, x: Array) -> Array:
        from lmmformula.numerics.kernels import ragged_times

        out, x = np.zeros((self.m, self.k, x.shape[1])), np.ascontiguousarray(x)
        arrays = (self.ptr, self.cols, values, x, out)
        in_parts(lambda i, j: ragged_times(i, j, *arrays), self._cuts(x.shape[1]))
        return out

    def _compiled_transposed_times(self, values: Array, x: Array) -> Array:
        from lmmformula.numerics.kernels import ragged_transposed_times

        x = np.ascontiguousarray(x)

        def part(i: int, j: int) -> Array:
            out = np.zeros((self.q, x.shape[2]))
            ragged_transposed_times(i, j, self.ptr, self.cols, values, x, out)
            return out

        return sum(in_parts(part, self._cuts(x.shape[1] * x.shape[2])), np.zeros(()))

    def _cuts(self, columns: int) -> list[int]:
        """Where parts of levels begin and end in products with so many columns; one where there is little to do."""
        return even_cuts(self.ptr, SPARSE_PARTS) if self.size.entries * columns >= MUCH else [0, self.m]


@dataclass(frozen=True, slots=True, eq=False)
class _Meetings:
    """The levels by blocks of columns, for compiled products.

    Attributes
    ----------
    meets : (q / width + 1,) int64 array
        Block b is met ``meets[b]`` to ``meets[b + 1]``.
    places, owners : arrays
        Where it then stands among the columns of all levels, and the level.
    cuts : list of int
        Blocks at which parts of about equally many multiplications begin.
    """

    meets: NDArray[np.int64]
    places: Index
    owners: Index
    cuts: list[int]

    @classmethod
    def of(cls, ragged: Ragged) -> _Meetings:
        """O(total)."""
        from lmmformula.numerics.row_kernels import rows_by_level

        width, heads = ragged.width, ragged.cols[:: ragged.width]
        order = np.empty(len(heads), dtype=np.int32 if len(ragged.cols) < 2**31 else np.int64)
        meets = np.empty(ragged.q // width + 1, dtype=np.int64)
        rows_by_level(heads // np.int32(width), ragged.q // width, order, meets)
        owners = np.repeat(np.arange(ragged.m, dtype=np.int32), np.diff(ragged.ptr) // width)[order]
        work = np.concatenate([[0], np.cumsum(np.diff(ragged.ptr)[owners])])[meets]
        inner = np.searchsorted(work, np.linspace(0.0, work[-1], PARTS + 1)[1:-1])
        cuts = np.unique([0, *inner.tolist(), len(meets) - 1]).tolist()
        order *= order.dtype.type(width)
        return cls(meets, order, owners, cuts)

    @property
    def arrays(self) -> tuple[Index, Index, Index]:
        """What compiled loops take."""
        return self.meets, self.places, self.owners
