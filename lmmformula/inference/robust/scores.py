r"""Robust covariance matrix of a generalised mixed model, by the scores of clusters.

The log-likelihood (Laplace's approximation, or quadrature) of a model without random effects that two clusters share is a sum
over clusters. With ``psi = (beta, theta, alpha)``, H the negative Hessian of the log-likelihood and g_i the gradient of the
deviance of cluster i (:mod:`lmmformula.criteria.by_cluster`) ::

    Var(psi) = H^-1 ( sum_i s_i s_i' ) H^-1,      s_i = -g_i / 2

times J / (J - 1) for CR1 (White 1982; Freedman 2006 on what it is the variance of). Its block of beta is used with z and
chi-square tests: adjustments for few clusters (CR2, CR3) and degrees of freedom are defined by the linear model.

References
----------
White (1982), Econometrica 50, 1-25; Freedman (2006), American Statistician 60, 299-302.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.robust.clusters import ByClusters
from lmmformula.inference.uncertainty import JointTest, whitened
from lmmformula.ir.frozen import computed_once
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["DEFAULT_BY_SCORES", "ByScores", "refuse_without_scores"]

DEFAULT_BY_SCORES = "CR1"
"""The kind where only clusters are named."""
_KINDS = ("CR0", "CR1")


def refuse_without_scores(fit: Fitted, kind: str) -> None:
    """Refuse kinds that take a linear model, and criteria whose gradient is not there cluster by cluster.

    Raises
    ------
    PlanError
    """
    if kind not in _KINDS:
        raise PlanError(
            f"vcov={kind!r} adjusts the residuals of a linear model, and {fit.problem.family} has none: use 'CR0' or 'CR1', by "
            "the scores of the clusters, or conf_int(method='bootstrap')."
        )
    if fit.backend.probed is not None:
        raise PlanError(
            "the Krylov engine estimates derivatives by random probes, which scores of clusters would be made of: use "
            "engine='blocked' in fit()."
        )
    if fit.joint_vcov is None:
        raise PlanError(
            "the fast mode, nagq=0, has no scores of all parameters: fit with nagq=1 for errors by clusters."
        )


@dataclass(frozen=True, eq=False)
class ByScores(ByClusters):
    """z and chi-square with errors that the scores of clusters give.

    `estimator` is "CR0" or "CR1".
    """

    @computed_once
    def covariance(self) -> Array:
        point, bread = self.fit.optimum, self.fit.twin_vcov
        if bread is None or not np.isfinite(bread).all():
            raise PlanError(
                "the data do not determine all parameters (separation), so that scores of clusters say nothing of their "
                "errors: leave out what is not determined, or fit with priors by method='hmc'."
            )
        smooth = self.fit.backend.profiled(point)(point.psi, u=point.u, beta=point.beta)
        count = self.clusters.count
        moved = 0.5 * smooth.gradient_by(self.clusters.codes, count) @ bread
        joint = self.fit.standard.joint_out(moved.T @ moved, self.fit.estimate)
        p = self.fit.problem.p
        return joint[:p, :p] * (count / (count - 1) if self.estimator == "CR1" else 1.0)

    def df(self, rows: Array) -> Array:
        return np.full(len(rows), np.inf)

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        beta = self.fit.estimate.beta
        asked, found = (whitened(rows, c, beta, offsets) for c in (self.fit.vcov, self.covariance))
        if found.q < asked.q:  # as many combinations as clusters
            return JointTest(np.nan, asked.q, np.nan)
        return JointTest(found.f, found.q, np.inf)
