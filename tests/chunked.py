"""Rows in chunks that never see each other, as a file or a cluster would have them; their vectors are opaque."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce as fold
from typing import Any, cast

import numpy as np

from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk, Units, merged
from lmmformula.numerics.columns import Moments
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Array


@dataclass(frozen=True, eq=False)
class Parts:
    """One part of a vector for each chunk. It has no length, no arithmetic, and no element."""

    values: tuple[Array, ...]


def cut(problem: Problem, size: int) -> list[Problem]:
    """The problem's rows, `size` at a time; for 0 none of them."""

    return [problem.at(slice(start, start + size)) for start in (range(0, problem.n, size) if size else [0])]


class ChunkedLevels(Levels):
    """Patterns from the pairs that each chunk has seen."""

    def __init__(self, chunks: Sequence[Blocks], n: int) -> None:
        super().__init__(chunks[0].groups, n)
        self.chunks = chunks

    def _met(self, a: int, b: int) -> CrossPattern:
        seen = set[tuple[int, int]]()
        for chunk in self.chunks:
            own = chunk.pattern(a, b)
            seen |= set(zip(own.rows().tolist(), own.indices.tolist(), strict=True))
        pairs = np.array(sorted(seen), dtype=np.int64).reshape(-1, 2)
        return pattern_of(pairs[:, 0], pairs[:, 1], self.groups[a].m)

    def places(self, chunk: Blocks, a: int, b: int) -> Any:
        """Where the chunk's pairs stand among all."""
        whole, own, m = self.pattern(a, b), chunk.pattern(a, b), self.groups[b].m
        return np.searchsorted(whole.rows() * m + whole.indices, own.rows() * m + own.indices)


class ChunkedColumns:
    in_passes = True

    def __init__(self, parts: Sequence[Tall]) -> None:
        self.parts = parts

    @property
    def p(self) -> int:
        return self.parts[0].p

    def _each(self, *vectors: Any) -> Iterator[tuple[Any, ...]]:
        columns = [v.values if isinstance(v, Parts) else [v] * len(self.parts) for v in vectors]
        return zip(self.parts, *columns, strict=True)

    def times(self, x: Array) -> Any:
        return Parts(tuple(a.times(x) for a in self.parts))

    def residual(self, y: Any, x: Array) -> Any:
        return Parts(tuple(a.residual(v, x) for a, v in self._each(y)))

    def transposed(self, r: Any, weights: Any = None) -> Array:
        return sum((a.transposed(v, w) for a, v, w in self._each(r, weights)), np.zeros(self.p))

    def square(self, r: Any, weights: Any = None) -> float:
        return sum(a.square(v, w) for a, v, w in self._each(r, weights))

    def gram(self, weights: Any = None) -> Array:
        return sum((a.gram(w) for a, w in self._each(weights)), np.zeros((self.p, self.p)))

    def products(self, other: Any, weights: Any) -> Array:
        parts = zip(self._each(weights), other.parts, strict=True)
        return sum((a.products(b, w) for (a, w), b in parts), np.zeros((self.p, other.p)))

    def triangle(self, weights: Any = None, beside: Any = None) -> Array:
        """By reflections of one chunk under the triangle so far."""
        r = np.zeros((0, self.p + (beside is not None)))
        for a, w, v in self._each(weights, beside):
            own = a.matrix if v is None else np.column_stack([a.matrix, v])
            rows = own if w is None else own * np.sqrt(w)[:, None]
            r = np.asarray(np.linalg.qr(np.vstack([r, rows]), mode="r"))
        return r

    def columns(self, weights: Any) -> Iterator[Any]:
        each = [list(a.columns(w)) for a, w in self._each(weights)]
        return (Parts(column) for column in zip(*each, strict=True))

    def moments(self) -> Moments:
        return fold(operator.add, (a.moments() for a in self.parts))

    def largest(self) -> Array:
        return fold(np.maximum, (a.largest() for a in self.parts))


class ChunkedRows:
    at_hand = True

    @property
    def varying(self) -> int:
        return self.fixed.p

    def told(self, passes: float) -> str:
        return ""

    def __init__(self, parts: Sequence[MemoryRows]) -> None:
        self.parts = parts
        self.n = sum(part.n for part in parts)
        self.levels = ChunkedLevels([part.levels for part in parts], self.n)
        self.y = Parts(tuple(part.y for part in parts))
        self.weights = self._optional("weights")
        self.offset = self._optional("offset")
        self.fixed = ChunkedColumns([part.fixed for part in parts])
        self.aux = tuple(ChunkedColumns(own) for own in zip(*(part.aux for part in parts), strict=True))

    def _optional(self, name: str) -> Parts | None:
        values = tuple(getattr(part, name) for part in self.parts)
        return None if values[0] is None else Parts(values)

    def _each(self, *vectors: Any) -> Iterator[tuple[Any, ...]]:
        columns = [v.values if isinstance(v, Parts) else [v] * len(self.parts) for v in vectors]
        return zip(self.parts, *columns, strict=True)

    def over(self, levels: Levels) -> ChunkedRows:
        return self

    def scaled(self, units: Units) -> ChunkedRows:
        return ChunkedRows([part.scaled(units) for part in self.parts])

    def whole(self, values: Any) -> Any:
        return values if values is None else np.concatenate(values.values)

    def chunks(self) -> Iterator[Chunk]:
        for part in self.parts:
            yield from part.chunks()

    def apply(self, beta: Array | None, effects: Sequence[Array], *, offset: bool = True) -> Any:
        return Parts(tuple(chunk.apply(beta, effects, offset=offset) for chunk in self.parts))

    def adjoint(self, r: Any) -> Any:
        return merged([chunk.adjoint(v) for chunk, v in self._each(r)], operator.add)

    def gram(self, weights: Any, *, fixed: bool = False, more: Sequence[Any] = ()) -> Gram:
        found = [chunk.gram(w, fixed=fixed, more=v) for chunk, w, *v in self._each(weights, *more)]
        cross = {}
        for a, b in self.levels.pairs():
            ga, gb = self.levels.groups[a], self.levels.groups[b]
            cross[a, b] = np.zeros((self.levels.pattern(a, b).nnz, ga.k, gb.k))
            for chunk, part in zip(self.parts, found, strict=True):
                cross[a, b][self.levels.places(chunk.levels, a, b)] += part.cross[a, b]
        diag, rhs = (merged([getattr(g, f) for g in found], operator.add) for f in ("diag", "rhs"))
        return Gram(diag, cross, rhs, merged([g.vv for g in found], operator.add))

    def weighted_columns(self, weights: Any) -> Any:
        gram = self.gram(weights, fixed=True)
        return gram.rhs, gram.vv

    def row_quadratic(self, own: Sequence[Array], pairs: dict[tuple[int, int], Array]) -> Any:
        out = []
        for chunk in self.parts:
            met = {pair: c[self.levels.places(chunk.levels, *pair)] for pair, c in pairs.items()}
            out.append(chunk.row_quadratic(own, met))
        return Parts(tuple(out))

    def together(self, *sums: Any) -> tuple[Any, ...]:
        return tuple(one.of(cast("Any", self)) for one in sums)

    def level_sums(self, a: int, r: Any) -> Array:
        return merged([chunk.level_sums(a, v) for chunk, v in self._each(r)], operator.add)

    def map(self, function: Callable[..., Any], *vectors: Any, coarse: bool = False) -> Any:
        found = zip(*(chunk.map(function, *v) for chunk, *v in self._each(*vectors)), strict=True)
        return tuple(Parts(column) if np.ndim(column[0]) else column[0] for column in found)

    def reduce(
        self,
        function: Callable[..., Any],
        *vectors: Any,
        merge: Callable[[Any, Any], Any] = operator.add,
        coarse: bool = False,
    ) -> Any:
        return merged([chunk.reduce(function, *v) for chunk, *v in self._each(*vectors)], merge)


def chunked(problem: Problem, size: int = 37) -> Problem:
    """The problem with its rows in chunks, and none in its own arrays."""
    held = ChunkedRows([cast("MemoryRows", part.data) for part in cut(problem, size)])
    return replace(cut(problem, 0)[0], rows=problem.rows, held=cast("Any", held))
