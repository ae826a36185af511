r"""Tests of scaled residuals, by the definitions of Hartig's DHARMa (version 0.4).

With s the residuals of :mod:`lmmformula.inference.checking.scaled`, y the responses, f the fitted ones and y*_i the i-th of n
simulations:

* *uniformity*: Kolmogorov & Smirnov's distance of s from the uniform distribution;
* *dispersion*: ``Var(y - f)`` over the mean of ``Var(y*_i - f)``; older versions take the ratio of standard deviations,
  which the note of the result has;
* *zero inflation*: ``#(y = 0)`` over the mean of ``#(y*_i = 0)``;
* *outliers*: rows outside of all simulations. Of a continuous response each is one with probability ``2/(n + 1)``, so that
  their number is binomial; for a discrete one the same bar is laid on s, or the number is compared with that of each simulation
  among the others ("bootstrap");
* *quantiles*: whether the share of s below q depends on the prediction. DHARMa fits quantile regressions; here the score
  test of a cubic in the ranks x of the prediction, with orthonormal polynomials P_0 .. P_3 of x and ``d_r = 1(s_r <= q) - q``,
  ``sum_j (d'P_j)^2 / (q (1 - q))``, is chi-square with 4 degrees of freedom under the model. The p-values of the quartiles are
  combined as Benjamini & Hochberg (1995) do.

P-values by simulation are shares of the simulations; two-sided ones twice the smaller share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.checking.outcome import Alternative, Outcome, simulated_p
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.checking.scaled import Scaled

__all__ = [
    "dispersion",
    "generic",
    "orthonormal_powers",
    "outliers",
    "quantiles",
    "uniformity",
    "zero_inflation",
]

FEW_ROWS = 500
"""Rows of a discrete response up to which outliers are counted among the simulations themselves."""
BOOTSTRAPS = 100
EXACT_ROWS = 100
"""Rows below which Kolmogorov & Smirnov's distribution is the exact one."""


def uniformity(found: Scaled, alternative: Alternative = "two-sided") -> Outcome:
    """Kolmogorov & Smirnov's test of the residuals against the uniform distribution, exact for few rows without ties as R's."""
    from scipy.stats import kstest

    exact = len(found) < EXACT_ROWS and len(np.unique(found.residuals)) == len(found)
    result = kstest(found.residuals, "uniform", alternative=alternative, method="exact" if exact else "asymp")
    return Outcome(
        "Uniformity", "Kolmogorov-Smirnov D", float(result.statistic), float(result.pvalue), alternative
    )


def generic(
    found: Scaled,
    statistic: Callable[[Array], float],
    alternative: Alternative = "two-sided",
    name: str = "Statistic",
    note: str = "",
) -> Outcome:
    """A statistic of the responses against that of each simulation: the ratio to its mean, and how often it is exceeded."""
    observed = float(statistic(found.simulations.observed))
    simulated = found.simulations.summaries(lambda y: float(statistic(y)))
    expected = float(simulated.mean())
    return Outcome(
        name,
        "observed over simulated",
        observed / expected if expected else np.nan if not observed else np.inf,
        simulated_p(simulated, observed, alternative),
        alternative,
        observed,
        expected,
        least_p=(1.0 if alternative != "two-sided" else 2.0) / found.n,
        note=note,
    )


def dispersion(found: Scaled, alternative: Alternative = "two-sided") -> Outcome:
    """Spread of the responses around the fit against that of the simulations: "greater" looks for overdispersion."""
    fitted = found.simulations.fitted
    spreads = found.simulations.summaries(lambda y: float(np.std(y - fitted, ddof=1)))
    observed = float(np.std(found.simulations.observed - fitted, ddof=1))
    expected = float(np.mean(spreads**2))
    return Outcome(
        "Dispersion",
        "variance around the fit, observed over simulated,",
        observed**2 / expected if expected > 0.0 else np.nan,
        simulated_p(spreads, observed, alternative),
        alternative,
        observed**2,
        expected,
        least_p=(1.0 if alternative != "two-sided" else 2.0) / found.n,
        note=f"ratio of standard deviations {observed / float(spreads.mean()):.4g}" if expected > 0.0 else "",
    )


def zero_inflation(found: Scaled, alternative: Alternative = "two-sided") -> Outcome:
    """Number of zeros against that of the simulations: "greater" looks for too many of them.

    Raises
    ------
    DataError
        For a continuous response, which is zero with probability zero.
    """
    if not found.simulations.discrete:
        raise DataError(
            "a continuous response is zero with probability zero: counting zeros says nothing. Use test_dispersion(), or look "
            "at the rows that are zero."
        )
    return generic(found, lambda y: float(np.sum(y == 0)), alternative, "Number of zeros")


def outliers(
    found: Scaled,
    alternative: Alternative = "two-sided",
    margin: Literal["both", "upper", "lower"] = "both",
    method: Literal["default", "binomial", "bootstrap"] = "default",
) -> Outcome:
    """Number of rows outside of all simulations.

    Parameters
    ----------
    found : Scaled
    alternative : {"two-sided", "greater", "less"}
    margin : {"both", "upper", "lower"}
    method : {"default", "binomial", "bootstrap"}
        "bootstrap" for discrete responses of at most 500 rows, else "binomial".
    """
    if method == "default":
        method = "bootstrap" if found.simulations.discrete and len(found) <= FEW_ROWS else "binomial"
    return (_by_bootstrap if method == "bootstrap" else _by_binomial)(found, alternative, margin)


def _by_binomial(found: Scaled, alternative: Alternative, margin: str) -> Outcome:
    from scipy.stats import binomtest

    edge, rows, s = 1.0 / (found.n + 1), len(found), found.residuals
    low, high = int((s < edge).sum()), int((s > 1.0 - edge).sum())
    count = {"both": low + high, "upper": high, "lower": low}[margin]
    rate = edge * (2.0 if margin == "both" else 1.0)
    result = binomtest(count, rows, min(rate, 1.0), alternative=alternative)
    return _counted(count, rate * rows, float(result.pvalue), alternative, margin)


def _by_bootstrap(found: Scaled, alternative: Alternative, margin: str) -> Outcome:
    simulated, rows = found.simulations.matrix, len(found)
    rng = np.random.default_rng([2, found.seed])
    times = min(BOOTSTRAPS, found.n)
    counts = np.empty(times)
    for i in range(times):
        others = rng.choice(np.delete(np.arange(found.n), i), found.n)
        counts[i] = _outside(simulated[:, i], simulated[:, others], margin)
    count = _outside(found.simulations.observed, simulated, margin)
    p = simulated_p(counts / rows, count / rows, alternative)
    return _counted(count, float(counts.mean()), p, alternative, margin, 2.0 / times)


def _outside(y: Array, simulated: Array, margin: str) -> int:
    low, high = int((y < simulated.min(axis=1)).sum()), int((y > simulated.max(axis=1)).sum())
    return {"both": low + high, "upper": high, "lower": low}[margin]


def _counted(
    count: int, expected: float, p: float, alternative: Alternative, margin: str, least: float = 0.0
) -> Outcome:
    where = {"both": "of all", "upper": "above all", "lower": "below all"}[margin]
    name = f"rows outside {where} simulations" if margin == "both" else f"rows {where} simulations"
    return Outcome("Outliers", name, float(count), p, alternative, float(count), expected, least_p=least)


def quantiles(
    found: Scaled, predictor: Array | None = None, at: Sequence[float] = (0.25, 0.5, 0.75)
) -> Outcome:
    """Whether quantiles of the residuals move with the prediction.

    Parameters
    ----------
    found : Scaled
    predictor : (N,) array, optional
        The fitted responses by default.
    at : sequence of float
        Quantiles.
    """
    from scipy.special import chdtrc
    from scipy.stats import rankdata

    x = rankdata(found.simulations.fitted if predictor is None else predictor)
    basis = orthonormal_powers(x, 3)
    basis = np.column_stack([np.full(len(x), 1.0 / np.sqrt(len(x))), basis])
    p = []
    for q in at:
        moved = basis.T @ ((found.residuals <= q) - q)
        p.append(float(chdtrc(basis.shape[1], np.sum(moved**2) / (q * (1.0 - q)))))
    ordered = np.sort(p)
    combined = float(min(1.0, np.min(ordered * len(p) / np.arange(1, len(p) + 1))))
    worst = at[int(np.argmin(p))]
    each = ", ".join(f"{q:g}: p = {one:.3g}" for q, one in zip(at, p, strict=True))
    return Outcome(
        "Quantiles over the prediction", "quantile that moves most", float(worst), combined, note=each
    )


def orthonormal_powers(x: Array, degree: int) -> Array:
    """Orthonormal polynomials of degrees 1 to `degree` over the values of x, (n, r); fewer where x has few values."""
    z = x - x.mean()
    if not (top := np.abs(z).max(initial=0.0)) > 0.0:
        return np.zeros((len(x), 0))
    degree = min(degree, len(np.unique(x)) - 1)
    z = z / top
    powers = np.column_stack([np.ones(len(x)), *(z**j for j in range(1, degree + 1))])
    return np.linalg.qr(powers)[0][:, 1:]
