"""Bayesian mixed models: what a route integrates out, samples and recovers, put under names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lmmformula.backends.base import Likelihood
from lmmformula.backends.posterior.estimate import criterion_at, estimated
from lmmformula.backends.posterior.record import Posterior, posterior_of
from lmmformula.backends.posterior.routes.choose import Marginalize, choose_route
from lmmformula.backends.posterior.sampling.request import ChainOptions, Request, Sampler
from lmmformula.backends.posterior.units import from_user, to_user
from lmmformula.checkpoints import Keeper, Ongoing, keeper_now, keeping, left_of
from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_threads
from lmmformula.progress import CHAINS, Labels, Report

if TYPE_CHECKING:
    from lmmformula.backends.posterior.routes.base import Route
    from lmmformula.criteria.laplace import LaplacePoint
    from lmmformula.criteria.profiled import ProfiledPoint


__all__ = ["HMC", "BayesSolution"]


@dataclass(frozen=True, eq=False)
class BayesSolution:
    """Posterior means as an estimate, the criterion at them, and the posterior itself, which is in the user's units."""

    estimate: Estimate
    point: Any
    posterior: Posterior


@dataclass(frozen=True, slots=True)
class HMC(Likelihood):
    """Posterior of a mixed model.

    Parameters
    ----------
    priors : mapping, optional
        Class or parameter -> text; see :mod:`lmmformula.ir.prior_defaults`.
    sampler : {"auto", "nuts", "importance"}
        Adaptive importance sampling, which gives way to chains of NUTS where its weights cannot be trusted, or these at once;
        "auto" is importance sampling where effects are integrated out and few coordinates are left, NUTS elsewhere.
    chains, draws : int
        Chains, and draws kept of each.
    warmup : int, optional
        Iterations of each chain before the draws: 100 where an importance sample has found the scales, 500 where the chain has
        to find them.
    seed : int, optional
        A random one is drawn and recorded if none is given.
    target_accept : float, optional
        Acceptance rate to tune the step size for, by default 0.8.
    max_depth : int
    engine : Engine
    marginalize : str or sequence of str
        What is integrated out; see :mod:`lmmformula.backends.posterior.routes.choose`.
    correct : bool
        Whether draws by Laplace's approximation are weighted to the exact posterior
        (:mod:`lmmformula.backends.posterior.recovery.corrected`).
    sample_prior : {"no", "only"}
        "only" draws from the priors and not from the posterior.
    """

    priors: Mapping[str, str] | None = None
    sampler: Sampler = "auto"
    chains: int = 4
    draws: int = 1_000
    warmup: int | None = None
    seed: int | None = None
    target_accept: float | None = None
    max_depth: int = 10
    engine: Engine = field(default_factory=exact_engine)
    marginalize: Marginalize = "auto"
    correct: bool = False
    sample_prior: Literal["no", "only"] = "no"

    @property
    def labels(self) -> Labels:
        """Those of chains."""
        return CHAINS

    @property
    def resumes(self) -> bool:
        """True."""
        return True

    @property
    def trust(self) -> str:
        """That of draws."""
        return "posterior"

    def fit(
        self, problem: Problem, prepared: Prepared | None = None, progress: Report | None = None
    ) -> BayesSolution:
        """Sample the posterior of `problem`."""
        if self.sample_prior == "only":
            return self._of_priors(problem, prepared)
        keeper = keeper_now()
        seed = self._drawn_seed(keeper) if self.seed is None else self.seed
        request = Request(self._options, self.sampler, seed, progress, keeper=keeper)
        with keeping(None):
            return self._solution(problem, prepared, request)

    def extend(self, problem: Problem, posterior: Posterior, progress: Report | None = None) -> BayesSolution:
        """`draws` more of each chain from where `posterior` ended, or as many further independent ones; earlier ones are kept.

        `problem` and all options but `draws` must be those that made `posterior`.
        """
        if posterior.sampler == "prior":
            raise PlanError("draws from the priors are independent: fit again with more draws.")
        before, sampler = from_user(posterior, problem), posterior.sampler
        options = replace(self._options, warmup=before.warmup, max_depth=before.max_depth)
        return self._solution(problem, None, Request(options, sampler, before.seed, progress, before))

    def evaluate(self, problem: Problem, estimate: Estimate) -> Any:
        """The likelihood's criterion at an estimate."""
        return criterion_at(problem, estimate, self.engine)

    def refit(
        self, problem: Problem, estimate: Estimate, point: ProfiledPoint | LaplacePoint
    ) -> BayesSolution:
        """Draws given the new response, with the same seed."""
        return self.fit(problem)

    def route(self, problem: Problem) -> Route:
        """The way to the posterior of `problem`."""
        return choose_route(problem, self.marginalize, correct=self.correct)

    @staticmethod
    def _drawn_seed(keeper: Keeper | None) -> int:
        """A random seed; that of an earlier run where there is one to go on with."""
        here = None if keeper is None else Ongoing(keeper, "seed")
        left = left_of(here)
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if left is None else int(left["seed"])
        if here is not None:
            here.offer(lambda: {"seed": seed})
        return seed

    @property
    def _options(self) -> ChainOptions:
        return ChainOptions(self.chains, self.draws, self.warmup, self.target_accept, self.max_depth)

    def _of_priors(self, problem: Problem, prepared: Prepared | None) -> BayesSolution:
        """Draws from the priors alone."""
        from lmmformula.backends.posterior.prior_predictive import prior_posterior

        seed = self._drawn_seed(None) if self.seed is None else self.seed
        priors = resolve_priors(problem, self.priors)
        posterior = prior_posterior(problem, priors, self.chains, self.draws, seed)
        return BayesSolution(
            *estimated(problem, posterior, self.engine, prepared), to_user(posterior, problem)
        )

    def _solution(self, problem: Problem, prepared: Prepared | None, request: Request) -> BayesSolution:
        """By the route for the problem: build, draw, recover, and put everything under its name."""
        route, before = self.route(problem), request.before
        route.check_sampler(request.sampler, problem)
        priors = resolve_priors(problem, self.priors) if before is None else before.priors
        route.check_priors(priors)
        several = len({t.group for t in problem.terms}) > 1  # of which some are a dense part
        with blas_threads(int(several)):
            density = route.density(problem, self.engine, priors, prepared, before)
            drawn = route.draw(density, request)
            posterior = posterior_of(
                route.recover(density, drawn, request, priors),
                drawn,
                request,
                beta_names=problem.X.names,
                priors=priors,
                marginalized=route.label,
            )
            if not priors.proper:  # the evidence is then known up to an arbitrary factor
                posterior = replace(posterior, log_evidence=float("nan"))
            if before is not None:
                posterior = before.followed_by(posterior)
            estimate, point = estimated(problem, posterior, self.engine, prepared)
        return BayesSolution(estimate, point, to_user(posterior, problem))
