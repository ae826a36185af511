"""Rows that lie in arrays of this process, whole or in slices over threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.level_columns import ByLevel, LevelColumns
from lmmformula.ir.levels import Levels
from lmmformula.ir.rows import Chunk, Mapped, Stacked, Units, added, merged
from lmmformula.ir.sums import Share, Sum
from lmmformula.numerics.counted import sums_by
from lmmformula.numerics.tall import Tall, tall_times
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array, Numbers

__all__ = ["MemoryRows", "WholeRows"]

T = TypeVar("T")
V = TypeVar("V", bound="Array | None")
SLICE = 16_384
"""Rows at a time: about ten temporaries of them fit the cache of one core."""


class _Slice:
    """Some of the rows of :class:`MemoryRows`."""

    __slots__ = ("_of", "_rows", "n")

    def __init__(self, of: MemoryRows, start: int, stop: int) -> None:
        self._of, self._rows, self.n = of, slice(start, stop), stop - start

    @property
    def fixed(self) -> Array:
        return self._of.fixed.rows(self._rows)

    @property
    def aux(self) -> tuple[Array, ...]:
        return tuple(block.matrix[self._rows] for block in self._of.aux)

    @property
    def terms(self) -> tuple[GroupBlock, ...]:
        return self._of_these(self._of.terms)

    @property
    def aux_terms(self) -> tuple[tuple[GroupBlock, ...], ...]:
        return tuple(map(self._of_these, self._of.aux_terms))

    def _of_these(self, terms: Sequence[GroupBlock]) -> tuple[GroupBlock, ...]:
        return tuple(terms) if self.n == self._of.n else tuple(term.at(self._rows) for term in terms)

    @property
    def y(self) -> Array:
        return self._of.y[self._rows]

    @property
    def weights(self) -> Array | None:
        return _some(self._of.weights, self._rows)

    @property
    def offset(self) -> Array | None:
        return _some(self._of.offset, self._rows)


class MemoryRows:
    """Rows in arrays: one chunk, or slices over threads if there are many.

    Parameters
    ----------
    y, weights, offset : (n,) arrays; the latter two may be None
    fixed : (n, p) array, or columns that may write it out
    aux : sequence of (n, p_j) arrays
    terms : sequence of GroupBlock
    levels : Blocks or None
        What is known of the terms already.
    aux_terms : sequence of sequences of GroupBlock
        Random effects of the auxiliary predictors.
    """

    __slots__ = ("_columns", "_levels", "aux", "aux_terms", "offset", "terms", "weights", "y")
    at_hand = True

    def __init__(
        self,
        y: Array,
        weights: Array | None,
        offset: Array | None,
        fixed: Array | Tall,
        aux: Sequence[Array],
        terms: Sequence[GroupBlock],
        levels: Blocks | None = None,
        aux_terms: Sequence[Sequence[GroupBlock]] = (),
    ) -> None:
        self.y, self.weights, self.offset = y, weights, offset
        self._columns = fixed if isinstance(fixed, Tall) else Tall(fixed)
        self.aux, self.terms = tuple(map(Tall, aux)), terms
        self._levels, self.aux_terms = levels, aux_terms

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def fixed(self) -> Tall:
        """X; by levels where it is known how."""
        columns = self._columns
        if self._levels is None or isinstance(columns, ByLevel):
            return columns
        held = self.levels.level_columns(columns.matrix, look=False)
        return columns if held is None else ByLevel(held, self._codes, columns.matrix)

    @property
    def _codes(self) -> tuple[NDArray[np.int32], ...]:
        return tuple(own.codes for own in self.levels.own)

    @property
    def varying(self) -> int:
        held, columns = self._level_columns(look=False), self._columns
        return self.levels.varying_columns(columns.matrix) if held is None else len(held.rest_at)

    def told(self, passes: float) -> str:
        return ""

    @property
    def levels(self) -> Blocks:
        if self._levels is None:
            self._levels = Blocks(self.terms, self.n)
        return self._levels

    def over(self, levels: Levels) -> MemoryRows:
        aux, known = [block.matrix for block in self.aux], cast("Blocks", levels)
        x, terms = self._columns, self.terms
        return MemoryRows(self.y, self.weights, self.offset, x, aux, terms, known, self.aux_terms)

    def scaled(self, units: Units) -> MemoryRows:
        def by(values: Array | None, unit: float) -> Numbers:
            return values if values is None or unit == 1.0 else values / unit

        pairs = zip((self._columns, *self.aux), (units.columns, *(c for c, _ in units.aux)), strict=True)
        x, *aux = (block if c is None else Tall(block.matrix @ c) for block, c in pairs)
        terms = tuple(term.scaled(t) for term, t in zip(self.terms, units.bases, strict=True))
        y, weights = by(self.y, units.response), by(self.weights, units.precision)
        offset, aux = by(self.offset, units.slope), [block.matrix for block in aux]
        return MemoryRows(y, weights, offset, x, aux, terms, None, self.aux_terms)

    def whole(self, values: V) -> V:
        return values

    def chunks(self) -> Iterator[Chunk]:
        yield _Slice(self, 0, self.n)

    def apply(self, beta: Array | None, effects: Sequence[Array], *, offset: bool = True) -> Array:
        held = self._level_columns(look=False) if effects else None
        if held is not None and beta is not None and len(beta):
            out = tall_times(held.rest, beta[held.rest_at])
            shifts = zip(effects, held.shifts(beta), strict=True)
            effects = [own if shift is None else own + shift[:, None] for own, shift in shifts]
        else:
            out = np.zeros(self.n) if beta is None or not len(beta) else self.fixed.times(beta)
        if effects:
            self.levels.add_to(out, effects)
        if offset and self.offset is not None:
            out += self.offset
        return out

    def adjoint(self, r: Array) -> Stacked:
        return self.levels.adjoint(r)

    def gram(self, weights: Array | None, *, fixed: bool = False, more: Sequence[Array] = ()) -> Gram:
        if not fixed:
            return self.levels.gram(weights, np.zeros((self.n, 0)), more)
        if more or (held := self._level_columns()) is None:
            return self.levels.gram(weights, self._columns.matrix, more)
        return self._gram_by_level(held, weights)

    def weighted_columns(self, weights: Array | None) -> tuple[Stacked, Array]:
        if (held := self._level_columns()) is None:
            return self.levels.weighted_columns(weights, self._columns.matrix)
        gram = self._gram_by_level(held, weights)
        return gram.rhs, gram.vv

    def _level_columns(self, *, look: bool = True) -> LevelColumns | None:
        """X by the levels in which its columns are constant, if it came so, or where it pays to `look` for such columns."""
        columns = self._columns
        if isinstance(columns, ByLevel) and (held := columns.of(self.levels.own)) is not None:
            return held
        return self.levels.level_columns(columns.matrix, look=look)

    def _gram_by_level(self, held: LevelColumns, weights: Array | None) -> Gram:
        """The Gram with X from that with the columns that vary within levels."""
        from lmmformula.ir.gram_by_level import GramByLevel

        return GramByLevel(self.levels, held, self.levels.compiled_gram(weights, held.rest, often=True))

    def row_quadratic(self, own: Sequence[Array], pairs: dict[tuple[int, int], Array]) -> Array:
        return self.levels.row_quadratic(own, pairs)

    def level_sums(self, a: int, r: Array) -> Array:
        rows = self.levels.own[a]
        return np.asarray(sums_by(rows.codes, r, rows.group.m), dtype=float)

    def map(
        self, function: Mapped, *vectors: Array | float | None, coarse: bool = False
    ) -> tuple[Array, ...]:
        n = self.n
        if coarse or n <= 2 * SLICE:
            return function(_Slice(self, 0, n), *vectors)  # type: ignore[return-value]
        first = self._part(function, vectors, 0, SLICE)
        out = tuple(np.empty(n) if np.ndim(some) else some for some in first)

        def fill(start: int, stop: int) -> None:
            values = self._part(function, vectors, start, stop) if start else first
            for whole, some in zip(out, values, strict=True):
                if isinstance(whole, np.ndarray):
                    whole[start:stop] = some

        in_parts(fill, edges(n, SLICE))
        return out  # type: ignore[return-value]

    def reduce(
        self,
        function: Callable[..., T],
        *vectors: Array | float | None,
        merge: Callable[[T, T], T] = added,
        coarse: bool = False,
    ) -> T:
        if coarse or self.n <= 2 * SLICE:
            return function(_Slice(self, 0, self.n), *vectors)
        cuts = edges(self.n, SLICE)
        return merged(in_parts(lambda i, j: self._part(function, vectors, i, j), cuts), merge)

    def together(self, *sums: Sum[Share]) -> tuple[Share, ...]:
        return tuple(one.of(self) for one in sums)

    def _part(self, function: Callable[..., T], vectors: Sequence[Array | float | None], i: int, j: int) -> T:
        rows = slice(i, j)
        return function(_Slice(self, i, j), *(_some(v, rows) for v in vectors))


class WholeRows(MemoryRows):
    """Rows in arrays of which a function always sees all: those of several responses, whose families differ."""

    __slots__ = ()

    def over(self, levels: Levels) -> WholeRows:
        own = super().over(levels)
        aux = [block.matrix for block in own.aux]
        return WholeRows(
            own.y,
            own.weights,
            own.offset,
            own._columns,
            aux,
            own.terms,
            cast("Blocks", levels),
            own.aux_terms,
        )

    def map(
        self, function: Mapped, *vectors: Array | float | None, coarse: bool = False
    ) -> tuple[Array, ...]:
        return super().map(function, *vectors, coarse=True)

    def reduce(
        self,
        function: Callable[..., T],
        *vectors: Array | float | None,
        merge: Callable[[T, T], T] = added,
        coarse: bool = False,
    ) -> T:
        return super().reduce(function, *vectors, merge=merge, coarse=True)


def _some(values: Array | float | None, rows: slice) -> Array | None:
    return values[rows] if isinstance(values, np.ndarray) and values.ndim else values  # type: ignore[return-value]
