r"""ML and REML deviance of a Gaussian model with structured residuals, and its derivatives, by clusters.

``y = X beta + Z b + e`` with ``Var(e) = sigma^2 R(psi)``, ``R = S C S`` (:mod:`lmmformula.ir.residual`), and ``Var(b) = sigma^2
Sigma(theta)`` in each level: Var(y) = sigma^2 V with ``V_i = R_i + sum_t Z_ti Sigma_t Z_ti'`` in cluster i. With omega =
(theta, psi), P as in :mod:`lmmformula.criteria.profiled` and kappa = n_eff / r2 (Harville 1977; Lindstrom & Bates 1988)::

    d          = log|V| + n_eff (1 + log(2 pi r2 / n_eff)) + [REML] 2 log|R_X|
    dd/domega_j = <W, V_j>,     W = V^-1 - V^-1 (kappa e e' + [REML] X (X'V^-1X)^-1 X') V^-1,   e = y - X beta

W is block diagonal where V_j is, so one matrix for each pattern gives the whole gradient. The Hessian is the average
information of Gilmour, Thompson & Cullis (1995) with the curvature of Sigma in L added, as in equation (3) there::

    kappa (f_i'V^-1 f_j - f_i'V^-1 X (X'V^-1X)^-1 X'V^-1 f_j) - kappa^2 / n_eff (r'f_i)(r'f_j) + 2 <Gamma, dL_i dL_j'>
    f_j = V_j r,   r = V^-1 e,   Gamma_t = sum over levels of Z_t'W Z_t

y is replaced by its least-squares residual and X by an orthonormal basis first. Cost of an evaluation: for b patterns of n rows
and P parameters O(b (n^3 + P n^3 + P^2 n^2)), and what :class:`Sums` adds for clusters that are alone in their pattern.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.criteria.clusters.blocks import Block, block_of
from lmmformula.criteria.clusters.data import Sums, sums_of
from lmmformula.criteria.clusters.layout import Layout
from lmmformula.errors import FitError
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.problem import Problem
from lmmformula.ir.residual import ResidualBlock
from lmmformula.typing import Array

__all__ = ["ByCluster", "ClusterPoint"]

SINGULAR = (
    "the covariance matrix of the response is singular in floating point at {}: the likely cause is two rows of one group that "
    "are perfectly correlated."
)


@dataclass(frozen=True, eq=False)
class ByCluster:
    """The criterion of one problem.

    Attributes
    ----------
    problem : Problem
        With a structure of residuals.
    reml : bool
    layout : Layout
    sums : tuple of Sums
        Rows of [Q y0], Q an orthonormal basis of X and y0 the residual of y on it.
    triangle : (p, p) array
        R_0 of X = Q R_0.
    ols : (p,) array
        Coefficients of y on X.
    """

    problem: Problem
    reml: bool
    layout: Layout
    sums: tuple[Sums, ...]
    triangle: Array
    ols: Array

    @classmethod
    def of(cls, problem: Problem, *, reml: bool, layout: Layout | None = None) -> ByCluster:
        """Form the sums over rows."""
        layout = Layout.of(problem) if layout is None else layout
        (rows,) = problem.data.chunks()
        y = rows.y if rows.offset is None else rows.y - rows.offset
        q, r = np.linalg.qr(rows.fixed)
        along = q.T @ y
        rest = y - q @ along
        rest -= q @ (q.T @ rest)
        if float(rest @ rest) <= 1e-24 * float(y @ y):
            raise FitError(
                "the fixed effects reproduce the response exactly, so no variance can be estimated. The likely cause is a "
                "predictor that is a copy of the response, or as many coefficients as rows; remove it."
            )
        d = np.column_stack([q, rest])
        ols = np.linalg.solve(r, along) if problem.p else np.zeros(0)
        return cls(problem, reml, layout, tuple(sums_of(part, d) for part in layout.parts), r, ols)

    @property
    def residual(self) -> ResidualBlock:
        """The structure of residuals."""
        assert self.problem.residual is not None
        return self.problem.residual

    @property
    def n_eff(self) -> int:
        """Degrees of freedom of sigma^2."""
        return self.problem.n - (self.problem.p if self.reml else 0)

    @property
    def dense_side(self) -> int:
        """Rows of the largest cluster."""
        return max(part.n for part in self.layout.parts)

    def start(self) -> Array:
        """L = I for every term, and where the structure of residuals begins."""
        starts = [t.covariance.start() for t in self.problem.terms]
        return np.concatenate([*starts, self.residual.start()])

    def split(self, omega: Array) -> tuple[Array, Array]:
        """theta and psi."""
        return omega[: self.problem.n_theta], omega[self.problem.n_theta :]

    def __call__(self, omega: Array) -> ClusterPoint:
        """The criterion at (theta, psi)."""
        theta, psi = self.split(omega)
        factors, moves = [], []
        for term, own in zip(self.problem.terms, self.problem.theta_slices(), strict=True):
            factors.append(term.covariance.cholesky(theta[own]))
            moves.append(term.covariance.jacobian(theta[own]))
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                blocks = tuple(
                    block_of(part, self.residual, psi, factors, moves) for part in self.layout.parts
                )
        except np.linalg.LinAlgError:
            raise FitError(SINGULAR.format(np.array2string(omega, precision=3))) from None
        return ClusterPoint(self, omega, tuple(factors), tuple(moves), blocks)

    def by_ml(self) -> ByCluster:
        """The same by maximum likelihood."""
        return replace(self, reml=False)


@dataclass(frozen=True, eq=False)
class ClusterPoint:
    """The criterion at one omega; what is not asked for is not computed."""

    model: ByCluster
    omega: Array
    factors: tuple[Array, ...]
    moves: tuple[Array, ...]
    blocks: tuple[Block, ...]

    error = 0.0

    @property
    def theta(self) -> Array:
        """The first part of omega."""
        return self.model.split(self.omega)[0]

    @computed_once
    def products(self) -> Array:
        """[Q y0]'V^-1[Q y0], (p + 1, p + 1)."""
        out = np.zeros((self.model.problem.p + 1,) * 2)
        for block, sums in zip(self.blocks, self.model.sums, strict=True):
            out += sums.quadratic(block.inverse)
        return 0.5 * (out + out.T)

    @computed_once
    def r_x(self) -> Array:
        """Upper triangular R with R'R = Q'V^-1Q."""
        p = self.model.problem.p
        try:
            return np.linalg.cholesky(self.products[:p, :p]).T
        except np.linalg.LinAlgError:
            raise FitError(
                "X'V^-1X is singular in floating point: the variances explain a fixed-effects column completely. The likely "
                "cause is a fixed effect that repeats a grouping factor; remove one of the two."
            ) from None

    @computed_once
    def unscaled(self) -> Array:
        """(Q'V^-1Q)^-1, (p, p)."""
        p = self.model.problem.p
        half = np.linalg.inv(self.r_x) if p else np.zeros((0, 0))
        return half @ half.T

    @computed_once
    def beta_orthonormal(self) -> Array:
        """Coefficients of y0 on Q."""
        p = self.model.problem.p
        return self.unscaled @ self.products[:p, p]

    @property
    def v(self) -> Array:
        """(-beta, 1): D v is e."""
        return np.append(-self.beta_orthonormal, 1.0)

    @computed_once
    def r2(self) -> float:
        """e'V^-1 e."""
        value = float(self.v @ self.products @ self.v)
        if not (np.isfinite(value) and value > 0.0):
            raise FitError("the residual sum of squares is not positive: the model reproduces the response.")
        return value

    @property
    def sigma2(self) -> float:
        return self.r2 / self.model.n_eff

    @computed_once
    def logdet(self) -> float:
        """log|V|."""
        return float(
            sum(b.logdet @ s.patterns.counts for b, s in zip(self.blocks, self.model.sums, strict=True))
        )

    @property
    def value(self) -> float:
        """The deviance, sigma profiled out."""
        return self.deviance_at(self.sigma2)

    @property
    def deviance(self) -> float:
        return self.value

    def deviance_at(self, sigma2: float) -> float:
        """-2 log (restricted) likelihood with sigma^2 as given."""
        model = self.model
        value = self.logdet + model.n_eff * np.log(2 * np.pi * sigma2) + self.r2 / sigma2
        if model.reml:
            both = (self.r_x, model.triangle)
            value += 2.0 * sum(float(np.log(np.abs(np.diagonal(r))).sum()) for r in both)
        return float(value)

    # -- derivatives ------------------------------------------------------------------------------------------------

    def _kernel(self, kappa: float) -> Array:
        """kappa v v' + [REML] (Q'V^-1Q)^-1, (p + 1, p + 1)."""
        out = kappa * np.outer(self.v, self.v)
        if self.model.reml:
            p = self.model.problem.p
            out[:p, :p] += self.unscaled
        return out

    def weights(self, kappa: float) -> list[Array]:
        """W of each pattern, summed over its clusters."""
        kernel, out = self._kernel(kappa), []
        for block, sums in zip(self.blocks, self.model.sums, strict=True):
            inner = block.inverse @ sums.moment(kernel) @ block.inverse
            out.append(sums.patterns.counts[:, None, None] * block.inverse - inner)
        return out

    @computed_once
    def _w(self) -> list[Array]:
        return self.weights(self.model.n_eff / self.r2)

    @computed_once
    def gradient(self) -> Array:
        """In omega, sigma profiled out."""
        return self._gradient(self._w)

    def gradient_at(self, sigma2: float) -> Array:
        """In omega, sigma^2 held."""
        return self._gradient(self.weights(1.0 / sigma2))

    def _gradient(self, weights: list[Array]) -> Array:
        out = np.zeros(len(self.omega))
        if not len(out):
            return out
        for w, block in zip(weights, self.blocks, strict=True):
            out += block.slopes.reshape(len(out), -1) @ w.ravel()
        return out

    @computed_once
    def hessian(self) -> Array:
        """Average information of omega, sigma profiled out."""
        count, p = len(self.omega), self.model.problem.p
        kappa, v = self.model.n_eff / self.r2, self.v
        info, hang = np.zeros((count, count)), np.zeros((count, p + 1))
        for block, sums in zip(self.blocks, self.model.sums, strict=True):
            sandwich = block.inverse @ block.slopes @ block.inverse
            hang += sums.along(sandwich, v)
            f = block.lower_inverse @ (block.slopes @ (block.inverse @ sums.half(v)))
            flat = f.reshape(count, -1)
            info += flat @ flat.T
        along = hang @ v
        info = kappa * (info - hang[:, :p] @ self.unscaled @ hang[:, :p].T)
        info -= kappa**2 / self.model.n_eff * np.outer(along, along)
        for t, own in enumerate(self.model.problem.theta_slices()):
            move, gamma = self.moves[t], self._gamma(t)
            info[own, own] += 2.0 * np.einsum("iab,jcb,ac->ij", move, move, gamma)
        return info

    def _gamma(self, t: int) -> Array:
        """sum over levels of Z'WZ of a term, (k, k)."""
        k = len(self.factors[t])
        out = np.zeros((k, k))
        for w, sums in zip(self._w, self.model.sums, strict=True):
            z = sums.patterns.bases[t]
            out += np.einsum("bra,brs,bsc->ac", z, w * sums.patterns.meets[t], z, optimize=True)
        return out

    # -- estimates --------------------------------------------------------------------------------------------------

    @computed_once
    def half(self) -> Array:
        """Root of (X'V^-1X)^-1 on the scale of the data, (p, p)."""
        if not self.model.problem.p:
            return np.zeros((0, 0))
        return np.linalg.solve(self.model.triangle, np.linalg.inv(self.r_x))

    @property
    def unscaled_vcov(self) -> Array:
        """(X'V^-1X)^-1 on the scale of the data."""
        return self.half @ self.half.T

    @property
    def beta(self) -> Array:
        """Fixed effects on the scale of the data."""
        if not self.model.problem.p:
            return np.zeros(0)
        return self.model.ols + np.linalg.solve(self.model.triangle, self.beta_orthonormal)

    @computed_once
    def scored(self) -> Array:
        """V^-1 (y - X beta) of each row, (n,)."""
        out = np.empty(self.model.problem.n)
        for block, sums in zip(self.blocks, self.model.sums, strict=True):
            e = sums.data @ self.v
            at = sums.patterns.pattern
            out[sums.patterns.rows] = np.einsum("crs,cs->cr", block.inverse[at], e)
        return out
