"""Posterior means in the terms of an estimate, and the likelihood's criterion there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmmformula.backends.optimum import singular_terms
from lmmformula.backends.posterior.model.coordinates import term_coordinates
from lmmformula.backends.posterior.model.predictor import with_aux
from lmmformula.backends.posterior.reading import mean_covariances, theta_of
from lmmformula.backends.posterior.record import Posterior
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.marginal import gaussian_twin
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.base import Engine
from lmmformula.ir.estimate import Convergence, Estimate
from lmmformula.ir.problem import FixedBlock, Problem
from lmmformula.typing import Array

__all__ = ["as_estimate", "criterion_at", "estimated", "variance_means"]


def estimated(problem: Problem, posterior: Posterior, engine: Engine) -> tuple[Estimate, Any]:
    """Posterior means, and the criterion at them: exact for a normal or lognormal response, Laplace's else.

    Where sigma is an auxiliary parameter (of a lognormal response, or with a formula) theta is not relative to it, and
    sigma of the estimate is 1.
    """
    means = variance_means(posterior)
    places = term_coordinates(posterior.priors.terms, [np.ones(t.k) for t in problem.terms])[1]
    covariances = mean_covariances(places, means)
    kinds = [t.covariance for t in problem.terms]
    normal = problem.family.is_linear or problem.family.name == "lognormal"
    sigma = means["sigma"] if problem.is_linear else 1.0
    draft = as_estimate(
        posterior,
        engine.name,
        theta=theta_of(kinds, covariances, sigma),
        sigma=sigma,
        aux=tuple(a.mean(axis=(0, 1)) for a in posterior.aux) if problem.aux else (),
        aux_modes=tuple(e.means for e in posterior.aux_effects) if any(problem.aux_terms) else (),
    )
    point = criterion_at(problem, draft, engine)
    deviance = _normal_deviance(problem, point, draft) if normal else point.deviance
    own = point.model.problem
    return replace(draft, deviance=deviance, singular=singular_terms(own, draft.theta)), point


def criterion_at(problem: Problem, estimate: Estimate, engine: Engine) -> Any:
    """The likelihood's criterion at an estimate; the rows' own sigma, if it has a formula, stands in the weights."""
    if not (problem.family.is_linear or problem.family.name == "lognormal"):
        return _laplace_at(problem, estimate, engine)
    twin, _ = gaussian_twin(replace(problem, aux=(), aux_terms=()))
    if problem.aux:
        log_sigma = problem.aux[0].matrix @ estimate.aux[0] + _random_part(problem, estimate, 0)
        prior = 1.0 if twin.weights is None else twin.weights
        twin = replace(twin, weights=prior * np.exp(-2.0 * log_sigma))
    return Profiled.of(twin, engine, reml=False)(estimate.theta, exact=True)


def _laplace_at(problem: Problem, estimate: Estimate, engine: Engine) -> Any:
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
    base, out = point.model, point.deviance_at(draft.sigma**2) - 2.0 * jacobian
    if not base.problem.p:
        return out
    gap = point.r_x @ (base.ols.r @ (draft.beta - point.beta))
    return out + float(gap @ gap) / draft.sigma**2


def variance_means(posterior: Posterior) -> dict[str, float]:
    """Posterior means of standard deviations, correlations and dispersions by name."""
    return dict(zip(posterior.names, posterior.variances.mean(axis=(0, 1)).tolist(), strict=True))


def as_estimate(
    posterior: Posterior,
    engine: str,
    *,
    theta: Array,
    sigma: float,
    aux: tuple[Array, ...],
    aux_modes: tuple[tuple[Array, ...], ...] = (),
) -> Estimate:
    """Posterior means and covariances under an estimate's names, without a deviance."""
    steps = int(posterior.statistics["n_steps"].sum()) if posterior.statistics else 0
    ended = Convergence(
        posterior.status,
        posterior.laplace.evaluations + steps,
        posterior.chains * posterior.draws,
        0.0,
        0.0,
        0.0,
    )
    return Estimate(
        method="HMC",
        engine=engine,
        beta=posterior.beta_mean,
        vcov=posterior.beta_cov,
        theta=theta,
        sigma=sigma,
        deviance=float("nan"),
        modes=posterior.effect_means,
        convergence=ended,
        aux=aux,
        aux_modes=aux_modes,
    )
