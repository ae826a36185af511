"""Tests of linear restrictions, with the attributes that results of statsmodels have."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.hypotheses.restrictions import Restricting, restrictions
from lmmformula.inference.student import critical, interval_names, two_sided
from lmmformula.reporting.drawn import DrawnTable
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["JointResult", "TResult", "joint_test", "shown_hypotheses", "t_test"]


class _Shown:
    """Shows its table."""

    __slots__ = ()

    @property
    def frame(self) -> Table:
        raise NotImplementedError

    def tidy(self) -> Table:
        """:attr:`frame`."""
        return self.frame

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        return self.frame.exhibit()

    def summary(self) -> Table:
        """:attr:`frame`, which prints as a table."""
        return self.frame

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str | None:
        return self.frame._repr_html_()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TResult(_Shown):
    """t or z test of each restriction.

    Attributes
    ----------
    effect : (r,) array
        R beta.
    sd : (r,) array
        Their standard errors.
    statistic : (r,) array
        (effect - constants) / sd.
    df_denom : (r,) array
        Degrees of freedom; infinite for z.
    pvalue : (r,) array
        Two-sided.
    constants : (r,) array
        q.
    labels : tuple of str
    errors_by : str
        What the standard errors and degrees of freedom are.
    """

    effect: Array
    sd: Array
    statistic: Array
    df_denom: Array
    pvalue: Array
    constants: Array
    labels: tuple[str, ...]
    errors_by: str = ""

    @property
    def tvalue(self) -> Array:
        """statsmodels' name of :attr:`statistic`."""
        return self.statistic

    @property
    def distribution(self) -> str:
        """Either "t", or "norm" where no test has degrees of freedom."""
        return "norm" if np.isinf(self.df_denom).all() else "t"

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Intervals (r, 2) of the effects of level 1 - alpha."""
        reach = critical(1.0 - alpha, self.df_denom) * self.sd
        return np.column_stack([self.effect - reach, self.effect + reach])

    def summary_frame(self, alpha: float = 0.05) -> Table:
        """The table with intervals of level 1 - alpha; statsmodels' name."""
        import pandas as pd

        letter, limits = ("z", "t")[self.distribution == "t"], self.conf_int(alpha)
        low, high = interval_names(1.0 - alpha)
        columns = {
            "Estimate": self.effect,
            **({"H0": self.constants} if self.constants.any() else {}),
            "Std. Error": self.sd,
            **({"df": self.df_denom} if letter == "t" else {}),
            f"{letter} value": self.statistic,
            f"Pr(>|{letter}|)": self.pvalue,
            low: limits[:, 0],
            high: limits[:, 1],
        }
        table = pd.DataFrame(columns, index=list(self.labels))
        table.attrs["heading"] = f"Tests of linear restrictions ({self.errors_by})"
        return printed(table)

    @property
    def frame(self) -> Table:
        """A row for each restriction."""
        return self.summary_frame()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JointResult(_Shown):
    """F or chi-square test of all restrictions together.

    Attributes
    ----------
    statistic : float
        F (after Kenward & Roger's or Hotelling's scaling), or the chi-square.
    df_num : int
        Rank of R.
    df_denom : float
        Of F. Of a chi-square its degrees of freedom, as statsmodels has it.
    pvalue : float
    distribution : {"F", "chi2"}
    labels : tuple of str
    errors_by : str
        Whose covariance matrix and degrees of freedom.
    """

    statistic: float
    df_num: int
    df_denom: float
    pvalue: float
    distribution: str
    labels: tuple[str, ...] = field(repr=False)
    errors_by: str = ""

    @property
    def fvalue(self) -> float:
        """statsmodels' name of :attr:`statistic`."""
        return self.statistic

    @property
    def frame(self) -> Table:
        """One row."""
        import pandas as pd

        if self.distribution == "F":
            columns = {
                "NumDF": self.df_num,
                "DenDF": self.df_denom,
                "F value": self.statistic,
                "Pr(>F)": self.pvalue,
            }
        else:
            columns = {"Chisq": self.statistic, "Df": self.df_num, "Pr(>Chisq)": self.pvalue}
        table = pd.DataFrame({name: [value] for name, value in columns.items()}, index=["all together"])
        table.attrs["heading"] = f"Joint test of {len(self.labels)} linear restrictions ({self.errors_by})"
        table.attrs["note"] = "; ".join(self.labels)
        return printed(table)


def t_test(fit: Fitted, given: Restricting, ddf: str, vcov: str | None, cluster: Cluster) -> TResult:
    """A test of each restriction: :meth:`lmmformula.Fit.t_test`."""
    fit.inference.check("tests of coefficients")
    asked, known = restrictions(fit, given), fit.inference.uncertainty(ddf, vcov, cluster)
    effect, sd, df = asked.rows @ fit.estimate.beta, known.errors(asked.rows), known.df(asked.rows)
    statistic = (effect - asked.constants) / sd
    return TResult(
        effect, sd, statistic, df, two_sided(statistic, df), asked.constants, asked.labels, known.label
    )


def joint_test(
    fit: Fitted, given: Restricting, ddf: str, vcov: str | None, cluster: Cluster, *, use_f: bool
) -> JointResult:
    """A test of all restrictions: :meth:`lmmformula.Fit.f_test`, :meth:`lmmformula.Fit.wald_test`."""
    fit.inference.check("tests of coefficients")
    known = fit.inference.uncertainty(ddf if use_f else "normal", vcov, cluster)
    asked = restrictions(fit, given)
    test = known.joint(asked.rows, asked.constants)
    if use_f:
        return JointResult(test.statistic, test.q, test.df, test.p_value, "F", asked.labels, known.label)
    chi_square = test.q * test.statistic
    return JointResult(chi_square, test.q, float(test.q), test.p_value, "chi2", asked.labels, known.label)


def shown_hypotheses(table: pd.DataFrame) -> DrawnTable:
    """Tests of hypotheses, drawn by their distance from what they state."""
    from lmmformula.reporting.plots.tests import hypotheses

    size = (5.6, 1.2 + 0.32 * max(len(table), 2))
    caption = "Left side less right side, in standard errors, with intervals."
    return DrawnTable.of(table, Drawing("Hypotheses", caption, size, partial(hypotheses, table)))
