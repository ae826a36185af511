"""The sparse engine: Cholesky of M in a fill-reducing order, for whatever couples levels.

Where M is neither block diagonal in its largest groups nor small - known precisions of pedigrees and Markov fields, rows of
several levels, many crossed factors of similar size - its nonzeros and an approximate minimum degree ordering are all that
counts. The kernels are in :mod:`lmmformula.numerics.sparse_cholesky` and :mod:`lmmformula.numerics.sparse_inverse`; the blocks
of M^-1 that criteria ask for lie on the pattern of M, hence on that of its factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.engines.base import Across, Certain, Drawless, Exact, Paired, Stacked, Survey, traces
from lmmformula.engines.cost import (
    WORD,
    Cost,
    Work,
    cells,
    passes,
    searched,
    space_of_rows,
    standard_errors,
    table,
)
from lmmformula.engines.scaled import scaled, scaled_diagonal
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import flat
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lmmformula.numerics.sparse_cholesky import SparseFactor, SparsePattern
    from lmmformula.numerics.sparse_inverse import SelectedInverse

__all__ = ["SparseEngine", "SparsePrepared"]


@dataclass(frozen=True)
class SparseEngine(Exact):
    """Exact sparse Cholesky of the whole of M."""

    name: str = "sparse"

    def prepare(self, blocks: Levels) -> SparsePrepared:
        return blocks.once(SparsePrepared.of)

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """Everything sparse: squares of the counts of L's columns to factorise, about as much again to invert.

        Supernodes are small dense matrices, so that their multiplications go by in vectors as those of a coupling with a dense
        part do; the tail is LAPACK's, m^3 / 3 to factorise and twice that to invert.
        """
        known = self.prepare(blocks).pattern.elimination
        counts, side = known.counts.astype(float), float(len(known.counts) - known.tail)
        before = counts[: known.tail]
        asked = searched(problem) + standard_errors(problem, blocks)
        filled = float(counts.sum())
        work = Work(
            calls=asked.solved,
            dense=(asked.solved + 2.0 * asked.inverted) * side**3 / 3.0,
            slabs=(asked.solved + asked.inverted) * float(before @ before),
            entries=(asked.solved + problem.p * asked.inverted) * 2.0 * filled,
            cells=cells(problem, asked),
            table=table(problem),
        )
        space = space_of_rows(
            problem,
            blocks,
            laplace=float(not problem.is_linear),
            compiled=1.0,
            entries=WORD * 4.0 * filled,
            levels=WORD * problem.q * (problem.p + 1),
        )
        words = (
            f"factorised in an order that fills in little: {filled:,.0f} nonzeros of {problem.q:,} columns"
        )
        cost = Cost(work, space, passes(problem, asked))
        return Survey(cost, ("sparse",) * len(blocks.groups), words)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the entries of the parts of M stand among the nonzeros of its lower triangle.

    Attributes
    ----------
    own : tuple of (m_a, k_a, k_a) arrays
        Diagonal blocks; both triangles, which share their places.
    pairs : dict (a, b) -> (nnz, k_a, k_b) array
    prior : tuple of (nnz_Q, k_a, k_a) arrays or None
        Of the pairs of levels that Q_a couples, each block whole, in the order of the elements of Q_a.
    """

    own: tuple[Index, ...]
    pairs: dict[tuple[int, int], Index]
    prior: tuple[Index | None, ...]


@dataclass(frozen=True, eq=False)
class SparsePrepared:
    """The pattern of M and its analysis.

    Attributes
    ----------
    blocks : Levels
    starts : tuple of int
        Where each group's effects begin.
    pattern : SparsePattern
    places : Places
    nonzeros : int
        Of the lower triangle.
    """

    blocks: Levels
    starts: tuple[int, ...]
    pattern: SparsePattern
    places: Places
    nonzeros: int

    is_exact = True

    @classmethod
    def of(cls, blocks: Levels) -> SparsePrepared:
        starts = tuple(np.cumsum([0, *(g.q for g in blocks.groups)]).tolist())
        keys = _keys(blocks, starts)
        q = starts[-1]
        every = [np.arange(q, dtype=np.int64) * (q + 1)]
        every += [k.ravel() for k in (*keys.own, *keys.pairs.values())]
        every += [k.ravel() for k in keys.prior if k is not None]
        found = np.unique(np.concatenate(every))
        indptr = np.searchsorted(found, np.arange(q + 1, dtype=np.int64) * q)

        def place(key: Index) -> Index:
            return np.searchsorted(found, key)

        places = Places(
            tuple(place(k) for k in keys.own),
            {pair: place(k) for pair, k in keys.pairs.items()},
            tuple(None if k is None else place(k) for k in keys.prior),
        )
        # Imported here, as compiled loops are for those who need them.
        from lmmformula.numerics.sparse_cholesky import SparsePattern

        pattern = SparsePattern.of(indptr, found % max(q, 1))
        return cls(blocks, starts, pattern, places, len(found))

    @property
    def dense_side(self) -> int:
        return 0

    @property
    def rough(self) -> SparsePrepared:
        return self

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> SparseCholesky:
        data = np.zeros(self.nonzeros)
        for a, (places, diag, lower) in enumerate(zip(self.places.own, gram.diag, factors, strict=True)):
            prior, q = self.places.prior[a], across[a] if across else None
            if prior is None or q is None:
                data[places] += scaled_diagonal(diag, lower)
                continue
            data[places] += scaled_diagonal(diag, lower, 0.0)
            for i in range(len(lower)):
                data[prior[:, i, i]] = data[prior[:, i, i]] + q.matrix.data
        for (a, b), places in self.places.pairs.items():
            data[places] += scaled(factors[a], gram.cross[a, b], factors[b])
        try:
            found = self.pattern.factorise(data)
        except np.linalg.LinAlgError as error:
            raise FitError(
                f"the mixed-model matrix is not positive definite in floating point: {error}. The likely cause is a column or "
                "weight whose scale differs from the others by many orders of magnitude; rescale it (for example divide by its "
                "standard deviation)."
            ) from error
        return SparseCholesky(self, found, across)


def _keys(blocks: Levels, starts: Sequence[int]) -> Places:
    """Column times q plus row of every entry, in the place of what :class:`Places` holds."""
    q = starts[-1]

    def key(i: Index, j: Index) -> Index:
        return np.minimum(i, j) * q + np.maximum(i, j)

    spans = [
        start + np.arange(g.q, dtype=np.int64).reshape(g.m, g.k)
        for g, start in zip(blocks.groups, starts, strict=False)
    ]
    pairs = {}
    for a, b in blocks.pairs():
        pattern = blocks.pattern(a, b)
        rows, cols = spans[a][pattern.rows()], spans[b][pattern.indices]
        pairs[a, b] = key(rows[:, :, None], cols[:, None, :])
    own = tuple(key(s[:, :, None], s[:, None, :]) for s in spans)
    return Places(own, pairs, tuple(_prior_keys(blocks, a, s, key) for a, s in enumerate(spans)))


def _prior_keys(blocks: Levels, a: int, span: Index, key: Callable[[Index, Index], Index]) -> Index | None:
    across = blocks.groups[a].across
    if across is None:
        return None
    rows, cols = across.precision(across.start()).entries
    return key(span[rows][:, :, None], span[cols][:, None, :])


@dataclass(frozen=True, eq=False)
class SparseCholesky(Certain, Drawless):
    """M factorised.

    Attributes
    ----------
    prepared : SparsePrepared
    found : SparseFactor
    across : sequence of Precision or None
    """

    prepared: SparsePrepared
    found: SparseFactor
    across: Across = ()

    @property
    def logdet(self) -> float:
        """log |M|."""
        return self.found.logdet

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs."""
        if not rhs:
            return ()
        solved = self.found.solve(np.concatenate([flat(r) for r in rhs]))
        ends = self.prepared.starts
        return tuple(
            solved[i : i + r.shape[0] * r.shape[1]].reshape(r.shape) for i, r in zip(ends, rhs, strict=False)
        )

    @cached_property
    def _inverse(self) -> SparseInverse:
        return SparseInverse(self.prepared, self.found.selected())

    def inverse(self) -> SparseInverse:
        """Blocks of M^-1 on the pattern of M; computed once."""
        return self._inverse

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group ``sum_st Q_st (M^-1)_ts``."""
        return traces(self._inverse, self.across, len(self.prepared.blocks.groups))


@dataclass(frozen=True, eq=False)
class SparseInverse(Paired):
    """Blocks of M^-1 on its pattern.

    Attributes
    ----------
    prepared : SparsePrepared
    selected : SelectedInverse
    """

    prepared: SparsePrepared
    selected: SelectedInverse

    @cached_property
    def _data(self) -> Array:
        return self.selected.data

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        return self._data[self.prepared.places.own[a]]

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of the pair, a <= b."""
        return self._data[self.prepared.places.pairs[a, b]]

    def against(self, a: int, q: csr_array) -> Array:
        """``sum_st q_st (M^-1)_ts`` of a group, (k_a, k_a)."""
        places = self.prepared.places.prior[a]
        if places is not None and len(places) == q.nnz:  # both are on the pattern of Q_a
            return np.tensordot(q.data, np.swapaxes(self._data[places], 1, 2), 1)
        group, start = self.prepared.blocks.groups[a], self.prepared.starts[a]
        entries, inner = q.tocoo(), np.arange(group.k)
        s, t = (start + np.asarray(c, dtype=np.int64) * group.k for c in entries.coords)
        blocks = self.selected.at(
            np.broadcast_to(t[:, None, None] + inner[:, None], (len(t), group.k, group.k)).ravel(),
            np.broadcast_to(s[:, None, None] + inner, (len(s), group.k, group.k)).ravel(),
        )
        return np.tensordot(entries.data, blocks.reshape(-1, group.k, group.k), 1)
