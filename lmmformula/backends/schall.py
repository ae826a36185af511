"""One step of Schall's iteration, the start of every search for variances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.ir.groups import Group
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import theta_near
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.variance import Point


__all__ = ["extrapolated", "schall_covariance", "schall_step", "with_covariance"]

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
    theta, problem, traces = point.theta, point.model.problem, point.factor.trace_blocks()
    qu = point.variances.times(point.u)
    for a, group in enumerate(point.model.prepared.blocks.groups):
        spread = kappa * (point.u[a].T @ qu[a])
        sigma = schall_covariance(point.factors[a], group.m * np.eye(group.k) - traces[a], spread)
        theta = with_covariance(problem, theta, group, sigma)
    return theta


def with_covariance(problem: Problem, theta: Array, group: Group, sigma: Array) -> Array:
    """theta with the covariances of the group's terms as near as they can be to those of `sigma`, (k, k)."""
    theta, slices = np.array(theta), problem.theta_slices()
    for i, columns in group.members:
        kind, where = problem.terms[i].covariance, slices[i]
        theta[where] = theta_near(kind, theta[where], sigma[columns, columns])
    return theta


def schall_covariance(lower: Array, remains: Array, spread: Array) -> Array:
    """``L A^(-1/2) B A^(-1/2) L'`` from L, A and B of a group, kept off singular ones, (k, k)."""
    values, vectors = np.linalg.eigh(remains)
    root = vectors / np.sqrt(np.maximum(values, 1e-6 * max(values[-1], 1e-300))) @ vectors.T
    half = lower @ root
    return half @ spread @ half.T + 1e-4 * np.eye(len(lower))


def extrapolated(first: Array, second: Array, third: Array) -> Array:
    """Where the iteration through three thetas goes, by Aitken's extrapolation of each element.

    Changes that shrink by a ratio r sum up to r / (1 - r) times the last one; r is kept between 0 and `SLOWEST`, so that no
    element goes farther than 1.5 times its last change.
    """
    change, last = second - first, third - second
    ratio = np.clip(np.divide(last, change, out=np.zeros_like(last), where=change != 0.0), 0.0, SLOWEST)
    return third + last * ratio / (1.0 - ratio)
