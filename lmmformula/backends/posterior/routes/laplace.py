"""Random effects of any family integrated out by Laplace's approximation: the sampler moves in coefficients and variances."""

from __future__ import annotations

from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.effects import NO_EFFECTS
from lmmformula.backends.posterior.record import Posterior, Recovered
from lmmformula.backends.posterior.recovery.laplace import recover_modes
from lmmformula.backends.posterior.recovery.sampled import read
from lmmformula.backends.posterior.routes.base import Few
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.progress import stage

__all__ = ["Approximate"]


class Approximate(Few["LaplaceDensity"]):
    """Effects about normal given coefficients and variances."""

    __slots__ = ()

    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> LaplaceDensity:
        first = LaplaceDensity.of(problem, engine, priors, prepared)
        return first.settled(None if before is None else before.scale)

    def recover(self, density: LaplaceDensity, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        stage("drawing back what was integrated out")
        own, further = recover_modes(density, drawn.x, request.recovery), density.predictors[1:]
        return read(density.predictors, drawn.x, [own, *(NO_EFFECTS for _ in further)])

    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        return f"all {problem.q:,} random effects integrated out approximately: {self.reason}"

    def dimensions(self, problem: Problem, priors: Priors) -> int:
        return super().dimensions(problem, priors) - problem.q
