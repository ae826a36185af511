r"""The Gaussian criterion: ML and REML deviance of theta, with beta and sigma profiled out, and its derivatives.

Model: ``y = X beta + Z b + e``, ``b = Lambda u``, ``u ~ N(0, sigma^2 Q^-1)``, ``e ~ N(0, sigma^2 W^-1)``. Write
``V = W^-1 + Z Lambda Q^-1 Lambda' Z'`` (so Var(y) = sigma^2 V), ``M = Lambda'Z'WZ Lambda + Q``, and
``P = V^-1 - V^-1 X (X'V^-1X)^-1 X'V^-1``. By (1) of :mod:`lmmformula.criteria.variance` every quadratic form of V^-1 comes from
the Gram of [Z X y] and one solve with M. With R'R = X'V^-1X and ``r2 = y'Py``, the penalised residual sum of squares at its
minimum (Bates et al. 2015, eqs. 33-42)::

    ML    d(theta) = log|V| + n (1 + log(2 pi r2 / n))
    REML  d(theta) = log|V| + 2 log|R| + (n - p) (1 + log(2 pi r2 / (n - p)))

Gradient. For V_j = dV/dtheta_j and kappa = n_eff / r2 (1/sigma^2 if sigma is held fixed)::

    dd/dtheta_j = tr(P V_j) - kappa y'P V_j P y          (ML: V^-1 in place of P in the trace)

In the scale of u, ``Lambda'Z'V^-1Z Lambda = Q - Q M^-1 Q``, ``Lambda'Z'V^-1X R^-1 = Q H`` (H the solve's columns times R^-1),
``Lambda'Z'Py = Q u``. With k x k sums over the levels of a group, T that of Q M^-1::

    K = m I - T - kappa <u, u>_Q - [REML] <H, H>_Q                                                          (2)

and :mod:`lmmformula.criteria.variance` makes the derivatives of it. For a single column of independent levels K = 0 is Schall's
(1991) equation for the variance.

Curvature. The second derivatives contain traces of M^-1 times itself. Replacing half of them by their expectation
gives the average information of Gilmour, Thompson & Cullis (1995), which needs solves only. With x_j and z_j = Q x_j::

    d2d/dtheta_i dtheta_j ~ kappa (x_i'z_j - z_i'(M^-1 + HH') z_j) - (kappa^2 / n_eff) (z_i'u)(z_j'u)
                            + 2 <Gamma, dL_i dL_j'>,          Gamma = L^-T K L^-1                           (3)

Before anything else y is replaced by its weighted least-squares residual and X by X R_0^-1 with orthonormal columns: r2 then
loses no digits to the mean of y, nor R to the units of X.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.criteria.linearised import Linearised
from lmmformula.criteria.variance import Variances, inner
from lmmformula.engines.base import Engine, Factor, Prepared, Stacked
from lmmformula.engines.constrained import prepare
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.frozen import computed_once, evolved
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Rows, RowVector
from lmmformula.numerics.batched import flat
from lmmformula.numerics.least_squares import LeastSquares, least_squares
from lmmformula.numerics.tall import inner_products
from lmmformula.typing import Array

__all__ = ["NOTHING", "Profiled", "ProfiledPoint"]

NOTHING = 1e-14
"""Share of the residual sum of squares of X alone below which what is left is rounding."""


@dataclass(frozen=True, eq=False)
class Profiled:
    """The criterion for one problem: everything that does not depend on theta.

    Attributes
    ----------
    problem : Problem
    reml : bool
    prepared : Prepared
        The engine, ready for these blocks.
    gram : Gram
        [Z X R0^-1 y0]' W [Z X R0^-1 y0].
    ols : LeastSquares
        Weighted least squares of y on X: R0, its coefficients and residual y0.
    log_weights : float
        sum log w of precision weights.
    """

    problem: Problem
    reml: bool
    prepared: Prepared
    gram: Gram
    ols: LeastSquares
    log_weights: float

    @classmethod
    def of(
        cls, problem: Problem, engine: Engine, *, reml: bool, prepared: Prepared | None = None
    ) -> Profiled:
        """Form the Gram. Cost O(n (p + sum k)^2); the only step that reads rows."""
        rows = problem.data
        if prepared is None:
            prepared = prepare(engine, rows.levels)
        rows = rows.over(prepared.blocks)
        y, w = _target(rows), rows.weights
        ols = least_squares(rows.fixed, y, w)
        _refuse_exact_fit(ols)
        raw = rows.gram(w, fixed=True, more=(ols.residual,))
        gram = Gram(raw.diag, raw.cross, tuple(ols.orthonormal(r) for r in raw.rhs), ols.orthonormal_gram)
        log_w = 0.0
        if w is not None and not problem.family.repeated:
            log_w = float(rows.reduce(lambda chunk, w: np.log(w).sum(), w))
        return cls(problem, reml, prepared, gram, ols, log_w)

    @property
    def dense_side(self) -> int:
        """Of the largest matrix that is factorised."""
        return self.prepared.dense_side

    def with_response(self, y: Array) -> Profiled:
        """The criterion for another response on the same rows; only the products with y are formed anew."""
        problem = self.problem.with_response(y)
        rows = problem.data.over(self.prepared.blocks)
        ols = self.ols.with_response(rows.fixed, _target(rows), rows.weights)
        weighted = ols.residual
        if rows.weights is not None:
            (weighted,) = rows.map(lambda chunk, r: (r * chunk.weights,), weighted)
        sums, p = rows.adjoint(weighted), problem.p
        rhs = tuple(
            np.concatenate([r[..., :p], s[..., None]], axis=-1)
            for r, s in zip(self.gram.rhs, sums, strict=True)
        )
        gram = Gram(self.gram.diag, self.gram.cross, rhs, ols.orthonormal_gram)
        return replace(self, problem=problem, gram=gram, ols=ols)

    @computed_once
    def log_det_r(self) -> float:
        """log|R_0|, of the triangle that X was orthonormalised by."""
        return self.ols.log_det_r

    @property
    def n_eff(self) -> int | float:
        """Degrees of freedom of sigma^2: n - p for REML, n for ML, n the sum of weights where they repeat rows.

        With w_r copies of each row, Z'Z, X'X and the penalised RSS of all copies are those of the rows weighted by w, and
        log|V| of the copies is log|M| + n log sigma^2: the criterion of precision weights with sum w for n and no sum log w.
        """
        return self.problem.n_observed - (self.problem.p if self.reml else 0)

    @property
    def target(self) -> RowVector:
        """y - offset."""
        return _target(self.problem.data)

    def start(self) -> Array:
        """L = I for every term."""
        starts = [t.covariance.start() for t in self.problem.terms]
        return np.concatenate(starts) if starts else np.zeros(0)

    def __call__(self, theta: Array, *, exact: bool = False) -> ProfiledPoint:
        """Evaluate at theta. `exact` keeps zeros on the diagonal of L: value only, no derivatives."""
        variances = Variances.at(self.problem.terms, self.prepared.blocks.groups, theta, exact=exact)
        factor = self.prepared.factor(self.gram, variances.factors, variances.across)
        return ProfiledPoint(self, variances, factor)


def _target(rows: Rows) -> RowVector:
    """y - offset."""
    return rows.y if rows.offset is None else rows.map(lambda chunk: (chunk.y - chunk.offset,))[0]


def _refuse_exact_fit(ols: LeastSquares) -> None:
    """A residual that is rounding error, against y'Wy, carries no information on any variance."""
    left, size = float(ols.orthonormal_gram[-1, -1]), ols.size
    if left <= 1e-24 * size:
        raise FitError(
            f"the fixed effects reproduce the response exactly (residual sum of squares {left:.3g} of {size:.3g}), so "
            "no variance can be estimated. The likely cause is a predictor that is a copy of the response, or as many "
            "coefficients as rows; remove it."
        )


@dataclass(frozen=True, eq=False)
class ProfiledPoint:
    """The criterion at one theta; what is not asked for is not computed.

    The gradient is 2 Gamma L with Gamma from factors kept off zero and L as it is: it vanishes where a column of L does.
    """

    model: Profiled
    variances: Variances
    factor: Factor

    @property
    def theta(self) -> Array:
        return self.variances.theta

    @property
    def factors(self) -> tuple[Array, ...]:
        """L of each group, kept off zero unless evaluated exactly."""
        return self.variances.factors

    @property
    def is_exact(self) -> bool:
        """Whether L was taken as it is, with no element kept off zero."""
        return self.variances.is_exact

    @computed_once
    def _solution(self) -> tuple[Stacked, Array]:
        """M^-1 Lambda'Z'W[X y] and the (p + 1)-square [X y]'V^-1[X y]."""
        gram = self.model.gram
        rhs = tuple(np.matmul(f.T, r) for f, r in zip(self.factors, gram.rhs, strict=True))
        solved = self.factor.solve(rhs)
        s = gram.vv.copy()
        for r, x in zip(rhs, solved, strict=True):
            s -= flat(r).T @ flat(x)
        return solved, s

    @computed_once
    def r_x(self) -> Array:
        """Upper triangular R with R'R = X'V^-1X for the orthonormalised X, (p, p)."""
        p = self.model.problem.p
        s = self._solution[1][:p, :p]
        try:
            return np.linalg.cholesky(0.5 * (s + s.T)).T
        except np.linalg.LinAlgError:
            raise FitError(
                "X'V^-1X is singular in floating point: the random effects of the current variances explain a "
                "fixed-effects column completely. The likely cause is a fixed effect that repeats a grouping "
                "factor; remove one of the two."
            ) from None

    @computed_once
    def r_inverse(self) -> Array:
        """R^-1, (p, p)."""
        return np.linalg.inv(self.r_x) if self.model.problem.p else np.zeros((0, 0))

    @computed_once
    def beta_orthonormal(self) -> Array:
        """Fixed effects of the orthonormalised X on y's least-squares residual, (p,)."""
        p = self.model.problem.p
        s = self._solution[1]
        return self.r_inverse @ (self.r_inverse.T @ s[:p, p])

    @computed_once
    def r2(self) -> float:
        """Penalised residual sum of squares y'Py."""
        p = self.model.problem.p
        s = self._solution[1]
        value = float(s[p, p] - s[:p, p] @ self.beta_orthonormal)
        total = float(self.model.gram.vv[p, p])
        if not value > NOTHING * total:
            raise FitError(
                f"the residual sum of squares is {value:.3g} of {total:.3g}: the model reproduces the response "
                "exactly, so no residual variance can be estimated. The likely cause is one random effect or fixed "
                "effect for every observation; use a simpler model."
            )
        return value

    @property
    def sigma2(self) -> float:
        """Residual variance r2 / n_eff; 1 where it is known, in the units of the weights."""
        return 1.0 if self.model.problem.family.known else self.r2 / self.model.n_eff

    @computed_once
    def deviance(self) -> float:
        """-2 log (restricted) likelihood, profiled."""
        return self.deviance_at(self.sigma2)

    @property
    def value(self) -> float:
        """The deviance, which is what a search minimises."""
        return self.deviance

    @property
    def error(self) -> float:
        """Standard error of the deviance; zero unless the engine is stochastic."""
        return self.factor.logdet_stderr

    def sharpened(self) -> ProfiledPoint:
        """The same point with as small an error as the engine was asked for."""
        better = self.factor.sharpened()
        if better.factor is self.factor:
            return self
        if better.prepared is None:
            return evolved(self, ("deviance",), factor=better.factor)
        return replace(self, model=replace(self.model, prepared=better.prepared), factor=better.factor)

    def deviance_at(self, sigma2: float) -> float:
        """-2 log (restricted) likelihood with sigma^2 as given and beta profiled out."""
        model = self.model
        n_eff = model.n_eff
        value = self.factor.logdet - self.variances.logdet - model.log_weights
        value += n_eff * np.log(2 * np.pi * sigma2) + self.r2 / sigma2
        if model.reml:
            value += 2.0 * (float(np.log(np.diagonal(self.r_x)).sum()) + model.log_det_r)
        return float(value)

    @computed_once
    def u(self) -> tuple[Array, ...]:
        """Conditional modes on the scale of u, per group (m, k)."""
        p, b = self.model.problem.p, self.beta_orthonormal
        return tuple(x[..., p] - x[..., :p] @ b for x in self._solution[0])

    @computed_once
    def h(self) -> tuple[Array, ...]:
        """H = Lambda'Z'V^-1X R^-1, per group (m, k, p), for X of the orthonormalised columns."""
        p = self.model.problem.p
        return tuple(x[..., :p] @ self.r_inverse for x in self._solution[0])

    @computed_once
    def _sums(self) -> tuple[tuple[Array, Array], ...]:
        """Per group the parts of K without and with kappa: m I - T - [REML] <H, H>_Q, and <u, u>_Q."""
        times = self.variances.times
        free = [
            len(u) * np.eye(u.shape[1]) - t for u, t in zip(self.u, self.factor.trace_blocks(), strict=True)
        ]
        if self.model.reml:
            free = [k - inner(h, qh) for k, h, qh in zip(free, self.h, times(self.h), strict=True)]
        spread = [inner(u, qu) for u, qu in zip(self.u, times(self.u), strict=True)]
        return tuple(zip(free, spread, strict=True))

    def k_matrices(self, kappa: float) -> tuple[Array, ...]:
        """K of equation (2) for each group."""
        return tuple(k - kappa * uu for k, uu in self._sums)

    @property
    def kappa(self) -> float:
        """1 / sigma^2."""
        return 1.0 / self.sigma2

    @computed_once
    def gradient(self) -> Array:
        """Gradient of the profiled deviance in theta."""
        return self.gradient_at()

    def gradient_at(self, sigma2: float | None = None) -> Array:
        """Gradient in theta of the deviance, with sigma^2 profiled out or held at `sigma2`."""
        kappa = self.kappa if sigma2 is None else 1.0 / sigma2
        pairs = [(kappa, self.u, self.u), *([(1.0, self.h, self.h)] if self.model.reml else [])]
        return self.variances.gradient(self.k_matrices(kappa), self.factor, pairs)

    @computed_once
    def hessian(self) -> Array:
        """Average-information approximation (3) of the Hessian of the profiled deviance."""
        if not len(self.theta):
            return np.zeros((0, 0))
        kappa, profiled = self.kappa, not self.model.problem.family.known
        x, z = self.variances.moves(self.u)
        info = kappa * self.variances.information(x, z, self.factor.solve(z))
        hz, along = inner_products(self.h, z), inner_products([u[:, :, None] for u in self.u], z)[0]
        info -= kappa * (hz.T @ hz)
        if profiled:
            info -= kappa**2 / self.model.n_eff * np.outer(along, along)
        self.variances.bend(info, self.k_matrices(kappa))
        if self.variances.across:
            self.variances.bend_across(info, self.gradient)
            if profiled:
                self.variances.bend_outwards(info, self.gradient)
        return info

    @computed_once
    def half(self) -> Array:
        """R^-1 on the scale of the data: half half' = (X'V^-1X)^-1, (p, p)."""
        if not self.model.problem.p:
            return np.zeros((0, 0))
        return self.model.ols.from_orthonormal(self.r_inverse)

    @property
    def beta(self) -> Array:
        """Fixed effects on the scale of the data, (p,)."""
        return self.model.ols.coefficients + self.model.ols.from_orthonormal(self.beta_orthonormal)

    @computed_once
    def linearised(self) -> Linearised:
        """The rows of the model at this theta."""
        model, effects = self.model, [u @ f.T for u, f in zip(self.u, self.factors, strict=True)]
        rows = model.problem.data.over(model.prepared.blocks)
        eta = rows.apply(self.beta, effects)
        (score,) = rows.map(
            lambda chunk, eta: ((chunk.y - eta) * (1.0 if chunk.weights is None else chunk.weights),), eta
        )
        prepared, across = model.prepared, self.variances.across
        return Linearised(rows.weights, score, self.factor, prepared, across, prepared.is_exact)

    @property
    def unscaled_vcov(self) -> Array:
        """(X'V^-1X)^-1 on the scale of the data; times sigma^2 the covariance matrix of beta."""
        return self.half @ self.half.T
