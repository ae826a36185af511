r"""Precisions with null vectors, and the intrinsic conditional autoregression of areas on a map.

Q of rank m - c has c null vectors N, and its effects c linear constraints ``C'u = 0`` with C'N of full rank: the density
``exp(-u'Qu / 2)`` on that subspace is proper (Rue & Held 2005, sec. 3.2). With E the unit vectors of c levels, one for each
null vector with E'N of full rank, and a weight tau, ``Q~ = Q + tau E E'`` is positive definite and as sparse as Q. If x has
precision Q~ then E'x is independent of the rest of x, and the oblique projection ``Pi = I - N (C'N)^-1 C'`` moves x along N,
where Q sees nothing, onto the constraints. Hence with B an orthonormal basis of the constraints' subspace::

    B (B'QB)^-1 B'  = Pi Q~^-1 Pi'                                                                                    (1)
    log|B'QB|       = log|Q~| + 2 log|C'N| - 2 log|E'N| - c log tau - log|C'C|                                        (2)

(1) is the covariance of the effects. For (2): the determinant of Q~ bordered by (C, tau^1/2 E) with the block (0, I) below is
``- |B'QB| |C'C|`` when the second border is eliminated first, and follows from ``Q~^-1 E = N (E'N)^-1 / tau`` otherwise. What
data add to Q is in :mod:`lmmformula.engines.constrained`.

``icar``: Q = D - W of neighbours W, D = diag(W 1), one constraint for each connected component: its effects sum to zero (Besag
& Kooperberg 1995; one sum for the whole map leaves a map of several components improper). Given the others an effect is normal
around the mean of its neighbours', with variance sigma^2 / D_ii. A level without neighbours is a component by itself, whose
effect is zero.

References
----------
Besag & Kooperberg (1995), On conditional and intrinsic autoregressions, Biometrika 82. Rue & Held (2005), Gaussian Markov
Random Fields, secs. 2.3.3 and 3.2-3.3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision, Settled
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Constrained", "Icar", "Intrinsic", "components", "constrained", "laplacian", "refuse_adjacency"]


@dataclass(frozen=True, eq=False)
class Constrained(Precision):
    """Q with null vectors, of effects that are constrained; `logdet` is that of B'QB.

    Attributes
    ----------
    sums : (m, c) array
        C.
    null : (m, c) array
        N.
    pins : (c,) int array
        Levels of E.
    weight : float
        tau.
    """

    sums: Array
    null: Array
    pins: Index
    weight: float

    @property
    def count(self) -> int:
        """c."""
        return len(self.pins)

    @cached_property
    def pinned(self) -> Precision:
        """Q~, on the pattern of Q; its log-determinant is not used."""
        matrix = self.matrix.copy()
        rows, cols = self.entries
        chosen = np.zeros(len(self.diagonal), dtype=bool)
        chosen[self.pins] = True
        matrix.data[(rows == cols) & chosen[rows]] += self.weight
        return Precision(matrix, np.nan)

    @cached_property
    def _half(self) -> Array:
        """N (C'N)^-1, (m, c)."""
        return np.linalg.solve((self.sums.T @ self.null).T, self.null.T).T

    def _onto(self, u: Array) -> Array:
        """Pi u of (m, columns)."""
        return u - self._half @ (self.sums.T @ u)

    def solve(self, u: Array) -> Array:
        """The covariance (1) times u."""
        flat = u.reshape(len(u), -1)
        inner = self.pinned.solve(flat - self.sums @ (self._half.T @ flat))
        return self._onto(inner).reshape(u.shape)

    @cached_property
    def variances(self) -> Array:
        """Diagonal of (1), (m,)."""
        seen = self.pinned.solve(self.sums)
        own = self.pinned.variances - 2.0 * np.einsum("mc,mc->m", self._half, seen)
        return own + np.einsum("mc,cd,md->m", self._half, self.sums.T @ seen, self._half)

    def drawn(self, z: Array) -> Array:
        """Effects with covariance (1) from standard normal z (m, k)."""
        return self._onto(self.pinned.drawn(z))

    def covariance(self) -> Array:
        """(1) itself, dense (m, m)."""
        return self.solve(np.eye(len(self.diagonal)))


def constrained(matrix: csr_array, sums: Array, null: Array, pins: Index, weight: float) -> Constrained:
    """The precision with its log-determinant by (2)."""
    from lmmformula.numerics.sparse_cholesky import SparsePattern

    q = Constrained(matrix, np.nan, sums, null, pins, weight)
    whole = q.pinned.matrix
    value = (
        SparsePattern.of(whole.indptr, whole.indices).factorise(np.asarray(whole.data, dtype=float)).logdet
    )
    for sign, part in ((2.0, sums.T @ null), (-2.0, null[pins]), (-1.0, sums.T @ sums)):
        value += sign * float(np.linalg.slogdet(part)[1])
    value -= len(pins) * float(np.log(weight))
    return Constrained(matrix, float(value), sums, null, pins, weight)


class Intrinsic(ABC):
    """A structure whose :meth:`precision` is :class:`Constrained`."""

    @abstractmethod
    def precision(self, phi: Array) -> Constrained:
        """Q with its constraints."""


def refuse_adjacency(w: csr_array) -> None:
    """Refuse a W that is not symmetric, with weights >= 0 and a zero diagonal, or that has no neighbours.

    Raises
    ------
    DataError
    """
    bad = int((w.data < 0.0).sum() + (~np.isfinite(w.data)).sum()), int((w.diagonal() != 0.0).sum())
    skew = int((abs(w - w.T).data > 0.0).sum())
    if any((*bad, skew)):
        raise DataError(
            "the adjacency matrix of car() must be symmetric with weights >= 0 and a zero diagonal: "
            f"{bad[0]:,} weights are negative or not finite, {bad[1]:,} elements of the diagonal are not zero, and {skew:,} "
            "elements differ from those mirrored. Neighbours that were entered in one direction only are the likely cause."
        )
    if not w.nnz:
        raise DataError(
            "no two levels of car() are neighbours: there is no map. Write (1 | g), or check the matrix."
        )


def components(w: csr_array) -> Index:
    """Connected component of each level, (m,), counted in the order of their first level."""
    from scipy.sparse.csgraph import connected_components

    found = np.asarray(connected_components(w, directed=False)[1], dtype=np.intp)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def laplacian(w: csr_array) -> csr_array:
    """D - W with its whole diagonal stored, also zeros."""
    from scipy.sparse import coo_array

    own, m = w.tocoo(), len(w.indptr) - 1
    rows, cols = (np.concatenate([np.asarray(c), np.arange(m)]) for c in own.coords)
    degree = np.asarray(w.sum(axis=1), dtype=float).ravel()
    return coo_array(
        (np.concatenate([-np.asarray(own.data, dtype=float), degree]), (rows, cols)), shape=(m, m)
    ).tocsr()


@dataclass(frozen=True, eq=False)
class Icar(Settled, Intrinsic):
    """Intrinsic conditional autoregression: Q = D - W, effects that sum to zero in each connected component.

    Attributes
    ----------
    neighbours : (m, m) csr_array
        W, symmetric, not negative, with a zero diagonal.
    """

    neighbours: csr_array
    name: str = "icar"

    def __post_init__(self) -> None:
        refuse_adjacency(self.neighbours)

    @property
    def m(self) -> int:
        return len(self.neighbours.indptr) - 1

    @cached_property
    def _given(self) -> Constrained:
        own = components(self.neighbours)
        member = (own[:, None] == np.arange(own.max() + 1)).astype(float)
        q = laplacian(self.neighbours)
        return constrained(q, member, member, member.argmax(axis=0), float(q.diagonal().mean()))

    def precision(self, phi: Array) -> Constrained:
        return self._given
