"""Posterior means in the terms of an estimate, and the likelihood's criterion there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lmmformula.backends.optimum import singular_terms
from lmmformula.backends.posterior.model.predictor import with_aux
from lmmformula.backends.posterior.record import Posterior
from lmmformula.backends.posterior.structures import phi_draws
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.marginal import gaussian_twin, has_formula, is_normal
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.estimate import Convergence, Estimate
from lmmformula.ir.priors import TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import at_phi, phis_of
from lmmformula.typing import Array

__all__ = ["criterion_at", "estimated"]


def estimated(
    problem: Problem, posterior: Posterior, engine: Engine, prepared: Prepared | None = None
) -> tuple[Estimate, ProfiledPoint | LaplacePoint]:
    """Posterior means, and the criterion at them: exact for a normal or lognormal response, Laplace's else.

    Where sigma is an auxiliary parameter (of a lognormal response, or with a formula) theta is not relative to it, and
    sigma of the estimate is 1.
    """
    means = dict(zip(posterior.names, posterior.variances.mean(axis=(0, 1)).tolist(), strict=True))
    covariances = _mean_covariances(posterior.priors.terms, means)
    sigma = means["sigma"] if problem.is_linear else 1.0
    steps = int(posterior.statistics["n_steps"].sum()) if posterior.statistics else 0
    draws = posterior.chains * posterior.draws
    evaluations = posterior.scale.evaluations + steps
    draft = Estimate(
        method="HMC",
        engine=engine.name,
        beta=posterior.beta_mean,
        vcov=posterior.beta_cov,
        theta=at_phi(problem, _theta_of(problem, covariances, sigma), _mean_phis(posterior)),
        sigma=sigma,
        deviance=float("nan"),
        modes=posterior.effect_means,
        convergence=Convergence(posterior.status, evaluations, draws, 0.0, 0.0, 0.0),
        aux=_aux_means(problem, posterior, means),
        aux_modes=tuple(e.means for e in posterior.aux_effects) if any(problem.aux_terms) else (),
    )
    point = criterion_at(problem, draft, engine, prepared)
    deviance = _normal_deviance(problem, point, draft) if is_normal(problem) else point.deviance
    singular = singular_terms(point.model.problem, point.theta)
    return replace(draft, deviance=deviance, singular=singular), point


def _aux_means(problem: Problem, posterior: Posterior, means: dict[str, float]) -> tuple[Array, ...]:
    """Means of auxiliary coefficients; log of the mean of sigma where that was sampled as one of the variances."""
    if not problem.aux:
        return ()
    if posterior.aux:
        return tuple(a.mean(axis=(0, 1)) for a in posterior.aux)
    return (np.array([np.log(means["sigma"])]),)


def criterion_at(
    problem: Problem, estimate: Estimate, engine: Engine, prepared: Prepared | None = None
) -> Any:
    """The likelihood's criterion at an estimate; sigma of each row, if it has a formula, stands in the weights."""
    if not is_normal(problem):
        return _laplace_at(problem, estimate, engine)
    twin, _ = gaussian_twin(replace(problem, aux=(), aux_terms=()))
    sigma, theta = _one_sigma(problem, estimate), estimate.theta
    if sigma is None:
        log_sigma = problem.aux[0].matrix @ estimate.aux[0] + _random_part(problem, estimate, 0)
        prior = 1.0 if twin.weights is None else twin.weights
        twin = replace(twin, weights=prior * np.exp(-2.0 * log_sigma))
    elif problem.aux:
        theta = _relative(problem, theta, sigma)
    return Profiled.of(twin, engine, reml=False, prepared=prepared)(theta, exact=True)


def _one_sigma(problem: Problem, estimate: Estimate) -> float | None:
    """The sigma of a normal response on its working scale; None where it has a formula."""
    if not problem.aux:
        return estimate.sigma
    return None if has_formula(problem) else float(np.exp(estimate.aux[0][0]))


def _relative(problem: Problem, theta: Array, sigma: float) -> Array:
    """theta of L / sigma."""
    lowers = [
        t.covariance.cholesky(theta[s]) for t, s in zip(problem.terms, problem.theta_slices(), strict=True)
    ]
    relative = _theta_of(problem, [low @ low.T for low in lowers], sigma)
    return at_phi(problem, relative, phis_of(problem, theta))


def _laplace_at(problem: Problem, estimate: Estimate, engine: Engine) -> LaplacePoint:
    """Laplace's criterion; random effects of auxiliary parameters are one more column each, whose coefficient is 1."""
    full, alpha = with_aux(problem), list(estimate.aux)
    blocks = list(full.aux)
    for j, terms in enumerate(problem.aux_terms):
        if terms:
            own, column = blocks[j], _random_part(problem, estimate, j)
            matrix, names = np.column_stack([own.matrix, column]), (*own.names, "random effects")
            labels = (*own.term_labels, "random effects")
            blocks[j] = FixedBlock(matrix, names, (*own.assign, len(labels)), labels)
            alpha[j] = np.append(alpha[j], 1.0)
    model = Laplace.of(replace(full, aux=tuple(blocks), aux_terms=()), engine)
    return model(np.concatenate([estimate.beta, estimate.theta, *alpha]), exact=True)


def _random_part(problem: Problem, estimate: Estimate, j: int) -> Array:
    """Z b of auxiliary parameter j, (n,)."""
    out = np.zeros(problem.n)
    if estimate.aux_modes:
        for term, b in zip(problem.aux_terms[j], estimate.aux_modes[j], strict=True):
            out += term.apply(b)
    return out


def _normal_deviance(problem: Problem, point: ProfiledPoint, draft: Estimate) -> float:
    """-2 log-likelihood at the posterior mean of beta, which is not its maximum given the variances."""
    jacobian = gaussian_twin(replace(problem, aux=(), aux_terms=()))[1]
    base, sigma = point.model, _one_sigma(problem, draft) or 1.0
    out = point.deviance_at(sigma**2) - 2.0 * jacobian
    if not base.problem.p:
        return out
    gap = point.r_x @ (base.ols.r @ (draft.beta - point.beta))
    return out + float(gap @ gap) / sigma**2


def _mean_covariances(terms: Sequence[TermPriors], means: dict[str, float]) -> list[Array]:
    """Covariance matrix of each term from the posterior means of its standard deviations and correlations."""
    out = []
    for own in terms:
        t = own.parameters
        sd = np.array([means[name] for name in t.sds]) * np.ones(t.k)
        cor = t.kind.filled(np.array([means[name] for name in t.cors]))
        out.append(cor * np.outer(sd, sd))
    return out


def _theta_of(problem: Problem, covariances: Sequence[Array], sigma: float) -> Array:
    """Relative theta of absolute covariance matrices, phi where searches for it start."""
    pairs = zip(problem.terms, covariances, strict=True)
    return np.concatenate([np.zeros(0), *(t.covariance.from_covariance(c / sigma**2) for t, c in pairs)])


def _mean_phis(posterior: Posterior) -> list[Array]:
    """phi of each term at the mean of what stands for its elements without ends: log range, logit of a share."""
    return [drawn.mean(axis=0) for drawn in phi_draws(posterior)]
