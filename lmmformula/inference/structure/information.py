r"""How well the variance parameters of a fit with structured residuals are known, and how the errors of beta move with them.

With omega = (theta, psi) and C = sigma^2 (X'V^-1X)^-1::

    dC/domega_j = C X'(sigma^2 V)^-1 (sigma^2 V_j) (sigma^2 V)^-1 X C,       dC/dlog sigma = 2 C

The Hessian of the deviance in (omega, log sigma) is the derivative of its exact gradient by central differences; as in
:mod:`lmmformula.inference.wald`, twice its inverse is the covariance matrix that Satterthwaite's method and standard errors of
variance parameters rest on: the observed information, which mmrm takes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.variance_hessian import hessian_in_log_sigma
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint

__all__ = ["ClusterInformation", "cluster_information"]


@dataclass(frozen=True, eq=False)
class ClusterInformation:
    """The information of a fit, in the units of its twin.

    Attributes
    ----------
    covariance : (P + 1, P + 1) array
        Of (theta, psi, log sigma); directions without information are left out.
    d_vcov : (P + 1, p, p) array
        Derivatives of C, C in the user's units.
    """

    covariance: Array
    d_vcov: Array


def cluster_information(point: ClusterPoint, coefficients: Array) -> ClusterInformation:
    """The information at an optimum; `coefficients` turn beta of its problem into the user's."""
    values, vectors = np.linalg.eigh(hessian_in_log_sigma(point, point.omega))
    keep = values > 1e-8 * max(float(values[-1]), 1e-300)
    covariance = 2.0 * (vectors[:, keep] / values[keep]) @ vectors[:, keep].T
    moves = np.concatenate([slopes(point), point.unscaled[None] * 2.0])
    back = coefficients @ from_orthonormal(point)
    return ClusterInformation(covariance, point.sigma2 * back @ moves @ back.T)


def from_orthonormal(point: ClusterPoint) -> Array:
    """R_0^-1, which turns coefficients of the orthonormal basis into those of X."""
    p = point.model.problem.p
    return np.linalg.inv(point.model.triangle) if p else np.zeros((0, 0))


def slopes(point: ClusterPoint) -> Array:
    """d(Q'V^-1Q)^-1 / domega, (P, p, p)."""
    p, unscaled = point.model.problem.p, point.unscaled
    out = np.zeros((len(point.omega), p, p))
    for block, sums in zip(point.blocks, point.model.sums, strict=True):
        for j, slope in enumerate(block.slopes):
            out[j] += sums.quadratic(block.inverse @ slope @ block.inverse)[:p, :p]
    return unscaled @ out @ unscaled
