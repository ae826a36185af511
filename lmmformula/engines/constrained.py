r"""M where effects are constrained: any exact engine, bordered by a few columns.

Some groups have a precision Q with null vectors and constraints ``C'u = 0`` (:mod:`lmmformula.ir.across.intrinsic`); all
formulas of :mod:`lmmformula.criteria.variance` hold with ``Q + kappa C C'`` as kappa grows, where ``log|M| - log|Q|`` and M^-1
have limits. The engine factorises ``M~ = M + tau E E'``, as sparse as M and positive definite where M need not be. With the
border ``F = (C, tau^1/2 E)``, ``X = M~^-1 F`` and ``T = F'X - diag(0, I)``, the Schur complement of M~ in::

    | M~   F  |                      M^-1   ->   M~^-1 - X T^-1 X'                                                    (1)
    | F'   0+I |     hence           log|M| ->   log|M~| + log|det T| - log|C'C|                                      (2)

(elimination of the second border alone gives M bordered by C, whose determinant is ``(-1)^c |B'MB| |C'C|`` for an orthonormal
basis B of the constraints' subspace). The traces ``sum_st Q_st (M^-1)_ts`` gain the number of constraints, as ``(Q + kappa C
C')(M + kappa C C')^-1`` is 1 on them. Conditioning by kriging (Rue & Held 2005, sec. 2.3.3) is (1) without E.

Draws. For x of N(0, M~^-1), ``x - X S^-1 F'x`` with S = F'X has the covariance given F'x = 0, and what (1) has beyond it is
``X (S^-1 - T^-1) X'``, a non-negative matrix of low rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.engines.base import (
    Across,
    Certain,
    Engine,
    Factor,
    InverseBlocks,
    Paired,
    Prepared,
    Stacked,
    is_constrained,
    traces,
)
from lmmformula.ir.across import Constrained
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import flat
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ConstrainedPrepared", "prepare"]


def prepare(engine: Engine, blocks: Levels) -> Prepared:
    """The engine, ready for the groups of `blocks`; bordered where some of them are constrained."""
    prepared = engine.prepare(blocks)
    if not is_constrained(blocks):
        return prepared
    return cast("Prepared", ConstrainedPrepared(prepared))


@dataclass(frozen=True, eq=False)
class ConstrainedPrepared:
    """An engine whose factors answer for constrained effects.

    Attributes
    ----------
    inner : Prepared
        The engine.
    """

    inner: Prepared

    @property
    def blocks(self) -> Levels:
        return self.inner.blocks

    @property
    def is_exact(self) -> bool:
        return self.inner.is_exact

    @property
    def dense_side(self) -> int:
        return self.inner.dense_side

    @property
    def rough(self) -> ConstrainedPrepared:
        rough = self.inner.rough
        return self if rough is self.inner else ConstrainedPrepared(rough)

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> ConstrainedFactor:
        held = tuple(q.pinned if isinstance(q, Constrained) else q for q in across)
        return ConstrainedFactor(self.blocks, self.inner.factor(gram, factors, held), across)


@dataclass(frozen=True, eq=False)
class ConstrainedFactor(Certain):
    """M~ factorised, with its border.

    Attributes
    ----------
    blocks : Levels
    inner : Factor
        Of M~.
    across : sequence of Precision or None
    """

    blocks: Levels
    inner: Factor
    across: Across

    @cached_property
    def border(self) -> Stacked:
        """F, per group (m, k, w)."""
        found = [q if isinstance(q, Constrained) else None for q in self.across]
        groups = self.blocks.groups
        widths = [0 if q is None else 2 * q.count * g.k for q, g in zip(found, groups, strict=True)]
        out, first = [], 0
        for q, g, own in zip(found, groups, widths, strict=True):
            f = np.zeros((g.m, g.k, sum(widths)))
            if q is not None:
                for j in range(g.k):
                    start = first + 2 * q.count * j
                    f[:, j, start : start + q.count] = q.sums
                    f[q.pins, j, start + q.count + np.arange(q.count)] = np.sqrt(q.weight)
            out.append(f)
            first += own
        return tuple(out)

    @cached_property
    def solved(self) -> Stacked:
        """X, per group (m, k, w)."""
        return self.inner.solve(self.border)

    @cached_property
    def _spread(self) -> Array:
        """S = F'X, (w, w)."""
        s: Array = np.sum([_product(f, x) for f, x in zip(self.border, self.solved, strict=True)], axis=0)
        return 0.5 * (s + s.T)

    @cached_property
    def _complement(self) -> Array:
        """T, (w, w)."""
        held = []
        for q, g in zip(self.across, self.blocks.groups, strict=True):
            if isinstance(q, Constrained):
                held += [*([0.0] * q.count), *([1.0] * q.count)] * g.k
        return self._spread - np.diag(held)

    @cached_property
    def inverse_complement(self) -> Array:
        """T^-1."""
        return np.linalg.inv(self._complement)

    @cached_property
    def logdet(self) -> float:
        """log |M|, by (2)."""
        value = self.inner.logdet + float(np.linalg.slogdet(self._complement)[1])
        for q, g in zip(self.across, self.blocks.groups, strict=True):
            if isinstance(q, Constrained):
                value -= g.k * float(np.linalg.slogdet(q.sums.T @ q.sums)[1])
        return value

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs, which meets the constraints."""
        found = self.inner.solve(rhs)
        seen = sum(_product(x, r) for x, r in zip(self.solved, rhs, strict=True))
        moved = self.inverse_complement @ seen
        return tuple(y - x @ moved for y, x in zip(found, self.solved, strict=True))

    @cached_property
    def _inverse(self) -> ConstrainedInverse:
        return ConstrainedInverse(self, self.inner.inverse())

    def inverse(self) -> ConstrainedInverse:
        """Blocks of M^-1 by (1)."""
        return self._inverse

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group ``sum_st Q_st (M^-1)_ts``, and the number of its constraints."""
        found = traces(self._inverse, self.across, len(self.blocks.groups))
        counts = [q.count if isinstance(q, Constrained) else 0 for q in self.across]
        return tuple(t + c * np.eye(len(t)) for t, c in zip(found, counts, strict=True))

    def noise(self, rng: np.random.Generator) -> Stacked:
        """One draw of N(0, M^-1), per group (m, k)."""
        x = self.inner.noise(rng)
        seen = sum(_product(f, v[..., None])[:, 0] for f, v in zip(self.border, x, strict=True))
        inverse = np.linalg.inv(self._spread)
        beyond = inverse - self.inverse_complement
        values, vectors = np.linalg.eigh(0.5 * (beyond + beyond.T))
        fresh = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(values)))
        moved = fresh - inverse @ seen
        return tuple(v + s @ moved for v, s in zip(x, self.solved, strict=True))


@dataclass(frozen=True, eq=False)
class ConstrainedInverse(Paired):
    """Blocks of M^-1 by (1).

    Attributes
    ----------
    factor : ConstrainedFactor
    inner : InverseBlocks
        Those of M~.
    """

    factor: ConstrainedFactor
    inner: InverseBlocks

    def _between(self, left: Array, right: Array) -> Array:
        """Blocks of X T^-1 X' for pairs of levels, (nnz, k_a, k_b)."""
        return np.einsum("niw,njw->nij", left @ self.factor.inverse_complement, right)

    def diagonal(self, a: int) -> Array:
        """Diagonal blocks of group a, (m_a, k_a, k_a)."""
        x = self.factor.solved[a]
        return self.inner.diagonal(a) - self._between(x, x)

    def pair(self, a: int, b: int) -> Array:
        """Blocks (nnz, k_a, k_b) on the pattern of levels of a and b (a <= b) that meet in a row."""
        pattern, x = self.factor.blocks.pattern(a, b), self.factor.solved
        return self.inner.pair(a, b) - self._between(x[a][pattern.rows()], x[b][pattern.indices])

    def against(self, a: int, q: csr_array) -> Array:
        """``sum_st q_st (M^-1)_ts`` over levels s, t of group a, (k_a, k_a)."""
        x = self.factor.solved[a]
        weighted = (q.T @ x.reshape(len(x), -1)).reshape(x.shape)
        return self.inner.against(a, q) - self._between(x, weighted).sum(axis=0)


def _product(x: Array, y: Array) -> Array:
    """x'y of (m, k, c) and (m, k, d), (c, d)."""
    return flat(x).T @ flat(y)
