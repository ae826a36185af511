"""What every backend answers: a recipe of criterion, engine and search, which the rooms above hold and ask by these names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar

from lmmformula.engines.base import Prepared
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.progress import LIKELIHOOD, Labels, Report
from lmmformula.typing import AnyFunction, Array

if TYPE_CHECKING:
    from lmmformula.backends.batched import Stack
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.ir.priors import Priors

__all__ = ["AnyBackend", "Backend", "Likelihood", "Optimum", "Solution", "Together"]

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class Solution(Protocol[P_co]):
    """What a search found."""

    @property
    def estimate(self) -> Estimate:
        """The numbers, in the units of the problem that was fitted."""
        ...

    @property
    def point(self) -> P_co:
        """The criterion there, for inference that needs more of it."""
        ...

    @property
    def posterior(self) -> Posterior | None:
        """The draws, where there are any, in the user's units."""
        ...


@dataclass(frozen=True, eq=False)
class Optimum(Generic[P]):
    """The solution of a search that draws nothing."""

    estimate: Estimate
    point: P
    posterior: None = None


class Together(Protocol):
    """A design on which many responses are fitted together."""

    def fit(self, y: Array, start: Array | None = None, *, errors: bool = True, modes: bool = False) -> Stack:
        """Estimates of the responses y (n, B) in the units of the standardised problem, from theta `start` if there is one.

        `errors` says whether covariance matrices must be as good as those of single fits, `modes` whether random effects are
        wanted, which criteria that integrate them out in closed form do not have.
        """
        ...


class Backend(Protocol[P]):
    """A way to fit a problem in the units of its standardised twin; `P` is what its criterion is at a point."""

    @property
    def labels(self) -> Labels:
        """What the numbers that it tells its `progress` are called."""
        ...

    @property
    def restricted(self) -> bool:
        """Whether its likelihood is restricted, and so depends on the units of X."""
        ...

    @property
    def trust(self) -> str:
        """What its fits are worth beside those of others: an entry of :data:`lmmformula.reporting.agreement.TRUST`."""
        ...

    @property
    def probed(self) -> int | None:
        """Seed of the probes by which its engine estimates a likelihood; None if it has no such error."""
        ...

    @property
    def approximation(self) -> str:
        """How its likelihood is approximated besides what the estimate's method says: other ones are not compared with it."""
        ...

    @property
    def penalised_by(self) -> Priors | None:
        """Priors that its criterion is penalised by; None of a likelihood, and of posteriors, which carry their own."""
        ...

    @property
    def resumes(self) -> bool:
        """Whether its search tells where it stands and goes on from there, see :mod:`lmmformula.checkpoints`."""
        ...

    def profiled(self, point: P) -> AnyFunction:
        """The criterion of all parameters of a generalised model, for its profiles; raises PlanError if it has none."""
        ...

    def afresh(self) -> Backend[P]:
        """The same with its own start, for other rows."""
        ...

    def fit(
        self, problem: Problem, prepared: Prepared | None = None, progress: Report | None = None
    ) -> Solution[P]:
        """Estimate `problem`; `prepared` hands in the engine's look at it."""
        ...

    def evaluate(self, problem: Problem, estimate: Estimate) -> P:
        """The criterion at an estimate, for a fit that was loaded."""
        ...

    def refit(self, problem: Problem, estimate: Estimate, point: P) -> Solution[P]:
        """The same model and rows with the response of `problem`; `estimate` and `point` are those of the earlier one."""
        ...

    def batch(self, point: P) -> Together | None:
        """How many responses on the rows of `point` are fitted together; None if they are fitted one by one."""
        ...

    def joint_vcov(self, estimate: Estimate, point: P) -> Array | None:
        """Covariance matrix of all parameters; None where that of beta is the estimate's own."""
        ...

    def describe(self) -> tuple[str, ...]:
        """Sentences for the summary: what its standard errors rest on, where that is not what a reader expects."""
        ...


AnyBackend: TypeAlias = Backend[Any]
"""A backend, whatever its criterion is at a point."""


class Likelihood:
    """What a backend answers whose criterion is an exact likelihood of all the rows."""

    __slots__ = ()

    @property
    def labels(self) -> Labels:
        """Those of a deviance."""
        return LIKELIHOOD

    @property
    def restricted(self) -> bool:
        """False."""
        return False

    @property
    def trust(self) -> str:
        """Exact."""
        return "exact"

    @property
    def probed(self) -> int | None:
        """None."""
        return None

    @property
    def approximation(self) -> str:
        """Not at all."""
        return ""

    @property
    def penalised_by(self) -> Priors | None:
        """None."""
        return None

    @property
    def resumes(self) -> bool:
        """False: a search says nothing of its steps unless it is written to."""
        return False

    def profiled(self, point: Any) -> AnyFunction:
        """None."""
        raise PlanError(
            "a profile of a generalised model needs a criterion of all its parameters, which this method does not have: use "
            "conf_int() for Wald intervals, or fit with method='laplace'."
        )

    def afresh(self) -> Self:
        """The same: it starts nowhere else."""
        return self

    def batch(self, point: Any) -> Together | None:
        """None."""
        return None

    def joint_vcov(self, estimate: Estimate, point: Any) -> Array | None:
        """None: the covariance matrix of beta is the estimate's own, given the variances."""
        return None

    def describe(self) -> tuple[str, ...]:
        """Nothing."""
        return ()
