"""All random and fixed effects of a normal response integrated out: the sampler moves in the variances alone."""

from __future__ import annotations

from collections.abc import Sequence

from lmmformula.backends.posterior.density.variances import VarianceDensity, suits_batches
from lmmformula.backends.posterior.record import Posterior, Recovered
from lmmformula.backends.posterior.recovery.gaussian import recover
from lmmformula.backends.posterior.routes.base import Few, spreads
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.groups import Group
from lmmformula.ir.prior_distributions import StudentT
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.progress import stage

__all__ = ["Exact"]


class Exact(Few["VarianceDensity"]):
    """One sigma, and all effects normal given the variances."""

    __slots__ = ()
    recovers_compiled = True

    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> VarianceDensity:
        return VarianceDensity.of(problem, engine, priors, prepared)

    def recover(self, density: VarianceDensity, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        stage("drawing back what was integrated out")
        names, variances = density.coordinates.names, density.coordinates.parameters(drawn.x)
        return Recovered(drawn.x, names, variances, *recover(density, drawn.x, request.recovery))

    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        effects = f"all {problem.q:,} random effects" + (
            f" and {problem.p} fixed effects" if problem.p else ""
        )
        mixing, together = _mixing(priors), _together(priors)
        extra = f", {mixing} of them variances of coefficients with Student t priors" if mixing else ""
        if together:
            extra += f", {together} of them of the variances of {len(priors.shrunk)} slopes that are shrunk together"
        normal = problem.family.normal
        response = "response" if normal is None else normal.words
        return (
            f"integrated out exactly: {effects}, which are normal given the variances of a normal {response}; the sampler "
            f"moves in {self.dimensions(problem, priors)} dimensions{extra}"
        )

    def dimensions(self, problem: Problem, priors: Priors) -> int:
        return spreads(priors.terms) + 1 + _mixing(priors) + _together(priors)

    def check_priors(self, priors: Priors) -> None: ...

    def runs_in_loops(self, problem: Problem, groups: Sequence[Group]) -> bool:
        stated = all(term.covariance.within.unit_form is not None for term in problem.terms)
        return stated and self.suits_batches(groups, problem.p)

    def suits_batches(self, groups: Sequence[Group], p: int) -> bool:
        return suits_batches(groups, p)


def _together(priors: Priors) -> int:
    """Numbers that the variances of slopes which are shrunk together are made of."""
    if not priors.shrunk:
        return 0
    return len(priors.shrunk) + len(priors.coefficients[priors.shrunk[0]].distribution.shared)


def _mixing(priors: Priors) -> int:
    """Coefficients with t priors, whose variances are sampled."""
    return sum(isinstance(c.distribution, StudentT) for c in priors.coefficients)
