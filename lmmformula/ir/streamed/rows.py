"""Rows on disk behind the protocol of rows: a sum is a pass over the parts, and so are several that are asked for together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.rows import Chunk, Mapped, RowVector, Stacked, Units, added
from lmmformula.ir.streamed.parts import Part
from lmmformula.ir.streamed.store import Passes
from lmmformula.ir.streamed.vectors import Applied, Called, Field, OfColumns, Output, Quadratic
from lmmformula.ir.sums import AdjointOf, GramOf, LevelSums, Reduced, Share, Sum, TransposedOf
from lmmformula.memory import in_words
from lmmformula.numerics.columns import Moments
from lmmformula.numerics.tall import Columns
from lmmformula.progress import passing
from lmmformula.typing import Array

__all__ = ["StreamedRows"]

T = TypeVar("T")


class StreamedRows:
    """Rows that lie somewhere else.

    Parameters
    ----------
    store : Passes
        Where they lie: a :class:`lmmformula.ir.streamed.store.Store` on this machine, or stores of workers.
    units : sequence of Units
        In which they are read, one after the other.
    levels : Levels, optional
        What is known of their levels.
    """

    at_hand = False

    def __init__(self, store: Passes, units: Sequence[Units] = (), levels: Levels | None = None) -> None:
        self.store, self._units = store, tuple(units)
        self.n, layout = store.n, store.layout
        self.levels: Share = store.new_levels() if levels is None else levels
        self.y: Share = Field("y")
        self.weights: Share = Field("weights") if layout.weighted else None
        self.offset: Share = Field("offset") if layout.shifted else None
        self.fixed = StreamedColumns(self, None)
        self.aux = tuple(StreamedColumns(self, j) for j in range(len(layout.aux)))
        self._first: Part | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether they are in other units than those they were written in."""
        return bool(self._units)

    @property
    def varying(self) -> int:
        """All of them: a pass reads rows as they were written."""
        return self.store.layout.fixed

    def told(self, passes: float) -> str:
        """See :class:`lmmformula.ir.rows.Rows`."""
        return self.store.told(passes)

    # -- passes ----------------------------------------------------------------------------------------------------

    def together(self, *sums: Sum[Share]) -> tuple[Share, ...]:
        """Several sums in one pass."""
        passing(self.n)
        return self.store.together(sums, self._units, self.levels)

    def _one(self, asked: Sum[T]) -> T:
        return self.together(asked)[0]

    # -- the protocol ----------------------------------------------------------------------------------------------

    def over(self, levels: Levels) -> StreamedRows:
        return self if levels is self.levels else StreamedRows(self.store, self._units, levels)

    def scaled(self, units: Units) -> StreamedRows:
        return StreamedRows(self.store, (*self._units, units), self.levels)

    def whole(self, values: Share) -> Share:
        if values is None:
            return None
        raise PlanError(
            f"this has a number for each of {self.n:,} rows ({in_words(8.0 * self.n)}), which are not in memory. Write them to "
            'a file, as by m.augment(out="rows.parquet") or m.predict(data, out="scored.parquet").'
        )

    def chunks(self) -> Iterator[Chunk]:
        return (part.chunk for part in self.store.parts(self._units))

    def apply(self, beta: Array | None, effects: Sequence[Array], *, offset: bool = True) -> Share:
        return Applied(beta, tuple(effects), offset)

    def adjoint(self, r: RowVector) -> Stacked:
        return self._one(AdjointOf(r))

    def gram(self, weights: RowVector | None, *, fixed: bool = False, more: Sequence[RowVector] = ()) -> Gram:
        return self._one(GramOf(weights, fixed, tuple(more)))

    def weighted_columns(self, weights: RowVector | None) -> tuple[Stacked, Array]:
        gram = self.gram(weights, fixed=True)
        return gram.rhs, gram.vv

    def row_quadratic(self, own: Sequence[Array], pairs: dict[tuple[int, int], Array]) -> Share:
        return Quadratic(tuple(own), dict(pairs))

    def level_sums(self, a: int, r: RowVector) -> Array:
        return self._one(LevelSums(a, r))

    def map(
        self, function: Mapped, *vectors: RowVector | float | None, coarse: bool = False
    ) -> tuple[Share, ...]:
        del coarse
        call = Called(function, vectors)
        probe = self._probe()
        place = partial(self.levels.place, number=0, part=probe)
        found = call.at(probe, place)
        return tuple(Output(call, i) if np.ndim(v) else v for i, v in enumerate(found))

    def reduce(
        self,
        function: Callable[..., T],
        *vectors: RowVector | float | None,
        merge: Callable[[T, T], T] = added,
        coarse: bool = False,
    ) -> T:
        del coarse
        return self._one(Reduced(function, vectors, merge))

    def _probe(self) -> Part:
        """The first rows, which tell what a function gives."""
        if self._first is None:
            self._first = self.store.first(self._units)
            self._first.stands_in = True
        self._first.memo.clear()
        return self._first


def _own(part: Part, aux: int | None) -> Columns:
    """Columns of a linear predictor of a part."""
    return part.rows.fixed if aux is None else part.rows.aux[aux]


@dataclass(frozen=True, eq=False)
class StreamedColumns:
    """Columns of a linear predictor of streamed rows, see :class:`lmmformula.numerics.tall.Columns`."""

    rows: StreamedRows
    aux: int | None

    in_passes: ClassVar[bool] = True

    @property
    def p(self) -> int:
        layout, j = self.rows.store.layout, self.aux
        if layout.kept is not None:
            return len(layout.kept.fixed if j is None else layout.kept.aux[j])
        return layout.fixed if j is None else layout.aux[j]

    @property
    def _own(self) -> Callable[[Part], Columns]:
        return partial(_own, aux=self.aux)

    def _sum(self, function: Callable[..., T], *vectors: Share, merge: Share = added) -> T:
        j = self.aux

        def share(chunk: Chunk, *values: Share) -> T:
            from lmmformula.numerics.tall import Tall

            return function(Tall(chunk.fixed if j is None else chunk.aux[j]), *values)

        return self.rows.reduce(share, *vectors, merge=merge)

    def times(self, x: Array) -> Share:
        return OfColumns(self._own, lambda a: a.times(x))

    def residual(self, y: RowVector, x: Array) -> Share:
        return OfColumns(self._own, lambda a, v: a.residual(v, x), (y,))

    def transposed(self, r: RowVector, weights: RowVector | None = None) -> Array:
        return self.rows.together(TransposedOf(r, weights, self.aux))[0]

    def square(self, r: RowVector, weights: RowVector | None = None) -> float:
        return self._sum(lambda a, v, w: a.square(v, w), r, weights)

    def gram(self, weights: RowVector | None = None) -> Array:
        return self._sum(lambda a, w: a.gram(w), weights)

    def products(self, other: Columns, weights: RowVector) -> Array:
        j, k = self.aux, other.aux  # type: ignore[attr-defined]

        def share(chunk: Chunk, w: Array) -> Array:
            own, theirs = (chunk.fixed if i is None else chunk.aux[i] for i in (j, k))
            return own.T @ (theirs * np.broadcast_to(w, len(own))[:, None])

        return self.rows.reduce(share, weights)

    def triangle(self, weights: RowVector | None = None, beside: RowVector | None = None) -> Array:
        """By reflections of one triangle under the other, with a positive diagonal, as Cholesky's of many rows has."""

        def below(one: Array, other: Array) -> Array:
            return np.asarray(np.linalg.qr(np.vstack([one, other]), mode="r"))

        r = self._sum(lambda a, *given: a.triangle(*given), weights, beside, merge=below)
        return np.where(np.diagonal(r) < 0.0, -1.0, 1.0)[:, None] * r

    def columns(self, weights: RowVector | float) -> Iterator[Share]:
        def column(a: Share, w: Share, j: int) -> Array:
            return a.matrix[:, j] * w

        return (OfColumns(self._own, partial(column, j=j), (weights,)) for j in range(self.p))

    def largest(self) -> Array:
        return self._sum(lambda a: a.largest(), merge=np.maximum)

    def moments(self) -> Moments:
        """Those that were seen when the rows were written, if they are in the same units."""
        kept = self.rows.store.layout.kept
        if kept is None or self.rows.is_scaled:
            return self._sum(lambda a: a.moments())
        return kept.moments[0 if self.aux is None else 1 + self.aux]
