"""Which groups to eliminate block by block, and the index maps for doing it.

Group a is *nested* in group b if every level of a meets one level of b only. Eliminating a group whose Gram block is
block diagonal costs no fill inside that group, and the Schur complement of what is left stays block diagonal in b
exactly if a is nested in b. So a chain a_1 in a_2 in ... (each nested in the next) can be eliminated with k x k
Cholesky factors only; what remains goes into one dense matrix. The chain with the most random effects is chosen.
With one grouping factor, or nested ones, nothing dense remains; with two crossed factors the dense part is as large as
the smaller one.

This is the block Cholesky of Bates et al. (2015, sec. 5.4; MixedModels.jl), with the chain of nested factors in front.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import gcd

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.levels import Levels
from lmmformula.numerics.ragged import Ragged, RaggedSize
from lmmformula.typing import Array, Index

__all__ = ["Coupling", "Elimination", "choose_chain", "nested_pair", "oriented"]


def nested(blocks: Levels, a: int, b: int) -> bool:
    """Whether group a is nested in group b."""
    low, high = min(a, b), max(a, b)
    return blocks.pattern(low, high).nnz == blocks.groups[a].m


def nested_pair(blocks: Levels) -> tuple[str, str] | None:
    """Names of a first pair of groups, the one nested in the other; None without any."""
    names = [g.name for g in blocks.groups]
    for a, b in combinations(range(len(names)), 2):
        if nested(blocks, a, b):
            return names[a], names[b]
        if nested(blocks, b, a):
            return names[b], names[a]
    return None


def choose_chain(blocks: Levels, among: Collection[int] | None = None) -> tuple[int, ...]:
    """The chain of nested groups, finest first, that holds the most random effects; of the groups `among`, or of all.

    Only groups whose own part of M is block diagonal can be in it.
    """
    groups = blocks.groups
    own = range(len(groups)) if among is None else among
    order = sorted((a for a in own if groups[a].is_blockwise), key=lambda a: (groups[a].m, a))
    best: dict[int, tuple[int, tuple[int, ...]]] = {}
    for a in order:
        above = [best[b] for b in best if nested(blocks, a, b)]
        size, chain = max(above, default=(0, ()), key=lambda item: item[0])
        best[a] = (size + groups[a].q, (a, *chain))
    return max(best.values(), key=lambda item: item[0])[1] if best else ()


def oriented(blocks: Levels, a: int, b: int) -> tuple[NDArray[np.int64], Index, Index | slice]:
    """Pattern of the pair read by levels of a: indptr, levels of b, and where the stored values are."""
    if a < b:
        pattern = blocks.pattern(a, b)
        return pattern.indptr, pattern.indices, slice(None)
    pattern = blocks.pattern(b, a)
    order = pattern.by_column
    indptr = np.zeros(blocks.groups[a].m + 1, dtype=np.int64)
    np.cumsum(np.bincount(pattern.indices, minlength=blocks.groups[a].m), out=indptr[1:])
    return indptr, pattern.rows()[order], order


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """How one eliminated group meets the dense part.

    Attributes
    ----------
    ragged : Ragged
        Dense columns met by each level.
    places : tuple of (nnz, k_j) index arrays
        For each dense group, where the columns of its pairs stand among ``ragged.cols``.
    stored : tuple of index arrays or slices
        For each dense group, which of the Gram's stored values those pairs are.
    """

    ragged: Ragged
    places: tuple[Index, ...]
    stored: tuple[Index | slice, ...]

    @property
    def are_pairs(self) -> bool:
        """Whether the columns are those of one dense group of one column: its pairs, in their order."""
        return len(self.places) == 1 and self.places[0].shape[1] == 1


def dense_side(blocks: Levels) -> int:
    """Columns of the dense part that :class:`Elimination` leaves, for which pairs are not put in order."""
    chain = choose_chain(blocks)
    return sum(g.q for a, g in enumerate(blocks.groups) if a not in chain)


class Elimination:
    """The plan of a blocked factorisation; depends on which levels meet, not on W or theta.

    Sizes are counted at once, index maps are made when they are first asked for: what a plan compares may be too large to fit.

    Attributes
    ----------
    chain, dense : tuple of int
        Groups eliminated block by block (finest first), and groups of the dense part.
    offsets : tuple of int
        Where each dense group starts among the `q_dense` columns.
    sizes : tuple of RaggedSize
        How each chain position meets the dense part; empty if nothing is dense.
    """

    def __init__(self, blocks: Levels, chain: tuple[int, ...] | None = None) -> None:
        self.blocks = blocks
        self.chain: tuple[int, ...] = choose_chain(blocks) if chain is None else chain
        self.dense = tuple(a for a in range(len(blocks.groups)) if a not in self.chain)
        sizes = [blocks.groups[a].q for a in self.dense]
        ends = np.cumsum([0, *sizes])
        self.offsets = tuple(int(e) for e in ends[:-1])
        self.q_dense = int(ends[-1])
        self.sizes = tuple(self._size(a) for a in self.chain) if self.dense else ()

    @cached_property
    def parents(self) -> dict[tuple[int, int], Index]:
        """For chain positions i < j, the level of j that holds each level of i, (m_i,)."""
        return {
            (i, j): oriented(self.blocks, self.chain[i], self.chain[j])[1]
            for i, j in combinations(range(len(self.chain)), 2)
        }

    @cached_property
    def couplings(self) -> tuple[Coupling, ...]:
        """One for each chain position; empty if nothing is dense."""
        return tuple(map(self._coupling, range(len(self.sizes))))

    @cached_property
    def column_maps(self) -> dict[tuple[int, int], Index]:
        """For chain positions i < j, where each ragged column of i stands among those of j, (total_i,)."""
        return {(i, j): self._column_map(i, j) for (i, j) in self.parents if self.couplings}

    def _size(self, a: int) -> RaggedSize:
        """From the pairs of each level, in whichever order they are held."""
        group = self.blocks.groups[a]
        counts = np.zeros(group.m, dtype=np.int64)
        for j in self.dense:
            counts += self.blocks.counts(a, j) * self.blocks.groups[j].k
        ptr = np.zeros(group.m + 1, dtype=np.int64)
        np.cumsum(counts, out=ptr[1:])
        return RaggedSize.of(ptr, self.q_dense, group.k)

    def _coupling(self, i: int) -> Coupling:
        size, groups = self.sizes[i], self.blocks.groups
        views = [oriented(self.blocks, self.chain[i], j) for j in self.dense]
        if len(views) == 1 and groups[self.dense[0]].k == 1:  # the pairs as they are: there may be many
            narrow = np.int32 if size.entries < 2**31 else np.int64
            place = np.arange(size.entries, dtype=narrow)[:, None]
            cols = views[0][1].astype(np.int32, copy=False)
            return Coupling(Ragged(size, cols), (place,), (views[0][2],))
        cols = np.empty(size.entries, dtype=np.int32)
        places, filled = [], size.ptr[:-1].copy()
        for j, offset, (indptr, indices, _) in zip(self.dense, self.offsets, views, strict=True):
            k, met = groups[j].k, np.diff(indptr)
            first = np.repeat(filled - indptr[:-1] * k, met) + np.arange(len(indices)) * k
            place = first[:, None] + np.arange(k)
            cols[place] = (offset + indices.astype(np.int64) * k)[:, None] + np.arange(k)
            places.append(place)
            filled += met * k
        width = gcd(*(groups[j].k for j in self.dense))
        return Coupling(Ragged(size, cols, width), tuple(places), tuple(v[2] for v in views))

    def _column_map(self, i: int, j: int) -> Index:
        inner, outer = self.couplings[i].ragged, self.couplings[j].ragged
        width = np.int64(self.q_dense)
        have = outer.levels() * width + outer.cols
        want = self.parents[i, j][inner.levels()] * width + inner.cols
        return np.searchsorted(have, want)

    def per_level(self, i: int, left: Array, values: Array) -> Array:
        """left_s times the ragged columns of each level s of position i: (k', total) from (k, total).

        `left` is (m_i, k', k).
        """
        ragged = self.couplings[i].ragged
        if left.shape[1:] == (1, 1):
            return ragged.by_level(left[:, 0, 0], values[0])[None]
        out = np.zeros((left.shape[1], values.shape[1]))
        for row, col in np.argwhere(left.any(axis=0)):
            out[row] += ragged.by_level(left[:, row, col], values[col])
        return out
