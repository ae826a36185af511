r"""Priors as a penalty of a likelihood: maximum a posteriori estimates, and Laplace's criterion with it.

What is minimised is ``d(psi) - 2 log p``, d the deviance of :mod:`lmmformula.criteria.laplace` and p the density of the
priors of what users see, in their units: coefficients T beta, standard deviations, correlation matrices, parameters of the
family. p is the density of these and not of theta or of logarithms of anything, so there is no Jacobian: the estimate is that
of the standard deviation. A gamma prior of shape 2.5 and a rate near zero of a standard deviation is ``1.5 log sd``, which
keeps it off zero and says next to nothing elsewhere (Chung, Rabe-Hesketh, Dorie, Gelman & Liu 2013, sec. 3.2); with lkj(eta)
of the correlations the penalty of a matrix is a Wishart's: ``(nu - k - 1) / 2 log|Sigma|`` is ``gamma(nu - k, 0)`` of each
standard deviation and ``lkj((nu - k + 1) / 2)`` (Chung, Gelman, Rabe-Hesketh, Liu & Dorie 2015, eq. 4). Normal and t priors of
coefficients make estimates finite where a column separates the responses (Gelman, Jakulin, Pittau & Su 2008).

Derivatives. With Sigma = A L L' A' of a term, A from the twin's units to the user's, ``s_i^2 = Sigma_ii``, R of its
correlations and eta that of the LKJ prior::

    log p = sum_i log p_i(s_i) + (eta - 1) [log|Sigma| - sum_i log s_i^2]
    dlog p / dSigma = diag{p_i'/p_i / (2 s_i) - (eta - 1) / s_i^2} + (eta - 1) Sigma^-1
    dlog p / dtheta_j = 2 <dlog p / dSigma, A dL/dtheta_j L' A'>

A kind with one correlation c on (lo, hi) has ``(eta - 1) log[(c - lo)(hi - c)]`` in place of the determinant. The Hessian is
exact for normal priors of coefficients; of a t prior it has ``(df + 1) / (df s^2 + e^2)``, which is the weight of its scale
mixture and never negative, and of variances the positive part of differences of the gradient. Only the speed of the
search depends on it: standard errors are by differences of the whole gradient.

References
----------
Chung, Rabe-Hesketh, Dorie, Gelman & Liu (2013), A nondegenerate penalized likelihood estimator for variance parameters in
multilevel models, Psychometrika 78, 685. Chung, Gelman, Rabe-Hesketh, Liu & Dorie (2015), Weakly informative prior for point
estimation of covariance matrices in hierarchical models, J. Educ. Behav. Stat. 40, 136. Gelman, Jakulin, Pittau & Su (2008), A
weakly informative default prior distribution for logistic and other regression models, Ann. Appl. Stat. 2, 1360.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.layout import Layout
from lmmformula.criteria.mode import Mode
from lmmformula.criteria.quadrature import Quadrature, QuadraturePoint
from lmmformula.criteria.variance import Variances
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.prior_distributions import Stated
from lmmformula.ir.priors import AuxPriors, Prior, Priors, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import RowVector
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

__all__ = ["PenalisedLaplace", "PenalisedPoint", "PenalisedQuadrature", "Penalty"]

_LEAST = 1e-150
"""Standard deviation below which one counts as this."""
_NEAR = 1e-3
"""Distance from its centre, in its scale, within which the weight of a prior is that at this distance."""


@dataclass(frozen=True, eq=False)
class Penalty:
    """log p of psi in the units of a twin.

    Attributes
    ----------
    priors : Priors
        In the user's units.
    coefficients : (p, p) array
        beta = C beta~.
    effects : tuple of (k, k) arrays
        A of each term.
    aux : tuple of (array or None, array)
        Of each auxiliary predictor alpha = C alpha~ + shift.
    """

    priors: Priors
    coefficients: Array
    effects: tuple[Array, ...]
    aux: tuple[tuple[Array | None, Array], ...]

    @classmethod
    def of(cls, priors: Priors, standard: Standard) -> Penalty:
        """Of priors of a problem without a profiled sigma, and its twin."""
        effects = tuple(standard.effects(i) for i in range(len(priors.terms)))
        return cls(priors, standard.coefficients, effects, standard.aux)

    def at(self, problem: Problem, layout: Layout, psi: Array) -> tuple[float, Array]:
        """log p and its gradient in psi."""
        gradient = np.zeros(layout.size)
        own = self.priors
        value, slopes = _coefficients(own.coefficients, own.contrast, self.coefficients @ psi[layout.beta])
        gradient[layout.beta] = self.coefficients.T @ slopes
        theta = psi[layout.theta]
        for i, (term, s) in enumerate(zip(problem.terms, problem.theta_slices(), strict=True)):
            more, slope = _term(own.terms[i], term, self.effects[i], theta[s])
            value += more
            gradient[layout.theta][s] = slope
        for j, where in enumerate(layout.aux):
            columns, shift = self.aux[j]
            alpha = (psi[where] if columns is None else columns @ psi[where]) + shift
            more, slope = _auxiliary(problem, j, own.aux[j], alpha)
            value += more
            gradient[where] = slope if columns is None else columns.T @ slope
        return value, gradient

    def weights(self, beta: Array) -> Array:
        """Minus the Hessian of log p in beta~, (p, p)."""
        return _weights(self.priors.coefficients, self.priors.contrast @ self.coefficients, beta)

    def curvature(self, problem: Problem, layout: Layout, psi: Array) -> Array:
        """Minus the Hessian of log p in psi, with the block of beta zero, (d, d)."""
        out = np.zeros((layout.size, layout.size))
        for where in (layout.theta, *layout.aux):
            own = psi[where]
            steps = 1e-5 * np.maximum(np.abs(own), 1e-3 * float(np.abs(own).max(initial=0.0)) or 1.0)
            columns = []
            for j, h in enumerate(steps):
                move = np.zeros(len(psi))
                move[where.start + j] = h
                high, low = (self.at(problem, layout, psi + d)[1][where] for d in (move, -move))
                columns.append((low - high) / (2.0 * h))
            block = np.array(columns).reshape(len(own), len(own))
            values, vectors = np.linalg.eigh(0.5 * (block + block.T))
            out[where, where] = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return out


def _coefficients(priors: Sequence[Prior], contrast: Array, beta: Array) -> tuple[float, Array]:
    """log p and its gradient in beta."""
    moved = contrast @ beta
    own = [prior.distribution for prior in priors]
    value = sum(float(d.logpdf(v)) for d, v in zip(own, moved, strict=True))
    slopes = np.array([float(d.slope(v)) for d, v in zip(own, moved, strict=True)])
    return value, contrast.T @ slopes


def _weights(priors: Sequence[Prior], contrast: Array, beta: Array) -> Array:
    own = [prior.distribution for prior in priors]
    weights = np.array([_weight(d, v) for d, v in zip(own, contrast @ beta, strict=True)])
    return contrast.T @ (weights[:, None] * contrast)


def _weight(distribution: Stated, at: float) -> float:
    """-(log p)' / distance from the centre."""
    scale = getattr(distribution, "sd", getattr(distribution, "scale", 1.0))
    distance = max(abs(at - distribution.mean), _NEAR * scale)
    return -float(distribution.slope(distribution.mean + distance)) / distance


def _term(priors: TermPriors, term: GroupBlock, a: Array, theta: Array) -> tuple[float, Array]:
    """log p of one term's covariance matrix and its gradient in theta~."""
    lower = a @ term.covariance.cholesky(theta)
    sigma = lower @ lower.T
    sd = np.maximum(np.sqrt(np.diagonal(sigma)), _LEAST)
    value, slope = 0.0, np.zeros_like(sigma)
    for i, prior in enumerate(priors.sds):  # one for all columns that share it
        value += float(prior.distribution.logpdf(sd[i]))
        slope[i, i] += float(prior.distribution.slope(sd[i])) / (2.0 * sd[i])
    if priors.cor is not None and (eta := priors.cor.distribution.eta) != 1.0:
        more, own = _correlations(priors, eta, sigma, sd)
        value, slope = value + more, slope + own
    moves = np.einsum("ab,jbc->jac", a, term.covariance.jacobian(theta))
    return value, 2.0 * np.einsum("ab,jac,cb->j", 0.5 * (slope + slope.T), moves, lower.T, optimize=True)


def _correlations(priors: TermPriors, eta: float, sigma: Array, sd: Array) -> tuple[float, Array]:
    """The LKJ part of log p and its derivative in Sigma."""
    kind = priors.parameters.kind
    if kind.one_correlation:
        low, high, _ = kind.prior_shapes(eta)[0]
        c = sigma[0, 1] / (sd[0] * sd[1])
        rate = (eta - 1.0) * (1.0 / (c - low) - 1.0 / (high - c))
        own = np.zeros_like(sigma)
        own[0, 1] = own[1, 0] = 0.5 * rate / (sd[0] * sd[1])
        own[0, 0], own[1, 1] = -0.5 * rate * c / sd[0] ** 2, -0.5 * rate * c / sd[1] ** 2
        return (eta - 1.0) * float(np.log((c - low) * (high - c))), own
    unit = sigma / np.outer(sd, sd)
    sign, logdet = np.linalg.slogdet(unit)
    if sign <= 0.0:
        return -np.inf, np.zeros_like(sigma)
    own = np.linalg.inv(unit) / np.outer(sd, sd) - np.diag(1.0 / sd**2)
    return (eta - 1.0) * float(logdet), (eta - 1.0) * own


def _auxiliary(problem: Problem, j: int, priors: AuxPriors, alpha: Array) -> tuple[float, Array]:
    """log p of an auxiliary parameter, or of its coefficients, and its gradient in alpha."""
    if priors.value is None:
        return _coefficients(priors.coefficients, priors.contrast, alpha)
    parameter, distribution = problem.family.auxiliaries[j], priors.value.distribution
    low, high = parameter.ends if parameter.range == "unit" else (0.0, 1.0)

    def stated(a: float) -> float:
        return (float(parameter.value(np.asarray(a))) - low) / (high - low)

    at, h = float(alpha[0]), 1e-5
    v, rate = stated(at), (stated(at + h) - stated(at - h)) / (2.0 * h)
    return float(distribution.logpdf(v)), np.array([float(distribution.slope(v)) * rate])


@dataclass(frozen=True, eq=False)
class PenalisedLaplace(Laplace):
    """Laplace's criterion with a penalty; while beta is profiled, on the way to the start, without."""

    penalty: Penalty | None = None

    def penalised(self, penalty: Penalty | None) -> PenalisedLaplace:
        """The same with a penalty."""
        return replace(self, penalty=penalty)

    def point(self, psi: Array, variances: Variances, aux: tuple[RowVector, ...], mode: Mode) -> LaplacePoint:
        """The criterion where the modes are known."""
        if self.profile_beta:
            return super().point(psi, variances, aux, mode)
        return PenalisedPoint(self, psi, variances, aux, mode)

    @property
    def curves_by_rows(self) -> bool:
        """Not so: of the priors, too."""
        return False


@dataclass(frozen=True, eq=False)
class PenalisedPoint(LaplacePoint):
    """The criterion at one psi; errors of the fixed effects are those given the penalty too."""

    @property
    def _penalty(self) -> Penalty:
        assert isinstance(self.model, PenalisedLaplace)
        assert self.model.penalty is not None
        return self.model.penalty

    @cached_property
    def _log_prior(self) -> tuple[float, Array]:
        return self._penalty.at(self.model.problem, self.model.layout, self.psi)

    @property
    def log_prior(self) -> float:
        """log p."""
        return self._log_prior[0]

    @cached_property
    def deviance(self) -> float:
        """That of the likelihood less 2 log p."""
        return super().deviance - 2.0 * self.log_prior

    @cached_property
    def gradient(self) -> Array:
        """Of the penalised deviance."""
        return super().gradient - 2.0 * self._log_prior[1]

    @property
    def fixed_information(self) -> Array:
        """X'V^-1X of the working linear model plus the precision of the priors, (p, p)."""
        return self.system.information + self._penalty.weights(self.beta)

    @cached_property
    def hessian(self) -> Array:
        """That of the likelihood plus the penalty's."""
        return super().hessian + 2.0 * self._penalty.curvature(
            self.model.problem, self.model.layout, self.psi
        )


@dataclass(frozen=True, eq=False)
class PenalisedQuadrature(Quadrature):
    """Quadrature with the penalty of its Laplace criterion."""

    def point(self, laplace: LaplacePoint) -> QuadraturePoint:
        """The criterion where the modes are known."""
        return _PenalisedQuadraturePoint(self, laplace)


@dataclass(frozen=True, eq=False)
class _PenalisedQuadraturePoint(QuadraturePoint):
    @cached_property
    def deviance(self) -> float:
        assert isinstance(self.laplace, PenalisedPoint)
        return super().deviance - 2.0 * self.laplace.log_prior
