"""Selected inversion: the blocks of M^-1 on the pattern of M, by running the elimination backwards.

With Z = M^-1 and R = {later chain positions} + D, from ``M = F F'`` (Takahashi, Fagan & Chin 1973, in blocks)::

    Y_iR = T_iR Z_RR            only where level s of i meets R
    Z_iR = -F_i^-T Y_iR
    Z_ii =  F_i^-T (I + Y_iR T_iR') F_i^-1

Z_RR is needed only at levels that meet in a common row, which the nested chain guarantees to be known already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.engines.base import Paired
from lmmformula.engines.elimination import Elimination
from lmmformula.numerics.batched import matmul, transpose
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["SelectedInverse"]


@dataclass(frozen=True, eq=False)
class SelectedInverse(Paired):
    """Blocks of M^-1.

    Attributes
    ----------
    own : tuple of (m_i, k_i, k_i) arrays
        Diagonal blocks of the chain.
    chain_pair : dict (i, j) -> (m_i, k_i, k_j) array
    ragged : tuple of (k_i, total_i) arrays
        Blocks between chain and dense part.
    dense : (q_D, q_D) array, full
    """

    plan: Elimination
    own: tuple[Array, ...]
    chain_pair: dict[tuple[int, int], Array]
    ragged: tuple[Array, ...]
    dense: Array

    @classmethod
    def of(
        cls,
        plan: Elimination,
        inv: tuple[Array, ...],
        pair: dict[tuple[int, int], Array],
        ragged: tuple[Array, ...],
        dense: Array,
    ) -> SelectedInverse:
        """Run the recursion of the module's head, given Z_DD; without `ragged` and `dense`, on the chain alone."""
        r = len(plan.chain)
        own: list[Array] = [np.empty(0)] * r
        z_pair: dict[tuple[int, int], Array] = {}
        z_ragged: list[Array] = [np.empty(0)] * r
        for i in reversed(range(r)):
            back = inner = transpose(inv[i])
            later = range(i + 1, r)
            for j in later:
                y = _chain_product(plan, i, j, pair, ragged, own, z_pair, z_ragged)
                inner = inner + matmul(back, matmul(y, transpose(pair[i, j])))
                z_pair[i, j] = -matmul(back, y)
            if ragged:
                y = _ragged_product(plan, i, pair, ragged, z_ragged, dense)
                inner = inner + matmul(back, _level_outer(plan, i, y, ragged[i]))
                z_ragged[i] = -plan.per_level(i, back, y)
            own[i] = matmul(inner, inv[i])
        return cls(plan, tuple(own), z_pair, tuple(z_ragged) if ragged else (), dense)

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        if a in self.plan.chain:
            return self.own[self.plan.chain.index(a)]
        g = self.plan.blocks.groups[a]
        start = self.plan.offsets[self.plan.dense.index(a)]
        own = start + (np.arange(g.m) * g.k)[:, None] + np.arange(g.k)
        return self.dense[own[:, :, None], own[:, None, :]].astype(float, copy=False)

    def against(self, a: int, q: csr_array) -> Array:
        """``sum_st q_st (M^-1)_ts`` of a group in the dense part, (k_a, k_a)."""
        g, start = self.plan.blocks.groups[a], self.plan.offsets[self.plan.dense.index(a)]
        own = self.dense[start : start + g.q, start : start + g.q].reshape(g.m, g.k, g.m, g.k)
        entries = q.tocoo()
        return np.tensordot(entries.data, own[entries.coords[1], :, entries.coords[0], :], 1)

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of the pair, a <= b."""
        in_chain = a in self.plan.chain, b in self.plan.chain
        if all(in_chain):
            return self._both_chain(a, b)
        if not any(in_chain):
            return self._both_dense(a, b)
        return self._mixed(a, b) if in_chain[0] else self._unordered(self._mixed(b, a), a, b)

    def _unordered(self, values: Array, a: int, b: int) -> Array:
        """Values read by levels of b, put in the stored order of (a, b) and transposed."""
        order = self.plan.blocks.pattern(a, b).by_column
        out = np.empty((values.shape[0], values.shape[2], values.shape[1]))
        out[order] = transpose(values)
        return out

    def _both_chain(self, a: int, b: int) -> Array:
        i, j = self.plan.chain.index(a), self.plan.chain.index(b)
        return self.chain_pair[i, j] if i < j else self._unordered(self.chain_pair[j, i], a, b)

    def _both_dense(self, a: int, b: int) -> Array:
        pattern, groups = self.plan.blocks.pattern(a, b), self.plan.blocks.groups
        start = [self.plan.offsets[self.plan.dense.index(x)] for x in (a, b)]
        rows = start[0] + (pattern.rows() * groups[a].k)[:, None] + np.arange(groups[a].k)
        cols = start[1] + (pattern.indices.astype(np.int64) * groups[b].k)[:, None] + np.arange(groups[b].k)
        return self.dense[rows[:, :, None], cols[:, None, :]].astype(float, copy=False)

    def _mixed(self, a: int, b: int) -> Array:
        """Chain group a with dense group b, read by levels of a."""
        i = self.plan.chain.index(a)
        if self.plan.couplings[i].are_pairs:
            return self.ragged[i].T[:, :, None]
        place = self.plan.couplings[i].places[self.plan.dense.index(b)]
        return np.moveaxis(self.ragged[i][:, place], 0, 1)


def _level_outer(plan: Elimination, i: int, y: Array, t: Array) -> Array:
    """Sum of y t' over the columns of each level, (m_i, rows of y, rows of t)."""
    starts = plan.couplings[i].ragged.ptr[:-1]
    out = np.empty((len(starts), len(y), len(t)))
    for r in range(len(y)):
        for c in range(len(t)):
            out[:, r, c] = np.add.reduceat(y[r] * t[c], starts)
    return out


def _ragged_product(
    plan: Elimination,
    i: int,
    pair: dict[tuple[int, int], Array],
    ragged: tuple[Array, ...],
    z_ragged: list[Array],
    dense: Array,
) -> Array:
    """Y_iD = T_iD Z_DD + sum_j T_ij Z_jD on the ragged columns of i."""
    y = plan.couplings[i].ragged.on_pattern(ragged[i], dense)
    for j in range(i + 1, len(plan.chain)):
        y += plan.per_level(i, pair[i, j], z_ragged[j][:, plan.column_maps[i, j]])
    return y


def _chain_product(
    plan: Elimination,
    i: int,
    j: int,
    pair: dict[tuple[int, int], Array],
    ragged: tuple[Array, ...],
    own: list[Array],
    z_pair: dict[tuple[int, int], Array],
    z_ragged: list[Array],
) -> Array:
    """Y_ij = sum_l T_il Z_lj + T_iD Z_Dj at the level of j that holds each level of i."""
    y = matmul(pair[i, j], own[j][plan.parents[i, j]])
    for other in range(i + 1, len(plan.chain)):
        if other < j:
            y += matmul(pair[i, other], z_pair[other, j][plan.parents[i, other]])
        elif other > j:
            y += matmul(pair[i, other], transpose(z_pair[j, other][plan.parents[i, j]]))
    if ragged:
        y += _level_outer(plan, i, ragged[i], z_ragged[j][:, plan.column_maps[i, j]])
    return y
