r"""Variance explained by the parts of a model, on the scale of the linear predictor.

With the variance of the fixed part ``s_f = Var(X beta)`` over the rows, of term i ``s_i = mean_r z_ri' Sigma_i z_ri`` (its mean
over the rows, which extends the variance of an intercept to random slopes) and of an observation ``s_e``::

    R2_marginal    = s_f / (s_f + sum s_i + s_e)
    R2_conditional = (s_f + sum s_i) / (s_f + sum s_i + s_e),        ICC_i = s_i / (sum s_i + s_e)

For a Gaussian response ``s_e = sigma^2 mean_r 1 / w_r``. Generalised models (Nakagawa, Johnson & Schielzeth 2017), with the
variance V of the response at the typical mean mu_0, averaged over the rows where weights or a dispersion predictor move it::

    binomial                 the latent variable's: pi^2/3 (logit), 1 (probit), pi^2/6 (cloglog), whatever the trials
    log link                 ln(1 + V / mu_0^2), their lognormal approximation: ln(1 + 1/lambda) for the Poisson,
                             ln(1 + 1/lambda + 1/phi) for nbinom2, ln(1 + sigma^2) for the gamma,
                             ln(1 + phi/lambda) for the Poisson with a quasi-likelihood's dispersion
    lognormal                sigma^2, exactly
    other links              V (d eta/d mu)^2, the delta method

mu_0 is the mean over rows and random effects that the fit implies, ``mean_r exp(eta_r + z_r' Sigma z_r / 2)`` for the log link
(their exp(beta_0 + sum s_i / 2) where there is an intercept only; they and MuMIn refit that null model), and the mean at the
average linear predictor for other links.

References
----------
Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4, 133-142; Johnson (2014), Methods Ecol. Evol. 5, 944-946.
Nakagawa, Johnson & Schielzeth (2017), J. R. Soc. Interface 14, 20170213: tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families import LINKS
from lmmformula.inference.conditional import covariance_matrices, group_names
from lmmformula.inference.residuals import auxiliary_of, predictor_of
from lmmformula.ir.rows import Chunk, range_of
from lmmformula.ir.structured import member_spread, row_spread
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["icc", "r2", "variances"]


def variances(fit: Fitted) -> tuple[float, Array, float]:
    """s_f, s_i of each term and s_e, in squared units of the linear predictor.

    Raises
    ------
    PlanError
        For a family and link whose observation-level variance is not defined.
    """
    fit.inference.check("R2")
    problem, data = fit.problem, fit.problem.data
    fixed = _spread(fit)
    terms = np.zeros(len(problem.terms))
    theta, where, repeated = fit.estimate.theta, problem.theta_slices(), problem.family.repeated
    for i, (term, cov) in enumerate(zip(problem.terms, covariance_matrices(fit), strict=True)):
        if term.basis is None and term.is_blockwise:
            terms[i] = cov[0, 0]
            continue

        # the mean of z'Sigma z is <Sigma, mean of zz'>
        def squares(chunk: Chunk, i: int = i) -> Array:
            own, w = chunk.terms[i], chunk.weights if repeated else None
            basis = np.ones((chunk.n, 1)) if own.basis is None else own.basis
            if basis.ndim == 3:
                each = member_spread(own, theta[where[i]])
                each = each if w is None else each * w[:, None, None]
                return np.einsum("nja,njl,nlb->ab", basis, each, basis, optimize=True)
            spread = row_spread(own, theta[where[i]])
            spread = w if spread is None else spread if w is None else w * spread
            return basis.T @ (basis if spread is None else basis * spread[:, None])

        terms[i] = np.sum(cov * data.reduce(squares, coarse=True)) / problem.n_observed
    return fixed, terms, _observation(fit)


def _copies(chunk: Chunk, *, repeated: bool) -> Array:
    """How often each row counts."""
    return np.ones(chunk.n) if chunk.weights is None or not repeated else chunk.weights


def _average(fit: Fitted, of: Callable[[Chunk], Array | float]) -> float:
    """Mean over the observations of a number of each row."""
    repeated = fit.problem.family.repeated

    def share(chunk: Chunk) -> Array:
        w = _copies(chunk, repeated=repeated)
        return np.array([w @ np.broadcast_to(of(chunk), chunk.n), w.sum()])

    total, count = fit.problem.data.reduce(share)
    return float(total / count)


def _spread(fit: Fitted) -> float:
    """Sample variance over the observations of the fixed part, zero where it is constant but for rounding."""
    beta, data = fit.estimate.beta, fit.problem.data
    low, high = range_of(data, data.fixed.times(beta))
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        return 0.0
    mean = _average(fit, lambda chunk: chunk.fixed @ beta)
    n = fit.problem.n_observed
    return _average(fit, lambda chunk: (chunk.fixed @ beta - mean) ** 2) * n / (n - 1)


def _observation(fit: Fitted) -> float:
    """s_e, the variance of an observation on the scale of the linear predictor."""
    family = fit.problem.family
    if family.zeros_at is not None:
        raise PlanError(
            "R2 and ICC are not defined for zero-inflated models, which have two linear predictors; compare models by AIC, "
            "or ask varcorr() for the variances."
        )
    out = _average(fit, _of_row(fit))
    if not np.isfinite(out):
        raise PlanError(
            f"R2 and ICC need a finite variance of the response, which {family} does not have at the estimate; ask varcorr() "
            "for the variances of the random effects."
        )
    return out


def _of_row(fit: Fitted) -> Callable[[Chunk], Array | float]:
    """s_e of each row."""
    family, estimate = fit.problem.family, fit.estimate
    phi = fit.estimate.sigma**2 if fit.estimate.quasi_dispersion else 1.0

    def inverse(chunk: Chunk) -> Array | float:
        own = chunk.weights is None or family.weights_are != "precision"
        return phi if own else phi / chunk.weights  # type: ignore[operator]

    if family.normal is not None:
        return lambda chunk: np.exp(2.0 * auxiliary_of(estimate, family, chunk)[0]) * inverse(chunk)
    if family.is_latent:
        latent = _latent(fit)
        scale = family.distribution.latent_scale
        return lambda chunk: latent * scale(auxiliary_of(estimate, family, chunk)) ** 2
    if family.link == "log":
        mu = _typical_mean(fit)
        return lambda chunk: np.log1p(
            family.variance(mu, auxiliary_of(estimate, family, chunk)) * inverse(chunk) / mu**2
        )
    jet = family.link_function.mean_jet(
        np.full(1, _average(fit, lambda chunk: predictor_of(estimate, chunk, ())))
    )
    return lambda chunk: (
        family.variance(jet.value, auxiliary_of(estimate, family, chunk)) * inverse(chunk) / jet.d1**2
    )


def _latent(fit: Fitted) -> float:
    link = fit.problem.family.link_function
    if link.latent is None:
        known = ", ".join(name for name, each in LINKS.items() if each.latent is not None and not each.word)
        raise PlanError(
            f"R2 and ICC of a {fit.problem.family.name} model need the link {known}, not {fit.problem.family.link!r}, whose "
            "observation-level variance is infinite or depends on the mean; ask varcorr() for the variances."
        )
    return link.latent


def _typical_mean(fit: Fitted) -> Array:
    """mu_0 of a log link, (1,)."""
    where, covariances, estimate = fit.problem.theta_slices(), covariance_matrices(fit), fit.estimate
    theta = estimate.theta

    def mean(chunk: Chunk) -> Array:
        eta = predictor_of(estimate, chunk, ())
        for term, cov, s in zip(chunk.terms, covariances, where, strict=True):
            if (z := term.basis) is not None and z.ndim == 3:
                each = member_spread(term, theta[s])
                eta = eta + 0.5 * np.einsum("nja,ab,nlb,njl->n", z, cov, z, each, optimize=True)
                continue
            own = row_spread(term, theta[s])
            spread = cov[0, 0] if z is None else np.einsum("ni,ij,nj->n", z, cov, z)
            eta = eta + 0.5 * (spread if own is None else spread * own)
        return np.exp(eta)

    return np.full(1, _average(fit, mean))


def _of_mean(fit: Fitted) -> NDArray[np.bool_]:
    """Terms that belong to the fixed part: smooths that all rows share."""
    return np.array([term.of_mean for term in fit.problem.terms], dtype=bool)


def r2(fit: Fitted) -> pd.Series:
    """Marginal and conditional R2: the share of the variance that the fixed part explains, and that with the groups'."""
    import pandas as pd

    fit.problem.refuse_responses("R2", "Ask it of a fit of one response.")
    fixed, terms, residual = variances(fit)
    total = fixed + float(terms.sum()) + residual
    fixed += float(terms[_of_mean(fit)].sum())
    return pd.Series({"marginal": fixed / total, "conditional": (total - residual) / total}, name="r2")


def icc(fit: Fitted) -> pd.Series:
    """Adjusted intraclass correlation of each random-effects term: its share of the variance that X leaves.

    The index holds the groups as :meth:`Fit.varcorr` names them. The shares of nested or crossed groups add up to the
    correlation of two rows that share all of them; for generalised models, of their latent values.
    """
    import pandas as pd

    fit.problem.refuse_responses("ICC", "varcorr() has the variances of each response, ratio() their shares.")
    _, terms, residual = variances(fit)
    own = ~_of_mean(fit)
    names = [name for name, shown in zip(group_names(fit), own, strict=True) if shown]
    return pd.Series(terms[own] / (terms[own].sum() + residual), index=names, name="icc", dtype=float)
