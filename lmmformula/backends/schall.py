"""One step of Schall's iteration, the start of every search for variances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.ir.structured import theta_near
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.variance import Point


__all__ = ["extrapolated", "schall_step"]

SLOWEST = 0.6
"""Ratio of changes up to which an extrapolation trusts them."""


def schall_step(point: Point, kappa: float = 1.0) -> Array:
    """theta after one step of Schall's (1991) iteration, in matrices.

    Setting K of the criterion's gradient to zero for fixed T and u gives, for one column, variance times
    ``kappa |u|^2 / (m - T)``. With A = m I - T and B = kappa <u, u>_Q the analogue is L A^(-1/2) B A^(-1/2) L'.

    Parameters
    ----------
    point : ProfiledPoint or LaplacePoint
    kappa : float
        1 / sigma^2; 1 for families without a residual variance.
    """
    theta, problem = np.array(point.theta), point.model.problem
    slices, traces = problem.theta_slices(), point.factor.trace_blocks()
    qu = point.variances.times(point.u)
    for a, group in enumerate(point.model.prepared.blocks.groups):
        u, lower = point.u[a], point.factors[a]
        spread = u.T @ qu[a]
        values, vectors = np.linalg.eigh(group.m * np.eye(group.k) - traces[a])
        root = vectors / np.sqrt(np.maximum(values, 1e-6 * max(values[-1], 1e-300))) @ vectors.T
        half = lower @ root
        sigma = kappa * (half @ spread @ half.T)
        for i, columns in group.members:
            floor = 1e-4 * np.eye(columns.stop - columns.start)
            kind = problem.terms[i].covariance
            theta[slices[i]] = theta_near(kind, theta[slices[i]], sigma[columns, columns] + floor)
    return theta


def extrapolated(first: Array, second: Array, third: Array) -> Array:
    """Where the iteration through three thetas goes, by Aitken's extrapolation of each element.

    Changes that shrink by a ratio r sum up to r / (1 - r) times the last one; r is kept between 0 and `SLOWEST`, so that no
    element goes farther than 1.5 times its last change.
    """
    change, last = second - first, third - second
    ratio = np.clip(np.divide(last, change, out=np.zeros_like(last), where=change != 0.0), 0.0, SLOWEST)
    return third + last * ratio / (1.0 - ratio)
