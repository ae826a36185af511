r"""Variances of random intercepts from second moments of a least-squares residual: a start that costs no solution.

With r = y - X beta_0, G_ab = Z_a'WZ_b and one column in every group, ``var r = sigma^2 (W^-1 + sum_b theta_b^2 Z_b Z_b')`` (but
for the p dimensions that X takes from r) gives expectations that are linear in the variances::

    E r'Wr           = sigma^2 [ n - p      + sum_b theta_b^2 tr G_bb      ]
    E |Z_a'Wr|^2     = sigma^2 [ tr G_aa    + sum_b theta_b^2 |G_ab|_F^2   ]

one equation for each unknown: Rao's (1971) MINQUE with prior variances of zero. O(nnz), where an evaluation of the criterion
takes solutions with M. The estimates are consistent, and where levels have similar numbers of rows nearly efficient.

References
----------
Rao (1971), Estimation of variance and covariance components: MINQUE theory, J. Multivar. Anal. 1. Searle, Casella & McCulloch
(1992), Variance Components, sec. 11.3.
"""

from __future__ import annotations

import numpy as np

from lmmformula.criteria.profiled import Profiled
from lmmformula.typing import Array

__all__ = ["moment_start"]

SMALLEST, LARGEST = 1e-3, 1e3
"""Relative variances outside of this are no start to trust."""


def moment_start(model: Profiled) -> Array | None:
    """theta by moments, (n_theta,); None for terms of several columns, or if a variance comes out negative or extreme."""
    problem, gram = model.problem, model.gram
    groups, p = model.prepared.blocks.groups, model.problem.p
    if any(g.k > 1 for g in groups):
        return None
    count = len(groups)
    squares = np.empty((count + 1, count + 1))
    squares[0, 0] = problem.n - p
    for a in range(count):
        squares[0, a + 1] = squares[a + 1, 0] = gram.diag[a].sum()
        squares[a + 1, a + 1] = (gram.diag[a] ** 2).sum()
        for b in range(a + 1, count):
            squares[a + 1, b + 1] = squares[b + 1, a + 1] = (gram.cross[a, b] ** 2).sum()
    seen = np.array([gram.vv[p, p], *((r[..., p] ** 2).sum() for r in gram.rhs)])
    try:
        variances = np.linalg.solve(squares, seen)
    except np.linalg.LinAlgError:
        return None
    relative = variances[1:] / variances[0]
    if not (variances[0] > 0.0 and (relative > SMALLEST).all() and (relative < LARGEST).all()):
        return None
    theta, slices = np.zeros(problem.n_theta), problem.theta_slices()
    for group, value in zip(groups, relative, strict=True):
        ((i, _),) = group.members
        theta[slices[i]] = problem.terms[i].covariance.from_covariance(np.array([[value]]))
    return theta
