"""Hypotheses about the fixed effects, and their covariance matrix by other estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import optional, word
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.records import Cluster

__all__ = ["TestingVerbs"]

_KINDS = {"cov_params": {"kind": optional(word("CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"))}}


@checked_methods(kinds=_KINDS)
class TestingVerbs(Verbs):
    """Hypotheses about the fixed effects, and their covariance matrix by other estimators."""

    def cov_params(self, kind: str | None = None, cluster: Cluster = None) -> pd.DataFrame:
        """Covariance matrix of the fixed effects: the model's, or one that holds where the model's variances do not.

        Parameters
        ----------
        kind : {"CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"} or None
            None for the model's, or for "CR2" where `cluster` is given. "CR2" is unbiased if the model holds, "CR3" is about a
            jackknife over clusters, "CR0" is the plain sandwich, "CR1", "CR1p" and "CR1S" are it times a number. See
            :mod:`lmmformula.inference.robust.sums`.
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
            For a fit that is no Gaussian likelihood's, and clusters that share random effects.

        Notes
        -----
        Cost: one pass over the rows; matrices of the size of a cluster's rows or effects, whichever are fewer.
        """
        from lmmformula.inference.robust.table import cov_params
        from lmmformula.reporting.frames import printed

        return printed(cov_params(self._fit, kind, cluster))
