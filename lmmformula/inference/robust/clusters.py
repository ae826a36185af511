"""Clusters of rows: what a robust covariance matrix takes for independent of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import ArgumentError, DataError, PlanError
from lmmformula.formula.spec import Name
from lmmformula.frame.arguments import by_labels
from lmmformula.frame.grouping import group_factor
from lmmformula.frame.table import open_table
from lmmformula.inference.rows import row_labels
from lmmformula.inference.uncertainty import Uncertainty
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.residual import ResidualBlock
from lmmformula.typing import Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["ByClusters", "Clusters", "clusters_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters of the rows of a fit.

    Attributes
    ----------
    name : str
        Of the variable; "cluster" for one that was given as labels.
    codes : (n,) int array
        Cluster of each row, 0 <= code < count.
    count : int
    """

    name: str
    codes: NDArray[np.intp]
    count: int


@dataclass(frozen=True, eq=False)
class ByClusters(Uncertainty):
    """What every estimator by clusters is called.

    Attributes
    ----------
    fit : Fit
    estimator : str
        "CR0" to "CR3".
    clusters : Clusters
    """

    fit: Fitted
    estimator: str
    clusters: Clusters

    @property
    def kind(self) -> str:
        return self.estimator

    @property
    def grouped(self) -> str:
        return self.clusters.name

    @property
    def label(self) -> str:
        return f"{self.estimator}, {self.clusters.count:,} clusters of {self.clusters.name}"

    @property
    def how(self) -> str:
        return f"with errors by clusters ({self.label})"


def clusters_of(fit: Fitted, cluster: Cluster = None) -> Clusters:
    """The clusters of a fit, between which its model has no covariance.

    Parameters
    ----------
    fit : Fit
    cluster : str, sequence of labels, or None
        A grouping factor or a column of the data by name (``a:b`` for combinations of two), or one label for each row of the
        data (or of the fit); a Series is read by its index. By default the grouping factor with the fewest levels.

    Raises
    ------
    ArgumentError
        For a model without grouping factors, if `cluster` is None.
    DataError
        For a column that is not there, missing labels, or fewer than two clusters.
    PlanError
        Where a random effect, or dependent levels, couple clusters.
    """
    fit.problem.refuse_elsewhere("a covariance matrix by clusters")
    name, labels = _labels(fit, cluster)
    found = _coded(name, labels)
    for term in fit.problem.terms:
        _refuse_coupling(term, found)
    if (residual := fit.problem.residual) is not None:
        _refuse_residuals(residual, found)
    return found


def _codes(term: GroupBlock) -> Data:
    """The level of each row."""
    if term.shares is not None:
        raise ArgumentError(
            f"rows have several levels of {term.group}, so that it makes no clusters: name the column of the data whose values "
            "are clusters without common levels, such as cluster='site'."
        )
    return term.codes


def _labels(fit: Fitted, cluster: Cluster) -> tuple[str, Data]:
    """Name and one label for each row of the fit."""
    problem = fit.problem
    if cluster is None:
        grouped = [t for t in problem.terms if not t.of_mean]
        residual = problem.residual
        if not grouped and residual is not None and residual.group:
            return residual.group, residual.codes
        if not grouped:
            raise ArgumentError(
                f"cluster=None stands for a grouping factor, and {fit.formula} has none: name the column of the data whose "
                "values are the clusters, such as cluster='subject'."
            )
        term = min(grouped, key=lambda t: (t.shares is not None, t.m))
        return term.group, _codes(term)
    if not isinstance(cluster, str):
        return "cluster", _given(fit, cluster)
    for term in problem.terms:
        if term.group == cluster:
            return cluster, _codes(term)
    if problem.residual is not None and problem.residual.group == cluster:
        return cluster, problem.residual.codes
    if fit.recall.data is None:
        raise PlanError(
            f"cluster={cluster!r} is no grouping factor of {fit.formula}, and a loaded fit does not carry its data: give the "
            f"labels themselves, cluster=data[{cluster!r}], or fit again."
        )
    return cluster, _of_data(fit, cluster)


def _of_data(fit: Fitted, name: str) -> Data:
    """A column of the data, or ``a:b``, the combinations of two."""
    table = open_table(fit.recall.data).session()
    names = [name] if name in table or ":" not in name else name.split(":")
    if len(names) == 1:
        return table.to_pandas(names, fit.problem.rows)[name]
    values: dict[Data, Data] = {Name(one): table.column(one).at(fit.problem.rows) for one in names}
    codes = group_factor(tuple(values), values.__getitem__).factor.codes
    return np.where(codes < 0, np.nan, codes)


def _given(fit: Fitted, cluster: Data) -> Data:
    """Labels as given, those of the rows that the fit uses; a Series is read by its index."""
    import pandas as pd

    problem = fit.problem
    if isinstance(cluster, pd.Series):
        own = pd.RangeIndex(problem.n_rows_data) if problem.labels is None else problem.labels
        if not cluster.index.equals(own):
            places = pd.Series(np.arange(len(cluster)), cluster.index)
            at = by_labels(places, "cluster", row_labels(problem), problem.n)
            return cluster.array[at.astype(np.intp)]
        return cluster.array[problem.rows]
    labels = np.asarray(cluster)
    if len(labels) == problem.n_rows_data:
        return labels[problem.rows]
    if len(labels) == problem.n:
        return labels
    raise DataError(
        f"cluster= has {len(labels):,} labels, and the data have {problem.n_rows_data:,} rows (the fit uses {problem.n:,})."
    )


def _coded(name: str, labels: Data) -> Clusters:
    import pandas as pd

    codes, found = pd.factorize(labels)
    if missing := int(np.sum(codes < 0)):
        raise DataError(
            f"the clusters `{name}` are missing in {missing:,} of the {len(codes):,} rows that the fit uses: every row needs "
            "one. Fit without these rows."
        )
    if len(found) < 2:
        raise DataError(
            f"`{name}` has {len(found)} value in the rows of the fit, and a robust covariance matrix compares clusters: name a "
            "variable with more."
        )
    return Clusters(name, codes, len(found))


def _refuse_residuals(residual: ResidualBlock, clusters: Clusters) -> None:
    """Refuse clusters that share a group of correlated residuals."""
    first = np.empty(int(residual.codes.max()) + 1, dtype=np.intp)
    first[residual.codes] = clusters.codes
    if (first[residual.codes] == clusters.codes).all():
        return
    where = f"groups of `{residual.group}`" if residual.group else "all rows"
    instead = f"cluster={residual.group!r} or a coarser variable, or " if residual.group else ""
    raise PlanError(
        f"the residuals of {residual.label} are correlated within {where}, which are in several clusters of `{clusters.name}` "
        f"({clusters.count:,} clusters), so that these depend on each other. A robust covariance matrix needs clusters that "
        f"contain whole groups: use {instead}conf_int(method='bootstrap')."
    )


def _refuse_coupling(term: GroupBlock, clusters: Clusters) -> None:
    """Refuse a term by which clusters would depend on each other."""
    label, count = term.label or term.group, f"`{clusters.name}` ({clusters.count:,} clusters)"
    if term.of_mean:
        raise PlanError(
            f"the penalised coefficients of {term.smooth} are shared by all rows, so that clusters of {count} depend on each "
            "other. Use conf_int(method='bootstrap'), or fit with an unpenalised spline, s(x, fx = TRUE)."
        )
    if not term.is_blockwise:
        why = "rows with several levels" if term.shares is not None else "dependent levels"
        raise PlanError(
            f"the term ({label}) has {why}, by which clusters of {count} depend on each other. A robust covariance matrix "
            "needs independent clusters: use conf_int(method='bootstrap')."
        )
    first = np.empty(term.m, dtype=np.intp)
    first[term.codes] = clusters.codes
    apart = first[term.codes] != clusters.codes
    if not apart.any():
        return
    level = term.levels[term.codes[int(np.argmax(apart))]]
    met = len(np.unique(clusters.codes[term.codes == term.codes[int(np.argmax(apart))]]))
    raise PlanError(
        f"the random effects ({label}) are shared by clusters of {count}: level {level!r} of `{term.group}` is in {met:,} of "
        "them, so that these depend on each other. A robust covariance matrix needs clusters that contain whole levels of each "
        f"grouping factor: use cluster={term.group!r} or a coarser variable, or, where factors are crossed, "
        "conf_int(method='bootstrap')."
    )
