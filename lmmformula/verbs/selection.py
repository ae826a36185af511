"""Which terms are needed: tests of variances, terms dropped one by one, all optimisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import anything, optional, text, whole, word
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike

    from lmmformula.inference.records import Cluster
    from lmmformula.inference.selection.conditional_aic import ConditionalAIC
    from lmmformula.reporting.selection import ShownComponents, ShownCrossValidation, ShownFits, ShownSteps

__all__ = ["SelectionVerbs"]

_DRAWS = optional(whole(1, 10_000_000))
_DISTRIBUTION = word("chisq", "mixture", "rlrt", "bootstrap")
_TEST = optional(word("f", "wald", "chisq", "bootstrap"))
_DDF = word("satterthwaite", "kenward-roger", "normal")
_FOLDS = optional(anything("a whole number of at least 2, or the fold of each row"))
_KINDS = {
    "cross_validate": {"folds": _FOLDS, "by": optional(text("a grouping factor, a column, or 'row'"))},
    "ranova": {"method": optional(_DISTRIBUTION), "n": _DRAWS},
    "drop1": {"test": _TEST, "ddf": _DDF, "n": _DRAWS},
    "step": {"method": _DISTRIBUTION, "test": _TEST, "ddf": _DDF, "n": _DRAWS},
}


@checked_methods(kinds=_KINDS)
class SelectionVerbs(Verbs):
    """Which terms are needed: tests of variances, terms dropped one by one, all optimisers."""

    def ranova(
        self,
        reduce: bool = True,
        method: str | None = None,
        n: int | None = None,
        seed: int | np.random.Generator | None = 0,
    ) -> pd.DataFrame:
        """Whether each piece of the random part is needed: likelihood-ratio tests, one piece less at a time.

        Parameters
        ----------
        reduce : bool
            Whether ``(x | g)`` is reduced to ``(1 | g)``, as lmerTest does; if not, each term goes as a whole.
        method : {None, "chisq", "mixture", "rlrt", "bootstrap"}
            Distribution of the statistic under the smaller model, for the column ``p_value``. None takes what suits each piece:
            "rlrt", exact draws for one variance of a Gaussian model (of the restricted likelihood ratio for REML fits, of the
            likelihood ratio else), or "mixture", the limit for one further column with its covariances, half chi2(k) and half
            chi2(k + 1), or for several columns "chisq", which is too cautious. "bootstrap" draws responses from the smaller
            model and fits both again: for anything, at the cost of `n` fits of both.
        n : int, optional
            Draws; by default 10,000 of "rlrt" and 500 of "bootstrap".
        seed : int or Generator
            Of draws; the same seed gives the same p-values, None others each time.

        Returns
        -------
        DataFrame
            lmerTest's ``npar, logLik, AIC, LRT, Df, Pr(>Chisq)`` with ``p_value`` and ``reference``, the distribution that it
            is of; ``attrs["formulas"]`` has the smaller models. REML fits are compared by restricted likelihoods.

        Raises
        ------
        PlanError
            Without random effects or a likelihood, or for a method that suits no term.

        References
        ----------
        Crainiceanu & Ruppert (2004); Self & Liang (1987); Stram & Lee (1994): see
        :mod:`lmmformula.inference.selection.null_distribution`.
        """
        from lmmformula.inference.selection.ranova import ranova
        from lmmformula.reporting.selection import shown_variances

        return shown_variances(*ranova(self._fit, reduce, method, n, seed))

    def drop1(
        self,
        test: str | None = None,
        ddf: str = "satterthwaite",
        n: int | None = None,
        seed: int | np.random.Generator | None = None,
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> pd.DataFrame:
        """Whether each term of the fixed part is needed that no other term contains.

        Parameters
        ----------
        test : {None, "f", "wald", "chisq", "bootstrap"}
            "f": of this fit, on `ddf` (Gaussian). "wald": chi-square of this fit. "chisq": likelihood ratio, each smaller model
            fitted, REML fits by maximum likelihood. "bootstrap": the same ratio, by `n` responses of each smaller model. By
            default "f" for Gaussian fits, "chisq" for others with a likelihood, "wald" for the rest.
        ddf : {"satterthwaite", "kenward-roger"}
        n : int, optional
            Responses of a bootstrap, by default 500.
        seed : int or Generator, optional
        vcov, cluster
            Covariance matrix by clusters for "f" and "wald", as in :meth:`anova`.

        Returns
        -------
        DataFrame
            lmerTest's ``Sum Sq, Mean Sq, NumDF, DenDF, F value, Pr(>F)``, or ``Chisq, Df, Pr(>Chisq)``, or lme4's ``npar,
            AIC, LRT, Pr(>Chisq)`` with ``p_value`` of a bootstrap.

        Raises
        ------
        PlanError
            If nothing can be dropped, for a posterior, and for a test that this kind of fit does not have.
        """
        from lmmformula.inference.selection.drop1 import drop1
        from lmmformula.reporting.selection import shown_deletions

        return shown_deletions(drop1(self._fit, test, ddf, n, seed, vcov, cluster))

    def step(
        self,
        direction: str = "backward",
        alpha_random: float = 0.1,
        alpha_fixed: float = 0.05,
        *,
        keep: Sequence[str] | str | None = None,
        method: str = "chisq",
        test: str | None = None,
        ddf: str = "satterthwaite",
        n: int | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> ShownSteps:
        """Drop what is not needed, one piece at a time: first of the random part, then of the fixed part (lmerTest's ``step``).

        Parameters
        ----------
        direction : {"backward"}
        alpha_random, alpha_fixed : float
            The piece with the largest p-value goes while that is above.
        keep : str or sequence of str, optional
            Terms of the fixed part that stay.
        method : {"chisq", "mixture", "rlrt", "bootstrap"}
            As in :meth:`ranova`; "chisq", lmerTest's, has p-values about twice too large for a variance, which the .1 allows
            for.
        test, ddf, n, seed
            As in :meth:`drop1`.

        Returns
        -------
        Steps
            ``random`` and ``fixed``, lmerTest's tables, ``fit``, the model found, ``formula``, and ``frame``, both as one.

        Raises
        ------
        PlanError
            For other directions, and fits without a likelihood.
        """
        from lmmformula.inference.selection.step import step
        from lmmformula.reporting.selection import ShownSteps

        kept = (keep,) if isinstance(keep, str) else tuple(keep or ())
        found = step(
            self._fit,
            direction,
            alpha_random,
            alpha_fixed,
            keep=kept,
            method=method,
            test=test,
            ddf=ddf,
            n=n,
            seed=seed,
        )
        return ShownSteps.of(found)

    def allfit(self, seed: int | np.random.Generator | None = None) -> ShownFits:
        """The same model by every engine that suits, from several starts, by SciPy's optimisers: is the optimum the same?

        Parameters
        ----------
        seed : int or Generator, optional
            Of the random start.

        Returns
        -------
        AllFits
            ``frame``: a row a run with its log-likelihood, what it lacks of the best, differences without units, time and
            warnings; ``estimates``; ``same_optimum`` and ``verdict``; ``best``.

        Raises
        ------
        PlanError
            Without random effects or a likelihood.

        Notes
        -----
        About a dozen fits. See :mod:`lmmformula.inference.selection.allfit`.
        """
        from lmmformula.inference.selection.allfit import allfit
        from lmmformula.reporting.selection import ShownFits

        return ShownFits.of(allfit(self._fit, seed))

    def repca(self) -> ShownComponents:
        """Principal components of the random effects of each grouping factor, and how many have no variance (lme4's ``rePCA``).

        Returns
        -------
        RandomComponents
            By group, ``m.repca()["Subject"]``: ``sdev`` (relative to sigma), ``proportion``, ``rotation``, ``zero``;
            ``frame`` has all of it.

        Raises
        ------
        PlanError
            Without random effects.
        """
        from lmmformula.inference.selection.repca import repca
        from lmmformula.reporting.selection import ShownComponents

        return ShownComponents.of(repca(self._fit))

    def caic(self, variances: str = "estimated") -> ConditionalAIC:
        """Conditional AIC: for new responses of the same groups, as random effects are compared.

        Parameters
        ----------
        variances : {"estimated", "known"}
            "estimated" corrects for their estimation (Greven & Kneib 2010; Saefken et al. 2014): in closed form for Gaussian
            responses, by a fit for each row for Poisson and binomial ones. "known" is Vaida & Blanchard's (2005), which favours
            models with more random effects.

        Returns
        -------
        ConditionalAIC
            ``caic, llf, df, effective``.

        Raises
        ------
        PlanError
            Without a likelihood, and for families of which the correction is not known.
        """
        from lmmformula.inference.selection.conditional_aic import conditional_aic
        from lmmformula.reporting.selection import ShownConditionalAIC

        return ShownConditionalAIC.of(conditional_aic(self._fit, variances))

    def cross_validate(
        self,
        by: str | None = None,
        folds: int | ArrayLike | None = None,
        seed: int | np.random.Generator | None = None,
        score: str | Sequence[str] | None = None,
        level: float = 0.95,
    ) -> ShownCrossValidation:
        """How well the model predicts rows that it was not fitted to, of new levels of a factor or of known ones.

        Parameters
        ----------
        by : str, optional
            Whose levels are left out as a whole: a grouping factor of the fit or a column of its data. Predictions are then
            for new levels, their random effects integrated out. "row" leaves out single rows, of levels that the fit goes on
            to know. By default the only grouping factor.
        folds : int or sequence, optional
            How many, 10 by default or as many as there are units; or the fold of each row of the fit.
        seed : int or Generator, optional
            Of the folds, and of drawn prediction intervals.
        score : str or sequence of str, optional
            Of "elpd" (log predictive density, a sum), "rmse", "mae", "brier" and "log_loss" (of successes, per trial),
            "coverage" of prediction intervals. By default all that suit but "mae".
        level : float
            Of the intervals.

        Returns
        -------
        CrossValidation
            ``summary`` (estimates with standard errors over units), ``units``, ``frame`` (a row a row), ``measures``, and
            ``minus(other)``, the paired difference of two models.

        Raises
        ------
        DataError
            For leakage: a level that lies in several given folds; for a fold without a level that its rows need.
        PlanError
            For a posterior, which has :meth:`kfold`, and where `by` must be said.

        Notes
        -----
        Takes as many fits as folds, each started from the theta of this fit. What a formula learns from rows (bases, ranges,
        contrasts) each fold learns from its own.
        """
        from lmmformula.inference.selection.cross_validation import cross_validate
        from lmmformula.reporting.selection import ShownCrossValidation

        return ShownCrossValidation.of(cross_validate(self._fit, by, folds, seed, score, level))
