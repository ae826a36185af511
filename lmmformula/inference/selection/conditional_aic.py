r"""Conditional AIC: how well a model predicts new responses of the same groups.

    cAIC = -2 log f(y | beta^, b^) + 2 (Phi + 1)                  (the 1 for sigma, where there is one)

Phi is the bias of the first part as an estimate of the predictive fit. For the Gaussian model it is the sum of what each
fitted value moves with its own response, ``Phi = sum_i d mu^_i / d y_i`` (Stein 1981; Vaida & Blanchard 2005), and the
effective degrees of freedom rho, the trace of the hat matrix, if theta is known. That theta is estimated from the same y adds
(Greven & Kneib 2010)::

    Phi = rho + sum_j (d theta^_j / d y)' (d mu^ / d theta_j)                                                  (1)

without which random effects are always chosen that have a variance above zero. In the notation of
:mod:`lmmformula.criteria.profiled`, with e = y - mu^, s = sigma^2 = r2 / n_eff and D the Hessian of the profiled deviance in
theta::

    rho               = p + sum_groups tr(m I - T - <H, H>_Q)
    m_j = d mu^/d theta_j = X dbeta_j + Z L (M^-1 + HH') z_j,    dbeta_j = -R^-1 H'z_j,    z_j = Q (A_j + A_j') u
    d theta^ / d y    = (2 / s) D^-1 [ W m_k - W e (e'W m_k) / r2 ]_k           (implicit function theorem on d' = 0)
    Phi               = rho + (2 / s) sum_jk (D^-1)_jk [ m_k'W m_j - (c_k / r2) (e'W m_j) ],     c_k = y'P V_k P y = u'z_k

(P V_k P y = W m_k). At a boundary the derivatives vanish with the column of L, as they must: theta stays there.

For a Poisson response (log link) and for binary ones (logit link) Stein's identity has the exact forms (Saefken, Kneib, van
Waveren & Greven 2014), eta^(y) the fitted linear predictor::

    Poisson    Phi = sum_{y_i > 0} y_i [eta^_i(y) - eta^_i(y - e_i)]                                           (2)
    Bernoulli  Phi = sum_i mu^_i (1 - mu^_i) [eta^_i(y_i = 1) - eta^_i(y_i = 0)]                               (3)

each at the cost of a fit per row. A binomial row of n trials is n binary rows: (3) over its successes and failures, two fits.

Where residuals are structured see :mod:`lmmformula.inference.structure.conditional`.

cAIC4 1.0 halves the second part of d theta^/dy in its analytic form, which its numerical form and the derivative by
differences do not; its binary correction fits the unchanged response. The numbers here are those of the formulas.

References
----------
Greven & Kneib (2010), Biometrika 97, 773-789.
Saefken, Kneib, van Waveren & Greven (2014), Electron. J. Statist. 8, 201-225.
Stein (1981), Ann. Statist. 9, 1135-1151.
Vaida & Blanchard (2005), Biometrika 92, 351-370.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.backends.curvature import laplace_of
from lmmformula.criteria.variance import inner
from lmmformula.errors import FitError, PlanError
from lmmformula.inference.refitting import refit_drawn
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.variance_hessian import hessian_in_log_sigma
from lmmformula.inference.wald import hessian_of_variances
from lmmformula.numerics.batched import flat
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["ConditionalAIC", "conditional_aic", "effective_df"]

AT_ONCE = 1_000_000
"""Numbers of changed responses that are held at a time."""
FLAT = 1e-8
"""Curvature of a direction of theta, relative to the largest, below which the deviance says nothing of it."""


@dataclass(frozen=True, slots=True, repr=False)
class ConditionalAIC:
    """cAIC and its parts.

    Attributes
    ----------
    llf : float
        log f(y | beta^, b^).
    df : float
        Phi, and 1 for sigma where there is one.
    effective : float
        rho, which takes the variances as known.
    variances : {"estimated", "known"}
        Whether `df` allows for the estimation of the variances.
    """

    llf: float
    df: float
    effective: float
    variances: str

    @property
    def caic(self) -> float:
        return -2.0 * self.llf + 2.0 * self.df

    @property
    def frame(self) -> pd.Series:
        """``caic, llf, df, effective``."""
        import pandas as pd

        return pd.Series({"caic": self.caic, "llf": self.llf, "df": self.df, "effective": self.effective})

    def __repr__(self) -> str:
        known = " with the variances known" if self.variances == "known" else ""
        return (
            f"Conditional AIC{known}: {self.caic:.2f}\n"
            f"conditional logLik {self.llf:.2f} on {self.df:.2f} degrees of freedom (effective, variances known: "
            f"{self.effective:.2f})"
        )


def conditional_aic(fit: Fitted, variances: str = "estimated") -> ConditionalAIC:
    """Conditional AIC; see :meth:`lmmformula.Fit.caic`."""
    fit.problem.refuse_responses("the conditional AIC", "Use aic.")
    fit.inference.check("likelihood ratio")
    fit.inference.check("conditional AIC")
    fit.problem.refuse_elsewhere("a conditional AIC")
    problem, family = fit.problem, fit.problem.family
    if family.repeated:
        raise PlanError(
            "a conditional AIC predicts a new response for each row, and y | weights(w) says that a row stands for w "
            "observations. Write the rows out w times, or use aic and bic."
        )
    if problem.residual is not None:
        return _structured(fit, variances)
    eta, aux = linear_predictor(fit), auxiliary(fit)
    llf = float(family.rows(problem.y, eta, aux, problem.weights, derivatives=False).loglik.sum())
    with blas_threads(fit.optimum.model.prepared.dense_side):
        rho = effective_df(fit)
        own = len(fit.estimate.aux) + int(fit.inference.is_gaussian)
        if variances == "known" or not problem.n_theta:
            return ConditionalAIC(llf, rho + own, rho, variances)
        if fit.inference.is_gaussian:
            return ConditionalAIC(llf, rho + _from_variances(fit) + own, rho, variances)
        return ConditionalAIC(llf, _by_refits(fit, eta), rho, variances)


def _structured(fit: Fitted, variances: str) -> ConditionalAIC:
    """That of a model with structured residuals."""
    from lmmformula.inference.structure.conditional import ConditionalFit

    own = ConditionalFit(fit)
    rho, more = own.effective, 0.0
    if variances != "known" and len(fit.optimum.omega):
        point, (fitted, responding) = fit.optimum, own.moves()
        inverse = _inverse_curvature(hessian_in_log_sigma(point, point.omega))
        more = 2.0 / point.sigma2 * float(np.sum(inverse * (fitted.T @ responding)))
    return ConditionalAIC(own.llf, rho + more + own.n_parameters, rho, variances)


def effective_df(fit: Fitted) -> float:
    """rho: of a generalised model that of its working response at the mode."""
    point = laplace_of(fit.optimum)
    out = float(fit.problem.p)
    times = point.variances.times(point.h)
    for t, h, qh in zip(point.factor.trace_blocks(), point.h, times, strict=True):
        out += len(h) * len(t) - float(np.trace(t)) - float(np.trace(inner(h, qh)))
    return out


def _from_variances(fit: Fitted) -> float:
    """The sum in (1)."""
    point = fit.optimum.model(fit.optimum.theta)
    problem = fit.standard.problem
    moved, dots = _moved(point)
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    eta = linear_predictor(fit)
    residual = (fit.problem.y - eta) / fit.standard.response
    weighted = (w * residual) @ moved
    inner_ = moved.T @ (w[:, None] * moved) - np.outer(dots, weighted) / point.r2
    return float(2.0 / point.sigma2 * np.sum(_inverse_curvature(hessian_of_variances(point)) * inner_.T))


def _inverse_curvature(joint: Array) -> Array:
    """D^-1, of the directions in which the deviance says anything, from the Hessian with log sigma as its last element."""
    d = len(joint) - 1
    curvature = joint[:d, :d] - np.outer(joint[:d, d], joint[d, :d]) / joint[d, d]
    scale = np.sqrt(np.maximum(np.diagonal(curvature), FLAT * float(np.diagonal(curvature).max())))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    kept = values > FLAT * values[-1]
    return (vectors[:, kept] / values[kept]) @ vectors[:, kept].T / np.outer(scale, scale)


def _moved(point: Any) -> tuple[Array, Array]:
    """m_j, (n, n_theta), and c_j, (n_theta,)."""
    model = point.model
    _, z = point.variances.moves(point.u)
    solved = point.factor.solve(z)
    hz = np.concatenate([flat(h) for h in point.h]).T @ np.concatenate([flat(v) for v in z])
    beta = model.ols.from_orthonormal(-point.r_inverse @ hz)
    out = model.problem.X.matrix @ beta
    groups = model.prepared.blocks.groups
    for group, factor, s, h in zip(groups, point.factors, solved, point.h, strict=True):
        effects = np.einsum("kl,mlj->mkj", factor, s + h @ hz)
        for i, columns in group.members:
            term = model.problem.terms[i]
            for j in range(effects.shape[2]):
                out[:, j] += term.apply(effects[:, columns, j])
    dots = np.concatenate([u.ravel() for u in point.u]) @ np.concatenate([flat(v) for v in z])
    return out, dots


# -- by fits of changed responses ------------------------------------------------------------------------------------


def _by_refits(fit: Fitted, eta: Array) -> float:
    """(2) or (3)."""
    family = fit.problem.family
    if not family.is_canonical or fit.estimate.aux or not family.is_discrete:
        raise PlanError(
            "the correction for estimated variances is known for Gaussian, Poisson (log) and binomial (logit) "
            "responses, not for "
            f"{family}. Use caic(variances='known'), which leaves it out, or compare models by aic, bic or cross_validate()."
        )
    changes = list(_fewer(fit.problem.y) if family.weights_are == "repeats" else _flipped(fit, eta))
    if not changes:
        return 0.0
    then = np.empty(len(changes))
    at_once = max(1, AT_ONCE // fit.problem.n)
    for start in range(0, len(changes), at_once):
        some = changes[start : start + at_once]
        y = np.repeat(fit.problem.y[:, None], len(some), axis=1)
        for j, change in enumerate(some):
            y[change[0], j] = change[1]
        then[start : start + at_once] = _predicted(fit, y, [change[0] for change in some])
    lost = int(np.isnan(then).sum())
    if lost:
        raise FitError(
            f"{lost:,} of the changed responses that the correction needs could not be fitted. The likely cause "
            "is a random part that the data hardly support: simplify it, or use caic(variances='known')."
        )
    return float(sum(w * sign * (eta[row] - e) for (row, _, w, sign), e in zip(changes, then, strict=True)))


def _predicted(fit: Fitted, y: Array, rows: list[int]) -> Array:
    """eta of a row of each of the responses y (n, B), fitted together where their design suits; nan where one cannot be."""
    out = np.full(len(rows), np.nan)
    batch = fit.backend.batch(fit.optimum)
    if batch is not None:
        stack = batch.fit(fit.standard.response_in(y), fit.optimum.theta, errors=False, modes=True)
        if stack.modes is not None:
            data = fit.standard.problem.data
            for j in np.flatnonzero(stack.converged):
                effects = [stack.modes[j]] if fit.problem.terms else []
                out[j] = data.apply(stack.beta[j], effects)[rows[j]]
    for j in np.flatnonzero(np.isnan(out)):
        try:
            out[j] = linear_predictor(refit_drawn(fit, y[:, j]))[rows[j]]
        except FitError:
            continue
    return out


_Change = tuple[int, float, float, float]
"""Row, its new response, the weight of the difference of eta, and its sign."""


def _fewer(y: Array) -> Iterator[_Change]:
    """One count less."""
    for row in np.flatnonzero(y > 0):
        yield int(row), float(y[row] - 1.0), float(y[row]), 1.0


def _flipped(fit: Fitted, eta: Array) -> Iterator[_Change]:
    """One success less, and one more, of the trials of each row."""
    problem = fit.problem
    trials = np.ones(problem.n) if problem.weights is None else problem.weights
    successes = np.rint(problem.y * trials)
    mu = problem.family.location(eta)
    for row in range(problem.n):
        s, n, v = successes[row], trials[row], float(mu[row] * (1.0 - mu[row]))
        if s > 0:
            yield row, float((s - 1.0) / n), float(s) * v, 1.0
        if s < n:
            yield row, float((s + 1.0) / n), float(n - s) * v, -1.0
