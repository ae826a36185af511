"""A way from a problem to its posterior: build a density, draw from it, recover what was integrated out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from lmmformula.errors import PlanError

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.base import Concentrated, Joint
    from lmmformula.backends.posterior.record import Posterior, Recovered
    from lmmformula.backends.posterior.sampling.request import Drawn, Request
    from lmmformula.engines.base import Engine, Prepared
    from lmmformula.ir.groups import Group
    from lmmformula.ir.priors import Priors, TermPriors
    from lmmformula.ir.problem import Problem

__all__ = ["Few", "Many", "Route", "spreads"]

D = TypeVar("D")
"""The density that a route builds."""
ConcentratedT = TypeVar("ConcentratedT", bound="Concentrated")
JointT = TypeVar("JointT", bound="Joint")


@dataclass(frozen=True, slots=True)
class Route(ABC, Generic[D]):
    """The way taken, and why.

    Attributes
    ----------
    groups : tuple of str
        Grouping factors whose random effects are integrated out.
    label : str
        What `Posterior.marginalized` says.
    reason : str
    leapfrogs : float
        Gradients that one draw of a chain takes where chains mix well.
    is_few : bool
        Whether the sampler moves in few coordinates, all random effects of the mean integrated out.
    recovers_compiled : bool
        Whether what was integrated out is drawn back by compiled loops.
    """

    groups: tuple[str, ...]
    label: str
    reason: str
    leapfrogs: ClassVar[float]
    is_few: ClassVar[bool]
    recovers_compiled: ClassVar[bool] = False

    @property
    def weighs(self) -> bool:
        """Whether draws are weighted with their random effects."""
        return False

    @abstractmethod
    def check_sampler(self, sampler: str, problem: Problem) -> None:
        """Refuse a sampler that does not suit."""

    def check_priors(self, priors: Priors) -> None:
        """Refuse priors that this way has no density for."""
        if priors.shrunk:
            own = priors.coefficients[priors.shrunk[0]].distribution
            raise PlanError(
                f"priors: {own} is for slopes that are integrated out, normal given their variances: a normal or lognormal "
                f"response with random effects, one sigma and marginalize='all'. Here {self.reason}. Use normal or student_t "
                "priors of class 'b'."
            )

    @abstractmethod
    def density(
        self,
        problem: Problem,
        engine: Engine,
        priors: Priors,
        prepared: Prepared | None,
        before: Posterior | None,
    ) -> D:
        """Build what :meth:`draw` draws from; `before` is a posterior to go on from."""

    @abstractmethod
    def draw(self, density: D, request: Request) -> Drawn:
        """Sample the density that :meth:`density` gave."""

    @abstractmethod
    def recover(self, density: D, drawn: Drawn, request: Request, priors: Priors) -> Recovered:
        """Read the draws, and draw back what was integrated out."""

    @abstractmethod
    def integrated_out(self, problem: Problem, priors: Priors) -> str:
        """What is integrated out and why, for a plan; of a model with random effects."""

    def dimensions(self, problem: Problem, priors: Priors) -> int:
        """How many numbers the sampler moves in."""
        return problem.p + problem.q + spreads(priors.terms) + _auxiliary(problem, priors)

    def runs_in_loops(self, problem: Problem, groups: Sequence[Group]) -> bool:
        """Whether chains run in compiled loops without JAX, as far as the terms tell."""
        return False

    def suits_batches(self, groups: Sequence[Group], p: int) -> bool:
        """Whether densities of many draws are evaluated at once."""
        return False


class Few(Route[ConcentratedT]):
    """Few coordinates: by importance sampling, or by chains."""

    __slots__ = ()
    leapfrogs = 7.0
    is_few = True

    def check_sampler(self, sampler: str, problem: Problem) -> None: ...

    def draw(self, density: ConcentratedT, request: Request) -> Drawn:
        from lmmformula.backends.posterior.sampling.chains import draw

        return draw(density, request)


class Many(Route[JointT]):
    """A traced density: by chains where random effects are among its coordinates, else by importance sampling too."""

    __slots__ = ()
    leapfrogs = 12.0
    is_few = False

    def check_sampler(self, sampler: str, problem: Problem) -> None:
        sampled = self._sampled(problem)
        if sampler != "importance" or not sampled:
            return
        count, of = sum(sampled.values()), ", ".join(sampled)
        if all(t.group in self.groups for t in problem.terms):
            raise PlanError(
                f"sampler='importance' needs a posterior of few dimensions, and {count:,} random effects of {of} are sampled "
                "here, which do not integrate out. Use sampler='nuts'."
            )
        raise PlanError(
            f"sampler='importance' needs a posterior of few dimensions, but {count:,} random effects of {of} are sampled here "
            f"(marginalize={self.label!r}). Use sampler='nuts', or integrate them out: marginalize='all' for a normal "
            "response, 'laplace' for other families."
        )

    def _sampled(self, problem: Problem) -> dict[str, int]:
        """Random effects among the coordinates, by grouping factor and parameter."""
        out = {t.group: t.q for t in problem.terms if t.group not in self.groups}
        for own, terms in zip(problem.family.auxiliaries, problem.aux_terms, strict=False):
            out |= {f"{own.name}:{t.group}": t.q for t in terms}
        return out

    def draw(self, density: JointT, request: Request) -> Drawn:
        from lmmformula.backends.posterior.sampling.joint import draw_joint

        if request.sampler == "importance":
            from lmmformula.backends.posterior.density.outer import Outer
            from lmmformula.backends.posterior.sampling.chains import draw

            return draw(Outer(density, self.folded(density)), request)
        return draw_joint(density, request)

    def folded(self, density: JointT) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations of a density without random effects."""
        return ()


def spreads(terms: Sequence[TermPriors]) -> int:
    """Standard deviations, correlations and elements of phi of terms."""
    return sum(len(t.parameters.names) for t in terms)


def _auxiliary(problem: Problem, priors: Priors) -> int:
    """Numbers of auxiliary parameters, with the random effects of their predictors."""
    numbers = (1 if a.value is not None else len(a.coefficients) + spreads(a.terms) for a in priors.aux)
    return sum(numbers) + sum(t.q for terms in problem.aux_terms for t in terms)
