"""Maximum a posteriori estimates: Laplace's approximation or quadrature with a penalty by priors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmmformula.backends.curvature import Criterion
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.penalty import PenalisedLaplace, PenalisedPoint, PenalisedQuadrature, Penalty
from lmmformula.engines.base import Prepared
from lmmformula.errors import PlanError
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.trust_region import Minimum

__all__ = ["PenalisedBackend", "with_own_sigma"]


@dataclass(frozen=True, slots=True)
class PenalisedBackend(LaplaceBackend):
    """The maximum of a likelihood times the density of priors.

    Parameters
    ----------
    penalty : Penalty
        In the units of the problem that is fitted.
    """

    penalty: Penalty | None = None

    @property
    def penalised_by(self) -> Priors | None:
        """Those of the penalty."""
        return None if self.penalty is None else self.penalty.priors

    def describe(self) -> tuple[str, ...]:
        """What it is penalised by."""
        assert self.penalty is not None
        own = [f"{prior.name} {prior}" for prior in self.penalty.priors.stated]
        return (
            f"Penalised by priors: {'; '.join(own)}. Estimates maximise the likelihood times their density, standard errors "
            "are those of that product, and the log-likelihood is without them.",
        )

    def profiled(self, point: LaplacePoint) -> Criterion:
        """None."""
        raise PlanError(
            "a profile is one of a likelihood, and this fit maximises a likelihood times the density of priors: use conf_int() "
            "for Wald intervals, conf_int(method='bootstrap'), or method='hmc' for the posterior."
        )

    def batch(self, point: LaplacePoint) -> None:
        """None: responses are fitted one by one."""

    def model(self, problem: Problem, prepared: Prepared | None) -> Laplace:
        """The criterion of a problem, before quadrature."""
        return PenalisedLaplace.of(
            problem, self.engine, information=self.information, prepared=prepared
        ).penalised(self.penalty)

    def criterion(self, model: Laplace) -> Criterion:
        """What is minimised."""
        return model if self.nagq <= 1 else PenalisedQuadrature(model, self.nagq)

    def _criterion(self, problem: Problem) -> str:
        """What the likelihood is; for a normal response Laplace's approximation is exact."""
        return "ML" if problem.family.is_linear else LaplaceBackend._criterion(self, problem)

    def _estimate(self, model: Laplace, point: LaplacePoint, deviance: float, found: Minimum) -> Estimate:
        assert isinstance(point, PenalisedPoint)
        own = LaplaceBackend._estimate(self, model, point, deviance + 2.0 * point.log_prior, found)
        return replace(own, method=f"penalised {own.method}", log_prior=point.log_prior)


def with_own_sigma(problem: Problem) -> Problem:
    """The same model with log sigma of a normal response among the parameters, where it would be profiled."""
    if not problem.is_linear or problem.responses or problem.residual is not None or problem.family.known:
        return problem
    problem.refuse_elsewhere("a penalised likelihood of a normal response")
    ones = FixedBlock.constant(problem.n)
    return replace(problem, aux=(ones,))
