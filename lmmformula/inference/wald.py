"""Wald inference for the fixed effects: Satterthwaite's degrees of freedom for Gaussian models, z for others.

For a contrast l with variance ``v = l'C l``, C the covariance matrix of beta as a function of the variance parameters
phi = (theta, log sigma), Satterthwaite (1946) matches ``v`` to a scaled chi-square (Giesbrecht & Burns 1985; Kuznetsova,
Brockhoff & Christensen 2017, eq. 7)::

    df = 2 v^2 / (g'A g),    g = dv/dphi,    A = 2 H^-1,  H the Hessian of the deviance in phi

g is exact: ``dC/dtheta_j = sigma^2 R^-1 [sum_s H_s'(A_j + A_j')H_s] R^-T`` in the notation of
:mod:`lmmformula.criteria.profiled`, and ``dC/dlog sigma = 2 C``. The Hessian of the deviance is the derivative of its exact
gradient, by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.arguments import own_options
from lmmformula.criteria.profiled import ProfiledPoint
from lmmformula.criteria.quadrature import step_scale
from lmmformula.errors import ArgumentError, DataError
from lmmformula.inference.posterior import need_posterior, quantiles, refuse_posterior
from lmmformula.inference.student import critical, errors_and_df, two_sided
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["VarianceInformation", "conf_int", "cov_params", "named", "pvalues", "satterthwaite", "theta"]


def named(fit: Fit, values: Array) -> pd.Series:
    """`values` of length p under the coefficients' names."""
    import pandas as pd

    return pd.Series(np.array(values, dtype=float), index=list(fit.problem.X.names))


def cov_params(fit: Fit) -> pd.DataFrame:
    """Covariance matrix of the fixed effects with names."""
    import pandas as pd

    names = list(fit.problem.X.names)
    return pd.DataFrame(fit.vcov.copy(), index=names, columns=names)


def theta(fit: Fit) -> pd.Series:
    """Theta with names."""
    import pandas as pd

    return pd.Series(fit.estimate.theta.copy(), index=list(fit.problem.theta_names()))


class VarianceInformation:
    """How well the variance parameters are known, and how C moves with them.

    phi is that of the point's problem; where that is a standardised one, `coefficients` turn its beta, and so C, into
    the user's.

    Attributes
    ----------
    covariance : (n_phi, n_phi) array
        A, the asymptotic covariance matrix of phi = (theta, log sigma); directions without information are left out.
    d_vcov : (n_phi, p, p) array
        dC/dphi.
    """

    def __init__(self, point: ProfiledPoint, coefficients: Array | None = None) -> None:
        smooth = point.model(point.theta)
        hessian = hessian_of_variances(smooth)
        values, vectors = np.linalg.eigh(hessian)
        keep = values > 1e-8 * max(float(values[-1]), 1e-300)
        self.covariance = 2.0 * (vectors[:, keep] / values[keep]) @ vectors[:, keep].T
        own = np.concatenate([_d_vcov(smooth), 2.0 * smooth.sigma2 * smooth.unscaled_vcov[None]])
        self.d_vcov = own if coefficients is None else coefficients @ own @ coefficients.T


def hessian_of_variances(point: ProfiledPoint) -> Array:
    """Hessian of the deviance (beta profiled out) in (theta, log sigma) at the optimum."""
    sigma2, n_eff, d = point.sigma2, point.model.n_eff, len(point.theta)
    out = np.zeros((d + 1, d + 1))
    out[d, d] = 4.0 * n_eff
    if not d:  # no random effects: sigma alone
        return out
    steps = 2e-3 * np.minimum(step_scale(point.hessian), np.maximum(1.0, np.abs(point.theta)))
    for j, step in enumerate(steps):
        high, low = point.theta.copy(), point.theta.copy()
        high[j], low[j] = high[j] + step, low[j] - step
        rise = point.model(high).gradient_at(sigma2) - point.model(low).gradient_at(sigma2)
        out[:d, j] = rise / (2 * step)
    out[:d, :d] = 0.5 * (out[:d, :d] + out[:d, :d].T)
    # gradient_at(s) = a - b / s in s = sigma^2, and ds/dlog sigma = 2 s, so the mixed derivative is 2 b / s
    scaled = 2.0 * (point.gradient_at(2.0 * sigma2) - point.gradient_at(sigma2))
    out[:d, d] = out[d, :d] = 2.0 * scaled
    return out


def _d_vcov(point: ProfiledPoint) -> Array:
    """dC/dtheta, (n_theta, p, p)."""
    return point.sigma2 * point.half @ point.variances.seen(point.h) @ point.half.T


@lru_cache(maxsize=8)
def information(fit: Fit) -> VarianceInformation:
    """The information of a fit; kept for the few fits last asked about."""
    with blas_threads(fit.optimum.model.prepared.dense_side):
        return VarianceInformation(fit.optimum, fit.standard.coefficients)


def satterthwaite(fit: Fit, contrasts: Array | None = None) -> Array:
    """Degrees of freedom of each row of `contrasts` (default: each coefficient).

    Parameters
    ----------
    contrasts : (r, p) array, optional

    Returns
    -------
    (r,) array
    """
    rows = np.eye(fit.problem.p) if contrasts is None else np.atleast_2d(contrasts)
    if fit.posterior is not None:
        return np.full(len(rows), np.nan)
    if not isinstance(fit.optimum, ProfiledPoint):
        return np.full(len(rows), np.inf)
    if (
        not fit.problem.n_theta
    ):  # the residual sum of squares over sigma^2 is a chi-square on n - p df, by REML and ML
        return np.full(len(rows), float(fit.problem.n - fit.problem.p))
    info = information(fit)
    variance = np.einsum("ri,ij,rj->r", rows, fit.estimate.vcov, rows)
    slope = np.einsum("ri,kij,rj->rk", rows, info.d_vcov, rows)
    spread = np.einsum("rk,kl,rl->r", slope, info.covariance, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2.0 * variance**2 / spread


def pvalues(fit: Fit) -> pd.Series:
    """Two-sided p-values: of t on the Satterthwaite df, of z where those are infinite."""
    return named(fit, two_sided(fit.tvalues.to_numpy(), fit.df.to_numpy()))


def conf_int(fit: Fit, level: float = 0.95, method: str | None = None, **options: Any) -> pd.DataFrame:
    """Confidence intervals, one row a parameter, columns lower and upper.

    By default they are Wald intervals with the standard errors and degrees of freedom of the tests, so that an interval never
    contradicts its p-value: t by Satterthwaite for linear mixed models, or by ``ddf="kenward-roger"``, and normal quantiles for
    all others. ``method="wald"`` is lme4's ``confint(method = "Wald")``, with normal quantiles for every model unless ``ddf=``
    asks for others. Of a posterior the default is "quantile", the interval of equal tails that holds `level` of the draws.

    `parameters` is "fixed" (the fixed effects: the default of Wald and "quantile"), "all" (the default of "profile" and
    "bootstrap": standard deviations, correlations, sigma and the family's parameters too), or names. Wald intervals of the
    others are formed on the log or on Fisher's z: see :mod:`lmmformula.inference.spreads`; at the boundary they are missing,
    and ``attrs["note"]`` says why.
    """
    if method == "wald":
        options.setdefault("ddf", "normal")
    method = ("wald" if fit.posterior is None else "quantile") if method is None else method
    if method not in INTERVALS:
        *others, last = map(repr, INTERVALS)
        raise ArgumentError(f"method={method!r} is unknown; use {', '.join(others)} or {last}.")
    if method != "quantile":
        refuse_posterior(
            fit, f"method={method!r} needs a maximum of the likelihood", "Use conf_int(method='quantile')."
        )
    own_options(options, INTERVALS[method], f"conf_int(method={method!r})")
    return INTERVALS[method](fit, level, **options)


def _quantile_interval(fit: Fit, level: float, parameters: str | Sequence[str] = "fixed") -> pd.DataFrame:
    import pandas as pd

    posterior = need_posterior(fit, "method='quantile'")
    known = (*posterior.beta_names, *posterior.names)
    if parameters == "fixed":
        wanted = list(posterior.beta_names)
    elif parameters == "all":
        wanted = list(known)
    else:
        wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    if unknown := [name for name in wanted if name not in known]:
        raise DataError(
            f"there is no parameter {unknown[0]!r}; use 'fixed', 'all', or some of {', '.join(known)}."
        )
    draws = (
        np.stack([posterior[name].reshape(-1) for name in wanted], axis=-1) if wanted else np.empty((1, 0))
    )
    return pd.DataFrame(dict(zip(interval_names(level), quantiles(draws, level), strict=True)), index=wanted)


def _wald_interval(
    fit: Fit, level: float, parameters: str | Iterable[str] = "fixed", ddf: str | None = None
) -> pd.DataFrame:
    """Fixed effects by their tests' quantiles, all others by normal quantiles on a scale without bounds."""
    import pandas as pd

    from lmmformula.inference.parameters import chosen, parameters_of
    from lmmformula.inference.spreads import notes, spreads

    wanted = chosen(parameters_of(fit.problem), parameters)
    errors, df = errors_and_df(fit, ddf)
    reach, beta = critical(level, df) * errors, fit.estimate.beta
    rows, reasons = [], []
    for p in wanted:
        if p.kind == "beta":
            rows.append((beta[p.term] - reach[p.term], beta[p.term] + reach[p.term]))
        else:
            known = spreads(fit).of(p)
            rows.append(known.interval(level))
            reasons.append(known.reason)
    out = pd.DataFrame(rows, index=[p.name for p in wanted], columns=list(interval_names(level)), dtype=float)
    if note := notes(reasons):
        out.attrs["note"] = note
    return out


def _profile_interval(fit: Fit, level: float, parameters: str | Iterable[str] | None = None) -> pd.DataFrame:
    from lmmformula.inference.profile import profile_interval

    return profile_interval(fit, level, parameters)


def _bootstrap_interval(
    fit: Fit,
    level: float,
    n: int = 500,
    seed: int | np.random.Generator | None = None,
    parameters: str | Iterable[str] = "all",
    type: str = "percentile",  # noqa: A002 - R's word
    statistic: Callable[[Fit], Any] | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    from lmmformula.inference.bootstrap import bootstrap_interval

    return bootstrap_interval(fit, level, n, seed, parameters, type, statistic, workers)


INTERVALS: dict[str, Callable[..., pd.DataFrame]] = {
    "wald": _wald_interval,
    "profile": _profile_interval,
    "bootstrap": _bootstrap_interval,
    "quantile": _quantile_interval,
}
"""Method of intervals -> the function that gives them, which has the options of that method."""


def interval_names(level: float) -> tuple[str, str]:
    """``2.5 %`` and ``97.5 %`` for level .95."""
    tail = 50 * (1 - level)
    return f"{tail:.4g} %", f"{100 - tail:.4g} %"
