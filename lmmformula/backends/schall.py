"""One step of Schall's iteration, the start of every search for variances."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmmformula.typing import Array

__all__ = ["schall_step"]


def schall_step(point: Any, kappa: float = 1.0) -> Array:
    """theta after one step of Schall's (1991) iteration, in matrices.

    Setting K of the criterion's gradient to zero for fixed T and u gives, for one column, variance times
    ``kappa |u|^2 / (m - T)``. With A = m I - T and B = kappa sum u u' the analogue is L A^(-1/2) B A^(-1/2) L'.

    Parameters
    ----------
    point : ProfiledPoint or LaplacePoint
    kappa : float
        1 / sigma^2; 1 for families without a residual variance.
    """
    theta, problem = np.array(point.theta), point.model.problem
    slices, traces = problem.theta_slices(), point.factor.trace_blocks()
    for a, group in enumerate(point.model.prepared.blocks.groups):
        u, lower = point.u[a], point.factors[a]
        values, vectors = np.linalg.eigh(group.m * np.eye(group.k) - traces[a])
        root = vectors / np.sqrt(np.maximum(values, 1e-6 * max(values[-1], 1e-300))) @ vectors.T
        half = lower @ root @ (np.sqrt(kappa) * u.T)
        sigma = half @ half.T
        for i, columns in group.members:
            floor = 1e-4 * np.eye(columns.stop - columns.start)
            theta[slices[i]] = problem.terms[i].covariance.from_covariance(sigma[columns, columns] + floor)
    return theta
