"""Random effects of any family integrated out by Laplace's approximation: the sampler moves in coefficients and variances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmmformula.backends.posterior.effects import NO_EFFECTS
from lmmformula.backends.posterior.record import Posterior, Recovered
from lmmformula.backends.posterior.routes.base import Few
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.progress import stage

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.laplace import LaplaceDensity

__all__ = ["Approximate"]


@dataclass(frozen=True, slots=True)
class Approximate(Few["LaplaceDensity"]):
    """Effects about normal given coefficients and variances.

    Attributes
    ----------
    correct : bool
        Whether draws are weighted to the exact posterior.
    """

    correct: bool = False

    @property
    def weighs(self) -> bool:
        return self.correct

    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> LaplaceDensity:
        from lmmformula.backends.posterior.density.laplace import LaplaceDensity

        first = LaplaceDensity.of(problem, engine, priors, prepared)
        return first.settled(None if before is None else before.scale)

    def recover(self, density: LaplaceDensity, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        from lmmformula.backends.posterior.recovery.sampled import read

        stage("drawing back what was integrated out")
        further = [NO_EFFECTS for _ in density.predictors[1:]]
        if not self.correct:
            from lmmformula.backends.posterior.recovery.laplace import recover_modes

            own = recover_modes(density, drawn.x, request.recovery)
            return read(density.predictors, drawn.x, [own, *further])
        from lmmformula.backends.posterior.recovery.corrected import recover_exactly

        x, own, correction = recover_exactly(density, drawn.x, request.recovery)
        return replace(read(density.predictors, x, [own, *further]), correction=correction)

    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        after = "; draws are then weighted to the exact posterior (correct=True)" if self.correct else ""
        return f"all {problem.q:,} random effects integrated out approximately: {self.reason}{after}"

    def dimensions(self, problem: Problem, priors: Priors) -> int:
        return Few.dimensions(self, problem, priors) - problem.q
