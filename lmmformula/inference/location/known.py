r"""Tests of linear combinations of the coefficients of a mean with penalised smooths.

A combination l'gamma has the variance ``v = l'C l``, C the covariance matrix of :mod:`lmmformula.inference.location.spread`,
in a Gaussian model a function of the variance parameters phi. Satterthwaite's degrees of freedom are ``2 v^2 / (g'A g)`` with
``g = dv/dphi`` as in :mod:`lmmformula.inference.wald`, so that they know how badly a smoothing parameter is known. dC/dphi is
taken by central differences, and is 2 C in log sigma.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.quadrature import step_scale
from lmmformula.errors import PlanError
from lmmformula.inference.location.coefficients import coefficients, draws, has_penalised, labels
from lmmformula.inference.location.spread import covariance_at, spread_of
from lmmformula.inference.uncertainty import Joint, JointTest, Uncertainty, joint_df, refuse_unknown, whitened
from lmmformula.inference.wald import information
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["Located", "known_of_mean"]


def known_of_mean(
    fit: Fitted, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
) -> Uncertainty:
    """What is known of the coefficients of the mean: of fixed effects alone where nothing in it is penalised.

    Raises
    ------
    PlanError
        For errors by clusters, or Kenward & Roger's, of a mean with smooths.
    """
    if (given := fit.inference.known_of_mean(ddf, vcov, cluster)) is not None:
        return given
    if not has_penalised(fit):
        return fit.inference.uncertainty(ddf, vcov, cluster)
    whose = ", ".join(labels(fit))
    if vcov is not None or cluster is not None:
        raise PlanError(
            f"vcov= and cluster= are for fixed effects, and the mean of this model has penalised coefficients of {whose} too: "
            "leave them out, or fit with unpenalised splines, ns(x, df = 4) or s(x, fx = TRUE)."
        )
    if ddf == "kenward-roger":
        raise PlanError(
            "ddf='kenward-roger' adjusts the covariance matrix of fixed effects, and the mean of this model has penalised "
            f"coefficients of {whose} too: use ddf='satterthwaite'."
        )
    refuse_unknown(ddf)
    drawn = draws(fit)
    if drawn is not None:
        return Joint(np.atleast_2d(np.cov(drawn.T)), coefficients(fit))
    covariance = spread_of(fit).covariance
    if ddf == "normal" or not fit.inference.is_gaussian:
        return Joint(covariance, coefficients(fit))
    return Located(fit, covariance)


class Located(Uncertainty):
    """t and F of a Gaussian model whose mean has penalised smooths.

    Parameters
    ----------
    fit : Fit
    covariance : (P, P) array
        C.
    """

    def __init__(self, fit: Fitted, covariance: Array) -> None:
        self._fit, self._covariance = fit, covariance
        self._gamma = coefficients(fit)

    @property
    def label(self) -> str:
        return "Satterthwaite"

    @property
    def covariance(self) -> Array:
        return self._covariance

    def df(self, rows: Array) -> Array:
        variance = np.einsum("ri,ij,rj->r", rows, self._covariance, rows)
        slope = np.einsum("ri,kij,rj->rk", rows, _slopes(self._fit), rows)
        spread = np.einsum("rk,kl,rl->r", slope, information(self._fit).covariance, slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2.0 * variance**2 / spread

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        found = whitened(rows, self._covariance, self._gamma, offsets)
        return JointTest(found.f, found.q, joint_df(self.df(found.rows)))


@lru_cache(maxsize=8)
def _slopes(fit: Fitted) -> Array:
    """dC/dphi, (n_phi, P, P), phi the twin's (theta or omega, log sigma)."""
    point, sigma2 = fit.optimum, fit.standard.sigma_in(fit.estimate) ** 2
    at = point.theta if fit.problem.residual is None else point.omega
    smooth = point.model(at)  # off a boundary, where there is one
    steps = 2e-3 * np.minimum(step_scale(smooth.hessian), np.maximum(1.0, np.abs(at))) if len(at) else at
    out = []
    for j, step in enumerate(steps):
        high, low = at.copy(), at.copy()
        high[j], low[j] = high[j] + step, low[j] - step
        rise = covariance_at(fit, point.model(high)) - covariance_at(fit, point.model(low))
        out.append(sigma2 * rise / (2.0 * step))
    out.append(2.0 * sigma2 * covariance_at(fit, point))
    return np.stack(out)
