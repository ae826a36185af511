"""Is the model right: checks, residuals by simulation, influence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmmformula.reporting.checked import Check
    from lmmformula.reporting.influence import InfluenceTable
    from lmmformula.reporting.simulated import SimulatedResiduals
    from lmmformula.typing import Axes, Data, Drawn

__all__ = ["CheckingVerbs"]


@checked_methods()
class CheckingVerbs(Verbs):
    """Is the model right: checks, residuals by simulation, influence."""

    def check(
        self,
        seed: int | np.random.Generator | None = 0,
        n: int = 250,
        *,
        time: Data = None,
        coords: Data = None,
        rows: Data = None,
    ) -> Check:
        """Is the model right: what every check finds, in words with numbers, the worst first.

        Convergence, separation, columns that say nothing, singular covariances and in which direction, over- and
        underdispersion, zeros, linearity, homogeneity of the residuals, autocorrelation, outliers, collinearity, few levels,
        and the shape of residuals and random effects. Each finding says what it means and what to do.

        Parameters
        ----------
        seed : int or Generator
            Of simulations and randomised residuals; None for others each time.
        n : int
            Simulations.
        time : str or array, optional
            When rows were observed: a column of the data, or a number for each row. Series are the levels of the first grouping
            factor.
        coords : tuple of str, or (rows, d) array, optional
            Where rows were observed.
        rows : slice, mask or array of int, optional
            Positions of the rows whose residuals are looked at; by default at most 20,000, evenly spaced.

        Returns
        -------
        Check
            ``frame`` has a row for each finding, ``problems`` those to act on, ``ok`` whether there is a problem.

        Notes
        -----
        No number that is held against a bar has a unit. P-values are those of each check alone; verdicts also ask whether the
        departure is large enough to matter, since with many rows everything is significant. Cost: `n` simulations of the rows
        looked at, and the variances of the random effects.

        Examples
        --------
        >>> from lmmformula import fit, load_dataset
        >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
        >>> m.check().ok
        True
        """
        from lmmformula.inference.checking.report import examine
        from lmmformula.reporting.checked import Check

        found = examine(self._fit, seed, n, time=time, coords=coords, rows=rows, made=Check)
        assert isinstance(found, Check)
        return found

    def simulated_residuals(
        self,
        n: int = 250,
        seed: int | np.random.Generator | None = None,
        *,
        conditional: bool = False,
        by_group: Data = None,
        rows: Data = None,
    ) -> SimulatedResiduals:
        """Scaled residuals by simulation (DHARMa's), uniform on (0, 1) if the model is right, for every family.

        Parameters
        ----------
        n : int
            Simulations; a residual has a resolution of 1/n.
        seed : int or Generator, optional
        conditional : bool
            Keep the random effects of the fit; by default they are drawn anew in each simulation.
        by_group : str or array, optional
            A column of the data or a grouping factor whose rows are added up before residuals are taken.
        rows : slice, mask or array of int, optional
            Positions among the rows of the fit; all by default. A million rows take about .4 s for each simulation.

        Returns
        -------
        SimulatedResiduals
            Prints tests of uniformity, dispersion, outliers and zeros; has ``frame``, ``plot()``, ``test_temporal(time)``,
            ``test_spatial(x, y)``, ``recalculate(group)`` and others.

        Notes
        -----
        For a posterior each simulation has a draw of its own (posterior predictive). A dispersion that a quasi-likelihood
        adds is not simulated, and a warning says so. Cost O(n N) draws of the family.

        References
        ----------
        Dunn & Smyth (1996), J. Comput. Graph. Stat. 5, 236-244; Hartig, DHARMa (R package).
        """
        from lmmformula.inference.checking.scaled import scaled_residuals
        from lmmformula.reporting.simulated import SimulatedResiduals

        found = scaled_residuals(self._fit, n, seed, conditional, by_group, rows, SimulatedResiduals)
        assert isinstance(found, SimulatedResiduals)
        return found

    def influence(self, group: str | None = None, refit: bool = False) -> InfluenceTable:
        """What leaving out each row, or all rows of each level of `group`, does to the fit.

        Cook's distance, DFBETA(S), MDFFITS, COVRATIO, COVTRACE, leverage and studentised residuals. Gaussian models: the exact
        solution of the mixed-model equations without these rows at the estimated theta, by updating; with `refit` theta is
        estimated again too, one search for each. Others: one scoring step.

        Parameters
        ----------
        group : str, optional
            A grouping factor of the model, nested or crossed, any column of the data, or ``a:b``; by default single rows.
        refit : bool
            Estimate the variances again without each; of Gaussian fits.

        Returns
        -------
        InfluenceTable
            Prints the units with the largest Cook's distance first; ``.frame, .dfbeta, .dfbetas, .params, .cutoffs``,
            ``.flagged()``, ``.worst()``, ``.tidy()`` and ``.plot()``.

        Raises
        ------
        PlanError
            For posteriors, for engines that know M^-1 with errors only, and for `refit` of fits that are not Gaussian.
        DataError
            For a group that there is not.

        Notes
        -----
        The algebra stands in :mod:`lmmformula.inference.influence.deletion` (Haslett & Dillane 2004; Demidenko & Stukel 2005),
        the measures in :mod:`lmmformula.inference.influence.measures`. Cost: O(n p^2) without crossed factors; with them a
        solve for each effect that units share, and t^3 for a unit that touches t of these.
        """
        from lmmformula.reporting.influence import influence_table

        return influence_table(self._fit, group, refit)

    def naivete(self) -> pd.DataFrame:
        """How wrong a plain GLM would be: see :func:`lmmformula.inference.naivete.naivete`."""
        from lmmformula.inference.naivete import naivete
        from lmmformula.reporting.frames import printed

        return printed(naivete(self._fit))

    def plot_naivete(self, ax: Axes | None = None) -> Drawn:
        """Scatter plot of :meth:`naivete`, drawn into matplotlib's `ax` or a new one; returns the axes."""
        from lmmformula.inference.naivete import plot_naivete

        return plot_naivete(self.naivete(), ax)
