r"""How much studies differ: variances between them, I^2 and H^2, Cochran's test, a new study, tests of Knapp & Hartung.

A meta-analysis is ``y = X beta + Z b + e`` with known sampling variances, e ~ N(0, S), S = diag(s^2), and V = S + sum_i tau_i^2
Z_i Z_i'. With W = S^-1 and P = W - W X (X'W X)^-1 X'W

    Q = y'Py,    Q ~ chi^2(n - p) if no study differs beyond its covariates        (Cochran 1954)
    v = (n - p) / tr P,    the typical sampling variance                            (Higgins & Thompson 2002, eq. 9)
    I_i^2 = tau_i^2 / (sum tau^2 + v),     H^2 = 1 + sum tau^2 / v                 (Nakagawa & Santos 2012, eq. 13, of several).

Tests: coefficients are normal with the covariance (X'V^-1 X)^-1 ("z"), have t quantiles ("t"), or, with

    q = r'V^-1 r / (n - p),    r = y - X beta,                                      (Knapp & Hartung 2003, eq. 3)

the covariance q (X'V^-1 X)^-1 and t quantiles of n - p degrees of freedom ("knapp-hartung"). A new study's effect lies within

    x'beta +- t sqrt(x' Cov(beta) x + sum tau^2)                        (Higgins, Thompson & Spiegelhalter 2009, eq. 12),

where its own sampling error is left out. Limits of tau^2 invert ``Q(tau^2) = r'(S + tau^2 I)^-1 r ~ chi^2(n - p)``, which
decreases in tau^2 (the Q-profile of Viechtbauer 2007), where each study has one row.

Cost: O(n p^2); a Q-profile some tens of weighted least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["TESTS", "Differences", "differences", "quantile_of", "studies_of"]

TESTS = ("z", "t", "knapp-hartung", "knha")


@dataclass(frozen=True, eq=False, repr=False)
class Differences:
    """What a meta-analysis says of differences between studies.

    Attributes
    ----------
    frame : DataFrame
        A row for each grouping factor, and their sum where there are several: `tau2`, `tau` (in units of the response), `lower`
        and `upper` limits of tau2 (nan where studies have several rows), `I2` in percent, `H2`.
    Q, df, p_value : float
        Cochran's test that no study differs beyond its covariates.
    typical_variance : float
        v, of sampling errors.
    coefficients : DataFrame
        Fixed effects with their tests and limits.
    prediction : DataFrame or None
        The mean, its limits, and those of a new study (`lower_new`, `upper_new`), of a model without covariates or at rows
        asked for.
    test : str
    level : float
    """

    frame: pd.DataFrame
    Q: float
    df: int
    p_value: float
    typical_variance: float
    coefficients: pd.DataFrame
    prediction: pd.DataFrame | None
    test: str
    level: float


def differences(fit: Fitted, test: str, newdata: Data, level: float) -> Differences:
    """See :meth:`lmmformula.verbs.MetaVerbs.heterogeneity`."""
    from scipy.special import chdtrc

    refuse(fit)
    x, y, w = studies_of(fit)
    n, p = x.shape
    if n <= p:
        raise PlanError(
            f"{n} studies and {p} coefficients: nothing is left to say how studies differ. Take covariates out."
        )
    q, trace = _cochran(x, y, w)
    typical = (n - p) / trace
    return Differences(
        frame=_variances(fit, x, y, 1.0 / w, typical, level),
        Q=q,
        df=n - p,
        p_value=float(chdtrc(n - p, q)),
        typical_variance=typical,
        coefficients=_coefficients(fit, test, level),
        prediction=_prediction(fit, test, newdata, level),
        test="knapp-hartung" if test == "knha" else test,
        level=level,
    )


def refuse(fit: Fitted) -> None:
    """Refuse what is no meta-analysis of intercepts.

    Raises
    ------
    PlanError
    """
    problem = fit.problem
    problem.refuse_elsewhere("heterogeneity()")
    problem.refuse_responses("heterogeneity()", "Fit one response.")
    if not problem.family.known:
        raise PlanError(
            "heterogeneity() is of a meta-analysis with known standard errors. Fit the model again as y | se(s) ~ 1 + "
            "(1 | study) by method='reml' or 'ml'; for other models varcorr() and r2() say how groups differ."
        )
    for term in problem.terms:
        if term.k != 1 or term.basis is not None or not term.is_blockwise:
            raise PlanError(
                f"the term ({term.label or term.group}) gives studies variances that differ, and I^2 is a share of one. Look "
                "at varcorr(), or fit with intercepts alone, (1 | study)."
            )


def studies_of(fit: Fitted) -> tuple[Array, Array, Array]:
    """X, y less any offset, and W of all rows, which are in memory."""
    (rows,) = fit.problem.data.chunks()
    assert rows.weights is not None
    return rows.fixed, rows.y if rows.offset is None else rows.y - rows.offset, rows.weights


def _cochran(x: Array, y: Array, w: Array) -> tuple[float, float]:
    """y'Py and tr P."""
    root = np.sqrt(w)
    orthonormal, _ = np.linalg.qr(root[:, None] * x)
    z = root * y
    left = z - orthonormal @ (orthonormal.T @ z)
    return float(left @ left), float(w.sum() - np.sum(w[:, None] * orthonormal**2))


def _variances(
    fit: Fitted, x: Array, y: Array, sampling: Array, typical: float, level: float
) -> pd.DataFrame:
    import pandas as pd

    problem = fit.problem
    pairs = zip(problem.terms, problem.theta_slices(), strict=True)
    tau2 = np.array([float(fit.estimate.theta[s] @ fit.estimate.theta[s]) for _, s in pairs])
    tau2 = tau2 * fit.estimate.sigma**2
    names = [term.group for term in problem.terms]
    limits = np.full((len(tau2), 2), np.nan)
    if len(tau2) == 1 and problem.terms[0].m == problem.n:
        limits[0] = _q_profile(x, y, sampling, level)
    if len(tau2) != 1:
        names, tau2 = [*names, "total"], np.append(tau2, tau2.sum())
        limits = np.vstack([limits, [np.nan, np.nan]])
    total = tau2[-1]
    columns = {
        "tau2": tau2,
        "tau": np.sqrt(tau2),
        "lower": limits[:, 0],
        "upper": limits[:, 1],
        "I2": 100.0 * tau2 / (total + typical),
        "H2": 1.0 + tau2 / typical,
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="group"))


def _q_profile(x: Array, y: Array, sampling: Array, level: float) -> tuple[float, float]:
    """Limits of tau^2: where Q(tau^2) is at the quantiles of its distribution, 0 where it is below them at once."""
    from scipy.optimize import root_scalar
    from scipy.special import chdtri

    n, p = x.shape
    unit = float(np.median(sampling))  # so that the search has no unit

    def q(ratio: float) -> float:
        return _cochran(x, y, 1.0 / (sampling + ratio * unit))[0]

    out = []
    for tail in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
        wanted, high = float(chdtri(n - p, tail)), 1.0
        if q(0.0) <= wanted:
            out.append(0.0)
            continue
        while q(high) > wanted:
            high *= 4.0
        found = root_scalar(lambda t, wanted=wanted: q(t) - wanted, bracket=(0.0, high), xtol=1e-12)
        out.append(unit * float(found.root))
    return out[0], out[1]


def scale_of(fit: Fitted, test: str) -> float:
    """What Knapp & Hartung multiply the covariance of coefficients by."""
    if test not in ("knapp-hartung", "knha"):
        return 1.0
    x, y, w = studies_of(fit)
    apart = y - x @ fit.estimate.beta
    left = fit.residuals("response").to_numpy()  # V^-1 r = W (y - X beta - Z b), b predicted
    return float(np.sum(apart * w * left)) / (fit.problem.n - fit.problem.p)


def quantile_of(fit: Fitted, test: str, level: float) -> float:
    """The quantile of limits, normal or Student's."""
    from scipy.special import ndtri, stdtrit

    if test == "z":
        return float(ndtri(0.5 + level / 2.0))
    return float(stdtrit(fit.problem.n - fit.problem.p, 0.5 + level / 2.0))


def _coefficients(fit: Fitted, test: str, level: float) -> pd.DataFrame:
    import pandas as pd
    from scipy.special import ndtr, stdtr

    beta = fit.estimate.beta
    se = np.sqrt(scale_of(fit, test) * np.diag(fit.estimate.vcov))
    df = fit.problem.n - fit.problem.p
    ratio = beta / se
    p = 2.0 * (ndtr(-np.abs(ratio)) if test == "z" else stdtr(df, -np.abs(ratio)))
    reach = quantile_of(fit, test, level) * se
    columns = {
        "estimate": beta,
        "se": se,
        "z" if test == "z" else "t": ratio,
        **({} if test == "z" else {"df": np.full(len(beta), float(df))}),
        "p_value": p,
        "lower": beta - reach,
        "upper": beta + reach,
    }
    return pd.DataFrame(columns, index=pd.Index(fit.problem.X.names, name="term"))


def _prediction(fit: Fitted, test: str, newdata: Data, level: float) -> pd.DataFrame | None:
    """The mean at some rows, and where a new study's effect lies."""
    import pandas as pd

    index = None
    if newdata is not None:
        found = fit.problem.recipe.replay(newdata, terms=())
        if found.offset_missing or found.offset is not None:
            raise DataError("heterogeneity(newdata=) takes a model without an offset; use predict().")
        rows, index = np.asarray(found.X), found.index
    elif tuple(fit.problem.X.names) == ("(Intercept)",):
        rows = np.ones((1, 1))
    else:
        return None
    mean = rows @ fit.estimate.beta
    variance = scale_of(fit, test) * np.einsum("ij,jk,ik->i", rows, fit.estimate.vcov, rows)
    tau2 = float(fit.estimate.theta @ fit.estimate.theta) * fit.estimate.sigma**2
    reach = quantile_of(fit, test, level)
    own, new = reach * np.sqrt(variance), reach * np.sqrt(variance + tau2)
    columns = {
        "fit": mean,
        "lower": mean - own,
        "upper": mean + own,
        "lower_new": mean - new,
        "upper_new": mean + new,
    }
    return pd.DataFrame(columns, index=index)
