"""Bayesian mixed models: what a route integrates out, samples and recovers, put under names.

Of a normal or lognormal response with one sigma all effects are integrated out, the variances sampled and the effects
recovered, here; for other families and other choices see :mod:`lmmformula.backends.posterior.routes.sampled`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lmmformula.arguments import check_fields
from lmmformula.backends.optimum import singular_terms
from lmmformula.backends.posterior.density.variances import Target, find_mode
from lmmformula.backends.posterior.estimate import as_estimate, criterion_at, estimated, variance_means
from lmmformula.backends.posterior.reading import KEPT_BYTES, Effects, mean_covariances, theta_of
from lmmformula.backends.posterior.record import Posterior
from lmmformula.backends.posterior.recovery.gaussian import Recovered, recover
from lmmformula.backends.posterior.routes.choice import Marginalize, choose_route
from lmmformula.backends.posterior.routes.sampled import Request, solved
from lmmformula.backends.posterior.sampling.chains import (
    ChainOptions,
    Drawn,
    Progress,
    draw_chains,
    draw_importance,
)
from lmmformula.backends.posterior.sampling.importance import ImportanceDraws
from lmmformula.backends.posterior.units import from_user, to_user
from lmmformula.criteria.marginal import gaussian_twin
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.priors import Priors, resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_threads
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = ["HMC", "BayesSolution"]


@dataclass(frozen=True, eq=False)
class BayesSolution:
    """Posterior means as an estimate, the criterion at them, and the posterior itself, which is in the user's units."""

    estimate: Estimate
    point: Any
    posterior: Posterior


@dataclass(frozen=True, slots=True)
class HMC:
    """Posterior of a mixed model.

    Parameters
    ----------
    priors : mapping, optional
        Class or parameter -> text; see :mod:`lmmformula.ir.priors`.
    sampler : {"nuts", "importance"}
        Chains of NUTS, or adaptive importance sampling, which gives way to NUTS where its weights cannot be trusted.
    chains, draws : int
        Chains, and draws kept of each.
    warmup : int, optional
        Iterations of each chain before the draws: 100 where an importance sample has found the scales, 60 where
        trajectories run on a surrogate or a density takes milliseconds, 500 where the chain has to find the scales.
    seed : int, optional
        A random one is drawn and recorded if none is given.
    target_accept : float
    max_depth : int
        Of chains whose trajectories are exact; those on a surrogate have constants of their own.
    engine : Engine
    marginalize : str or sequence of str
        What is integrated out; see :mod:`lmmformula.backends.posterior.routes.choice`.
    """

    priors: Mapping[str, str] | None = None
    sampler: Literal["nuts", "importance"] = "nuts"
    chains: int = 4
    draws: int = 1_000
    warmup: int | None = None
    seed: int | None = None
    target_accept: float = 0.8
    max_depth: int = 10
    engine: Engine = field(default_factory=BlockedEngine)
    marginalize: Marginalize = "auto"

    def __post_init__(self) -> None:
        check_fields(self, "sampler", "chains", "draws", "max_depth", "warmup", "target_accept")

    def fit(
        self, problem: Problem, prepared: Prepared | None = None, progress: Progress | None = None
    ) -> BayesSolution:
        """Sample the posterior of `problem`."""
        found = self._sampled(problem, prepared, progress)
        return replace(found, posterior=to_user(found.posterior, problem))

    def _sampled(
        self, problem: Problem, prepared: Prepared | None, progress: Progress | None
    ) -> BayesSolution:
        route = choose_route(problem, self.marginalize)
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if self.seed is None else self.seed
        if route.kind != "exact":
            with blas_threads(1):
                request = Request(self.engine, self.priors, self._options, self.sampler, seed, progress)
                return BayesSolution(*solved(route, problem, prepared, request))
        priors = resolve_priors(problem, self.priors)
        with blas_threads(1):
            target = Target.of(problem, self.engine, priors, prepared)
            laplace = find_mode(target)
            drawn, importance = None, None
            if self.sampler == "importance":
                importance, drawn = draw_importance(target, laplace, self._options, seed)
            if drawn is None or (importance is not None and not importance.trusted):
                drawn = draw_chains(target, laplace, self._options, seed, progress=progress)
            posterior = self._posterior(target, priors, drawn, importance, seed)
            return self._solution(problem, target, posterior)

    def extend(
        self, problem: Problem, posterior: Posterior, progress: Progress | None = None
    ) -> BayesSolution:
        """`draws` more of each chain from where `posterior` ended; earlier draws are kept.

        `problem` and all options but `draws` must be those that made `posterior`.
        """
        found = self._extended(problem, from_user(posterior, problem), progress)
        return replace(found, posterior=to_user(found.posterior, problem))

    def _extended(self, problem: Problem, posterior: Posterior, progress: Progress | None) -> BayesSolution:
        if posterior.sampler != "nuts":
            raise PlanError(
                "draws by importance sampling have no chain to continue. Fit again with more draws, or with sampler='nuts'."
            )
        route = choose_route(problem, self.marginalize)
        with blas_threads(1):
            options = replace(self._options, warmup=posterior.warmup, max_depth=posterior.max_depth)
            if route.kind != "exact":
                request = Request(
                    self.engine, None, options, "nuts", posterior.seed, progress, before=posterior
                )
                _, _, more = solved(route, problem, None, request)
                joined = _joined(posterior, more)
                return BayesSolution(*estimated(problem, joined, self.engine), joined)
            target = Target.of(problem, self.engine, posterior.priors)
            drawn = draw_chains(
                target, posterior.laplace, options, posterior.seed, states=posterior.states, progress=progress
            )
            more = self._posterior(target, posterior.priors, drawn, None, posterior.seed, posterior.draws)
            return self._solution(problem, target, _joined(posterior, more))

    def evaluate(self, problem: Problem, estimate: Estimate) -> Any:
        """The likelihood's criterion at an estimate."""
        if choose_route(problem, self.marginalize).kind != "exact":
            return criterion_at(problem, estimate, self.engine)
        sigma = float(np.exp(estimate.aux[0][0])) if estimate.aux else 1.0
        theta = _scaled(problem, estimate.theta, 1.0 / sigma)
        return Profiled.of(gaussian_twin(problem)[0], self.engine, reml=False)(theta, exact=True)

    def joint_vcov(self, estimate: Estimate, point: ProfiledPoint) -> None:
        """None: the estimate's own covariance matrix is that of the posterior."""

    # -- parts --------------------------------------------------------------------------------------------------------

    @property
    def _options(self) -> ChainOptions:
        return ChainOptions(self.chains, self.draws, self.warmup, self.target_accept, self.max_depth)

    def _posterior(
        self,
        target: Target,
        priors: Priors,
        drawn: Drawn,
        importance: ImportanceDraws | None,
        seed: int,
        before: int = 0,
    ) -> Posterior:
        """Recover the effects and put everything under its name."""
        problem = target.posterior.model.problem
        chains, draws, d = drawn.x.shape
        keep = 8.0 * chains * draws * problem.q <= KEPT_BYTES
        stage("drawing back what was integrated out")
        key = np.random.SeedSequence([seed, 2, before])
        own = recover(target, drawn.x.reshape(-1, d), key, keep=keep)
        names = target.coordinates.names
        tried = importance is not None
        return Posterior(
            names=names,
            variances=target.coordinates.parameters(drawn.x),
            beta_names=problem.X.names,
            beta=own.beta.reshape(chains, draws, -1),
            beta_mean=own.beta_mean,
            beta_cov=own.beta_cov,
            effects=_shaped(own, chains, draws),
            effect_means=own.means,
            effect_sds=own.sds,
            x=drawn.x,
            statistics=drawn.statistics,
            sampler="nuts" if drawn.statistics else "importance",
            seed=seed,
            priors=priors,
            laplace=drawn.laplace,
            states=drawn.states,
            warmup=drawn.warmup,
            warmup_divergences=drawn.warmup_divergences,
            complete=drawn.complete,
            max_depth=self.max_depth,
            pareto_k=importance.pareto_k if importance is not None else float("nan"),
            efficiency=importance.efficiency if importance is not None else float("nan"),
            log_evidence=importance.log_evidence if tried and importance.trusted else float("nan"),
        )

    def _solution(self, problem: Problem, target: Target, posterior: Posterior) -> BayesSolution:
        """Posterior means in the terms of an estimate.

        Where the family counts sigma as an auxiliary parameter (a lognormal one does), theta is not relative to it.
        """
        model = target.posterior.model
        means = variance_means(posterior)
        sigma = means["sigma"]
        covariances = mean_covariances(target.coordinates.terms, means)
        theta = theta_of([t.covariance for t in model.problem.terms], covariances, sigma)
        point = model.base(theta, exact=True)
        gap = (
            point.r_x @ (model.base.ols.r @ (posterior.beta_mean - point.beta)) if problem.p else np.zeros(0)
        )
        jacobian = gaussian_twin(problem)[1]
        deviance = point.deviance_at(sigma**2) + float(gap @ gap) / sigma**2 - 2.0 * jacobian
        draft = as_estimate(
            posterior,
            self.engine.name,
            theta=_scaled(problem, theta, sigma) if problem.aux else theta,
            sigma=1.0 if problem.aux else sigma,
            aux=(np.array([np.log(sigma)]),) if problem.aux else (),
        )
        estimate = replace(draft, deviance=deviance, singular=singular_terms(model.problem, theta))
        return BayesSolution(estimate, point, posterior)


def _shaped(own: Recovered, chains: int, draws: int) -> tuple[Array, ...] | None:
    if own.effects is None:
        return None
    return tuple(e.reshape(chains, draws, *e.shape[1:]) for e in own.effects)


def _scaled(problem: Problem, theta: Array, factor: float) -> Array:
    """theta of L times `factor`."""
    if factor == 1.0:
        return theta
    parts: list[Array] = [np.zeros(0)]
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = factor * term.covariance.cholesky(theta[s])
        parts.append(term.covariance.from_covariance(lower @ lower.T))
    return np.concatenate(parts)


def _joined(first: Posterior, second: Posterior) -> Posterior:
    """Chains end to end; moments pooled by their numbers of draws."""
    a = first.draws / (first.draws + second.draws)

    def both(x: Array, y: Array) -> Array:
        return np.concatenate([x, y], axis=1)

    own, later = (Effects(p.effects, p.effect_means, p.effect_sds) for p in (first, second))
    effects = own.followed_by(later, a)
    gap = first.beta_mean - second.beta_mean
    return replace(
        second,
        variances=both(first.variances, second.variances),
        beta=both(first.beta, second.beta),
        beta_mean=a * first.beta_mean + (1 - a) * second.beta_mean,
        beta_cov=a * first.beta_cov + (1 - a) * second.beta_cov + a * (1 - a) * np.outer(gap, gap),
        effects=effects.draws,
        effect_means=effects.means,
        effect_sds=effects.sds,
        x=both(first.x, second.x),
        statistics={name: both(v, second.statistics[name]) for name, v in first.statistics.items()},
        warmup_divergences=first.warmup_divergences,
        aux=tuple(map(both, first.aux, second.aux)),
        aux_effects=tuple(
            x.followed_by(y, a) for x, y in zip(first.aux_effects, second.aux_effects, strict=True)
        ),
    )
