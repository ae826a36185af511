"""The reference distribution of an estimate over its standard error: t where a test has degrees of freedom, else normal.

An interval and a test of the same coefficient use the same standard error and the same degrees of freedom, so that the interval
of level 1 - a leaves out zero exactly where p < a.
"""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Array

__all__ = ["critical", "interval_names", "two_sided"]


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
