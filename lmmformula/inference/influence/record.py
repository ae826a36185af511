"""Influence of the units of a fit, and from where on it is called large."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError

__all__ = ["Cutoff", "Influence"]


@dataclass(frozen=True, slots=True)
class Cutoff:
    """From where on one measure is called large.

    Attributes
    ----------
    measure : str
    value : float
    rule : str
        How the value comes about, and who says so.
    centre : float or None
        What the measure is large by its distance from; None if by its absolute value.
    """

    measure: str
    value: float
    rule: str
    centre: float | None = None

    def exceeded(self, values: pd.Series | pd.DataFrame) -> pd.Series:
        """Which of the units are beyond it; of several columns, in any."""
        beyond = (values - (self.centre or 0.0)).abs() > self.value
        return beyond.any(axis=1) if isinstance(beyond, pd.DataFrame) else beyond


@dataclass(frozen=True, eq=False)
class Influence:
    """What leaving out single rows, or all rows of a level, does to a fit.

    Attributes
    ----------
    group : str or None
        The factor whose levels were left out; None for rows.
    frame : DataFrame
        A row a unit, in the order of the levels or rows: ``n, cooks_distance, mdffits, covratio, covtrace, sigma`` (without the
        unit), ``leverage_fixed, leverage_random, leverage`` (means over the unit's rows); of rows ``studentised`` and
        ``studentised_deleted`` too, of groups that were refitted the relative changes of the variances.
    dfbeta, dfbetas : DataFrame
        ``beta - beta_(i)``, and over the standard error of the estimate without the unit.
    params : DataFrame
        Fixed effects without each unit.
    cutoffs : tuple of Cutoff
    formula : str
    how : str
        What was held and what was estimated again.
    """

    group: str | None
    frame: pd.DataFrame
    dfbeta: pd.DataFrame
    dfbetas: pd.DataFrame
    params: pd.DataFrame = field(repr=False)
    cutoffs: tuple[Cutoff, ...]
    formula: str
    how: str

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def units(self) -> str:
        """What was left out, one at a time."""
        return "rows" if self.group is None else f"levels of {self.group}"

    def values(self, measure: str) -> pd.Series | pd.DataFrame:
        """One measure of all units: a column of `frame`, or "dfbetas".

        Raises
        ------
        DataError
        """
        if measure == "dfbetas":
            return self.dfbetas
        if measure not in self.frame.columns:
            known = ", ".join([*map(str, self.frame.columns), "dfbetas"])
            raise DataError(f"measure={measure!r} is unknown; use one of {known}.")
        return self.frame[measure]

    def flagged(self) -> pd.DataFrame:
        """Which measures are beyond their cut-offs, True or False; a row a unit, a column a cut-off."""
        return pd.DataFrame({c.measure: c.exceeded(self.values(c.measure)) for c in self.cutoffs})

    def order(self, by: str = "cooks_distance") -> NDArray[np.intp]:
        """Positions of the units, largest value of one measure first; those without a number last."""
        values = self.values(by)
        size = values.abs().max(axis=1) if isinstance(values, pd.DataFrame) else values.abs()
        return np.argsort(-size.fillna(-np.inf).to_numpy(), kind="stable")

    def worst(self, count: int = 10, by: str = "cooks_distance") -> pd.DataFrame:
        """The units with the largest values of one measure, largest first: :meth:`tidy` of them."""
        return self.tidy().iloc[self.order(by)[:count]]

    def tidy(self) -> pd.DataFrame:
        """`frame` with the columns of `dfbetas`, called ``dfbetas_<coefficient>``."""
        return pd.concat([self.frame, self.dfbetas.add_prefix("dfbetas_")], axis=1)
