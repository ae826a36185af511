"""Hypotheses about the fixed effects, and their covariance matrix by other estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import anything, optional, text, word
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.hypotheses.restrictions import Restricting
    from lmmformula.inference.ratios import Ratio
    from lmmformula.inference.records import Cluster
    from lmmformula.reporting.restrictions import JointResult, TResult

__all__ = ["TestingVerbs"]

_RESTRICTIONS = {"r_matrix": anything("a matrix R, (R, q), or text such as 'x1 = x2, x3 = 0'")}
_KINDS = {
    "ratio": {
        "expression": text("an expression of variances, such as 'animal / (animal + Residual)'"),
        "method": optional(word("delta", "profile", "draws")),
    },
    "cov_params": {"kind": optional(word("CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"))},
    "t_test": _RESTRICTIONS,
    "f_test": _RESTRICTIONS,
    "wald_test": _RESTRICTIONS,
}


@checked_methods(kinds=_KINDS)
class TestingVerbs(Verbs):
    """Hypotheses about the fixed effects, and their covariance matrix by other estimators."""

    def cov_params(self, kind: str | None = None, cluster: Cluster = None) -> pd.DataFrame:
        """Covariance matrix of the fixed effects: the model's, or one that holds where the model's variances do not.

        Parameters
        ----------
        kind : {"CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"} or None
            None for the model's, or for "CR2" ("CR1" of generalised models) where `cluster` is given. "CR2" is unbiased if
            the model holds, "CR3" is about a jackknife over clusters, "CR0" is the plain sandwich, "CR1", "CR1p" and "CR1S" are
            it times a number. See :mod:`lmmformula.inference.robust.sums`.
        cluster : str, sequence of labels, or None
            A grouping factor or column by name, or one label for each row of the data; by default the grouping factor with the
            fewest levels.

        Returns
        -------
        DataFrame
            (p, p), in squared units of the coefficients.

        Raises
        ------
        PlanError
            For a posterior, a quasi-likelihood, clusters that share random effects, and kinds other than "CR0" and "CR1" of a
            generalised model, which uses the scores of the clusters (:mod:`lmmformula.inference.robust.scores`).

        Notes
        -----
        Cost: one pass over the rows; matrices of the size of a cluster's rows or effects, whichever are fewer.
        """
        from lmmformula.inference.robust.table import cov_params
        from lmmformula.reporting.frames import printed

        return printed(cov_params(self._fit, kind, cluster))

    def ratio(self, expression: str, level: float = 0.95, *, method: str | None = None) -> Ratio:
        """A function of variance components, such as a heritability: ``"animal / (animal + Residual)"``.

        Parameters
        ----------
        expression : str
            Arithmetic (and sqrt, log, exp) of the variances and covariances that :meth:`varcorr` lists: a group of one column
            by its name, columns as ``g:x``, covariances as ``g:x.z``, ``Residual``. Other names stand in backticks.
        level : float
        method : {"delta", "profile", "draws"}, optional
            Of the interval: the delta method, on the logit scale for a share; or the profile likelihood of the expression, of a
            Gaussian model by the fit's own criterion. Of a posterior the draws of the expression: their mean, standard
            deviation and quantiles. By default "delta", or "draws".

        Returns
        -------
        Ratio
            ``.estimate, .se, .interval, .components``; it prints.

        Raises
        ------
        DataError
            For text that is no expression of the components.
        PlanError
            For quasi-likelihoods, profiles of models that are not Gaussian, and a method that the kind of fit does not have.

        Notes
        -----
        Equations and sources: :mod:`lmmformula.inference.ratios`. A profile takes some ten searches for each end.

        Examples
        --------
        >>> from lmmformula import fit, load_dataset
        >>> m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
        >>> print(m.ratio("Batch / (Batch + Residual)"))
        Batch / (Batch + Residual) = 0.4185 (SE 0.2079), 95% interval by delta: 0.1194 to 0.7931
        variances: Batch = 1764, Residual = 2451
        """
        from lmmformula.inference.ratios import ratio

        return ratio(self._fit, expression, level, method)

    def hypothesis(
        self,
        hypotheses: str | Sequence[str],
        level: float = 0.95,
        *,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> pd.DataFrame:
        """Tests of hypotheses about parameters: ``"Days > 5"``, ``"b1 = b2"``, ``"exp(x) = 2"``, ``"a / b = 1"``.

        Parameters
        ----------
        hypotheses : str or sequence of str
            Equations and inequalities of parameters, as ``conf_int(parameters="all")`` names them, several in one text set
            apart by commas; without a sign, that it is zero. The language: :mod:`lmmformula.inference.hypotheses.language`.
        level : float
            Of the intervals; both ends of the interval of an inequality have this level.
        ddf : {"satterthwaite", "kenward-roger", "normal"}
            Degrees of freedom where the hypothesis is linear in the fixed effects; others are z tests by the delta method.
        vcov, cluster
            Errors by clusters, as :meth:`cov_params` has them.

        Returns
        -------
        DataFrame
            A row for each: ``estimate`` (left less right), ``std_error, statistic, df, p_value, conf_low, conf_high``. Of a
            posterior ``estimate, std_error, conf_low, conf_high, evidence_ratio, probability``. ``attrs["note"]`` has the
            test of all of them together, if all are equations.

        Raises
        ------
        FormulaError
            That points at what it cannot read.
        PlanError
            For a standard deviation at the boundary, which has no standard error.
        """
        from lmmformula.inference.hypotheses import hypothesis
        from lmmformula.reporting.restrictions import shown_hypotheses

        return shown_hypotheses(hypothesis(self._fit, hypotheses, level, ddf, vcov, cluster))

    def t_test(
        self,
        r_matrix: Restricting,
        *,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> TResult:
        """t tests (z tests of generalised models) of linear restrictions R beta = q, one by one.

        Parameters
        ----------
        r_matrix : array (r, p) or (p,), tuple (R, q), or str
            R, with a number for each coefficient; R and q; or equations such as ``"x1 = x2, x3 = 0"``.
        ddf : {"satterthwaite", "kenward-roger", "normal"}
        vcov, cluster
            Errors by clusters, as :meth:`cov_params` has them.

        Returns
        -------
        TResult
            With statsmodels' ``effect, sd, tvalue, statistic, pvalue, df_denom, conf_int(alpha), summary()``.
        """
        from lmmformula.reporting.restrictions import t_test

        return t_test(self._fit, r_matrix, ddf, vcov, cluster)

    def f_test(
        self,
        r_matrix: Restricting,
        *,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> JointResult:
        """F test of linear restrictions R beta = q, all together; infinite denominator df where tests are Wald's.

        Parameters as :meth:`t_test`; R need not have full rank. By Satterthwaite the test is Fai & Cornelius's, as
        lmerTest::contest has it; with `vcov` it is the approximate Hotelling test.

        Returns
        -------
        JointResult
            With statsmodels' ``statistic, fvalue, pvalue, df_num, df_denom, distribution, summary()``.
        """
        from lmmformula.reporting.restrictions import joint_test

        return joint_test(self._fit, r_matrix, ddf, vcov, cluster, use_f=True)

    def wald_test(
        self, r_matrix: Restricting, *, vcov: str | None = None, cluster: Cluster = None
    ) -> JointResult:
        """Wald's chi-square test of linear restrictions R beta = q, all together.

        Parameters as :meth:`t_test`.

        Returns
        -------
        JointResult
            With statsmodels' ``statistic, pvalue, df_denom, distribution, summary()``.
        """
        from lmmformula.reporting.restrictions import joint_test

        return joint_test(self._fit, r_matrix, "normal", vcov, cluster, use_f=False)
