"""Is the model right: checks, residuals by simulation, influence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmmformula.arguments import checked_methods
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np

    from lmmformula.reporting.simulated import SimulatedResiduals

__all__ = ["CheckingVerbs"]


@checked_methods()
class CheckingVerbs(Verbs):
    """Is the model right: checks, residuals by simulation, influence."""

    def simulated_residuals(
        self,
        n: int = 250,
        seed: int | np.random.Generator | None = None,
        *,
        conditional: bool = False,
        by_group: Any = None,
        rows: Any = None,
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
            Positions among the rows of the fit; all by default. A million rows take about 40 ms for each simulation.

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
