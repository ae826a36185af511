"""What is asked of a meta-analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import optional, word
from lmmformula.arguments.kinds_of_data import table
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    from lmmformula.reporting.meta import Heterogeneity
    from lmmformula.typing import Data

__all__ = ["MetaVerbs"]


@checked_methods(
    kinds={
        "heterogeneity": {
            "test": word("knapp-hartung", "knha", "t", "z"),
            "newdata": optional(table()),
        }
    }
)
class MetaVerbs(Verbs):
    """Meta-analyses."""

    def heterogeneity(
        self, *, test: str = "knapp-hartung", newdata: Data = None, level: float = 0.95
    ) -> Heterogeneity:
        """How much studies differ in ``y | se(s) ~ covariates + (1 | study)``, by REML or ML.

        With v = (n - p) / tr P the typical sampling variance, ``I^2 = tau^2 / (tau^2 + v)`` and ``H^2 = 1 + tau^2 / v``; of
        several grouping factors each has its share of the sum (:mod:`lmmformula.inference.meta` has the definitions, which are
        metafor's).

        Parameters
        ----------
        test : {"knapp-hartung", "t", "z"}
            How coefficients are tested and given limits: with the covariance multiplied by r'V^-1 r / (n - p) and t quantiles,
            with t quantiles alone, or by the normal distribution. ``"knha"`` is metafor's word for the first.
        newdata : table, optional
            Covariates at which to predict; by default the mean of a model without covariates.
        level : float

        Returns
        -------
        Heterogeneity
            ``frame`` (tau2, tau, limits, I2, H2), ``Q, df, p_value`` of Cochran's test, ``coefficients``, ``prediction``;
            ``plot(ax=)`` is a forest plot.

        Raises
        ------
        PlanError
            For fits without known standard errors, and terms that are no intercepts.

        References
        ----------
        Knapp & Hartung (2003), Stat. Med. 22, 2693-2710; Higgins & Thompson (2002), Stat. Med. 21, 1539-1558; Viechtbauer
        (2007), Stat. Med. 26, 37-52; Viechtbauer (2010), J. Stat. Softw. 36(3) (metafor).
        """
        from lmmformula.reporting.meta import heterogeneity

        return heterogeneity(self._fit, test, newdata, level)
