r"""One answer from fits to multiply imputed data: Rubin's (1987) rules with the degrees of freedom of Barnard & Rubin (1999).

Of m fits with estimates Q_j and variances U_j, Qbar and Ubar their means and B the variance of the Q_j::

    T      = Ubar + (1 + 1/m) B                         lambda = (1 + 1/m) B / T,      r = (1 + 1/m) B / Ubar
    nu_old = (m - 1) / lambda^2                         nu_obs = (nu + 1) / (nu + 3) nu (1 - lambda)
    df     = nu_old nu_obs / (nu_old + nu_obs)          fmi    = (r + 2 / (df + 3)) / (r + 1)                        (1)

nu are the degrees of freedom that the test would have with complete data: those of each coefficient of the fits
(Satterthwaite's for Gaussian mixed models, n - p for linear ones, infinite for z), averaged. mice takes the residual degrees
of freedom of the model for every coefficient, which `dfcom` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.student import critical, interval_names, two_sided
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Pooling", "pooling", "rubin"]

LEAST_SHARE = 1e-4
"""Smallest lambda, so that imputations that agree have finite degrees of freedom (as in mice)."""


@dataclass(frozen=True, slots=True, eq=False)
class Pooling:
    """Pooled fixed effects.

    Attributes
    ----------
    formula : str
    m : int
    frame : DataFrame
        By term ``estimate, std_error, statistic, df, p_value``, the limits, ``riv, lambda, fmi, ubar, b, t, dfcom``.
    vcov : (p, p) array
        T in matrices.
    """

    formula: str
    m: int
    frame: pd.DataFrame
    vcov: Array


def rubin(estimates: Array, variances: Array, dfcom: Array) -> dict[str, Array]:
    """(1) for estimates and variances (m, p), with complete-data degrees of freedom (p,)."""
    m = len(estimates)
    ubar, b = variances.mean(axis=0), estimates.var(axis=0, ddof=1)
    extra = (1.0 + 1.0 / m) * b
    t = ubar + extra
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.maximum(extra / t, LEAST_SHARE)
        old = (m - 1) / share**2
        finite = np.where(np.isinf(dfcom), 1.0, dfcom)
        seen = (finite + 1.0) / (finite + 3.0) * finite * (1.0 - share)
        df = np.where(np.isinf(dfcom), old, old * seen / (old + seen))
        riv = extra / ubar
        fmi = (riv + 2.0 / (df + 3.0)) / (riv + 1.0)
    return {"df": df, "riv": riv, "lambda": extra / t, "fmi": fmi, "ubar": ubar, "b": b, "t": t}


def pooling(fits: Sequence[Fitted], dfcom: float | None, level: float) -> Pooling:
    """See :func:`lmmformula.pool`."""
    import pandas as pd

    if len(fits) < 2:
        raise DataError(
            f"{len(fits)} fit was given, and what imputations differ by needs two or more: pass a list of fits, one for each "
            "imputed data set."
        )
    first = fits[0]
    for other in fits[1:]:
        if other.problem.X.names != first.problem.X.names or other.family != first.family:
            raise DataError(
                f"the fits have different fixed effects or families ({other.formula} and {first.formula}): pool fits of one "
                "model to imputations of one data set. A level that is absent from one imputation can be the cause."
            )
    for one in fits:
        one.inference.check("pooling")
    beta = np.stack([np.asarray(one.params, dtype=float) for one in fits])
    covariances = np.stack([np.asarray(one.vcov, dtype=float) for one in fits])
    own = (
        np.mean([np.asarray(one.df, dtype=float) for one in fits], axis=0)
        if dfcom is None
        else np.full(beta.shape[1], dfcom)
    )
    own = np.where(np.isnan(own), np.inf, own)
    found = rubin(beta, np.einsum("mii->mi", covariances), own)
    estimate, error = beta.mean(axis=0), np.sqrt(found["t"])
    half = critical(level, found["df"]) * error
    low, high = interval_names(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = estimate / error
    head = {"estimate": estimate, "std_error": error, "statistic": t, "df": found["df"]}
    tail = {name: found[name] for name in ("riv", "lambda", "fmi", "ubar", "b", "t")}
    frame = pd.DataFrame(
        {
            **head,
            "p_value": two_sided(t, found["df"]),
            low: estimate - half,
            high: estimate + half,
            **tail,
            "dfcom": own,
        },
        index=list(first.problem.X.names),
    )
    between = np.atleast_2d(np.cov(beta, rowvar=False))
    vcov = covariances.mean(axis=0) + (1.0 + 1.0 / len(fits)) * between
    return Pooling(first.formula, len(fits), frame, vcov)
