r"""Gradients of a deviance cluster by cluster, where no random effect is shared by two clusters.

M is then block diagonal over clusters, and the Laplace deviance a sum of theirs. Every part of its gradient
(:mod:`lmmformula.criteria.laplace`, equation 2) is a sum over rows or over levels, so that the gradient of the deviance of a
cluster is the same sum over its own rows and levels::

    d d_i/dbeta = X_i't_i,    d d_i/dtheta from K_i = sum_{s in i} [I - (M^-1)_ss - u_s u_s' + (u_s v_s' + v_s u_s')/2],
    d d_i/dalpha_j = A_ij' (dd/da_j)_i

Levels are independent a priori (Q = I) and rows have one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.laplace import LaplacePoint
    from lmmformula.ir.groups import GroupRows

__all__ = ["clusters_of_levels", "gradients_by_cluster"]


def gradients_by_cluster(
    point: LaplacePoint, groups: Sequence[GroupRows], codes: NDArray[np.intp], count: int
) -> Array:
    """Gradient in psi of the Laplace deviance of each cluster, (count, d).

    Parameters
    ----------
    point : LaplacePoint
        With derivatives, of an engine that is exact.
    groups : sequence of GroupRows
    codes : (n,) array
        Cluster of each row.
    count : int
        Number of clusters.
    """
    problem, layout = point.model.problem, point.model.layout
    out = np.zeros((count, layout.size))
    out[:, layout.beta] = _sums(problem.X.matrix, point.d_eta, codes, count)
    for j, (block, where) in enumerate(zip(problem.aux, layout.aux, strict=True)):
        out[:, where] = _sums(block.matrix, point.d_aux_rows(j), codes, count)
    if not groups:
        return out
    inverse, ks = point.factor.inverse(), []
    for a, (own, u, v) in enumerate(zip(groups, point.u, point.adjoint_modes, strict=True)):
        cross = u[:, :, None] * (v - u)[:, None, :]
        k = np.eye(u.shape[1]) - inverse.diagonal(a) + 0.5 * (cross + cross.transpose(0, 2, 1))
        total = np.zeros((count, *k.shape[1:]))
        np.add.at(total, clusters_of_levels(own, codes), k)
        ks.append(total)
    slopes = point.variances.slopes(ks)
    for part in point.variances.derivatives:
        own = slopes[part.group][:, part.columns, part.columns]
        out[:, layout.theta.start + part.index.start : layout.theta.start + part.index.stop] = np.einsum(
            "tij,nij->nt", part.d_factor, own
        )
    return out


def clusters_of_levels(group: GroupRows, codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Cluster of each level of a group, (m,)."""
    out: NDArray[np.intp] = np.zeros(group.group.m, dtype=np.intp)
    out[group.codes] = codes
    return out


def _sums(matrix: Array, rows: Array, codes: NDArray[np.intp], count: int) -> Array:
    """Sum of rows times the matrix over each cluster, (count, c)."""
    out = np.zeros((count, matrix.shape[1]))
    for j, column in enumerate(matrix.T):
        out[:, j] = np.bincount(codes, column * rows, count)
    return out
