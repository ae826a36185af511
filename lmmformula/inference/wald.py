"""Wald inference for the fixed effects: Satterthwaite's degrees of freedom for Gaussian models, z for others.

For a contrast l with variance ``v = l'C l``, C the covariance matrix of beta as a function of the variance parameters
phi = (theta, log sigma), Satterthwaite (1946) matches ``v`` to a scaled chi-square (Giesbrecht & Burns 1985; Kuznetsova,
Brockhoff & Christensen 2017, eq. 7)::

    df = 2 v^2 / (g'A g),    g = dv/dphi,    A = 2 H^-1,  H the Hessian of the deviance in phi

g is exact: ``dC/dtheta_j = sigma^2 R^-1 [sum_s H_s'(A_j + A_j')H_s] R^-T`` in the notation of
:mod:`lmmformula.criteria.profiled`, and ``dC/dlog sigma = 2 C``. The Hessian of the deviance is the derivative of its exact
gradient, by central differences.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.profiled import ProfiledPoint
from lmmformula.inference.structure.information import ClusterInformation, cluster_information
from lmmformula.inference.student import two_sided
from lmmformula.inference.variance_hessian import hessian_in_log_sigma
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["VarianceInformation", "cov_params", "named", "pvalues", "satterthwaite", "theta"]


def named(fit: Fitted, values: Array) -> pd.Series:
    """`values` of length p under the coefficients' names."""
    import pandas as pd

    return pd.Series(np.array(values, dtype=float), index=list(fit.problem.X.names))


def cov_params(fit: Fitted) -> pd.DataFrame:
    """Covariance matrix of the fixed effects with names."""
    import pandas as pd

    names = list(fit.problem.X.names)
    return pd.DataFrame(fit.vcov.copy(), index=names, columns=names)


def theta(fit: Fitted) -> pd.Series:
    """Theta with names."""
    import pandas as pd

    return pd.Series(fit.estimate.theta.copy(), index=list(fit.problem.theta_names()))


class VarianceInformation:
    """How well the variance parameters are known, and how C moves with them.

    phi is that of the point's problem; where that is a standardised one, `coefficients` turn its beta, and so C, into
    the user's.

    Attributes
    ----------
    covariance : (n_phi, n_phi) array
        A, the asymptotic covariance matrix of phi = (theta, log sigma); directions without information are left out.
    d_vcov : (n_phi, p, p) array
        dC/dphi.
    """

    def __init__(self, point: ProfiledPoint, coefficients: Array | None = None) -> None:
        smooth = point.model(point.theta)
        hessian = hessian_of_variances(smooth)
        values, vectors = np.linalg.eigh(hessian)
        keep = values > 1e-8 * max(float(values[-1]), 1e-300)
        self.covariance = 2.0 * (vectors[:, keep] / values[keep]) @ vectors[:, keep].T
        own = np.concatenate([_d_vcov(smooth), 2.0 * smooth.sigma2 * smooth.unscaled_vcov[None]])
        self.d_vcov = own if coefficients is None else coefficients @ own @ coefficients.T


def hessian_of_variances(point: ProfiledPoint) -> Array:
    """Hessian of the deviance (beta profiled out) in (theta, log sigma) at the optimum."""
    return hessian_in_log_sigma(point, point.theta, known=point.model.problem.family.known)


def _d_vcov(point: ProfiledPoint) -> Array:
    """dC/dtheta, (n_theta, p, p)."""
    if not len(point.theta):
        return np.zeros((0, *point.half.shape))
    return point.sigma2 * point.half @ point.variances.seen(point.h) @ point.half.T


@lru_cache(maxsize=8)
def information(fit: Fitted) -> VarianceInformation | ClusterInformation:
    """The information of a fit; kept for the few fits last asked about."""
    if fit.problem.residual is not None:
        return cluster_information(fit.optimum, fit.standard.coefficients)
    with blas_threads(fit.optimum.model.prepared.dense_side):
        return VarianceInformation(fit.optimum, fit.standard.coefficients)


def _known_df(fit: Fitted, contrasts: Array) -> Array | None:
    """Those of single coefficients, of a fit that left its rows; None where they have to be computed."""
    known = getattr(fit.problem.held, "answers", {}).get("df")
    if known is None or ((contrasts != 0.0).sum(axis=1) != 1).any():
        return None
    return np.asarray(known, dtype=float)[np.argmax(contrasts != 0.0, axis=1)]


def satterthwaite(fit: Fitted, rows: Array) -> Array:
    """Degrees of freedom of each row of contrasts, of a linear model with one residual variance.

    Parameters
    ----------
    rows : (r, p) array

    Returns
    -------
    (r,) array
    """
    if (known := _known_df(fit, rows)) is not None:
        return known
    if (
        not fit.problem.n_theta and fit.problem.residual is None
    ):  # r2 over sigma^2 is a chi-square on n - p df
        return np.full(len(rows), float(fit.problem.n_used - fit.problem.p))
    info = information(fit)
    variance = np.einsum("ri,ij,rj->r", rows, fit.estimate.vcov, rows)
    slope = np.einsum("ri,kij,rj->rk", rows, info.d_vcov, rows)
    spread = np.einsum("rk,kl,rl->r", slope, info.covariance, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2.0 * variance**2 / spread


def pvalues(fit: Fitted) -> pd.Series:
    """Two-sided p-values: of t on the Satterthwaite df, of z where those are infinite."""
    return named(fit, two_sided(fit.tvalues.to_numpy(), fit.df.to_numpy()))
