r"""The Gaussian marginal density: random and fixed effects integrated out given the variances, and its derivatives.

Model: ``y | beta, b ~ N(X beta + Z b, sigma^2 W^-1)``, ``b ~ N(0, S)`` with S = L L' per level in the units of y squared, and
``T beta ~ N(mu, D^-1)`` with D diagonal. Everything but the variances is Gaussian, so (Lai, Domke & Sheldon 2024, sec. 3, for
one class of effects by their eqs. 4-5; here for all classes and for beta at once)::

    y ~ N(X T^-1 mu,  sigma^2 V + X T^-1 D^-1 T^-T X'),      V = W^-1 + Z Lambda Lambda' Z',   Lambda = L / sigma

beta is one more block of random effects, with a known covariance. Let X = Q R_0 with orthonormal columns, y = X b_0 + y_0
the least-squares fit, ``beta = b_0 + R_0^-1 delta``, ``J = T R_0^-1`` and ``g = T b_0 - mu``, so that the prior is
``J delta + g ~ N(0, D^-1)``. With S_.. the products of [Q y_0] in V^-1, which the engine gives (see
:mod:`lmmformula.criteria.profiled`, eq. 1), completing the square in delta gives::

    A = S_QQ + sigma^2 J'DJ = R'R,     delta = A^-1 (S_Qy - sigma^2 J'D g)
    r2 = |y_0 - Q delta|^2 in V^-1,    pen = (J delta + g)'D(J delta + g)
    -2 log p(y) = n log(2 pi) + 2 (n - p) log sigma - sum log w + log|M| + log|A| - log|D| + 2 log|R_0| + r2 / sigma^2 + pen

This is REML's criterion with a ridge: X'V^-1X has become A, and D = 0 would be REML up to a constant.

Gradient. In the traces P is replaced by its ridged form, and delta drops out of the quadratic form because it is its
minimiser. With u = Lambda'Z'V^-1 (y_0 - Q delta) and H = Lambda'Z'V^-1 Q R^-1, exactly as for REML::

    K = m I - T - <u, u>_Q / sigma^2 - <H, H>_Q,                     dlogp/dLambda = -Lambda^-T K
    dlogp/dlog sigma = -(n - p) + r2 / sigma^2 - sigma^2 tr(A^-1 J'DJ)      at fixed Lambda
    dlogp/dlog v_j   = -(1 - (sigma^2 J A^-1 J')_jj / v_j - (J delta + g)_j^2 / v_j) / 2,    v = 1 / diag D

(T and <., .>_Q as in :mod:`lmmformula.criteria.variance`; log|M| loses log|Q|.) Where levels are dependent, phi moves Q alone,
and dlogp/dphi_j is minus half of (3) there with the same two pairs, u over sigma^2 and H. At fixed L = sigma Lambda the second
line loses <dlogp/dLambda, Lambda>. The last line serves priors that are scale mixtures of normals: a
t prior is normal with v itself unknown.

A lognormal response is a normal one of log y with density multiplied by prod 1 / y. The Gram is formed once; after that the
cost of an evaluation does not depend on n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.criteria.variance import Variances
from lmmformula.engines.base import Engine, Prepared
from lmmformula.errors import FitError, PlanError
from lmmformula.families import resolve
from lmmformula.families.records import Maybe
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.groups import Group, joined
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk, total
from lmmformula.ir.structured import at_phi, phi_of
from lmmformula.typing import Array

__all__ = ["Marginal", "MarginalPoint", "gaussian_twin", "has_formula", "is_normal"]


def is_normal(problem: Problem) -> bool:
    """Whether the response is normal around the linear predictor, as it stands or in logarithms."""
    return problem.family.normal is not None


def has_formula(problem: Problem) -> bool:
    """Whether an auxiliary parameter has more than one number to it."""
    return any(problem.aux_terms) or any(not b.is_constant for b in problem.aux)


def gaussian_twin(problem: Problem) -> tuple[Problem, float]:
    """The same model of a response that is normal as it stands, and the log Jacobian of that change.

    Raises
    ------
    PlanError
        If the response is neither normal around the linear predictor nor lognormal, or has a model for sigma.
    """
    if any(not block.is_constant for block in problem.aux):
        raise PlanError(
            "sigma has a formula of its own; fixed effects integrate out exactly only for a constant sigma. Leave the "
            "formula for sigma out, or use method='laplace'."
        )
    normal = problem.family.normal
    if normal is None:
        raise PlanError(
            f"random effects integrate out exactly for gaussian (identity link) and lognormal responses, not for "
            f"{problem.family}. Use method='laplace'."
        )
    if normal.itself:
        return replace(problem, aux=()), 0.0
    twin = replace(resolve("gaussian"), repeated=problem.family.repeated)
    data, weights = problem.data, problem.data.weights if problem.family.repeated else None

    def moved(chunk: Chunk, w: Array | None) -> tuple[Array, Maybe]:
        slopes = normal.log_slope(chunk.y)
        return normal.of(chunk.y), slopes if w is None else slopes * w

    y, slopes = data.map(moved, weights)
    return replace(problem.with_response(y), family=twin, aux=()), total(data, slopes)


@dataclass(frozen=True, eq=False)
class Marginal:
    """log p(y | variances) of one problem: everything that does not depend on the variances.

    Attributes
    ----------
    base : Profiled
        Gram, least squares and engine, for the Gaussian twin of the problem; REML, to which the prior of beta adds a ridge.
    shape : (p, p) array
        J = T R_0^-1.
    shift : (p,) array
        g = T b_0 - mu.
    log_var0 : (p,) array
        Log prior variances of T beta (of the normal given its scale, for t priors).
    constant : float
        Terms of log p(y) that depend on nothing: ``-n log(2 pi)/2 + sum log w / 2 - log|R_0|`` and the Jacobian.
    """

    base: Profiled
    shape: Array
    shift: Array
    log_var0: Array
    constant: float

    @classmethod
    def of(
        cls, problem: Problem, engine: Engine, priors: Priors, *, prepared: Prepared | None = None
    ) -> Marginal:
        """Form the Gram. Cost O(n (p + sum k)^2); the only step that reads rows."""
        twin, jacobian = gaussian_twin(problem)
        base = Profiled.of(twin, engine, reml=True, prepared=prepared)
        own = [c.distribution for c in priors.coefficients]
        scales = np.array([getattr(d, "sd", getattr(d, "scale", 1.0)) for d in own])
        shape = np.linalg.solve(base.ols.r.T, priors.contrast.T).T if twin.p else np.zeros((0, 0))
        shift = priors.contrast @ base.ols.coefficients - np.array([d.mean for d in own])
        constant = 0.5 * (base.log_weights - twin.n_observed * np.log(2 * np.pi)) - base.log_det_r + jacobian
        return cls(base, shape, shift, 2.0 * np.log(scales), float(constant))

    @property
    def problem(self) -> Problem:
        """The Gaussian twin."""
        return self.base.problem

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.base.prepared.blocks.groups

    @cached_property
    def _variances(self) -> Variances:
        """Q of each group where no parameter moves it, with L = I."""
        return Variances.at(self.problem.terms, self.groups, self.base.start())

    def _variances_at(self, phis: Sequence[Array] | None) -> Variances:
        """The same with Q of the phi of each term."""
        if phis is None or not any(map(len, phis)):
            return self._variances
        theta = at_phi(self.problem, self.base.start(), phis)
        return Variances.at(self.problem.terms, self.groups, theta)

    def __call__(
        self,
        factors: Sequence[Array],
        sigma: float,
        log_mixing: Array | None = None,
        phis: Sequence[Array] | None = None,
    ) -> MarginalPoint:
        """Evaluate.

        Parameters
        ----------
        factors : sequence of (k, k) arrays
            L of each term, lower triangular, in units of y; the sign of a column has no meaning.
        sigma : float
            Residual standard deviation, in units of y.
        log_mixing : (p,) array, optional
            Added to the log prior variances of T beta.
        phis : sequence of arrays, optional
            phi of each term, empty where its levels are independent; those where searches start by default.
        """
        variances = self._variances_at(phis).with_factors([f / sigma for f in joined(self.groups, factors)])
        log_var = self.log_var0 if log_mixing is None else self.log_var0 + log_mixing
        factor = self.base.prepared.factor(self.base.gram, variances.factors, variances.across)
        return MarginalPoint(self.base, variances, factor, self, float(sigma), log_var)


@dataclass(frozen=True, eq=False)
class MarginalPoint(ProfiledPoint):
    """The density at one set of variances: REML's point with A for X'V^-1X, and delta for the orthonormal beta.

    Attributes
    ----------
    prior : Marginal
    sigma : float
    log_var : (p,) array
        log v.
    """

    prior: Marginal
    sigma: float
    log_var: Array

    @cached_property
    def _ridge(self) -> Array:
        """J'DJ, (p, p)."""
        j = self.prior.shape
        return j.T @ (np.exp(-self.log_var)[:, None] * j)

    @computed_once
    def r_x(self) -> Array:
        """Upper triangular R with R'R = A, (p, p)."""
        p = len(self.log_var)
        s = self._solution[1][:p, :p]
        try:
            return np.linalg.cholesky(0.5 * (s + s.T) + self.sigma**2 * self._ridge).T
        except np.linalg.LinAlgError:
            raise FitError(
                "X'V^-1X plus the prior precision is singular in floating point: the random effects of the current "
                "variances explain a fixed-effects column completely, and its prior is too wide to settle it. Remove "
                "the column, or give it a narrower prior."
            ) from None

    @computed_once
    def beta_orthonormal(self) -> Array:
        """E(delta | y, variances), (p,)."""
        p = len(self.log_var)
        pull = self.prior.shape.T @ (np.exp(-self.log_var) * self.prior.shift)
        return self.r_inverse @ (self.r_inverse.T @ (self._solution[1][:p, p] - self.sigma**2 * pull))

    @computed_once
    def r2(self) -> float:
        """|y_0 - Q delta|^2 in V^-1, in units of y squared."""
        p, s, delta = len(self.log_var), self._solution[1], self.beta_orthonormal
        return max(float(s[p, p] - 2.0 * s[p, :p] @ delta + delta @ s[:p, :p] @ delta), 0.0)

    @cached_property
    def deviation(self) -> Array:
        """J delta + g: T E(beta) less its prior mean, (p,)."""
        return self.prior.shape @ self.beta_orthonormal + self.prior.shift

    @cached_property
    def logpdf(self) -> float:
        """log p(y | variances)."""
        n, p = self.model.problem.n_observed, len(self.log_var)
        log_det = self.factor.logdet - self.variances.logdet
        log_det += 2.0 * float(np.log(np.diagonal(self.r_x)).sum())
        penalty = float(self.deviation**2 @ np.exp(-self.log_var))
        twice = 2.0 * (n - p) * np.log(self.sigma) + log_det + self.log_var.sum()
        return float(self.prior.constant - 0.5 * (twice + self.r2 / self.sigma**2 + penalty))

    @cached_property
    def _slopes(self) -> tuple[Array, ...]:
        """dlogp/dLambda of each group, (k, k)."""
        return tuple(-0.5 * s for s in self.variances.slopes(self.k_matrices(1.0 / self.sigma**2)))

    @cached_property
    def d_factors(self) -> tuple[Array, ...]:
        """dlogp/dL of each term, (k, k), in 1 / units of y; of which the lower triangle is meant."""
        out: list[Array] = [np.empty(0)] * len(self.model.problem.terms)
        for group, slope in zip(self.variances.groups, self._slopes, strict=True):
            for i, columns in group.members:
                out[i] = slope[columns, columns] / self.sigma
        return tuple(out)

    @cached_property
    def d_phis(self) -> tuple[Array, ...]:
        """dlogp/dphi of each term at fixed L and sigma."""
        problem = self.model.problem
        pairs = [(1.0 / self.sigma**2, self.u, self.u), (1.0, self.h, self.h)]
        every = -0.5 * self.variances.gradient_across(self.factor, pairs)
        return tuple(
            every[s][phi_of(t.covariance, every[s])]
            for t, s in zip(problem.terms, problem.theta_slices(), strict=True)
        )

    @cached_property
    def d_log_sigma(self) -> float:
        """dlogp/dlog sigma with every L held."""
        n, p, sigma2 = self.model.problem.n_observed, len(self.log_var), self.sigma**2
        ridge = float(np.sum((self.r_inverse @ self.r_inverse.T) * self._ridge))
        moved = sum(float(np.sum(s * f)) for s, f in zip(self._slopes, self.variances.own, strict=True))
        return -(n - p) + self.r2 / sigma2 - sigma2 * ridge - moved

    @cached_property
    def d_log_var(self) -> Array:
        """dlogp/dlog v, (p,)."""
        half = self.sigma * (self.prior.shape @ self.r_inverse)
        return -0.5 * (1.0 - (np.sum(half**2, axis=1) + self.deviation**2) * np.exp(-self.log_var))

    @property
    def beta_half(self) -> Array:
        """B with B B' = Var(beta | y, variances), (p, p)."""
        return self.sigma * self.half
