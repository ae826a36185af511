"""Nothing integrated out: coefficients, variances and random effects of all predictors sampled together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.backends.posterior.record import Posterior, Recovered
from lmmformula.backends.posterior.routes.base import Many
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.criteria.marginal import has_formula, is_normal
from lmmformula.engines.base import Engine, Prepared
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.joint import JointDensity

__all__ = ["Nothing"]


class Nothing(Many["JointDensity"]):
    """Every family; where the density begins, and what whitens its effects, depends on what has random effects."""

    __slots__ = ()

    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> JointDensity:
        if is_normal(problem) and has_formula(problem):
            from lmmformula.backends.posterior.density.joint_normal import joint_of_normal

            return joint_of_normal(problem, engine, priors)
        if any(problem.aux_terms):
            from lmmformula.backends.posterior.density.joint_aux import joint_with_aux

            return joint_with_aux(problem, engine, priors, prepared)
        from lmmformula.backends.posterior.density.joint import JointDensity
        from lmmformula.backends.posterior.density.laplace import LaplaceDensity

        return JointDensity.of(LaplaceDensity.of(problem, engine, priors, prepared))

    def recover(self, density: JointDensity, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        from lmmformula.backends.posterior.recovery.sampled import read, sampled_effects

        return read(density.predictors, drawn.x, [sampled_effects(p, drawn.x) for p in density.predictors])

    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        return f"nothing integrated out: {self.reason}; the sampler moves in all {problem.q:,} random effects too"
