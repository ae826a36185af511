"""The reference distribution of an estimate over its standard error: t where a test has degrees of freedom, else normal.

An interval and a test of the same coefficient use the same standard error and the same degrees of freedom, so that the interval
of level 1 - a leaves out zero exactly where p < a.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["DDF", "critical", "errors_and_df", "interval_names", "two_sided"]

DDF = ("satterthwaite", "kenward-roger", "normal")


def errors_and_df(fit: Fitted, ddf: str | None = None) -> tuple[Array, Array]:
    """Standard errors of the fixed effects and their degrees of freedom, infinite for z.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "kenward-roger", "normal"}, optional
        By default "satterthwaite", as :attr:`Fit.df` and :attr:`Fit.pvalues`: infinite except for linear mixed models.
        "kenward-roger" has standard errors of its own too.

    Returns
    -------
    standard errors, degrees of freedom : (p,) arrays

    Raises
    ------
    DataError
        For another word.
    PlanError
        Where Kenward and Roger's method is not defined.
    """
    if ddf is None or ddf == "satterthwaite":
        return fit.bse.to_numpy(), fit.df.to_numpy()
    if ddf == "normal":
        return fit.bse.to_numpy(), np.full(fit.problem.p, np.inf)
    if ddf == "kenward-roger":
        from lmmformula.inference.kenward_roger import kenward_roger

        return kenward_roger(fit).coefficients()
    raise DataError(f"ddf={ddf!r} is unknown; use one of {', '.join(map(repr, DDF))}.")


def critical(level: float, df: Array | float) -> Array:
    """Half-width of the central interval of `level`, in standard errors, for each of `df`."""
    from scipy.special import ndtri, stdtrit

    upper, df = 0.5 + level / 2, np.asarray(df, dtype=float)
    normal = np.isinf(df)
    return np.where(normal, ndtri(upper), stdtrit(np.where(normal, 1.0, df), upper))


def two_sided(t: Array, df: Array | float) -> Array:
    """Two-sided p-values of `t` on `df` degrees of freedom."""
    from scipy.special import ndtr, stdtr

    below, df = -np.abs(t), np.asarray(df, dtype=float)
    normal = np.isinf(df)
    return 2.0 * np.where(normal, ndtr(below), stdtr(np.where(normal, 1.0, df), below))


def interval_names(level: float) -> tuple[str, str]:
    """``2.5 %`` and ``97.5 %`` for level .95."""
    tail = 50 * (1 - level)
    return f"{tail:.4g} %", f"{100 - tail:.4g} %"
