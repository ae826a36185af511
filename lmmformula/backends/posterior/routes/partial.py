"""Random effects of some groups, or of all where sigma has a formula, integrated out of a normal response given the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.backends.posterior.record import Posterior, Recovered
from lmmformula.backends.posterior.routes.base import Many
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.partial import PartialDensity

__all__ = ["Partial"]


class Partial(Many["PartialDensity"]):
    """Effects of `groups` and fixed effects normal given sampled effects and sigma of each row."""

    __slots__ = ()

    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> PartialDensity:
        from lmmformula.backends.posterior.density.partial import PartialDensity

        return PartialDensity.of(problem, self.groups, priors, engine)

    def folded(self, density: PartialDensity) -> tuple[tuple[int, tuple[int, ...]], ...]:
        return tuple(place for term in density.places for place in term.folded(density.own))

    def recover(self, density: PartialDensity, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        from lmmformula.backends.posterior.recovery.partial import recover_partly

        return recover_partly(density, drawn.x, request.recovery, priors)

    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        which = f"the random effects of {', '.join(self.groups)} and the fixed effects"
        return f"integrated out exactly: {which}; {self.reason}"
