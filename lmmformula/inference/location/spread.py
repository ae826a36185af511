r"""How well the coefficients of the mean are known.

A coefficient is linear in (beta~, u) of the twin, with rows A_beta and A_u. Errors of the parameters are ``beta~ + B e`` and
``u + U e`` (:mod:`lmmformula.inference.prediction_error`), and u given all parameters varies with ``s^2 M^-1``, so that

    Var(gamma) = (A_beta B + A_u'U) (A_beta B + A_u'U)' + s^2 A_u' M^-1 A_u

the Bayesian covariance matrix of smooths (Wood 2006), in which the fixed effects have their usual one. Of a Gaussian model B
and U are those given the variances, ``s R^-1`` and ``-s H``; of one by Laplace's approximation those of all parameters
together. With structured residuals V is not built from M, and with c = Z Sigma A_u (Henderson 1975)

    Var(gamma) = s^2 (A_u'Sigma A_u - c'V^-1c + G'(X'V^-1X)^-1 G),          G = A_beta' - X'V^-1c
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.engines.base import Stacked
from lmmformula.inference.location.coefficients import terms
from lmmformula.inference.prediction_error import parameter_spread
from lmmformula.inference.structure.rows import cluster_cross_products
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint
    from lmmformula.criteria.laplace import LaplacePoint
    from lmmformula.criteria.profiled import ProfiledPoint
    from lmmformula.inference.fitted import Fitted

__all__ = ["Spread", "covariance_at", "spread_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Errors of gamma and of what moves with it: ``gamma + along e + N(0, own)``.

    Attributes
    ----------
    own : (P, P) array
    along : (P, r) array
    theta : (n_theta, r) array
        The same of theta, zero where it is taken as known; in the user's units.
    aux : tuple of (a_j, r) arrays
        Of the coefficients of auxiliary predictors.
    """

    own: Array
    along: Array
    theta: Array
    aux: tuple[Array, ...]

    @property
    def covariance(self) -> Array:
        """Var(gamma), (P, P)."""
        return self.own + self.along @ self.along.T

    def joint(self) -> Array:
        """Of (gamma, theta, coefficients of auxiliary predictors)."""
        root = np.vstack([self.along, self.theta, *self.aux])
        out = root @ root.T
        size = len(self.own)
        out[:size, :size] += self.own
        return out


def spread_of(fit: Fitted) -> Spread:
    """That of a fit, which is no posterior."""
    if fit.problem.residual is not None:
        covariance = fit.standard.sigma_in(fit.estimate) ** 2 * covariance_at(fit, fit.optimum)
        return Spread(covariance, np.zeros((len(covariance), 0)), np.zeros((fit.problem.n_theta, 0)), ())
    spread, standard, point = parameter_spread(fit), fit.standard, fit.optimum
    own, along = _given(fit, point, spread.fixed, spread.effects)
    moved = standard.d_theta(standard.theta_in(fit.estimate.theta)) @ spread.theta
    return Spread(standard.sigma_in(fit.estimate) ** 2 * own, along, moved, spread.aux)


def covariance_at(fit: Fitted, point: ProfiledPoint | ClusterPoint) -> Array:
    """Var(gamma) / s^2 of a Gaussian model as a function of the parameters of `point`, (P, P)."""
    if fit.problem.residual is not None:
        return _of_clusters(fit, cast("ClusterPoint", point))
    plain = cast("ProfiledPoint", point)
    own, along = _given(fit, plain, plain.half, tuple(-h for h in plain.h))
    return own + along @ along.T


def _given(
    fit: Fitted, point: LaplacePoint | ProfiledPoint, fixed: Array, effects: Stacked
) -> tuple[Array, Array]:
    """``A_u' M^-1 A_u`` and ``A_beta fixed + A_u' effects``."""
    standard, chosen, p = fit.standard, terms(fit), fit.problem.p
    groups = point.model.prepared.blocks.groups
    size = p + sum(fit.problem.terms[i].k for i in chosen)
    along = np.zeros((size, fixed.shape[1]))
    along[:p] = standard.coefficients @ fixed
    right, at = tuple(np.zeros((g.m, g.k, size - p)) for g in groups), 0
    for i in chosen:
        a, columns = next((a, s) for a, g in enumerate(groups) for j, s in g.members if j == i)
        rows = standard.effects(i) @ point.factors[a][columns]
        right[a][0, :, at : at + len(rows)] = rows.T
        along[p + at : p + at + len(rows)] = rows @ effects[a][0]
        at += len(rows)
    own = np.zeros((size, size))
    if chosen:
        for r, s in zip(right, point.factor.solve(right), strict=True):
            own[p:, p:] += r.reshape(-1, size - p).T @ s.reshape(-1, size - p)
    return 0.5 * (own + own.T), along


def _of_clusters(fit: Fitted, point: ClusterPoint) -> Array:
    standard, chosen, p = fit.standard, terms(fit), fit.problem.p
    size = p + sum(fit.problem.terms[i].k for i in chosen)
    z, zx, ends = cluster_cross_products(point)
    fixed, effects, prior = np.zeros((size, p)), np.zeros((size, ends[-1])), np.zeros((size, size))
    fixed[:p], at = standard.coefficients, p
    for i in chosen:
        lower, back = point.factors[i], standard.effects(i)
        own = slice(at, at := at + len(back))
        effects[own, ends[i] : ends[i + 1]] = back @ lower @ lower.T
        prior[own, own] = back @ lower @ lower.T @ back.T
    error = (fixed - effects @ zx) @ point.half
    out = prior - effects @ z @ effects.T + error @ error.T
    return 0.5 * (out + out.T)
