"""Fits to imputed data sets as one: what prints, and the call that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from lmmformula.arguments import ResultBase, checked, checked_methods
from lmmformula.arguments.kinds import Kind, UnsuitedError, optional, real
from lmmformula.inference.fitted import Fitted
from lmmformula.inference.many.pooling import Pooling, pooling
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.typing import Drawn

__all__ = ["Pooled", "pool"]


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class Pooled:
    """Fixed effects pooled over multiply imputed data.

    Attributes
    ----------
    found : Pooling
    """

    found: Pooling

    @property
    def frame(self) -> pd.DataFrame:
        """By term ``estimate, std_error, statistic, df, p_value``, limits, ``riv, lambda, fmi, ubar, b, t, dfcom``."""
        return self.found.frame.copy()

    @property
    def params(self) -> pd.Series:
        """Pooled estimates."""
        return pd.Series(self.found.frame["estimate"])

    @property
    def bse(self) -> pd.Series:
        """Their standard errors, roots of T."""
        return pd.Series(self.found.frame["std_error"])

    def cov_params(self) -> Table:
        """Their covariance matrix, Ubar + (1 + 1/m) B."""
        names = list(self.found.frame.index)
        return printed(pd.DataFrame(self.found.vcov.copy(), index=names, columns=names))

    def tidy(self) -> Table:
        """:attr:`frame` with the terms in a column, as mice's summary of a pool."""
        return printed(self.found.frame.rename_axis("term").reset_index())

    @cached_property
    def _table(self) -> Table:
        out = printed(self.found.frame.drop(columns=["riv", "lambda", "ubar", "b", "t", "dfcom"]))
        out.attrs["heading"] = f"{self.found.formula}, pooled over {self.found.m} imputations"
        out.attrs["note"] = (
            "df: Barnard & Rubin; fmi: fraction of missing information. Variance components are in .frame."
        )
        return out

    def plot(self, ax: Drawn = None) -> Drawn:
        """Pooled estimates with their intervals; thin lines have the variance within imputations alone."""
        from lmmformula.reporting.plots.pooled import pooled

        return pooled(self.found, ax)

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        size = (5.2, max(1.8, 1.2 + 0.3 * len(self.found.frame)))
        caption = "Pooled estimates with intervals; dark: what they would be if nothing were missing."
        return (
            self._table.exhibit()
            .titled("Pooled estimates")
            .drawn(Drawing("Pooled estimates", caption, size, self.plot))
        )

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str | None:
        return self._table._repr_html_()


def _fits(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, ResultBase) for v in value):
        raise UnsuitedError
    return tuple(value)


_DF = optional(real("a number above 0", lambda x: x > 0.0))


@checked(fits=Kind("a list of fits, one for each imputed data set", _fits), dfcom=_DF)
def pool(fits: Sequence[Fitted], *, dfcom: float | None = None, level: float = 0.95) -> Pooled:
    """Pool fits of one model to multiply imputed data by Rubin's rules.

    Parameters
    ----------
    fits : list of Fit
        One for each imputed data set.
    dfcom : float, optional
        Degrees of freedom of the tests with complete data; by default those of each coefficient of the fits. mice takes n minus
        the number of parameters, ``fits[0].df_resid``.
    level : float
        Of the intervals.

    Returns
    -------
    Pooled
        ``.frame`` has mice's columns: estimates, standard errors, degrees of freedom (Barnard & Rubin 1999), relative increase
        of variance, lambda, fraction of missing information.

    Raises
    ------
    DataError
        For fewer than two fits, and for fits of different models.
    PlanError
        For posteriors, whose draws are put together instead.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys; Barnard & Rubin (1999), Biometrika 86, 948-955;
    van Buuren & Groothuis-Oudshoorn (2011), J. Stat. Software 45(3).
    """
    return Pooled(pooling(fits, dfcom, level))
