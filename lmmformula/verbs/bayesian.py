"""Questions to draws of a posterior, and predictive checks of any fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, cast

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import anything, flag, names, optional, whole, word
from lmmformula.arguments.kinds_of_data import table
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmmformula.progress import Report
    from lmmformula.reporting.conditional import ConditionalEffects
    from lmmformula.reporting.elpd import ShownElpd
    from lmmformula.reporting.model_text import ModelText
    from lmmformula.typing import Arguments, Data, Drawn

__all__ = ["BayesianVerbs"]


@checked_methods(
    kinds={
        "pp_check": {
            "kind": optional(word("density", "ecdf", "bars", "stat", "intervals", "error")),
            "n": optional(whole(1, 100_000)),
            "stat": optional(anything("the name of a statistic, or a function of a response")),
        },
        "prior_sensitivity": {"priors": optional(names("classes of priors"))},
        "bayes_r2": {"draws": flag()},
        "impute": {"newdata": table()},
        "extend": {"draws": whole(1, 10_000_000)},
        "conditional_effects": {"effects": optional(names("effects such as 'x' or 'x:f'"))},
    }
)
class BayesianVerbs(Verbs):
    """Questions to draws of a posterior, and predictive checks of any fit."""

    def loo(self, group: str | None = None, *, moment_match: bool = False, reloo: bool = False) -> ShownElpd:
        """Expected log predictive density of what was not seen, by leave-one-out importance sampling (PSIS).

        Parameters
        ----------
        group : str, optional
            Leave a whole level of this grouping factor out, its effects integrated out (normal responses); by default one row
            of the same groups.
        moment_match : bool
            Move the draws towards the posterior without a row where its weights cannot be trusted (Paananen et al. 2021).
        reloo : bool
            Fit again without each row that still cannot be trusted: exact, and as many fits.

        Returns
        -------
        Elpd
            ``elpd, se, p``, ``pointwise`` with Pareto's k of each unit, ``bad``; prints as R's loo.

        Raises
        ------
        PlanError
            For a fit that has no draws; for a level's density that has no closed form.

        References
        ----------
        Vehtari, Gelman & Gabry (2017), Stat. Comput. 27, 1413-1432: :mod:`lmmformula.inference.bayesian.loo`.
        """
        from lmmformula.inference.bayesian.leaving_out import loo
        from lmmformula.reporting.elpd import ShownElpd

        return ShownElpd.of(loo(self._fit, group, moment_match=moment_match, reloo=reloo))

    def kfold(self, folds: int = 10, group: str | None = None, seed: int = 0) -> ShownElpd:
        """The same by `folds` fits, each without a part of the rows.

        Parameters
        ----------
        folds : int
        group : str, optional
            Whole levels of this grouping factor fall into a fold: rows are then predicted for another level.
        seed : int
            Of the folds, and of effects of levels that a fold has not seen.

        Returns
        -------
        Elpd

        Raises
        ------
        PlanError
            For a fit that has no draws.
        """
        from lmmformula.inference.bayesian.refitting import kfold
        from lmmformula.reporting.elpd import ShownElpd

        return ShownElpd.of(kfold(self._fit, folds, group, seed))

    def prior_sensitivity(self, priors: str | Sequence[str] | None = None) -> pd.DataFrame:
        """How far each parameter's posterior moves when the prior, or the likelihood, is raised to a power near one.

        Parameters
        ----------
        priors : str or list of str, optional
            Classes of priors that are scaled ("b", "sd", "cor", "sigma", ...); all by default.

        Returns
        -------
        DataFrame
            ``prior, likelihood`` (distance per doubling of the power; above .05 worth a look) and ``diagnosis``.

        References
        ----------
        Kallioinen, Paananen, Burkner & Vehtari (2024): :mod:`lmmformula.inference.bayesian.sensitivity`.
        """
        from lmmformula.inference.bayesian.sensitivity import prior_sensitivity
        from lmmformula.reporting.frames import printed

        return printed(prior_sensitivity(self._fit, priors))

    def model_text(self) -> ModelText:
        """What was fitted, written out: mathematics, and of a posterior a NumPyro program that runs on its own.

        Returns
        -------
        ModelText
            ``mathematics``: response, predictors, random effects, priors, what was integrated out or which criterion was
            minimised; ``code``, which defines ``model``; ``data``, its arguments. Prints as both.

        Examples
        --------
        >>> from lmmformula import fit, load_dataset
        >>> text = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")).model_text()
        >>> print(text.mathematics.splitlines()[-2])
        Minimised, with V = W^-1 + Z S Z' / sigma^2:
        """
        from lmmformula.reporting.model_text import model_text

        return model_text(self._fit)

    def bayes_r2(self, level: float = 0.95, *, draws: bool = False) -> pd.DataFrame:
        """Variance explained for every draw: conditional on the random effects, and marginal.

        Parameters
        ----------
        level : float
        draws : bool
            Give the draws and not their summary.

        Returns
        -------
        DataFrame
            ``Estimate`` (the median), ``Est.Error`` and limits.

        References
        ----------
        Gelman, Goodrich, Gabry & Vehtari (2019): :mod:`lmmformula.inference.bayesian.r2`.
        """
        from lmmformula.inference.bayesian.r2 import bayes_r2
        from lmmformula.reporting.frames import printed

        return printed(bayes_r2(self._fit, level, draws=draws))

    def pp_check(
        self,
        kind: str | None = None,
        n: int | None = None,
        stat: str | Callable[..., float] | None = None,
        ax: Drawn = None,
        seed: int = 0,
    ) -> Drawn:
        """Responses that the fit would give beside those it was given: a plot.

        Parameters
        ----------
        kind : {"density", "ecdf", "bars", "stat", "intervals", "error"}, optional
            By default "bars" for discrete responses of few values, else "density".
        n : int, optional
            Replicates.
        stat : {"mean", "sd", "median", "min", "max", "zeros"} or callable
            What is compared by kind="stat", which it stands for if no kind is given; the mean by default.
        ax : Axes, optional
        seed : int

        Returns
        -------
        Axes
        """
        from lmmformula.reporting.plots.predictive import pp_check

        return pp_check(self._fit, kind, n, stat, ax, seed)

    def conditional_effects(
        self,
        effects: str | Sequence[str] | None = None,
        conditions: Arguments | None = None,
        level: float = 0.95,
        points: int = 50,
        kind: str = "response",
    ) -> ConditionalEffects:
        """Expected responses over one variable, or over one at values of another, the rest held where they are typical.

        Parameters
        ----------
        effects : str or list of str, optional
            ``"x"``, or ``"x:f"``: over x for each level of f (of a number: its mean and one standard deviation to either side).
            By default every variable of the fixed part, and every pair that one of its terms has.
        conditions : mapping, optional
            Column -> where it is held instead: by default numbers at their mean, factors at their most frequent level.
        level : float
        points : int
            Places along a number.
        kind : {"response", "link"} or the name of a parameter

        Returns
        -------
        ConditionalEffects
            ``ce["x:f"]`` is a frame with ``estimate, se, lower, upper``, ``ce.plot("x:f")`` draws it. Random effects are zero;
            limits are those of ``predict(interval="confidence")``.
        """
        from lmmformula.reporting.conditional import conditional_effects

        return conditional_effects(self._fit, effects, conditions, level, points, kind)

    # -- draws ----------------------------------------------------------------------------------------------------

    def extend(self, draws: int = 1_000, progress: bool | Report | None = None) -> Self:
        """Go on from the last state of each chain of a posterior; the draws there are kept."""
        from lmmformula.inference.posterior import extend

        return cast("Self", extend(self._fit, draws, progress))

    def impute(
        self, newdata: Data, n: int = 100, seed: int | np.random.Generator | None = None
    ) -> pd.DataFrame:
        """Missing responses of ``y | mi()``, from their posterior.

        Parameters
        ----------
        newdata : table
            Rows with and without the response: those of the fit, or others.
        n : int
            Draws, taken from those of the posterior without replacement.
        seed : int or Generator, optional

        Returns
        -------
        DataFrame
            ``draw_1, ..., draw_n`` of the rows without a response, under their labels. Cost O(rows * draws).

        Raises
        ------
        PlanError
            For a model without ``mi()``, and for a fit that is no posterior.
        """
        from lmmformula.inference.imputation import impute

        return impute(self._fit, newdata, n, seed)

    def log_likelihood(self, rows: Data = None) -> np.ndarray:
        """Log density of each row's response given the effects, for each draw of a posterior, (chain, draw, row)."""
        from lmmformula.inference.posterior import log_likelihood

        return log_likelihood(self._fit, rows)

    def to_datatree(
        self,
        *,
        predictive: bool = True,
        log_likelihood: bool = True,
        seed: int | np.random.Generator | None = None,
    ) -> Data:
        """A posterior for ArviZ; see :func:`lmmformula.reporting.datatree.to_datatree`."""
        from lmmformula.reporting.datatree import to_datatree

        return to_datatree(self._fit, predictive=predictive, log_likelihood=log_likelihood, seed=seed)
