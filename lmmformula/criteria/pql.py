r"""Penalised quasi-likelihood: the working linear mixed model, Schall's equations for its variances, and the sandwich.

Model: ``E(y_r | b) = mu(eta_r)``, ``eta = X beta + Z b + offset``, ``b = L u``, ``Var(u) = phi I``. At a given eta, with row
scores s = dl/deta and expected weights w (both at unit dispersion), Breslow & Clayton (1993) and Schall (1991) put the
working response ``z = eta + s/w`` in the place of y::

    z = X beta + Z b + offset + e,      Var(e) = phi W^-1,      Var(b) = phi L L'                               (1)

so L is relative to the dispersion, as theta is to sigma in a Gaussian model; a family without dispersion has phi = 1 and
absolute variances. W z = W eta + s is formed without a division, so weights may underflow. Given W, z and L the mixed-model
equations are solved by :mod:`lmmformula.engines.backfitting.clubbed`. Then, with T_a = sum over the m_a levels of the
diagonal blocks of M^-1 (see :mod:`lmmformula.engines.base`), A_a = m_a I - T_a and B_a = sum u u'::

    phi       = sum w (z - fit)^2 / (N - sum_a tr A_a [- p])
    Sigma_a   = L A^-1/2 B A^-1/2 L' / phi                                                                     (2)

has the fixed point ``K = A - B / phi = 0``: the gradient in theta of the ML deviance of (1), and likewise for phi. For one
column Sigma is |b|^2 / (m - tr T), Schall's equation. Kinds of covariance with fewer parameters use the part of K that is
theirs: ``diag`` the ratio of the diagonals, ``iid`` of the traces, others a step of EM.

``traces="exact"`` has the blocks of M^-1 and leaves p out of the divisor: the fixed point is then that of iterated ML fits of
(1), what MASS::glmmPQL computes. ``traces="diagonal"`` has the operators of one factor each, T_a = sum M_a^-1, and
p in the divisor, as Ghosh, Hastie & Owen (2022) have.

Covariance of beta. The estimate is linear in z: beta = G^-1 Xt'W z, with Xt = (I - S)X the columns of X after backfitting of
all groups and G = X'W Xt. With ``Var(z) = phi (Z L L'Z' + W^-1)``::

    Cov(beta) = phi G^-1 ( |L'Z'W Xt|^2 + Xt'W Xt ) G^-T                                                       (3)

which is phi G^-1 = phi (X'V^-1X)^-1 when the backfitting has converged. It is solved that far, see
:mod:`lmmformula.engines.backfitting.information`. (The paper prints sigma_A^-2 for sigma_A^2 in Var(z).)

References
----------
Breslow & Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88.
Schall (1991), Estimation in generalized linear models with random effects, Biometrika 78.
Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects, Electron. J. Stat. 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.linearised import Linearised
from lmmformula.criteria.pql_correction import shift
from lmmformula.criteria.variance import relative_factors
from lmmformula.criteria.working import WorkingModel, spherical
from lmmformula.criteria.working_rows import State, Summed
from lmmformula.engines.base import Factor, Prepared
from lmmformula.engines.equations import EquationsFactor
from lmmformula.ir.blocks import Gram
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.streamed.apart import whole
from lmmformula.numerics.batched import matmul
from lmmformula.typing import Array

__all__ = ["PQLPoint"]


@dataclass(frozen=True, eq=False)
class PQLPoint:
    """The working model at the estimate; what is not asked for is not computed. Names as in the module's head."""

    model: WorkingModel
    state: State
    diagonal: State | None = None
    """Where the diagonal approximation ended, if the traces are exact."""
    loose: NDArray[np.bool_] | None = None
    """Columns of X that the data do not determine."""
    summed: Summed | None = None
    """Sums over the rows at the estimate, if they are at hand."""

    @property
    def theta(self) -> Array:
        return self.state.theta

    @property
    def beta(self) -> Array:
        return self.state.beta

    @property
    def sigma2(self) -> float:
        """phi."""
        return self.state.phi

    @computed_once
    def factors(self) -> tuple[Array, ...]:
        """L of each group, exactly zero where the variance is."""
        return relative_factors(self.model.problem.terms, self.model.prepared.blocks.groups, self.theta)

    @computed_once
    def u(self) -> tuple[Array, ...]:
        """Spherical effects, (m_a, k_a)."""
        floored_ones = self.model.factors(self.theta)
        return tuple(np.asarray(spherical(f, b)) for f, b in zip(floored_ones, self.state.b, strict=True))

    @cached_property
    def _sums(self) -> Summed:
        return self.model.summed(self.state)[0] if self.summed is None else self.summed

    @property
    def gram(self) -> Gram:
        """[Z X]'W[Z X], brought here."""
        return whole(self._sums.gram)

    @cached_property
    def factor(self) -> Factor:
        """M: exactly if the traces are, else through the single-factor operators."""
        engine: Prepared = self.model.prepared if self.model.exact is None else self.model.exact
        return engine.factor(self.gram, self.factors)

    @cached_property
    def _operators(self) -> EquationsFactor:
        """M through the operators of its groups."""
        return self.model.prepared.weighted(self._sums.gram).factor(self.factors)

    @cached_property
    def fixed_information(self) -> Array:
        """X'W(I - S)X, that is X'V^-1X, (p, p)."""
        return self._operators.fixed_information()

    @cached_property
    def half(self) -> Array:
        """R^-1 with R'R = X'V^-1X, (p, p)."""
        return np.linalg.inv(np.linalg.cholesky(self.fixed_information).T)

    @cached_property
    def h(self) -> tuple[Array, ...]:
        """L'Z'V^-1X R^-1, per group (m, k, p)."""
        columns = tuple(matmul(f.T, r) for f, r in zip(self.factors, self.gram.rhs, strict=True))
        return tuple(u @ self.half for u in self._operators.solve(columns))

    @property
    def linearised(self) -> Linearised:
        """The rows of the working linear model."""
        rows, exact = self.state.rows, self.model.exact
        engine: Prepared = self.model.prepared if exact is None else exact
        return Linearised(rows.weight, rows.score, self.factor, engine, (), exact is not None)

    @cached_property
    def vcov(self) -> Array:
        """Covariance matrix of beta by (3); columns that are not determined have infinite variances and move no others."""
        if self.loose is not None and self.loose.any():
            out = np.diag(np.where(self.loose, np.inf, 0.0))
            out[np.ix_(~self.loose, ~self.loose)] = self._sandwich(np.flatnonzero(~self.loose))
            return out
        return self._sandwich(np.arange(self.model.problem.p))

    def _sandwich(self, kept: NDArray[np.intp]) -> Array:
        """(3) for the columns `kept` of X."""
        return self.state.phi * np.linalg.inv(self.fixed_information[np.ix_(kept, kept)])

    @cached_property
    def residual(self) -> float:
        """sum w (z - fit)^2 at the estimate, Pearson's chi-square: sum s^2 / w."""
        return self._sums.pearson

    @cached_property
    def k_matrices(self) -> tuple[Array, ...]:
        """K = A - B / phi per group, zero at the estimate for an unstructured covariance off the boundary."""
        model, factors = self.model, self.model.factors(self.theta)
        gram = self._sums.gram
        traces, moved = model.traces(gram, factors, exact=True), shift(model, self.state, gram)
        out = []
        for a, (trace, b) in enumerate(zip(traces, self.state.b, strict=True)):
            u, uu = model.spread(factors[a], b, None if moved is None else moved.effects[a])
            out.append(len(u) * np.eye(u.shape[1]) - trace - uu / self.state.phi)
        return tuple(out)

    @cached_property
    def gradient(self) -> Array:
        """2 <L^-T K, dL_j>: the gradient in theta of the working model's deviance with these traces."""
        problem, out = self.model.problem, np.zeros(self.model.problem.n_theta)
        lowers, slices = self.model.factors(self.theta), self.model.problem.theta_slices()
        for a, group in enumerate(self.model.prepared.blocks.groups):
            for i, c in group.members:
                core = np.linalg.solve(lowers[a][c, c].T, self.k_matrices[a][c, c])
                jacobian = problem.terms[i].covariance.jacobian(self.theta[slices[i]])
                out[slices[i]] = 2.0 * np.einsum("jab,ab->j", jacobian, core)
        return out

    @cached_property
    def variance_gap(self) -> Array:
        """Standard deviations with diagonal over those with exact traces, minus one; one for each column of each term.

        From the two fixed points if the traces are exact; zero if they are diagonal; nan where the variance is zero. Where
        the diagonal fixed point is not known it is the first step towards it.
        """
        ours = self._deviations(self.theta, self.state.phi)
        if self.model.exact is None:
            return np.zeros_like(ours)
        if self.diagonal is None:
            theta, phi = self.model.variances(self.theta, self.state.b, self.gram, self.residual, exact=False)
        else:
            theta, phi = self.diagonal.theta, self.diagonal.phi
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(ours == 0.0, np.nan, self._deviations(theta, phi) / ours - 1.0)

    def _deviations(self, theta: Array, phi: float) -> Array:
        """Standard deviations of the columns of the terms, in their order."""
        problem = self.model.problem
        lowers = (
            t.covariance.cholesky(theta[s])
            for t, s in zip(problem.terms, problem.theta_slices(), strict=True)
        )
        return np.sqrt(phi) * np.concatenate([np.zeros(0), *(np.linalg.norm(f, axis=1) for f in lowers)])
