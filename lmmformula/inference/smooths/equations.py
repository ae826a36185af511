r"""The mixed-model equations of a fit at its estimate, as coefficients of smooths ask them.

A fit with structured residuals has V by clusters and no equations. They follow from V: with S = Z'V^-1Z, by Woodbury's identity

    M = Lambda'Z'R^-1Z Lambda + I,     M^-1 = I - Lambda'S Lambda,     H = M^-1 Lambda'Z'R^-1 X R_X^-1 = Lambda'Z'V^-1X R_X^-1,
    u = Lambda'Z'V^-1 (y - X beta).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmmformula.criteria.clusters import ClusterPoint
from lmmformula.engines.base import Stacked
from lmmformula.inference.structure.rows import cluster_cross_products
from lmmformula.ir.groups import Group
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.variance import Variances
    from lmmformula.inference.fitted import Fitted

__all__ = ["Equations", "equations_of"]


class _Factor(Protocol):
    def solve(self, rhs: Stacked, /) -> Stacked: ...
    def trace_blocks(self) -> tuple[Array, ...]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """At the estimate, in the units of the twin.

    Attributes
    ----------
    groups : sequence of Group
    factors : sequence of (k_a, k_a) arrays
        L_a of each group.
    factor : Factor
        M.
    half : (p, p) array
        R_X^-1.
    h, u : tuples of (m_a, k_a, p) and (m_a, k_a) arrays
    variances : Variances or None
        Where levels may be dependent.
    """

    groups: Sequence[Group]
    factors: Sequence[Array]
    factor: _Factor
    half: Array
    h: Stacked
    u: Stacked
    variances: Variances | None

    def times(self, x: Stacked) -> Stacked:
        """Q x."""
        return x if self.variances is None else self.variances.times(x)


def equations_of(fit: Fitted) -> Equations:
    """Of a fit that is no posterior."""
    point = fit.optimum
    if fit.problem.residual is not None:
        return _of_clusters(point)
    groups = point.model.prepared.blocks.groups
    variances = getattr(point, "variances", None)
    return Equations(groups, point.factors, point.factor, point.half, point.h, point.u, variances)


@dataclass(frozen=True, slots=True, eq=False)
class _Inverse:
    """M^-1 of all effects, (q, q), those of group a from ends[a] on."""

    matrix: Array
    shapes: tuple[tuple[int, int], ...]

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 times (m_a, k_a, c) arrays."""
        flat = np.concatenate([r.reshape(-1, r.shape[-1]) for r in rhs])
        return _apart(self.matrix @ flat, self.shapes)

    def trace_blocks(self) -> tuple[Array, ...]:
        """Of each group the sum over levels of their blocks, (k, k)."""
        out, start = [], 0
        for m, k in self.shapes:
            own = self.matrix[start : start + m * k, start : start + m * k].reshape(m, k, m, k)
            out.append(np.einsum("iaib->ab", own))
            start += m * k
        return tuple(out)


@lru_cache(maxsize=2)
def _of_clusters(point: ClusterPoint) -> Equations:
    problem = point.model.problem
    shapes = tuple((t.m, t.k) for t in problem.terms)
    s, a, _ = cluster_cross_products(point)
    lam = [np.kron(np.eye(m), lower) for (m, _), lower in zip(shapes, point.factors, strict=True)]
    whole = _block_diagonal(lam)
    matrix = np.eye(len(s)) - whole.T @ s @ whole
    u = []
    for term, lower in zip(problem.terms, point.factors, strict=True):
        basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
        rows = basis * point.scored[:, None]
        sums = np.column_stack([np.bincount(term.codes, r, minlength=term.m) for r in rows.T])
        u.append(sums @ lower)
    groups = [Group(t.group, t.m, t.k, ((i, slice(0, t.k)),)) for i, t in enumerate(problem.terms)]
    h = _apart(whole.T @ (a @ point.half), shapes)
    return Equations(groups, point.factors, _Inverse(matrix, shapes), point.half, h, tuple(u), None)


def _block_diagonal(blocks: Sequence[Array]) -> Array:
    q = sum(len(b) for b in blocks)
    out, start = np.zeros((q, q)), 0
    for b in blocks:
        out[start : start + len(b), start : start + len(b)] = b
        start += len(b)
    return out


def _apart(flat: Array, shapes: Sequence[tuple[int, int]]) -> Stacked:
    ends = np.cumsum([0, *(m * k for m, k in shapes)])
    return tuple(
        flat[i:j].reshape(m, k, -1) for i, j, (m, k) in zip(ends[:-1], ends[1:], shapes, strict=True)
    )
