r"""Blocks of M^-1 from a few solutions: what a sum over nonzeros gives exactly, and probes for the rest.

By (4) of :mod:`lmmformula.engines.krylov.schur` the blocks of M^-1 are those of ``G (I - K)^-1 G'``. The head of the series
``(I - K)^-1 = I + K + K^2 + ...`` is known on the pattern of the nonzeros
(:mod:`lmmformula.engines.krylov.moments`): with row s of N belonging to
the eliminated group and levels i, j to the others::

    M^-1_ss = F^-T [ I + N N' + N K N' + N A N' ]_ss F^-1,         A = (I - K)^-1 - I - K
    M^-1_sj = - F_s^-T [ N + N K + N A ]_sj C_j^-1                                                               (1)
    M^-1_jj = C_j^-T [ I + K^2 + R ]_jj C_j^-1,                    R = A - K^2
    M^-1_ij = C_i^-T [ K + A ]_ij C_j^-1

What is left, A and R, is estimated with the basis Q of outlying eigenvectors, P = I - QQ' and signs z::

    A = Q r' + r Q' + P A P,     r = A Q - Q (Q'A Q) / 2,          P A P = E (P A P z) (P z)'                    (2)

as a sum of symmetrised products of two vectors, whose entries on a pattern cost O(nnz) each. Where forming K would cost too
much (a level that meets most others) the head of the series ends at I, and A = (I - K)^-1 - I.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.engines.base import Paired
from lmmformula.engines.krylov.compressed import Compressed
from lmmformula.engines.krylov.moments import Moments
from lmmformula.numerics.batched import matmul, transpose
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lmmformula.engines.krylov.schur import SchurComplement

__all__ = [
    "Probed",
    "Products",
    "StochasticInverse",
    "add_sampled",
    "level_products",
    "split_products",
    "summed_products",
    "with_errors",
]

SLAB = 2_000_000
"""Entries of a pattern that are gathered at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """sum_i (a_i b_i' + b_i a_i') / 2, the first `exact` of them without error, the others a mean over probes."""

    a: Array
    b: Array
    exact: int


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """Solutions for the basis of outliers and for the probes.

    Attributes
    ----------
    basis, probes : (q_D, r), (q_D, b) arrays
        Q and P z.
    of_basis, of_probes : arrays
        (I - K)^-1 Q and (I - K)^-1 P z.
    forms : (r + b,) array
        v' g(K) v for each of those columns.
    powers : tuple of (q_D, r + b) arrays, or None
        (I - K) and its square times each of those columns, where the iterations have left them.
    """

    basis: Array
    probes: Array
    of_basis: Array
    of_probes: Array
    forms: Array
    powers: tuple[Array, Array] | None = None

    @property
    def vectors(self) -> Array:
        """[Q, P z]."""
        return np.hstack([self.basis, self.probes])

    def moved(self, s: SchurComplement) -> tuple[Array, Array]:
        """K and K^2 times the vectors."""
        left = self.vectors
        if self.powers is not None:
            first, second = self.powers
            return left - first, left - 2.0 * first + second
        once = left - s.nearly(left)
        return once, once - s.nearly(once)


@dataclass(frozen=True, eq=False)
class StochasticInverse(Paired):
    """Blocks of M^-1 and their sums.

    Attributes
    ----------
    complement : SchurComplement
    moments : Moments
    rest : Products
        A of (1).
    own_rest : Products
        R of (1).
    """

    complement: SchurComplement
    moments: Moments
    rest: Products
    own_rest: Products

    @classmethod
    def of(cls, s: SchurComplement, moments: Moments, found: Probed | None) -> StochasticInverse:
        """From solutions for the basis of outliers and for the probes; `found` is None if nothing is dense."""
        if found is None:
            none = Products(np.zeros((0, 1)), np.zeros((0, 1)), 1)
            return cls(s, moments, none, none)
        left, r = found.vectors, found.basis.shape[1]
        tail = np.hstack([found.of_basis, found.of_probes]) - left
        if not moments.exact:
            rest = split_products(left, tail, r)
            return cls(s, moments, rest, rest)
        once, twice = found.moved(s)
        tail -= once
        return cls(s, moments, split_products(left, tail, r), split_products(left, tail - twice, r))

    # -- sums over levels ----------------------------------------------------------------------------------------

    @cached_property
    def _sums(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Traces and their standard errors, per group (k, k)."""
        s, plan = self.complement, self.complement.pattern.plan
        count = len(plan.blocks.groups)
        traces: list[Array] = [np.empty(0)] * count
        errors: list[Array] = [np.empty(0)] * count
        a = plan.chain[0]
        chain, heads = self._known
        traces[a], errors[a] = summed_products(chain, self._chained if s.q else None, self.rest.exact)
        dense = [s.dense_effects(v) for v in (self.own_rest.a, self.own_rest.b)] if s.q else [[], []]
        for j, known, left, right in zip(plan.dense, heads, *dense, strict=True):
            traces[j], errors[j] = summed_products(known, [left, right], self.own_rest.exact)
        return tuple(traces), tuple(errors)

    @property
    def _known(self) -> tuple[Array, list[Array]]:
        """The heads of the series in the traces of the eliminated group and of the others."""
        s, heads = self.complement, self.moments.heads
        if heads is not None:
            chain = np.array([[float(np.vdot(s.inv, s.inv)) + heads.chain]])
            parts = zip(s.c_inverses, heads.dense, strict=True)
            return chain, [np.array([[float(np.vdot(c, c)) + head]]) for c, head in parts]
        chain = self._scaled(self._chain_head, transpose(s.inv)).sum(axis=0)
        if not s.q:
            return chain, []
        both = zip(self._dense_heads, s.c_inverses, strict=True)
        return chain, [self._scaled(head, transpose(c)).sum(axis=0) for head, c in both]

    @property
    def traces(self) -> tuple[Array, ...]:
        """Per group the sum over levels of the diagonal blocks of M^-1."""
        return self._sums[0]

    @property
    def trace_errors(self) -> tuple[Array, ...]:
        """Standard errors of `traces`, element by element."""
        return self._sums[1]

    # -- blocks --------------------------------------------------------------------------------------------------

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        s, plan = self.complement, self.complement.pattern.plan
        if a == plan.chain[0]:
            out = self._scaled(self._chain_head, transpose(s.inv))
            return out + level_products(*self._chained) if s.q else out
        x = plan.dense.index(a)
        out = self._scaled(self._dense_heads[x], transpose(s.c_inverses[x]))
        return out + level_products(*(s.dense_effects(v)[x] for v in (self.own_rest.a, self.own_rest.b)))

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of the pair, a <= b."""
        plan = self.complement.pattern.plan
        chain = plan.chain[0]
        if chain == a:
            out = np.empty((plan.blocks.pattern(a, b).nnz, plan.blocks.groups[a].k, plan.blocks.groups[b].k))
            out[plan.couplings[0].stored[plan.dense.index(b)]] = self._mixed(b)
            return out
        if chain == b:
            values = self._mixed(a)
            out = np.empty((len(values), values.shape[2], values.shape[1]))
            out[plan.couplings[0].stored[plan.dense.index(a)]] = transpose(values)
            return out
        pattern = plan.blocks.pattern(a, b)
        return self._both_dense(a, b, pattern.rows(), pattern.indices)

    def _mixed(self, j: int) -> Array:
        """The eliminated group with dense group j, read by levels of the former, (nnz, k_A, k_j)."""
        s, plan = self.complement, self.complement.pattern.plan
        x = plan.dense.index(j)
        if s.pattern.k == 1 and [g.k for g in s.pattern.dense_groups] == [1]:
            left, right = s.inv[s.pattern.owners[0], 0, 0], s.c_inverses[0][s.pattern.levels[0], 0, 0]
            return (self._nearby[0] * -left * right)[:, None, None]
        middle = np.moveaxis(self._nearby[:, plan.couplings[0].places[x]], 0, 1)
        inner = matmul(middle, s.c_inverses[x][s.pattern.levels[x]])
        return -matmul(transpose(s.inv)[s.pattern.owners[x]], inner)

    @cached_property
    def _nearby(self) -> Array:
        """N (I - K)^-1 on the pattern of N as ragged values, (k_A, total)."""
        s, n = self.complement, self.complement.pattern.by_row
        values = s.n + self.moments.on_patterns.nk if self.moments.exact else s.n.copy()
        left = 0.5 * np.hstack(self._times_n)
        right = np.hstack([self.rest.b, self.rest.a]).astype(left.dtype, copy=False)
        add_sampled(n, left, right, values, compiled=s.compiled)
        out = np.empty(len(values))
        out[n.source] = values
        return out.reshape(s.pattern.k, -1)

    def against(self, a: int, q: csr_array) -> Array:
        """An estimate of ``sum_st q_st (M^-1)_ts`` of a group that is iterated on, (k_a, k_a)."""
        entries = q.tocoo()
        rows, cols = (np.asarray(c, dtype=np.int64) for c in entries.coords)
        same, below = rows == cols, rows > cols
        out = np.tensordot(entries.data[same], self.diagonal(a)[rows[same]], 1)
        pairs = np.tensordot(entries.data[below], self._both_dense(a, a, cols[below], rows[below]), 1)
        return out + pairs + pairs.T

    def _both_dense(self, a: int, b: int, rows: Index, cols: Index) -> Array:
        """Levels of two dense groups, or two levels of one, by one product of vectors for every pair of columns."""
        s, p = self.complement, self.complement.pattern
        groups = p.blocks.groups
        x, y = p.plan.dense.index(a), p.plan.dense.index(b)
        i = p.plan.offsets[x] + (rows * groups[a].k)[:, None] + np.arange(groups[a].k)
        j = p.plan.offsets[y] + (cols.astype(np.int64) * groups[b].k)[:, None] + np.arange(groups[b].k)
        shape = (len(rows), groups[a].k, groups[b].k)
        i, j = (np.broadcast_to(v, shape).ravel() for v in (i[:, :, None], j[:, None, :]))
        values = self._on_h(i, j) if self.moments.exact else np.zeros(len(i))
        for start in range(0, len(i), SLAB):
            some = slice(start, start + SLAB)
            for left, right in ((self.rest.a, self.rest.b), (self.rest.b, self.rest.a)):
                values[some] += 0.5 * np.einsum("pv,pv->p", left[i[some]], right[j[some]])
        ca, cb = transpose(s.c_inverses[x])[rows], s.c_inverses[y][cols]
        return matmul(matmul(ca, values.reshape(shape)), cb)

    def _on_h(self, i: Index, j: Index) -> Array:
        """Entries of K at positions of the pattern of H."""
        h, q = self.complement.pattern.h, np.int64(self.complement.q)
        keys = np.repeat(np.arange(len(h.ptr) - 1), np.diff(h.ptr)) * q + h.cols
        return self.moments.on_patterns.kh[np.searchsorted(keys, i.astype(np.int64) * q + j)]

    # -- heads of the series -------------------------------------------------------------------------------------

    @cached_property
    def _chain_head(self) -> Array:
        """I + N N' + N K N' within levels, (m_A, k, k)."""
        s = self.complement
        p, k = s.pattern, s.pattern.k
        out = np.broadcast_to(np.eye(k), s.inv.shape).copy()
        if not s.q:
            return out
        if s.compiled:
            near = s.n + self.moments.on_patterns.nk if self.moments.exact else s.n
            return out + p.by_row.level_products(0, len(out), k, near, s.n)
        ragged = p.plan.couplings[0].ragged
        n, near = np.empty(len(s.n)), np.empty(len(s.n))
        n[p.by_row.source] = s.n
        near[p.by_row.source] = s.n + self.moments.on_patterns.nk if self.moments.exact else s.n
        n, near = n.reshape(k, -1), near.reshape(k, -1)
        for i in range(k):
            for j in range(k):
                out[:, i, j] += np.add.reduceat(near[i] * n[j], ragged.ptr[:-1])
        return out

    @property
    def _dense_heads(self) -> list[Array]:
        """I + K^2 within levels, one (m_j, k_j, k_j) array for each dense group."""
        p, out = self.complement.pattern, []
        for g, start in zip(p.dense_groups, p.plan.offsets, strict=True):
            block = np.broadcast_to(np.eye(g.k), (g.m, g.k, g.k)).copy()
            if self.moments.exact:
                half = self.moments.on_patterns.own[start : start + g.q].reshape(g.m, g.k, -1)[:, :, : g.k]
                low = np.tril(half)
                block += low + transpose(np.tril(half, -1))
            out.append(block)
        return out

    @cached_property
    def _times_n(self) -> list[Array]:
        """N a and N b of A."""
        return [self.complement.nearly_times_n(v) for v in (self.rest.a, self.rest.b)]

    @property
    def _chained(self) -> list[Array]:
        """F^-T N a and F^-T N b, (m_A, k, count)."""
        s = self.complement
        back = transpose(s.inv)
        return [matmul(back, v.reshape(len(back), s.pattern.k, -1)) for v in self._times_n]

    @staticmethod
    def _scaled(middle: Array, left: Array) -> Array:
        """left middle left' for each level."""
        return matmul(matmul(left, middle), transpose(left))


def split_products(left: Array, tail: Array, r: int) -> Products:
    """(2) from the columns [Q, P z] and the operator times them."""
    q, probes = left[:, :r], left[:, r:]
    of_q = 2.0 * tail[:, :r] - q @ (q.T @ tail[:, :r])
    of_probes = (tail[:, r:] - q @ (q.T @ tail[:, r:])) / max(probes.shape[1], 1)
    return Products(np.hstack([q, probes]), np.hstack([of_q, of_probes]), r)


def level_products(a: Array, b: Array) -> Array:
    """Symmetrised sum over vectors of a b' within levels, (m, k, k)."""
    half = matmul(a, transpose(b)) if a.shape[1] > 1 else np.einsum("mkv,mkv->mk", a, b)[..., None]
    return 0.5 * (half + transpose(half))


def summed_products(known: Array, vectors: list[Array] | None, exact: int) -> tuple[Array, Array]:
    """Sum over levels of a known part and of products of vectors, and its standard error over probes."""
    if vectors is None:
        return known, np.zeros_like(known)
    left, right = vectors
    each = np.einsum("miv,mjv->vij", left, right)
    return with_errors(known, 0.5 * (each + transpose(each)), exact)


def with_errors(known: Array, each: Array, exact: int) -> tuple[Array, Array]:
    """A known part plus the sum of others, (v, ...), those beyond `exact` a mean over probes; and its standard error."""
    total, probes = known + each.sum(axis=0), each[exact:] * (len(each) - exact)
    if not len(probes):
        return total, np.zeros_like(total)
    return total, probes.std(axis=0, ddof=1) / np.sqrt(len(probes))


def add_sampled(pattern: Compressed, left: Array, right: Array, out: Array, *, compiled: bool) -> None:
    """Add left[i] . right[j] to `out` at the entries (i, j) of a compressed pattern."""
    ptr, cols = pattern.ptr, pattern.cols
    if compiled:
        from lmmformula.numerics.krylov_kernels import sampled_product

        in_parts(lambda i, j: sampled_product(i, j, ptr, cols, left, right, out), pattern.cuts)
        return
    rows = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    out += np.einsum("pv,pv->p", left[rows], right[cols])
