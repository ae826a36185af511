"""What inference and reports ask of a fit, and what each kind of fit answers.

A fit is by maximum likelihood, by quasi-likelihood, or draws of a posterior. Which of the three it is decides what its standard
errors are, which tests and intervals there are, how predictions and responses are drawn and what cannot be had at all. Nobody
asks which it is: every such question goes to ``fit.inference``, an :class:`Inference`, of which
:mod:`lmmformula.inference.kinds` has one for each kind.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from lmmformula.errors import PlanError
from lmmformula.inference.in_words import InWords
from lmmformula.typing import Argument, Array, Index

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.recall import Recall
    from lmmformula.inference.records import Cluster, Intervals, Rows, Wanted
    from lmmformula.inference.structure.record import StructureParameter
    from lmmformula.inference.uncertainty import Uncertainty
    from lmmformula.ir.estimate import Estimate
    from lmmformula.ir.priors import Priors
    from lmmformula.ir.problem import Problem
    from lmmformula.ir.standard import Standard
    from lmmformula.planner import Plan

__all__ = ["Fitted", "FittedT", "Inference"]


class Fitted(Protocol):
    """A fit, as seen from below: :class:`lmmformula.Fit` says what each of these is."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def problem(self) -> Problem: ...
    @property
    def estimate(self) -> Estimate: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def backend(self) -> Any: ...
    @property
    def recall(self) -> Recall: ...
    @property
    def posterior(self) -> Posterior | None: ...
    @property
    def inference(self) -> Inference: ...
    @property
    def optimum(self) -> Any: ...
    @property
    def standard(self) -> Standard: ...
    @property
    def params(self) -> pd.Series: ...
    @property
    def bse(self) -> pd.Series: ...
    @property
    def vcov(self) -> Array: ...
    @property
    def joint_vcov(self) -> Array | None: ...
    @property
    def twin_vcov(self) -> Array | None: ...
    @property
    def tvalues(self) -> pd.Series: ...
    @property
    def df(self) -> pd.Series: ...
    @property
    def pvalues(self) -> pd.Series: ...
    @property
    def theta(self) -> pd.Series: ...
    @property
    def sigma(self) -> float: ...
    @property
    def llf(self) -> float: ...
    @property
    def llf_stderr(self) -> float: ...
    @property
    def deviance(self) -> float: ...
    @property
    def aic(self) -> float: ...
    @property
    def bic(self) -> float: ...
    @property
    def df_model(self) -> int: ...
    @property
    def df_resid(self) -> int | float: ...
    @property
    def nobs(self) -> int | float: ...
    @property
    def ngroups(self) -> dict[str, int]: ...
    @property
    def converged(self) -> bool: ...
    @property
    def is_singular(self) -> bool: ...
    @property
    def formula(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def fittedvalues(self) -> pd.Series: ...
    def conf_int(self, level: float = ..., method: str | None = ..., **options: Argument) -> pd.DataFrame: ...
    def ranef(self, condsd: bool = ...) -> pd.DataFrame: ...
    def varcorr(self, se: bool = ...) -> pd.DataFrame: ...
    def residuals(self, kind: str = ..., seed: int | np.random.Generator | None = ...) -> pd.Series: ...
    def overdispersion(self) -> pd.Series: ...
    @property
    def predict(self) -> Callable[..., pd.Series | pd.DataFrame]: ...
    def anova(
        self,
        type: int | str = ...,  # noqa: A002
        ddf: str = ...,
        vcov: str | None = ...,
        cluster: Cluster = ...,
    ) -> pd.DataFrame: ...
    def profile(self, **options: Argument) -> pd.DataFrame: ...
    def r2(self) -> pd.Series: ...
    def icc(self) -> pd.Series: ...
    def naivete(self) -> pd.DataFrame: ...


FittedT = TypeVar("FittedT", bound=Fitted)


class Inference(InWords):
    """What follows from one kind of fit.

    Attributes
    ----------
    fit : Fit
    """

    __slots__ = ()
    fit: Fitted

    # -- what it cannot do ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def refused(self) -> Mapping[str, str]:
        """What this kind of fit does not have -> why, and what to use instead."""

    def check(self, wish: str) -> None:
        """Refuse what this kind of fit does not have.

        Raises
        ------
        PlanError
        """
        if wish in self.refused:
            raise PlanError(self.refused[wish])

    def draws(self, what: str = "this") -> Posterior:
        """The draws of a posterior, for `what` needs them.

        Raises
        ------
        PlanError
            For a fit that is none.
        """
        raise PlanError(
            f"{what} draws from a posterior, which a fit by {self.fit.method} does not have: fit with method='hmc'."
        )

    @property
    def ratio_methods(self) -> tuple[str, ...]:
        """How the error of a function of variances is found, the default first."""
        return "delta", "profile"

    @property
    def shown_theta(self) -> Array | None:
        """Theta whose structures a summary says in words; None where tables have them."""
        return self.fit.estimate.theta

    # -- estimates ------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def is_gaussian(self) -> bool:
        """Whether the likelihood of a linear model with one residual variance was maximised: tests are then t and F."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of parameters, fixed effects among them."""

    @property
    def sampler(self) -> str:
        """What drew the draws, where there are any."""
        return ""

    @property
    def priors(self) -> Priors | None:
        """Priors, where there are any."""
        return None

    @abstractmethod
    def standardised(self) -> Standard:
        """The problem in the units in which this kind of fit is made."""

    @abstractmethod
    def criterion(self, penalty: float) -> float:
        """The deviance with a penalty on parameters: AIC, BIC; nan where models are not compared so."""

    @abstractmethod
    def statistics(self) -> Array:
        """Estimates over standard errors, (p,); nan where that is no test."""

    @abstractmethod
    def df(self, contrasts: Array) -> Array:
        """Degrees of freedom of the t test of each row of `contrasts` (r, p): infinite for z, nan for none."""

    @abstractmethod
    def monotonic(self) -> pd.DataFrame:
        """Average step and simplex of each monotonic effect.

        Raises
        ------
        PlanError
            If there is none.
        """

    def uncertainty(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> Uncertainty:
        """What is known of the fixed effects: their covariance matrix, and tests of their combinations.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "normal"}
            Of t and F tests; only "kenward-roger" is refused where there are none.
        vcov : {"CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"} or None
            Covariance matrix by clusters (:mod:`lmmformula.inference.robust`); None for that of the model, or for "CR2" where
            `cluster` is given.
        cluster : str, sequence of labels, or None
            A grouping factor or column, or a label for each row; None for the grouping factor of fewest levels.

        Raises
        ------
        ArgumentError, DataError, PlanError
        """
        if vcov is not None or cluster is not None:
            return self.robust(ddf, vcov, cluster)
        return self.modelled(ddf)

    def robust(self, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty:
        """:meth:`uncertainty` by clusters of rows."""
        raise PlanError(self.refused["robust errors"])

    def modelled(self, ddf: str) -> Uncertainty:
        """:meth:`uncertainty` by the model alone."""
        from lmmformula.inference.uncertainty import Wald, refuse_unknown

        refuse_unknown(ddf)
        if ddf == "kenward-roger":
            self.check("denominator df")
        return Wald(self.fit)

    def known_of_mean(self, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty | None:
        """What another fit, of which this is a part, knows of the coefficients of the mean; None for a fit of its own."""
        return None

    def triangle(self) -> Array:
        """R of X = QR, without weights, (p, p)."""
        return self.fit.problem.data.fixed.triangle()

    def combination_draws(self, rows: Array) -> Array | None:
        """Draws of ``rows @ beta``, (S, r), of a posterior; None elsewhere."""
        return None

    @property
    @abstractmethod
    def parameter_names(self) -> tuple[str, ...]:
        """Names of all parameters, as ``conf_int(parameters="all")`` shows them."""

    def parameter_draws(self, name: str) -> Array | None:
        """Draws (S,) of a parameter of a posterior; None elsewhere."""
        return None

    def covariance_draws(self) -> tuple[Array, ...] | None:
        """Draws of the covariance matrix of the random effects of each term, (S, k, k), of a posterior; None elsewhere."""
        return None

    @abstractmethod
    def coefficients(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> tuple[pd.DataFrame, str]:
        """Fixed effects with the tests of :meth:`uncertainty`, and why there are no standard errors (empty if there are)."""

    def fixed_table(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> tuple[pd.DataFrame, str]:
        """The fixed effects as a summary shows them, and why there are no standard errors."""
        return self.coefficients(ddf, vcov, cluster)

    @abstractmethod
    def auxiliary_errors(self, j: int) -> Array:
        """Standard errors of the coefficients of auxiliary predictor j; nan where there are none."""

    @property
    @abstractmethod
    def interval(self) -> str:
        """The intervals of :meth:`lmmformula.Fit.conf_int` unless others are asked for."""

    def curvature(self) -> tuple[tuple[str, ...], Array] | None:
        """Names of the parameters of the search and the Hessian of the deviance there; None where nothing was maximised."""
        return None

    # -- random effects -------------------------------------------------------------------------------------------

    @abstractmethod
    def spread(self, term: int) -> tuple[Array, Array, Array]:
        """Covariance matrix, standard deviations and correlations of one term."""

    @abstractmethod
    def residual_variance(self) -> float:
        """sigma^2."""

    @abstractmethod
    def theta_covariance(self) -> tuple[Array | None, str]:
        """Covariance matrix of (theta, psi, log sigma) in the user's units, or why there is none."""

    def structure_parameters(self) -> tuple[StructureParameter, ...]:
        """Parameters of the structure of residuals; none where they are independent with one variance."""
        return ()

    @abstractmethod
    def varcorr_errors(self) -> tuple[list[float], list[str]]:
        """Standard error of each row of ``varcorr()``, and why some have none."""

    @property
    def has_effect_errors(self) -> bool:
        """Whether standard deviations of the effects are there without inverting the equations."""
        return False

    @abstractmethod
    def effect_covariances(self) -> tuple[Array, ...]:
        """Var(b | y) of each level, per term (m, k, k)."""

    def effect_errors(self) -> tuple[Array, ...]:
        """Its roots of the diagonals, per term (m, k)."""
        import numpy as np

        return tuple(np.sqrt(np.maximum(np.einsum("mii->mi", c), 0.0)) for c in self.effect_covariances())

    @property
    def has_edf(self) -> bool:
        """Whether smooths have effective degrees of freedom and tests by them."""
        return True

    def coefficient_draws(self, fixed: Sequence[int], terms: Sequence[int], level: int) -> Array | None:
        """Draws (S, K) of fixed effects and of the effects of one level of terms, of a posterior; None elsewhere."""
        return None

    # -- rows -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def mean_response(self) -> Array:
        """Expected response of each row of the fit, (n,)."""

    @abstractmethod
    def responses(self, n: int, rng: np.random.Generator) -> Iterable[Array]:
        """n responses of the rows of the fit, each (n,)."""

    @abstractmethod
    def replicates(
        self, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
    ) -> Iterator[Array]:
        """n responses one by one, each (rows,), with the effects of the fit or (not `conditional`) with others."""

    @abstractmethod
    def predict(
        self, rows: Rows, wanted: Wanted, weights: Array | None, rng: np.random.Generator
    ) -> pd.Series | pd.DataFrame:
        """What is `wanted` of the rows; `weights` are those of new observations, None for 1."""

    # -- intervals of everything, for tables and plots --------------------------------------------------------------

    @abstractmethod
    def fixed_intervals(self, level: float | None = 0.95) -> Intervals:
        """The fixed effects; without intervals, whose degrees of freedom can be dear, if `level` is None."""

    @abstractmethod
    def spread_intervals(self, level: float | None = 0.95) -> Intervals:
        """Standard deviations and correlations, named as profiles name them; without `level` only what costs nothing."""

    @abstractmethod
    def mode_intervals(
        self, term: int, column: int, level: float = 0.95, *, spread: bool = True
    ) -> Intervals:
        """Random effects of one column of one term; without `spread` only what costs nothing."""

    @abstractmethod
    def tidy_fixed(
        self, level: float | None, vcov: str | None = None, cluster: Cluster = None
    ) -> list[pd.DataFrame]:
        """broom's rows of the fixed effects and auxiliary predictors, with limits if there is a `level`."""

    @abstractmethod
    def tidy_spreads(self, level: float | None) -> pd.DataFrame:
        """broom's rows of standard deviations and correlations, with limits if there is a `level`."""

    @abstractmethod
    def mode_limits(self, modes: pd.DataFrame, level: float) -> tuple[Array, Array]:
        """Ends of the intervals of all random effects, which are `modes`, ``ranef(condsd=True)``."""
