r"""Standard errors and Wald intervals of standard deviations, correlations and the parameters of a family.

With A the asymptotic covariance matrix of (theta, log sigma), twice the inverse of the deviance's Hessian, the delta method
gives the variance of any function of them. The functions are those in which a likelihood is nearly quadratic (Pinheiro & Bates
2000, sec. 2.4)::

    log sd:      d log sd_i = dSigma_ii / (2 Sigma_ii)  [+ d log sigma],                       dSigma = dL L' + L dL'
    Fisher's z:  z = log((r - lo) / (1 - r)),  dr_ij = dSigma_ij / (sd_i sd_j) - r (d log sd_i + d log sd_j)

lo = -1 gives twice the usual z; it is -1 / (k - 1) where all correlations of a term are one number. An interval is formed there
and carried back, so it stays inside the range; the standard error on the parameter's own scale is ``sd * se(log sd)``, and
``se(z) dr/dz`` for a correlation. Gaussian models: beta is profiled out, by REML or ML as the fit. Others: the block of theta
in the covariance matrix of all parameters.

At the boundary (a standard deviation of zero, a singular covariance matrix) the likelihood is not nearly quadratic in anything,
and there is no such standard error: nan, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.optimum import SINGULAR_BELOW
from lmmformula.errors import FitError
from lmmformula.inference.conditional import varcorr_places
from lmmformula.inference.parameters import Parameter, parameters_of, structure_of
from lmmformula.inference.spread import Spread
from lmmformula.inference.wald import information
from lmmformula.ir.covariance import sd_cor
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Spreads", "spreads", "structure_spreads", "theta_covariance", "varcorr_spreads"]


UNDETERMINED = (
    "the data do not determine it: the likelihood hardly changes with it. Use conf_int(method='profile')"
)
ROUNDING = 1e-8
"""Share of the largest derivative below which a parameter does not depend on an element of theta."""


class Spreads:
    """Standard errors of everything that is no fixed effect; nothing is computed before it is asked for.

    Parameters
    ----------
    fit : Fit
        By likelihood; of a quasi-likelihood every standard error is nan, with the reason.
    """

    def __init__(self, fit: Fitted) -> None:
        self.fit, self.problem = fit, fit.problem
        self.covariance, self.reason = fit.inference.theta_covariance()
        twin = fit.standard.theta_in(fit.estimate.theta)
        self._slices = self.problem.theta_slices()
        self._size = self.problem.n_theta + len(fit.estimate.residual) + 1
        self._lower = [
            t.covariance.cholesky(fit.estimate.theta[s])
            for t, s in zip(self.problem.terms, self._slices, strict=True)
        ]
        self._diagonals = [
            np.abs(np.diagonal(t.covariance.cholesky(twin[s])))[: t.covariance.within.rank]
            for t, s in zip(self.problem.terms, self._slices, strict=True)
        ]

    def of(self, parameter: Parameter) -> Spread:
        """A parameter that is no fixed effect."""
        if parameter.kind == "sd":
            return self.sd(parameter.term, parameter.columns[0])
        if parameter.kind == "cor":
            return self.cor(parameter.term, *parameter.columns)
        if parameter.kind == "phi":
            return self.structure(parameter)
        if parameter.kind == "residual":
            return self.fit.inference.structure_parameters()[parameter.columns[0]].spread
        if parameter.kind == "sigma":
            return self.sigma()
        return self.auxiliary(parameter.term, parameter.columns[0])

    def sd(self, term: int, column: int) -> Spread:
        """Standard deviation of one column of one term."""
        value = float(self.fit.estimate.sigma * np.linalg.norm(self._lower[term][column]))
        if reason := self._why_not(term, column):
            return Spread(value, np.nan, np.nan, reason=reason)
        inner = self._root(self._d_log_sd(term, column))
        if np.isinf(inner):
            return Spread(value, np.nan, np.nan, reason=UNDETERMINED)
        return Spread(value, value * inner, inner)

    def cor(self, term: int, i: int, j: int) -> Spread:
        """Correlation of two columns of one term."""
        block = self.problem.terms[term]
        r = float(sd_cor(self._lower[term] @ self._lower[term].T)[1][i, j])
        low = block.covariance.within.limits((min(i, j), max(i, j)))[0]
        if reason := self._why_not(term, None):
            return Spread(r, np.nan, np.nan, low, reason)
        if block.covariance.within.rank == 1:
            return Spread(
                r,
                np.nan,
                np.nan,
                low,
                "a covariance of rank 1 has no correlations to estimate: they are -1 or 1",
            )
        error = self._root(self._d_cor(term, i, j, r))
        if np.isinf(error):
            return Spread(r, np.nan, np.nan, low, UNDETERMINED)
        return Spread(r, error, error * (1.0 / (r - low) + 1.0 / (1.0 - r)), low)

    def structure(self, parameter: Parameter) -> Spread:
        """A range, a smoothness or a correlation of a structure across levels: a normal phi, carried over."""
        own = structure_of(self.problem, parameter)
        at = float(self.fit.estimate.theta[own.at])
        value = own.natural(at)
        if reason := self._why_not(own.term, None):
            return Spread(value, np.nan, np.nan, reason=reason)
        if own.is_one(at):
            said = "it is at the end of its range, where a Wald standard error does not exist. Use conf_int(method='profile')"
            return Spread(value, np.nan, np.nan, reason=said)
        assert self.covariance is not None
        variance = float(self.covariance[own.at, own.at])
        if not 0.0 < variance < np.inf:
            return Spread(value, np.nan, np.nan, reason=UNDETERMINED)
        inner = float(np.sqrt(variance))
        return Spread(value, inner * _slope(own.natural, at), inner, shown=own.natural, at=at)

    def sigma(self) -> Spread:
        """The residual standard deviation."""
        value = self.fit.estimate.sigma
        if self.covariance is None:
            return Spread(value, np.nan, np.nan, reason=self.reason)
        inner = float(np.sqrt(self.covariance[-1, -1]))
        return Spread(value, value * inner, inner)

    def auxiliary(self, predictor: int, column: int) -> Spread:
        """A coefficient of an auxiliary predictor; on the user's scale where it is the only one."""
        alpha, record = self.fit.estimate.aux[predictor], self.problem.family.auxiliaries[predictor]
        show = record.value if self.problem.aux[predictor].is_constant else None
        value = float(alpha[column] if show is None else show(alpha[column]))
        joint, reason = _joint(self.fit)
        if joint is None:
            return Spread(value, np.nan, np.nan, reason=reason)
        at = self.problem.p + self.problem.n_theta + sum(len(a) for a in self.fit.estimate.aux[:predictor])
        inner = float(np.sqrt(joint[at + column, at + column]))
        if not np.isfinite(inner):
            said = (
                "the data do not determine it: the likelihood does not fall as its predictor goes to infinity"
            )
            return Spread(value, np.nan, np.nan, reason=said)
        return Spread(
            value, inner * _slope(show, float(alpha[column])), inner, shown=show, at=float(alpha[column])
        )

    # -- derivatives -----------------------------------------------------------------------------------------------

    def slope(self, parameter: Parameter) -> Array:
        """d value / d(theta, psi, log sigma) of a parameter of these; d value / d alpha of an auxiliary."""
        known = self.of(parameter)
        if parameter.kind == "sd":
            return known.value * self._d_log_sd(parameter.term, parameter.columns[0])
        if parameter.kind == "cor":
            first, second = parameter.columns
            return self._d_cor(parameter.term, first, second, known.value)
        if parameter.kind == "phi":
            own = structure_of(self.problem, parameter)
            return _slope(own.natural, known.at, signed=True) * np.eye(self._size)[own.at]
        if parameter.kind == "residual":
            own_slope = self.fit.inference.structure_parameters()[parameter.columns[0]].slope
            return np.concatenate([np.zeros(self.problem.n_theta), own_slope])
        if parameter.kind == "sigma":
            return known.value * np.eye(self._size)[-1]
        alpha = self.fit.estimate.aux
        at = sum(len(a) for a in alpha[: parameter.term]) + parameter.columns[0]
        out = np.zeros(sum(map(len, alpha)))
        out[at] = 1.0 if known.shown is None else _slope(known.shown, known.at, signed=True)
        return out

    def _d_cor(self, term: int, i: int, j: int, r: float) -> Array:
        """d r / d(theta, psi, log sigma)."""
        sds = np.linalg.norm(self._lower[term], axis=1)
        own = self._d_log_sd(term, i) + self._d_log_sd(term, j)
        own[-1] = 0.0  # sigma is in numerator and denominator
        move = -r * own
        move[self._slices[term]] += self._d_sigma(term)[:, i, j] / (sds[i] * sds[j])
        return move

    def _d_sigma(self, term: int) -> Array:
        """dSigma/dtheta of one term, relative to sigma^2, (n_theta, k, k)."""
        lower = self._lower[term]
        move = self.problem.terms[term].covariance.jacobian(self.fit.estimate.theta[self._slices[term]])
        half = move @ lower.T
        return half + np.swapaxes(half, 1, 2)

    def _d_log_sd(self, term: int, column: int) -> Array:
        """d log sd / d(theta, psi, log sigma)."""
        out = np.zeros(self._size)
        own = float(self._lower[term][column] @ self._lower[term][column])
        out[self._slices[term]] = 0.5 * self._d_sigma(term)[:, column, column] / own
        out[-1] = 1.0 if self.problem.is_linear else 0.0
        return out

    def _root(self, move: Array) -> float:
        """Standard error of what moves so; infinite where it depends on an element that has none."""
        assert self.covariance is not None
        held = np.isinf(np.diagonal(self.covariance))
        if (np.abs(move[held]) > ROUNDING * np.abs(move).max(initial=0.0)).any():
            return np.inf
        own = move[~held]
        return float(np.sqrt(max(own @ self.covariance[np.ix_(~held, ~held)] @ own, 0.0)))

    def _why_not(self, term: int, column: int | None) -> str:
        """Why a parameter of this term has no standard error."""
        if self.covariance is None:
            return self.reason
        block, zero = self.problem.terms[term], self._diagonals[term] < SINGULAR_BELOW
        alone = not block.covariance.within.correlated and column is not None
        where = zero[column] if alone else zero.any()
        if not where:
            return ""
        label = block.label or f"{', '.join(block.columns)} | {block.group}"
        return (
            f"the covariance matrix of ({label}) is singular: the estimate lies on the boundary, where a Wald standard error "
            "does not exist. Use conf_int(method='profile') or 'bootstrap'"
        )


@lru_cache(maxsize=4)
def spreads(fit: Fitted) -> Spreads:
    """The standard errors of a fit; kept for the few fits last asked about."""
    return Spreads(fit)


def varcorr_spreads(fit: Fitted) -> list[Spread]:
    """The standard deviation or correlation of each row of :func:`lmmformula.inference.conditional.varcorr`."""
    known = spreads(fit)
    return [
        known.sigma() if i is None else known.sd(i, a) if b is None else known.cor(i, a, b)
        for i, a, b in varcorr_places(fit)
    ]


def structure_spreads(fit: Fitted) -> list[tuple[str, str, Spread]]:
    """Group, name and spread of each parameter of a structure across levels."""
    known = spreads(fit)
    own = [(p, structure_of(fit.problem, p)) for p in parameters_of(fit.problem) if p.kind == "phi"]
    return [(fit.problem.terms[q.term].group, q.across.names[q.element], known.structure(p)) for p, q in own]


def theta_covariance(fit: Fitted) -> tuple[Array | None, str]:
    """Covariance matrix of (theta, log sigma) of a fit by likelihood in the user's units, or why there is none."""
    count = fit.problem.n_theta
    if fit.problem.is_linear:
        own = information(fit).covariance
        move = np.eye(count + 1)
        move[:count, :count] = fit.standard.d_theta(fit.standard.theta_in(fit.estimate.theta))
        return move @ own @ move.T, ""
    joint, reason = _joint(fit)
    if joint is None:
        return None, reason
    out, p = np.zeros((count + 1, count + 1)), fit.problem.p
    out[:count, :count] = joint[p : p + count, p : p + count]
    return out, ""


def _joint(fit: Fitted) -> tuple[Array | None, str]:
    """Covariance matrix of all parameters of a generalised model, or why there is none."""
    try:
        joint = fit.joint_vcov
    except FitError as error:
        return None, str(error)
    return (
        joint,
        ""
        if joint is not None
        else "the fast mode, nagq=0, leaves the Hessian in the variances out. Fit with nagq=1",
    )


def _slope(show: Callable[[float], float] | None, at: float, *, signed: bool = False) -> float:
    """|d value / d coefficient|, or with its sign."""
    if show is None:
        return 1.0
    slope = (float(show(at + 1e-5)) - float(show(at - 1e-5))) / 2e-5
    return slope if signed else abs(slope)
