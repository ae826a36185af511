"""The exact engine: block Cholesky of M with the largest chain of nested groups eliminated first.

With the chain positions 1..r and the dense part D, for i = 1..r::

    S_ii = F_i F_i'                       k x k Cholesky factors, one for each level
    T_ij = F_i^-1 S_ij,  T_iD = F_i^-1 S_iD
    S_jl -= T_ij' T_il,  S_jD -= T_ij' T_iD,  S_DD -= T_iD' T_iD        (j, l > i)

then ``S_DD = R_D' R_D``, and ``log|M| = 2 sum_i log|F_i| + 2 log|R_D|``. Because the chain is nested, no S_jl ever gains a
nonzero outside the pattern of the Gram. Cost: O(nnz) for the chain, the pairs of :mod:`lmmformula.numerics.ragged` for
S_DD, q_D^3 / 3 for its factor. Memory: the Gram, and two q_D x q_D matrices.

A search that is still far from its optimum has no use for sixteen digits, nor for the inverse of S_DD, twice the price of its
factor, of which it asks for traces alone. Its guide rounds S_DD, once formed, to single precision, whose factor takes half the
time and errs by 1e-7 times the condition number, and estimates traces from a few solutions. Where it ends the inverse is formed
once, and the search goes on in double precision with traces that differ little from those there
(:mod:`lmmformula.engines.traces`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from lmmformula.engines.base import Across, Certain, Exact, Sharpened, Stacked, Survey, traces
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.factorised_cost import SINGLE, survey
from lmmformula.engines.scaled import cross, scaled, scaled_coupling, scaled_diagonal
from lmmformula.engines.selected import SelectedInverse
from lmmformula.engines.traces import Anchored, Sampled
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.frozen import computed_once, evolved
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import (
    cholesky,
    flat,
    lower_inverse,
    matmul,
    matmul_over,
    segment_products,
    transpose,
)
from lmmformula.numerics.definite import Factored, factored
from lmmformula.typing import Array

__all__ = ["BlockedEngine", "BlockedFactor", "BlockedPrepared"]


@dataclass(frozen=True)
class BlockedEngine(Exact):
    """Exact block Cholesky."""

    name: str = "blocked"
    draws: ClassVar[bool] = True
    by_level: ClassVar[bool] = True

    def prepare(self, blocks: Levels) -> BlockedPrepared:
        return BlockedPrepared(blocks, blocks.once(Elimination))

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """The chain eliminated, the rest dense."""
        return survey(problem, blocks.once(Elimination))


@dataclass(frozen=True, eq=False)
class BlockedPrepared:
    """The elimination order and its index maps.

    Attributes
    ----------
    blocks : Levels
    plan : Elimination
    single : bool
        Whether the dense part is factorised in single precision.
    way : Sampled, Anchored or None
        How traces are found; None: by the inverse.
    """

    blocks: Levels
    plan: Elimination
    single: bool = False
    way: Sampled | Anchored | None = None

    @property
    def is_exact(self) -> bool:
        """Whether nothing is sampled: what is left of that in anchored traces is below what a search asks for."""
        return not isinstance(self.way, Sampled)

    @property
    def dense_side(self) -> int:
        return self.plan.q_dense

    @property
    def rough(self) -> BlockedPrepared:
        """The guide, if there is one."""
        return self.guide or self

    @property
    def guide(self) -> BlockedPrepared | None:
        """One of single precision where the dense part is large, and no precision across levels may be near singular.

        Its traces are sampled, or anchored where those of this engine are.
        """
        known = all(group.across is None for group in self.blocks.groups)
        if self.single or not known or self.plan.q_dense < SINGLE:
            return None
        return replace(self, single=True, way=self.way or Sampled.of_levels(self.blocks, self.plan.q_dense))

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> BlockedFactor:
        try:
            return _factorise(self, gram, factors, across)
        except np.linalg.LinAlgError as error:
            largest = max(float(np.abs(f).max()) for f in factors)
            raise FitError(
                f"the mixed-model matrix is not positive definite in floating point at theta up to {largest:.3g}. "
                "The likely cause is a column or weight whose scale differs from the others by many orders of "
                "magnitude; rescale it (for example divide by its standard deviation)."
            ) from error


def _factorise(
    prepared: BlockedPrepared, gram: Gram, factors: Sequence[Array], across: Across
) -> BlockedFactor:
    """The elimination of the module's head."""
    plan = prepared.plan
    chain = range(len(plan.chain))
    diag = [scaled_diagonal(gram.diag[a], factors[a]) for a in plan.chain]
    pair = {key: _scaled_chain_pair(plan, gram, factors, *key) for key in plan.parents}
    ragged = [scaled_coupling(plan, gram, factors, i) for i in chain] if plan.dense else []
    inv = []
    for i in chain:
        inv.append(lower_inverse(cholesky(diag[i])))
        later = range(i + 1, len(plan.chain))
        for j in later:
            pair[i, j] = matmul(inv[i], pair[i, j])
        if plan.dense:
            ragged[i] = plan.per_level(i, inv[i], ragged[i])
        for j in later:
            parent, m = plan.parents[i, j], len(diag[j])
            diag[j] -= segment_products(parent, pair[i, j], pair[i, j], m)
            for other in range(j + 1, len(plan.chain)):
                pair[j, other] -= segment_products(parent, pair[i, j], pair[i, other], m)
            if plan.dense:
                ragged[j] -= _ragged_update(plan, i, j, transpose(pair[i, j]), ragged[i])

    def complement(kind: type[np.floating]) -> Array:
        out = _dense_gram(plan, gram, factors, across, kind)
        for coupling, values in zip(plan.couplings, ragged, strict=True):
            coupling.ragged.less_gram(out, values)
        return out

    dense = _factored_dense(complement, single=prepared.single)
    return BlockedFactor(prepared, tuple(inv), pair, tuple(ragged), dense, across)


def _scaled_chain_pair(plan: Elimination, gram: Gram, factors: Sequence[Array], i: int, j: int) -> Array:
    a, b = plan.chain[i], plan.chain[j]
    values = cross(gram, a, b)
    if a > b:
        values = values[plan.blocks.pattern(b, a).by_column]
    return scaled(factors[a], values, factors[b])


def _dense_gram(
    plan: Elimination,
    gram: Gram,
    factors: Sequence[Array],
    across: Across,
    kind: type[np.floating],
    own_prior: float = 1.0,
) -> Array:
    """Lambda_D' G_DD Lambda_D + Q_D in the precision `kind`; only the lower triangle is meaningful.

    Independent levels have the precision `own_prior`.
    """
    out = np.zeros((plan.q_dense, plan.q_dense), dtype=kind)
    for x, (a, start) in enumerate(zip(plan.dense, plan.offsets, strict=True)):
        m, k = plan.blocks.groups[a].m, plan.blocks.groups[a].k
        own = start + (np.arange(m) * k)[:, None] + np.arange(k)
        q = across[a] if across else None
        prior = own_prior if q is None else q.diagonal[:, None]
        out[own[:, :, None], own[:, None, :]] = scaled_diagonal(gram.diag[a], factors[a], prior)
        if (a, a) in gram.cross:
            pattern = plan.blocks.pattern(a, a)
            rows, cols = own[pattern.indices], own[pattern.rows()]
            blocks = transpose(scaled(factors[a], gram.cross[a, a], factors[a]))
            out[rows[:, :, None], cols[:, None, :]] = blocks
        if q is not None:
            rows, cols, values = q.below
            out[own[rows], own[cols]] += values[:, None]
        for b, first in zip(plan.dense[x + 1 :], plan.offsets[x + 1 :], strict=True):
            pattern, kb = plan.blocks.pattern(a, b), plan.blocks.groups[b].k
            cols = start + (pattern.rows() * k)[:, None] + np.arange(k)
            rows = first + (pattern.indices.astype(np.int64) * kb)[:, None] + np.arange(kb)
            out[rows[:, None, :], cols[:, :, None]] = scaled(factors[a], gram.cross[a, b], factors[b])
    return out


def _ragged_update(plan: Elimination, i: int, j: int, t: Array, values: Array) -> Array:
    """T_ij' T_iD added up on the ragged columns of position j, (k_j, total_j)."""
    total, where = len(plan.couplings[j].ragged.cols), plan.column_maps[i, j]
    shares = plan.per_level(i, t, values)
    return np.stack([np.bincount(where, row, total).astype(float, copy=False) for row in shares])


def _factored_dense(form: Callable[[type[np.floating]], Array], *, single: bool) -> Factored:
    """The factor of the dense part, as `form` gives it, of single precision if asked for and it is definite in that."""
    if single:
        try:
            return factored(form(np.float32))
        except np.linalg.LinAlgError:
            pass
    return factored(form(np.float64))


@dataclass(frozen=True, eq=False)
class BlockedFactor(Certain):
    """The factorised M.

    Attributes
    ----------
    prepared : BlockedPrepared
    inv : tuple of (m_i, k_i, k_i) arrays
        F_i^-1.
    pair : dict (i, j) -> (m_i, k_i, k_j) array
        T_ij between chain positions.
    ragged : tuple of (k_i, total_i) arrays
        T_iD.
    dense : Factored
        R_D.
    across : sequence of Precision or None
    """

    prepared: BlockedPrepared
    inv: tuple[Array, ...]
    pair: dict[tuple[int, int], Array]
    ragged: tuple[Array, ...]
    dense: Factored
    across: Across = ()

    @property
    def plan(self) -> Elimination:
        """Of the engine."""
        return self.prepared.plan

    @property
    def logdet(self) -> float:
        """log |M|."""
        return self._logdet

    @computed_once
    def _logdet(self) -> float:
        chain = sum(float(np.log(np.einsum("mii->mi", f)).sum()) for f in self.inv)
        return 2.0 * (self.dense.log_diagonal - chain)

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs by forward and back substitution through the blocks."""
        plan = self.plan
        work = [np.array(rhs[a], dtype=float) for a in plan.chain]
        dense = self._dense_rhs(rhs)
        for i in range(len(plan.chain)):
            work[i] = matmul_over(self.inv[i], work[i])
            for j in range(i + 1, len(plan.chain)):
                work[j] -= segment_products(plan.parents[i, j], self.pair[i, j], work[i], len(work[j]))
            if plan.dense:
                dense -= plan.couplings[i].ragged.transposed_times(self.ragged[i], work[i])
        return self.back_substituted(work, self.dense.solve(dense))

    def back_substituted(self, work: list[Array], dense: Array) -> Stacked:
        """F^-T of the chain's parts `work` (overwritten), given the solution of the dense part; per group (m, k, c)."""
        plan = self.plan
        for i in reversed(range(len(plan.chain))):
            for j in range(i + 1, len(plan.chain)):
                work[i] -= matmul(self.pair[i, j], work[j][plan.parents[i, j]])
            if plan.dense:
                work[i] -= plan.couplings[i].ragged.times(self.ragged[i], dense)
            work[i] = matmul_over(transpose(self.inv[i]), work[i])
        return self._gathered(work, dense)

    def noise(self, rng: np.random.Generator) -> Stacked:
        """One draw of N(0, M^-1), per group (m, k): the back substitution of `solve`, on standard normal numbers.

        With ``M = F F'`` in the order of elimination, ``F^-T z`` has covariance ``F^-T F^-1`` for standard normal z. Cost: half
        a solve with one column.
        """
        plan, groups = self.plan, self.plan.blocks.groups
        dense = self.dense.half_solve(rng.standard_normal((plan.q_dense, 1)))
        work: list[Array] = [rng.standard_normal((groups[a].m, groups[a].k, 1)) for a in plan.chain]
        return tuple(x[..., 0] for x in self.back_substituted(work, dense))

    def _dense_rhs(self, rhs: Stacked) -> Array:
        c = rhs[0].shape[-1] if rhs else 0
        parts = [flat(rhs[a]) for a in self.plan.dense]
        return np.concatenate(parts) if parts else np.zeros((0, c))

    def _gathered(self, work: list[Array], dense: Array) -> Stacked:
        out: list[Array] = [np.empty(0)] * len(self.plan.blocks.groups)
        for i, a in enumerate(self.plan.chain):
            out[a] = work[i]
        for a, start in zip(self.plan.dense, self.plan.offsets, strict=True):
            g = self.plan.blocks.groups[a]
            out[a] = dense[start : start + g.q].reshape(g.m, g.k, -1)
        return tuple(out)

    @computed_once
    def _inverse(self) -> SelectedInverse:
        return SelectedInverse.of(self.plan, self.inv, self.pair, self.ragged, self.dense.inverse())

    def inverse(self) -> SelectedInverse:
        """Selected blocks of M^-1; computed once."""
        return self._inverse

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group ``sum_st Q_st (M^-1)_ts``."""
        return self._traces

    @computed_once
    def _traces(self) -> tuple[Array, ...]:
        way = self.prepared.way
        return self.inverse_traces() if way is None else way.of(self)

    def has_trace_products(self, count: int) -> bool:
        from lmmformula.engines.trace_products import has_trace_products

        return has_trace_products(self, count)

    def trace_products(self, moves: Sequence[Gram], factors: Sequence[Array]) -> Array:
        """tr(M^-1 M_j M^-1 M_k), see :func:`lmmformula.engines.trace_products.trace_products`."""
        from lmmformula.engines.trace_products import trace_products

        return trace_products(self, moves, factors)

    def dense_part(self, gram: Gram, factors: Sequence[Array]) -> Array:
        """Lambda_D' G_DD Lambda_D, (q_D, q_D); only the lower triangle is meaningful."""
        return _dense_gram(self.plan, gram, factors, (), np.float64, own_prior=0.0)

    def inverse_traces(self) -> tuple[Array, ...]:
        """The same by the inverse."""
        return traces(self.inverse(), self.across, len(self.plan.blocks.groups))

    @computed_once
    def sampled(self) -> list[Array]:
        """Traces by each of the engine's signs."""
        way = self.prepared.way
        return [] if way is None else way.signs.each(self)

    def spread_of(self, z: Array) -> tuple[list[Array], Stacked, Stacked]:
        """The parts of (1) of :mod:`lmmformula.engines.traces`."""
        plan, groups = self.plan, self.plan.blocks.groups
        alone = SelectedInverse.of(plan, self.inv, self.pair, (), np.zeros((0, 0)))
        known: list[Array] = [np.zeros((g.k, g.k)) for g in groups]
        for a, own in zip(plan.chain, alone.own, strict=True):
            known[a] = own.sum(axis=0)
        return known, self._on_all(self.dense.solve(z)), self._on_all(z)

    def _on_all(self, x: Array) -> Stacked:
        """G x of effects of the dense part, (q_D, c)."""
        groups, c = self.plan.blocks.groups, x.shape[1]
        return self.back_substituted([np.zeros((groups[a].m, groups[a].k, c)) for a in self.plan.chain], x)

    def sharpened(self) -> Sharpened:
        """Itself with traces that are exact, to rounding; and where those were sampled an engine for places nearby."""
        way, plain = self.prepared.way, replace(self.prepared, single=False, way=None)
        if way is None:
            return Sharpened(self)
        nearby = replace(plain, way=way.anchored(self)) if isinstance(way, Sampled) else None
        return Sharpened(evolved(self, ("_traces", "sampled"), prepared=plain), nearby)
