"""Marginal means, contrasts, trends, and predictions averaged over a population."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import flag, mapping, names, optional, real, text, word
from lmmformula.arguments.kinds_of_data import table
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmmformula.inference.records import Cluster
    from lmmformula.reporting.marginal_means import MarginalMeans
    from lmmformula.typing import Arguments, Data

__all__ = ["MeansVerbs"]

_GRID = {
    "by": optional(names("names of variables")),
    "weights": word("equal", "proportional", "outer", "cells", "flat"),
    "component": optional(text("the name of a parameter, such as 'zi', 'disp' or 'phi'")),
    "nesting": optional(
        mapping("a mapping from a factor to what it is nested in, such as {'drug': 'route'}")
    ),
    "kind": optional(word("link", "response")),
    "data": optional(table()),
    "offset": optional(real("a number", lambda x: True)),
}


@checked_methods(
    kinds={
        "emmeans": _GRID,
        "emtrends": _GRID,
        "joint_tests": {"data": _GRID["data"], "by": _GRID["by"]},
        "predict_population": {"interval": flag()},
    }
)
class MeansVerbs(Verbs):
    """Marginal means, contrasts, trends, and predictions averaged over a population."""

    def emmeans(
        self,
        specs: str | Iterable[str],
        *,
        by: str | Iterable[str] | None = None,
        at: Arguments | None = None,
        weights: str = "equal",
        nesting: Arguments | None = None,
        component: str | None = None,
        kind: str | None = None,
        regrid: bool = False,
        bias_adjust: bool | float = False,
        average: str = "typical",
        offset: float | None = None,
        adjust: str | None = None,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
        level: float = 0.95,
        data: Data = None,
        seed: int | np.random.Generator | None = 0,
    ) -> MarginalMeans:
        """Marginal means: predictions of the fixed part, averaged over a grid of reference values.

        The grid has all levels of factors (numbers with two values are factors, as emmeans has it) and the mean of other
        numbers; an offset is that of the reference values. ``m.emmeans("recipe | temp").contrast("pairwise")`` compares means.
        Of several responses there are means of each, compared within it; ``.contrast(by="recipe")`` compares responses.

        Parameters
        ----------
        specs : str or list of str
            Whose means: ``"a"``, ``"a * b"``, ``"a | b"`` (compared within each b), ``"~ 1"``, or with a comparison,
            ``"pairwise ~ a | b"``, whose result is then in ``.contrasts``.
        by : str or list of str, optional
            What else stands right of the bar.
        at : mapping, optional
            Variable -> value or values, instead of those of the grid: ``at={"temp": [180, 200]}``.
        weights : {"equal", "proportional", "outer", "cells", "flat"}
            Of the cells that are averaged: equal, by the frequencies of the factors averaged over (all together, or as a
            product of their margins), by the cells' own frequencies, or equal among cells that are not empty.
        nesting : mapping, optional
            Factor -> the factor, or list of factors, within which its levels exist, ``{"drug": "route"}``; by default what the
            data and the formula say, which a note names. ``{}`` for none.
        component : str, optional
            Means of another parameter than the response's mean, which has a formula of its own: ``"zi"``, ``"disp"``, or
            its name (:mod:`lmmformula.inference.means.component`), as glmmTMB has it.
        kind : {"link", "response"}, optional
            The scale that is shown, the former unless means are averaged over a population: that of the linear predictor (of
            ``log(y)``), or that of the response, whose means are those of the link carried back. Contrasts of logs and logits
            are then ratios and odds ratios.
        regrid : bool
            Average responses, instead of averaging on the link's scale; contrasts are then differences of responses.
        bias_adjust : bool or float
            Add what the variance of random effects (and of residuals, for ``log(y)``) does to a mean of the response, to second
            order: True for the fit's variance, or a standard deviation.
        average : {"typical", "population"}
            A group with random effects zero, or the mean response over groups, random effects integrated out
            (:mod:`lmmformula.inference.means.population`); cells are then averaged as responses.
        offset : float, optional
            In place of the offset of the reference values: 0 for rates of a count with ``offset(log(exposure))``.
        adjust : str, optional
            Of the comparison in `specs`.
        ddf : {"satterthwaite", "kenward-roger", "normal"}
        vcov, cluster
            A robust covariance matrix: "CR0" to "CR3", and the clusters.
        level : float
            Of intervals.
        data : table, optional
            Rows that means and frequencies are taken of; by default those of the fit.
        seed : int or Generator
            Of adjustments that draw ("mvt").

        Returns
        -------
        MarginalMeans
            ``.table`` (emmeans' columns), ``.frame`` (broom's), ``.contrast()``, ``.pairs()``, ``.letters()``, ``.test()``,
            ``.confint()``, ``.joint_tests()``, ``.regrid()``, ``.plot()``. Of a posterior medians of draws and intervals of
            highest density.

        Raises
        ------
        DataError
            For a variable that the fixed part does not have, and a loaded fit without `data`.

        References
        ----------
        Searle, Speed & Milliken (1980), The American Statistician 34, 216-221. Lenth (2016), J. Stat. Software 69(1).
        """
        from lmmformula.inference.means.marginal import marginal_means
        from lmmformula.inference.means.of_responses import means_by_response
        from lmmformula.reporting.marginal_means import MarginalMeans

        means, wanted = means_by_response(
            marginal_means,
            self._fit,
            specs,
            by=by,
            at=at,
            weights=weights,
            nesting=nesting,
            component=component,
            kind=kind,
            regrid=regrid,
            bias_adjust=bias_adjust,
            average=average,
            offset=offset,
            ddf=ddf,
            vcov=vcov,
            cluster=cluster,
            level=level,
            data=data,
            seed=seed,
        )
        out = MarginalMeans(means)
        return MarginalMeans(means, out.contrast(wanted, adjust=adjust)) if wanted else out

    def emtrends(
        self,
        specs: str | Iterable[str],
        var: str,
        *,
        by: str | Iterable[str] | None = None,
        at: Arguments | None = None,
        weights: str = "equal",
        nesting: Arguments | None = None,
        kind: str = "link",
        average: str = "typical",
        adjust: str | None = None,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
        level: float = 0.95,
        data: Data = None,
        seed: int | np.random.Generator | None = 0,
    ) -> MarginalMeans:
        """Slopes in a numeric variable, averaged as :meth:`emmeans` averages means.

        Parameters
        ----------
        specs, by, at, weights, nesting, adjust, ddf, vcov, cluster, level, data, seed
            As in :meth:`emmeans`.
        var : str
            The variable; slopes are those at its mean, or where `at` or `specs` put it.
        kind : {"link", "response"}
            Slopes of the linear predictor or of the response.
        average : {"typical", "population"}
            With "population" slopes of the mean response over groups.

        Returns
        -------
        MarginalMeans

        Raises
        ------
        DataError
        """
        from lmmformula.inference.means.of_responses import means_by_response
        from lmmformula.inference.means.trends import trends
        from lmmformula.reporting.marginal_means import MarginalMeans

        means, wanted = means_by_response(
            trends,
            self._fit,
            specs,
            var,
            by=by,
            at=at,
            weights=weights,
            nesting=nesting,
            kind=kind,
            average=average,
            ddf=ddf,
            vcov=vcov,
            cluster=cluster,
            level=level,
            data=data,
            seed=seed,
        )
        out = MarginalMeans(means)
        return MarginalMeans(means, out.contrast(wanted, adjust=adjust)) if wanted else out

    def joint_tests(
        self,
        by: str | Iterable[str] | None = None,
        *,
        at: Arguments | None = None,
        ddf: str = "satterthwaite",
        vcov: str | None = None,
        cluster: Cluster = None,
        data: Data = None,
    ) -> pd.DataFrame:
        """F tests of main effects and interactions of the fixed part by its marginal means, within each combination of `by`.

        Type III tests whose hypotheses do not depend on the coding: :mod:`lmmformula.inference.means.joint`.

        Parameters
        ----------
        by : str or list of str, optional
            Variables within whose combinations the others are tested.
        at, ddf, vcov, cluster, data
            As in :meth:`emmeans`.

        Returns
        -------
        DataFrame
            ``model term, [by,] df1, df2, F.ratio, p.value``; with df2 infinite df1 times F is chi-square.

        Raises
        ------
        PlanError
            For a posterior.
        """
        from lmmformula.inference.means.of_responses import joint_tests
        from lmmformula.reporting.frames import printed
        from lmmformula.reporting.marginal_tables import joint_table

        found = joint_tests(self._fit, by=by, at=at, ddf=ddf, vcov=vcov, cluster=cluster, data=data)
        return printed(joint_table(*found))

    def predict_population(
        self,
        newdata: Data = None,
        *,
        se: bool = False,
        interval: bool = False,
        level: float = 0.95,
        vcov: str | None = None,
        cluster: Cluster = None,
    ) -> pd.Series | pd.DataFrame:
        """Expected response of each row over the population of groups: random effects integrated out.

        :meth:`predict` with ``re_form=None`` has the response of a group with random effects zero, which is another number
        unless the link is the identity. Of a zero-inflated model it is the mean of the conditional part, as in :meth:`emmeans`.

        Parameters
        ----------
        newdata : table, optional
            The rows of the fit by default. Grouping factors need not be there.
        se, interval : bool
            Add standard errors, and limits of the expected response, which are those on the scale of the link carried back.
        level : float
        vcov, cluster
            A robust covariance matrix of the fixed effects: "CR0" to "CR3", and the clusters.

        Returns
        -------
        Series, or DataFrame with columns ``fit[, se][, lower, upper]``
            ``attrs["note"]`` says how effects were integrated out.

        References
        ----------
        Zeger, Liang & Albert (1988), Biometrics 44, 1049-1060.
        """
        from lmmformula.inference.means.rowwise import population_predictions

        return population_predictions(
            self._fit, newdata, se=se, interval=interval, level=level, vcov=vcov, cluster=cluster
        )
