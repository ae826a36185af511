"""The result of a fit: a thin immutable front whose methods call into inference and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.arguments import checked_methods
from lmmformula.inference import calls as _calls
from lmmformula.inference.fitted import Inference
from lmmformula.inference.kinds import inference_of
from lmmformula.inference.recall import Recall
from lmmformula.interfaces.names import OtherNames
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.frozen import computed_once, freeze, handed_out
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.ir.structured import group_count
from lmmformula.keeping import write_fit
from lmmformula.planner import Plan
from lmmformula.progress import working
from lmmformula.typing import Argument, Data, Record
from lmmformula.verbs import (
    BayesianVerbs,
    CheckingVerbs,
    MeansVerbs,
    MetaVerbs,
    MonotonicVerbs,
    ReplicationVerbs,
    RowVerbs,
    SelectionVerbs,
    SmoothVerbs,
    TestingVerbs,
)

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.families.auxiliary import Auxiliary
    from lmmformula.inference.records import Cluster
    from lmmformula.ir.priors import Priors
    from lmmformula.reporting.plots import Plots
    from lmmformula.reporting.summary import Summary

__all__ = ["Fit", "Recall"]


@checked_methods(rest=_calls.FURTHER, kinds=_calls.KINDS)
@dataclass(frozen=True, eq=False, repr=False)
class Fit(
    RowVerbs,
    MeansVerbs,
    MetaVerbs,
    TestingVerbs,
    SelectionVerbs,
    SmoothVerbs,
    MonotonicVerbs,
    CheckingVerbs,
    ReplicationVerbs,
    BayesianVerbs,
    OtherNames,
):
    """A fitted mixed model.

    Attributes
    ----------
    problem : Problem
        The canonical form that was fitted.
    estimate : Estimate
        The numbers.
    plan : Plan
        What was done and why.
    backend : Exact, LaplaceBackend, PQL or HMC
        The recipe with its options.
    recall : Recall
        Formula, data and arguments of the call.
    posterior : Posterior or None
        The draws of a Bayesian fit. `estimate` and whatever follows from it then hold posterior means, and standard errors are
        posterior standard deviations.
    """

    problem: Problem
    estimate: Estimate
    plan: Plan
    backend: Any
    recall: Recall
    point: object = None
    posterior: Posterior | None = None
    twin: Standard | None = None

    def __post_init__(self) -> None:
        self.problem.freeze()
        freeze((self.estimate, self.posterior))

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    # -- estimates ------------------------------------------------------------------------------------------------

    @handed_out
    def params(self) -> pd.Series:
        """Fixed effects."""
        from lmmformula.inference import wald

        return wald.named(self, self.estimate.beta)

    @handed_out
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        from lmmformula.inference import wald

        return wald.named(self, np.sqrt(np.diagonal(self.vcov)))

    @handed_out
    def vcov(self) -> np.ndarray:
        """Covariance matrix of the fixed effects as an array; computed when first asked for."""
        if self.joint_vcov is None:
            return self.estimate.vcov
        return self.joint_vcov[: self.problem.p, : self.problem.p]

    @handed_out
    def joint_vcov(self) -> np.ndarray | None:
        """Covariance matrix of (beta, theta, alpha) of a generalised model; None where beta is independent of the rest."""
        own = self.twin_vcov
        return None if own is None else self.standard.joint_out(own, self.estimate)

    @handed_out
    def twin_vcov(self) -> np.ndarray | None:
        """The same of the parameters at which :attr:`optimum` was evaluated."""
        with working("standard errors", self.recall.arguments.get("progress")):
            return self.backend.joint_vcov(self.estimate, self.optimum)

    @handed_out
    def tvalues(self) -> pd.Series:
        """Estimates over standard errors; nan for a posterior, as `df` and `pvalues` are."""
        from lmmformula.inference import wald

        return wald.named(self, self.inference.statistics())

    @handed_out
    def df(self) -> pd.Series:
        """Satterthwaite denominator degrees of freedom of each coefficient."""
        from lmmformula.inference import wald

        return wald.named(self, self.inference.df(np.eye(self.problem.p)))

    @handed_out
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of the t statistics on :attr:`df` degrees of freedom."""
        from lmmformula.inference import wald

        return wald.pvalues(self)

    def conf_int(self, level: float = 0.95, method: str | None = None, **options: Argument) -> pd.DataFrame:
        """Intervals: "wald" (fixed effects; the default), "profile" or "bootstrap" (all); "quantile" of a posterior's draws."""
        from lmmformula.inference import intervals_by_method
        from lmmformula.reporting import frames

        return frames.printed(intervals_by_method.conf_int(self, level, method, **options))

    @property
    def theta(self) -> pd.Series:
        """Relative covariance parameters, by name."""
        from lmmformula.inference import wald

        return wald.theta(self)

    @property
    def sigma(self) -> float:
        """Residual standard deviation; for other families the parameter of scale or dispersion, 1 if there is none.

        The root of the dispersion where a quasi-likelihood estimates one that the family does not have.
        """
        return next((value for a, value in self._parameters() if a.is_scale), self.estimate.sigma)

    @property
    def dispersion(self) -> dict[str, float]:
        """The family's parameters besides the mean, where they are one number for all rows; phi of a quasi-likelihood."""
        if self.estimate.quasi_dispersion:
            return {"phi": self.estimate.sigma**2}
        return {a.name: value for a, value in self._parameters()}

    def _parameters(self) -> list[tuple[Auxiliary, float]]:
        if not self.estimate.aux:  # none, or a Gaussian sigma, which is profiled
            return []
        named = zip(self.problem.family.auxiliaries, self.estimate.aux, self.problem.aux, strict=True)
        return [(a, float(a.value(v[0]))) for a, v, block in named if block.is_constant]

    @property
    def llf(self) -> float:
        """Log-likelihood (restricted for REML); nan for a quasi-likelihood, as AIC and BIC; a posterior's at its means."""
        return -0.5 * self.estimate.deviance

    @property
    def llf_stderr(self) -> float:
        """Standard error of the log-likelihood; zero unless the engine estimates it."""
        return 0.5 * self.estimate.deviance_stderr

    @property
    def deviance(self) -> float:
        """-2 log-likelihood (restricted for REML); nan for a quasi-likelihood."""
        return self.estimate.deviance

    @property
    def df_model(self) -> int:
        """Number of parameters: fixed effects, covariance parameters and sigma or an estimated dispersion."""
        return self.inference.n_parameters

    @property
    def df_resid(self) -> int | float:
        """Observations minus parameters."""
        return self.problem.n_observed - self.df_model

    @property
    def aic(self) -> float:
        """Akaike's criterion; nan for a posterior, which has ``m.loo()``."""
        return self.inference.criterion(2 * self.df_model)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with the number of observations; nan for a posterior."""
        return self.inference.criterion(float(np.log(self.problem.n_observed)) * self.df_model)

    @property
    def nobs(self) -> int | float:
        """Rows used; with ``y | weights(w)``, which repeats rows, the sum of w."""
        return self.problem.n_observed

    @property
    def ngroups(self) -> dict[str, int]:
        """Levels of each grouping factor; of positions within groups the groups."""
        return {t.group: group_count(t) for t in self.problem.terms if not t.of_mean}

    @property
    def converged(self) -> bool:
        """Whether the optimiser met its tolerance."""
        return self.estimate.convergence.status.good

    @property
    def is_singular(self) -> bool:
        """Whether some covariance matrix of random effects is singular."""
        return bool(self.estimate.singular)

    @property
    def diagnostics(self) -> Record:
        """Numbers about the search and the boundary."""
        from lmmformula.reporting import summary

        return summary.diagnostics(self)

    @property
    def formula(self) -> str:
        """The formula as given."""
        return self.problem.formula

    @property
    def family(self) -> str:
        """Name of the family."""
        return self.problem.family.name

    @property
    def method(self) -> str:
        """The criterion: REML, ML, Laplace, PQL, ..."""
        return self.estimate.method

    # -- posteriors -----------------------------------------------------------------------------------------------

    @property
    def priors(self) -> Priors | None:
        """Priors of a Bayesian fit, defaults included; printing shows a table. None for other fits."""
        return self.inference.priors

    # -- random effects -------------------------------------------------------------------------------------------

    def ranef(self, condsd: bool = False) -> pd.DataFrame:
        """Conditional modes: columns ``grpvar, term, grp, condval`` and, if asked for, ``condsd``."""
        from lmmformula.inference import conditional
        from lmmformula.reporting import frames

        return frames.printed(conditional.ranef(self, condsd=condsd))

    def varcorr(self, se: bool = False) -> pd.DataFrame:
        """Variances, covariances, standard deviations and correlations: ``grp, var1, var2, vcov, sdcor[, se]``."""
        from lmmformula.inference import conditional
        from lmmformula.reporting import frames

        return frames.printed(conditional.varcorr(self, se))

    def coef(self) -> dict[str, pd.DataFrame]:
        """Per grouping factor, fixed plus random effects of each level."""
        from lmmformula.inference import conditional

        return conditional.coef(self)

    # -- rows -----------------------------------------------------------------------------------------------------

    @handed_out
    def fittedvalues(self) -> pd.Series:
        """Expected response of each row used, under the label that the row has in the data."""
        from lmmformula.inference import residuals

        return residuals.fitted(self)

    def residuals(self, kind: str = "response", seed: int | np.random.Generator | None = None) -> pd.Series:
        """Residuals: "response", "pearson", "deviance", "working" or (for discrete responses randomised) "quantile"."""
        from lmmformula.inference import residuals

        return residuals.residuals(self, kind, seed)

    def overdispersion(self) -> pd.Series:
        """Pearson's chi-square over its degrees of freedom, given the random effects."""
        from lmmformula.inference import residuals

        return residuals.overdispersion(self)

    def simulate(self, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
        """`n` responses drawn from the fitted model, one a column, random effects drawn anew (a posterior's: kept)."""
        from lmmformula.inference import simulate

        return simulate.simulate(self, n, seed)

    # -- other fits -----------------------------------------------------------------------------------------------

    def refit(self, y: Data) -> Fit:
        """The same model on another response of the same rows; reuses the factorisation's structure."""
        from lmmformula.inference import refitting

        return refitting.refit(self, y)

    def update(self, formula: str | None = None, data: Data = None, **arguments: Argument) -> Fit:
        """Fit again with another formula (``"~ . - x"``, as R's ``update``: ``.`` is the old side), data or argument.

        Options of the earlier call that a new method does not have are left out, and the plan says so.
        """
        from lmmformula.inference import updating

        return updating.update(self, formula, data, arguments)

    def bootstrap(
        self, n: int = 500, seed: int | np.random.Generator | None = None, **options: Argument
    ) -> pd.DataFrame:
        """Parametric bootstrap: one row a replicate, one column a parameter."""
        from lmmformula.inference import bootstrap
        from lmmformula.reporting import replicates

        return replicates.shown_bootstrap(bootstrap.bootstrap(self, n, seed, **options))

    def profile(self, **options: Argument) -> pd.DataFrame:
        """Likelihood profile of every parameter (by ML)."""
        from lmmformula.inference import profile

        return profile.profile(self, **options)

    def anova(
        self,
        type: int | str = 3,  # noqa: A002 - the field's word
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> pd.DataFrame:
        """F tests (Wald chi-square tests for generalised models) of the fixed-effects terms, type 1, 2 or 3."""
        from lmmformula.inference import anova
        from lmmformula.reporting import frames

        return frames.printed(anova.terms_table(self, type, ddf, vcov, cluster))

    def r2(self) -> pd.Series:
        """Marginal and conditional R2 (Nakagawa, Johnson & Schielzeth 2017)."""
        from lmmformula.inference import r2

        return r2.r2(self)

    def icc(self) -> pd.Series:
        """Share of the variance of each grouping factor."""
        from lmmformula.inference import r2

        return r2.icc(self)

    # -- reports --------------------------------------------------------------------------------------------------

    @property
    def plot(self) -> Plots:
        """Plots of the fit: ``plot.residuals()``, ``plot.caterpillar()`` and others; each takes ``ax=``, returns its Axes."""
        from lmmformula.reporting.plots import Plots

        return Plots(self)

    def summary(
        self,
        *,
        ddf: str = "satterthwaite",
        correlation: bool | None = None,
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> Summary:
        """A summary that prints in a terminal and renders in a notebook; errors by clusters with `vcov` or `cluster`.

        `ddf` may be "kenward-roger"; `correlation` of the fixed effects is shown up to 20 of them unless said otherwise.
        """
        from lmmformula.reporting import summary

        return summary.summarise(self, ddf, correlation, vcov, cluster)

    def tidy(
        self,
        effects: str = "all",
        conf_int: bool = False,
        level: float = 0.95,
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> pd.DataFrame:
        """Broom's coefficient table."""
        from lmmformula.reporting import frames, tidy

        return frames.printed(
            tidy.tidy(self, effects, conf_int=conf_int, level=level, vcov=vcov, cluster=cluster)
        )

    def glance(self) -> pd.DataFrame:
        """Broom's one-row table of the model."""
        from lmmformula.reporting import frames, tidy

        return frames.printed(tidy.glance(self))

    # -- text -------------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_calls.no_attribute(name))

    def __repr__(self) -> str:
        from lmmformula.reporting import brief

        return brief.shown(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    # -- for inference ----------------------------------------------------------------------------------------------

    @property
    def inference(self) -> Inference:
        """What follows from this kind of fit: by likelihood, by quasi-likelihood, or draws of a posterior."""
        return inference_of(self)

    @computed_once
    def optimum(self) -> Any:
        """The criterion at the optimum, in the units of :attr:`standard`; evaluated again for a fit that was loaded."""
        if self.point is not None:
            return self.point
        return self.backend.evaluate(self.standard.problem, self.standard.inward(self.estimate))

    @computed_once
    def standard(self) -> Standard:
        """The problem in the units in which it was fitted, and the way back from them."""
        if self.twin is not None:
            return self.twin
        return self.inference.standardised()

    # -- keeping --------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the fit to a file for :func:`load`: numbers and text; the data stay out, the canonical form goes in.

        Functions given as ``context=`` stay out too: a warning names them, and `load` asks for them. The file is written whole
        or, after an error, not at all.
        """
        write_fit(self, path)
