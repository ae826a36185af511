r"""Variances of random intercepts from second moments of a least-squares residual: a start that costs no solution.

With r = y - X beta_0, s_a = Z_a'Wr, G_ab = Z_a'WZ_b, one column in every group and a weight w_j for each level,
``var r = sigma^2 (W^-1 + sum_b theta_b^2 Z_b Z_b')`` (but for the p dimensions that X takes from r) gives expectations that are
linear in the variances::

    E r'Wr               = sigma^2 [ n - p                 + sum_b theta_b^2 tr G_bb                     ]
    E sum_j w_j s_aj^2   = sigma^2 [ sum_j w_j (G_aa)_jj   + sum_b theta_b^2 sum_j w_j |row j of G_ab|^2 ]         (1)

one equation for each unknown: with w = 1 Rao's (1971) MINQUE with prior variances of zero. The estimates are consistent, but
few levels of many rows may rule them. So they are made again: with ``v_j = var s_aj / sigma^2`` of those before, s_aj^2 has a
variance of about 2 v_j^2 and a slope of (G_aa)_jj^2 in theta_a^2, and ``w_j = ((G_aa)_jj / v_j)^2`` is the weight of least
squares (Searle, Casella & McCulloch 1992, sec. 11.3; iterated MINQUE with what levels share left out). O(nnz), where an
evaluation of the criterion takes solutions with M.

References
----------
Rao (1971), Estimation of variance and covariance components: MINQUE theory, J. Multivar. Anal. 1. Searle, Casella & McCulloch
(1992), Variance Components, sec. 11.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmmformula.criteria.profiled import Profiled
from lmmformula.ir.patterns import CrossPattern
from lmmformula.numerics.cuts import cuts_at
from lmmformula.typing import Array

__all__ = ["moment_start"]

SMALLEST, LARGEST = 1e-3, 1e3
"""Relative variances outside of this are no start to trust."""
ROUNDS = 4
"""How often weights are made."""
SLAB = 8_000_000
"""Pairs of levels whose squares are in memory at a time."""


def moment_start(model: Profiled) -> Array | None:
    """theta by moments, (n_theta,); None for terms of several columns, or if a variance comes out negative or extreme."""
    problem, groups = model.problem, model.prepared.blocks.groups
    if any(g.k > 1 for g in groups):
        return None
    sums = _Sums.of(model)
    relative = sums.relative([np.ones(g.m) for g in groups])
    if relative is None:
        return None
    for _ in range(ROUNDS):
        better = sums.relative(sums.weights(relative))
        relative = relative if better is None else better
    theta, slices = np.zeros(problem.n_theta), problem.theta_slices()
    for group, value in zip(groups, relative, strict=True):
        ((i, _),) = group.members
        theta[slices[i]] = problem.terms[i].covariance.from_covariance(np.array([[value]]))
    return theta


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What (1) takes of the rows.

    Attributes
    ----------
    free, residual : float
        n - p, and r'Wr.
    moments : list of (m_a,) arrays
        s_a^2.
    own : list of (m_a,) arrays
        Diagonal of G_aa.
    met : list of lists of (m_a,) arrays
        ``met[a][b][j]`` is the squared length of row j of G_ab.
    """

    free: float
    residual: float
    moments: list[Array]
    own: list[Array]
    met: list[list[Array]]

    @classmethod
    def of(cls, model: Profiled) -> _Sums:
        """From the Gram. O(nnz)."""
        gram, levels, p = model.gram, model.prepared.blocks, model.problem.p
        own: list[Array] = [d[:, 0, 0] for d in gram.diag]
        met: list[list[Array]] = [[d * d for _ in own] for d in own]
        for (a, b), values in gram.cross.items():
            if a != b:
                met[a][b], met[b][a] = _squares(levels.pattern(a, b), values[:, 0, 0], len(own[b]))
        moments = [r[:, 0, p] ** 2 for r in gram.rhs]
        return cls(model.problem.n - p, float(gram.vv[p, p]), moments, own, met)

    def relative(self, weights: list[Array]) -> Array | None:
        """theta_a^2 of each group by (1); None if that is none to trust."""
        count = len(self.own)
        system, seen = np.empty((count + 1, count + 1)), np.empty(count + 1)
        system[0], seen[0] = [self.free, *(d.sum() for d in self.own)], self.residual
        for a, w in enumerate(weights):
            system[a + 1] = [w @ self.own[a], *(w @ met for met in self.met[a])]
            seen[a + 1] = w @ self.moments[a]
        try:
            variances = np.linalg.solve(system, seen)
        except np.linalg.LinAlgError:
            return None
        relative = variances[1:] / variances[0]
        sound = variances[0] > 0.0 and (relative > SMALLEST).all() and (relative < LARGEST).all()
        return relative if sound else None

    def weights(self, relative: Array) -> list[Array]:
        """w_j at variances theta_a^2."""
        out = []
        for own, met in zip(self.own, self.met, strict=True):
            spread = own + sum((v * m for v, m in zip(relative, met, strict=True)), np.zeros_like(own))
            out.append((own / spread) ** 2)
        return out


def _squares(pattern: CrossPattern, values: Array, columns: int) -> tuple[Array, Array]:
    """Squared lengths of the rows and of the columns of a matrix."""
    ptr, by_column = pattern.indptr, np.zeros(columns)
    by_row = np.zeros(len(ptr) - 1)
    for i, j in pairwise(cuts_at(ptr, np.arange(SLAB, ptr[-1], SLAB))):
        some = slice(int(ptr[i]), int(ptr[j]))
        squares = values[some] ** 2
        by_column += np.bincount(pattern.indices[some], squares, columns)
        filled = i + np.flatnonzero(np.diff(ptr[i : j + 1]))
        if len(filled):
            by_row[filled] = np.add.reduceat(squares, ptr[filled] - some.start)
    return by_row, by_column
