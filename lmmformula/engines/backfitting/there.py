"""What a worker does with the levels of the largest group that are its own: one store at one W, and then at one theta.

Names as in :mod:`lmmformula.engines.backfitting.apart`. All functions give the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lmmformula.engines.backfitting.operators import inverse_of, own_block
from lmmformula.ir.blocks import Gram
from lmmformula.ir.patterns import CrossPattern
from lmmformula.ir.streamed.there import Placed
from lmmformula.ir.streamed.within import named
from lmmformula.numerics.batched import flat, matmul
from lmmformula.numerics.tall import tall_gram, tall_times, tall_transposed
from lmmformula.numerics.threads import alone
from lmmformula.typing import Array, Numbers, SparseMatrix

__all__ = [
    "AtTheta",
    "AtWeights",
    "at_theta",
    "at_weights",
    "columns_through",
    "constants",
    "quadratic",
    "reached",
    "seen",
    "solution",
    "squared",
    "through",
]


@dataclass(frozen=True, slots=True, eq=False)
class AtWeights:
    """Blocks of a store's levels at one W.

    Attributes
    ----------
    diag : (m, k, k) array
    columns : (m, k, p) array
        Z'WX.
    couplings : tuple of sparse matrices
        N for each other group, with all of its levels.
    """

    diag: Array
    columns: Array
    couplings: tuple[SparseMatrix, ...]


@dataclass(frozen=True, eq=False)
class AtTheta:
    """The same at relative Cholesky factors of all groups."""

    at: AtWeights
    lower: Array
    own: Array
    inverse: Array
    remembered: dict[tuple[int, str], Array] = field(default_factory=dict)
    """Made of these shortly before; whoever asks can do without."""

    def __getstate__(self) -> tuple[AtWeights, Array, Array, Array]:
        return self.at, self.lower, self.own, self.inverse

    def __setstate__(self, state: tuple[AtWeights, Array, Array, Array]) -> None:
        self.__dict__.update(zip(("at", "lower", "own", "inverse"), state, strict=True), remembered={})

    @cached_property
    def inner(self) -> Array:
        """L M^-1 L', (m, k, k)."""
        return matmul(matmul(self.lower, self.inverse), self.lower.T)

    def coupled(self, x: tuple[Array, ...]) -> Array:
        """N x, (m, k, c)."""
        total = sum((n @ v for n, v in zip(self.at.couplings, x, strict=True)), np.zeros(()))
        return np.reshape(total, (*self.own.shape[:2], -1))

    def back(self, v: Array) -> tuple[Array, ...]:
        """N'v for each other group."""
        return tuple(n.T @ flat(v) for n in self.at.couplings)

    def times(self, beta: Array) -> Array:
        """C beta, (m, k, c)."""
        m, k, _ = self.at.columns.shape
        return matmul(self.lower.T, tall_times(flat(self.at.columns), beta).reshape(m, k, -1))


def at_weights(placed: Placed, gram: Gram) -> AtWeights:
    """Blocks of a store from its Gram."""
    store, levels = placed.store, placed.levels
    assert store.within is not None
    couplings = []
    with alone():
        for b in range(1, len(levels.groups)):
            met, values = levels.pattern(0, b), gram.cross[0, b]
            own = CrossPattern(met.indptr, named(store.within.levels[b], met.indices).astype(np.int32))
            term = store.layout.terms[store.layout.groups[b][0]]
            couplings.append(_matrix(values, own, levels.groups[0].m, term.m))
    return AtWeights(gram.diag[0], gram.rhs[0], tuple(couplings))


def _matrix(values: Array, met: CrossPattern, m: int, others: int) -> SparseMatrix:
    from scipy.sparse import bsr_array, csr_array

    _, k, l = values.shape  # noqa: E741
    if k == l == 1:
        return csr_array((values.ravel(), *met.compressed), shape=(m, others))
    return bsr_array((values, *met.compressed), shape=(m * k, others * l), blocksize=(k, l))


def at_theta(at: AtWeights, lower: Array, *, name: str) -> AtTheta:
    """With M of each level and its inverse; `name` is the group's, for messages."""
    with alone():
        own = own_block(at.diag, lower)
        return AtTheta(at, lower, own, inverse_of(own, name))


def constants(lead: AtTheta) -> tuple[Array, Array]:
    """C'M^-1C, and the sum over levels of M^-1."""
    with alone():
        return tall_gram(lead.at.columns, lead.inner), lead.inverse.sum(axis=0)


def _pulled(lead: AtTheta, t: Array, x: tuple[Array, ...]) -> Array:
    """v."""
    return matmul(lead.inverse, t - matmul(lead.lower.T, lead.coupled(x)) if x else t)


def seen(lead: AtTheta, t: Array, x: tuple[Array, ...], token: int) -> tuple[Array]:
    """g; v is remembered under a token, as long as nothing else is."""
    with alone():
        v = _pulled(lead, t, x)
        lead.remembered.clear()
        lead.remembered[token, "v"] = v
        return (tall_transposed(flat(lead.at.columns), flat(matmul(lead.lower, v))),)


def solution(lead: AtTheta, t: Array, x: tuple[Array, ...], beta: Array, token: int) -> Array:
    """u."""
    u = lead.remembered.get((token, "u"))
    if u is None:
        with alone():
            v = lead.remembered.get((token, "v"))
            v = _pulled(lead, t, x) if v is None else v
            u = v - matmul(lead.inverse, lead.times(beta)) if len(beta) else v
    lead.remembered.clear()
    lead.remembered[token, "u"] = u
    return u


def reached(lead: AtTheta, u: Array) -> tuple[Numbers, ...]:
    """u'Mu, and h for each other group."""
    with alone():
        return (np.vdot(u, matmul(lead.own, u)), *lead.back(matmul(lead.lower, u)))


def squared(lead: AtTheta, u: Array) -> tuple[Numbers]:
    """u'Mu."""
    return (np.vdot(u, matmul(lead.own, u)),)


def quadratic(lead: AtTheta, u: Array, t: Array, beta: Array) -> tuple[Numbers]:
    """u'(M - I)u - 2 u'(t - C beta)."""
    with alone():
        own = matmul(lead.own, u) - u
        return (np.vdot(u, own - 2.0 * (t - lead.times(beta) if len(beta) else t)),)


def through(lead: AtTheta, x: tuple[Array, ...]) -> tuple[Array, ...]:
    """N'L M^-1 L'N x for each other group."""
    with alone():
        return lead.back(matmul(lead.inner, lead.coupled(x)))


def columns_through(lead: AtTheta) -> tuple[Array, ...]:
    """N'L M^-1 L'Z'WX for each other group."""
    with alone():
        return lead.back(matmul(lead.inner, lead.at.columns))
