r"""Covariances of random effects from second moments of a least-squares residual: a start that costs no solution.

With r = y - X beta_0, s_aj = (Z_a'Wr)_j of level j, G_ab = Z_a'WZ_b in blocks of levels, relative covariances Sigma_a of the
columns of group a and any k_a x k_a weights H_aj of its levels, ``var r = sigma^2 (W^-1 + sum_b Z_b (I (x) Sigma_b) Z_b')``
(but for the p dimensions that X takes from r) gives expectations that are linear in the covariances::

    E r'Wr                      = sigma^2 [ n - p + sum_b <sum_j G_bb,jj, Sigma_b> ]
    E sum_j H_j s_j s_j' H_j'   = sigma^2 sum_j H_j [ G_aa,jj + sum_b sum_t G_ab,jt Sigma_b G_ab,jt' ] H_j'            (1)

one equation for each unknown: with H = I Rao's (1971) MINQUE with prior variances of zero. The estimates are consistent, but
few levels of many rows may rule them. So they are made again: with ``V_j = var s_j / sigma^2``, the bracket of (1) at those of
before, ``H_j = G_jj V_j^-1`` is the weight of least squares (Searle, Casella & McCulloch 1992, sec. 11.3; iterated MINQUE with
what levels share left out). O(nnz k^4), where an evaluation of the criterion takes solutions with M.

References
----------
Rao (1971), Estimation of variance and covariance components: MINQUE theory, J. Multivar. Anal. 1. Searle, Casella & McCulloch
(1992), Variance Components, sec. 11.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np

from lmmformula.backends.schall import with_covariance
from lmmformula.criteria.profiled import Profiled
from lmmformula.ir.patterns import CrossPattern
from lmmformula.numerics.batched import transpose
from lmmformula.numerics.cuts import cuts_at
from lmmformula.typing import Array

__all__ = ["moment_start"]

SMALLEST, LARGEST = 1e-3, 1e3
"""Relative variances outside of this are no start to trust."""
ROUNDS = 4
"""How often weights are made."""
SLAB = 8_000_000
"""Pairs of levels whose squares are in memory at a time."""
MOST = 2e7
"""Numbers of a sum for each level up to which several columns are taken."""
NEGLIGIBLE = 1e-10
"""Added to V, relative to its largest element: a level with fewer rows than columns says nothing of some of them."""


def moment_start(model: Profiled) -> Array | None:
    """theta by moments, (n_theta,); None if a covariance comes out far from positive or extreme, or sums are too many."""
    groups = model.prepared.blocks.groups
    columns = max((g.k for g in groups), default=1)
    if columns > 1 and sum(g.m * g.k**2 for g in groups) * sum(g.k**2 for g in groups) > MOST:
        return None
    sums = _Sums.of(model)
    relative = sums.relative([np.broadcast_to(np.eye(g.k), (g.m, g.k, g.k)) for g in groups])
    if relative is None:
        return None
    for _ in range(ROUNDS):
        better = sums.relative(sums.weights(relative))
        relative = relative if better is None else better
    theta = model.start()
    for group, sigma in zip(groups, relative, strict=True):
        theta = with_covariance(model.problem, theta, group, sigma)
    return theta


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What (1) takes of the rows.

    Attributes
    ----------
    free, residual : float
        n - p, and r'Wr.
    scores : list of (m_a, k_a) arrays
        s_a.
    own : list of (m_a, k_a, k_a) arrays
        Diagonal blocks of G_aa.
    met : list of lists of (m_a, k_a^2, k_b^2) arrays
        ``met[a][b][j]`` is the sum over t of ``G_ab,jt (x) G_ab,jt``.
    """

    free: float
    residual: float
    scores: list[Array]
    own: list[Array]
    met: list[list[Array]]

    @classmethod
    def of(cls, model: Profiled) -> _Sums:
        """From the Gram. O(nnz k^4)."""
        gram, levels, p = model.gram, model.prepared.blocks, model.problem.p
        own = list(gram.diag)
        none = np.empty(0)
        met: list[list[Array]] = [
            [_kron(d, d) if a == b else none for b in range(len(own))] for a, d in enumerate(own)
        ]
        for (a, b), values in gram.cross.items():
            if a != b:
                met[a][b], met[b][a] = _squares(levels.pattern(a, b), values, len(own[b]))
        scores = [r[:, :, p] for r in gram.rhs]
        return cls(model.problem.n - p, float(gram.vv[p, p]), scores, own, met)

    def relative(self, weights: list[Array]) -> list[Array] | None:
        """Sigma_a of each group by (1); None if those are none to trust."""
        spans = [_Symmetric(len(own[0])) for own in self.own]
        rows = [
            np.concatenate(
                [[self.free], *(s.joined(d.sum(axis=0)) for s, d in zip(spans, self.own, strict=True))]
            )[None]
        ]
        seen = [np.array([self.residual])]
        for span, weight, score, own, met in zip(
            spans, weights, self.scores, self.own, self.met, strict=True
        ):
            twice = _kron(weight, weight)
            moved = (weight @ score[:, :, None])[:, :, 0]
            seen.append(span.lower(moved.T @ moved))
            among = twice.transpose(1, 0, 2).reshape(twice.shape[1], -1)
            parts = [span.lower((among @ own.reshape(-1)).reshape(own.shape[1:]))[:, None]]
            for other, sums in zip(spans, met, strict=True):
                parts.append((among @ sums.reshape(-1, sums.shape[2]))[span.places] @ other.spread)
            rows.append(np.concatenate(parts, axis=1))
        try:
            variances = np.linalg.solve(np.concatenate(rows), np.concatenate(seen))
        except np.linalg.LinAlgError:
            return None
        if not variances[0] > 0.0:
            return None
        cuts = np.cumsum([len(s.places) for s in spans])[:-1]
        found = [
            s.matrix(v) for s, v in zip(spans, np.split(variances[1:] / variances[0], cuts), strict=True)
        ]
        lifted = [_lifted(sigma) for sigma in found]
        sound = [sigma for sigma in lifted if sigma is not None]
        return sound if len(sound) == len(found) else None

    def weights(self, relative: list[Array]) -> list[Array]:
        """H_j at the covariances Sigma_a."""
        out = []
        for own, met in zip(self.own, self.met, strict=True):
            spread = own + sum(
                (
                    (sums @ sigma.ravel()).reshape(own.shape)
                    for sigma, sums in zip(relative, met, strict=True)
                ),
                np.zeros_like(own),
            )
            if own.shape[1] == 1:
                out.append(own / spread)
                continue
            largest = np.abs(spread).max(axis=(1, 2), keepdims=True)
            spread = spread + NEGLIGIBLE * largest * np.eye(own.shape[1])
            out.append(transpose(np.linalg.solve(spread, own)))
        return out


class _Symmetric:
    """A symmetric k x k matrix as the k (k + 1) / 2 numbers of its lower triangle.

    Attributes
    ----------
    places : index array
        Where these stand among the k^2.
    spread : (k^2, k (k + 1) / 2) array
        The matrix from them (the duplication matrix).
    """

    def __init__(self, k: int) -> None:
        self._k, self._at = k, np.tril_indices(k)
        rows, cols = self._at
        self.places = rows * k + cols
        self.spread = np.zeros((k * k, len(rows)))
        number = np.arange(len(rows))
        self.spread[rows * k + cols, number] = self.spread[cols * k + rows, number] = 1.0

    def lower(self, matrix: Array) -> Array:
        """Its lower triangle."""
        return matrix[self._at]

    def joined(self, matrix: Array) -> Array:
        """Coefficients of the numbers in ``<matrix, Sigma>``."""
        return matrix.ravel() @ self.spread

    def matrix(self, numbers: Array) -> Array:
        """The matrix."""
        return (self.spread @ numbers).reshape(self._k, self._k)


def _lifted(sigma: Array) -> Array | None:
    """Sigma with no eigenvalue below `SMALLEST` of the largest; None if the largest is none to trust.

    A single variance is taken as it is or not at all; some combination of several columns may well have next to none.
    """
    values, vectors = np.linalg.eigh(sigma)
    if not SMALLEST < values[-1] < LARGEST:
        return None
    return (vectors * np.maximum(values, SMALLEST * values[-1])) @ vectors.T


def _kron(one: Array, other: Array) -> Array:
    """Kronecker products of the blocks of two stacks, (m, i k, j l)."""
    (m, i, j), (_, k, l) = one.shape, other.shape  # noqa: E741
    return (one[:, :, None, :, None] * other[:, None, :, None, :]).reshape(m, i * k, j * l)


def _squares(pattern: CrossPattern, values: Array, columns: int) -> tuple[Array, Array]:
    """Sums over the rows, and over the columns, of a matrix of blocks of their Kronecker products with themselves."""
    ptr, (_, ka, kb) = pattern.indptr, values.shape
    by_row, by_column = np.zeros((len(ptr) - 1, ka, ka, kb, kb)), np.zeros((columns, kb, kb, ka, ka))
    for i, j in pairwise(cuts_at(ptr, np.arange(SLAB, ptr[-1], SLAB))):
        some = slice(int(ptr[i]), int(ptr[j]))
        filled, indices = i + np.flatnonzero(np.diff(ptr[i : j + 1])), pattern.indices[some]
        starts = ptr[filled] - some.start
        cells = values[some].reshape(-1, ka * kb).T.copy()
        for one, other in combinations_with_replacement(range(ka * kb), 2):
            (x, p), (y, q) = divmod(one, kb), divmod(other, kb)
            products = cells[one] * cells[other]
            below = np.bincount(indices, products, columns)
            beside = np.add.reduceat(products, starts) if len(filled) else np.zeros(0)
            for r, s, t, u in {(x, y, p, q), (y, x, q, p)}:
                by_row[filled, r, s, t, u] = beside
                by_column[:, t, u, r, s] += below
    return by_row.reshape(-1, ka * ka, kb * kb), by_column.reshape(columns, kb * kb, ka * ka)
