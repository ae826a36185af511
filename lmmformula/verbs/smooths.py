"""Smooths of a fit: their table, and their curves with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import optional, text, whole
from lmmformula.arguments.kinds_of_data import table
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np

    from lmmformula.reporting.frames import Table
    from lmmformula.reporting.smooths import SmoothCurve
    from lmmformula.typing import Data

__all__ = ["SmoothVerbs"]


@checked_methods(
    kinds={
        "smooth": {
            "name": text("the name of a smooth, such as 's(x)'"),
            "newdata": optional(table()),
            "points": optional(whole(2, 100_000)),
        }
    }
)
class SmoothVerbs(Verbs):
    """Smooths of a fit."""

    def smooths(self) -> Table:
        """Every smooth of the mean: standard deviations of its penalised part, degrees of freedom, and its test.

        ``sd`` is that of the penalised coefficients (gamm4's, brms' ``sds``); ``edf`` the trace of the smooth's part of
        ``F = (G + S)^-1 G``; ``ref.df`` that of ``2F - FF``, the rank of its test; then the statistic and p-value of Wood
        (2013, Biometrika 100, 221-228), F where a dispersion is estimated, else chi-square; of a wholly penalised smooth
        those of Wood (2013, Biometrika 100, 1005-1010). They take the variances as known. Of a posterior the standard
        deviations alone.
        """
        from lmmformula.reporting.smooths import smooths_table

        return smooths_table(self._fit)

    def smooth(
        self,
        name: str,
        newdata: Data = None,
        *,
        points: int | None = None,
        level: float = 0.95,
        seed: int | np.random.Generator | None = None,
    ) -> SmoothCurve:
        """One smooth on a grid, with limits of each point and of the whole curve.

        Parameters
        ----------
        name : str
            As :meth:`smooths` names it; ``"s(x)"`` is all levels of ``s(x, by = f)``.
        newdata : table, optional
            Values of its variables; by default a grid over the range of the rows of the fit.
        points : int, optional
            Along each variable: 100 for one, 40 for two.
        level : float
        seed : int or Generator, optional
            Of the draws behind the limits of the whole curve; by default always the same.

        Returns
        -------
        SmoothCurve
            ``frame`` with ``fit, se, lower, upper, lower_all, upper_all``; ``plot(ax=)``.

        Raises
        ------
        DataError
            For a name that no smooth has.
        PlanError
            For a fit without smooths.
        """
        from lmmformula.reporting.smooths import smooth

        return smooth(self._fit, name, newdata, points, level, seed)
