r"""Several tests at once: p-values and simultaneous intervals.

For m tests with p-values p_j of their own, t_j their statistics on nu_j degrees of freedom:

==============  ==========================================================================================
none            p_j
bonferroni      min(1, m p_j)
sidak           1 - (1 - p_j)^m
holm            max over i <= j of (m - i + 1) p_(i), in ascending order (Holm 1979)
hochberg        min over i >= j of (m - i + 1) p_(i) (Hochberg 1988)
fdr, by         min over i >= j of m p_(i) / i, times sum 1 / i for `by` (Benjamini & Hochberg 1995; B. & Yekutieli 2001)
tukey           P(Q > sqrt(2) abs(t_j)), Q the studentized range of k means: for all k (k - 1) / 2 differences
scheffe         P(F > t_j^2 / r) on (r, nu_j) df, r the rank: for all combinations of the m
mvt             P(max_i abs(T_i) > abs(t_j)), T with the correlation of the estimates (Dunnett 1955: contrasts with a control)
dunnettx        ``w P_tukey + (1 - w) P_sidak``, w = (m - 1) / m, the former for (1 + sqrt(1 + 8 m)) / 2 means: emmeans'
                approximation of Dunnett's distribution, which needs no integration over m dimensions
==============  ==========================================================================================

Intervals ``estimate -+ c SE`` hold all at once with c the quantile of the same distribution; methods without one (holm,
hochberg, fdr, by) have Bonferroni's. One-sided tests have no tukey, scheffe and dunnettx: sidak stands in for these, as in
emmeans.

Tukey's probabilities are integrals to ten digits (:mod:`lmmformula.numerics.studentized_range`), mvt's come from quasi-random
directions with a seed (:mod:`lmmformula.numerics.multivariate_t`), and have a standard error of 3e-5 up to
five dimensions, 1e-4 up to ten.

References
----------
Benjamini & Hochberg (1995), J. R. Statist. Soc. B 57, 289-300. Benjamini & Yekutieli (2001), Ann. Statist. 29, 1165-1188.
Dunnett (1955), JASA 50, 1096-1121. Hochberg (1988), Biometrika 75, 800-802. Holm (1979), Scand. J. Statist. 6, 65-70.
Hothorn, Bretz & Westfall (2008), Biometrical J. 50, 346-363: mvt for general parametric models.
Scheffe (1953), Biometrika 40, 87-104. Sidak (1967), JASA 62, 626-633. Tukey (1953; Kramer 1956 for unequal errors).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.numerics.multivariate_t import Largest, largest
from lmmformula.numerics.studentized_range import range_quantile, range_tail
from lmmformula.typing import Array

__all__ = [
    "ADJUSTMENTS",
    "Family",
    "adjusted",
    "critical_value",
    "method_named",
    "p_values",
    "stepwise",
    "suited",
]

ADJUSTMENTS = (
    "none",
    "tukey",
    "sidak",
    "bonferroni",
    "holm",
    "hochberg",
    "fdr",
    "by",
    "scheffe",
    "mvt",
    "dunnettx",
)
_ALIASES = {"dunnett": "mvt", "single-step": "mvt", "bh": "fdr"}
_STEPWISE = ("bonferroni", "holm", "hochberg", "fdr", "by")
_TWO_SIDED = ("tukey", "scheffe", "dunnettx")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Tests that are adjusted together.

    Attributes
    ----------
    means : int
        k: how many means all of whose differences the tests are; 0 where they are something else.
    rank : int
        r of the estimates.
    correlation : (m, m) array
        Of the estimates.
    seed : int or Generator
        Of the directions of "mvt".
    """

    means: int
    rank: int
    correlation: Array
    seed: int | np.random.Generator | None = 0

    def largest(self, side: int) -> Largest:
        """Distribution of the largest statistic, or of the largest in absolute value."""
        return largest(self.correlation, one_sided=side != 0, seed=self.seed)


def method_named(name: str) -> str:
    """The adjustment of a name.

    Raises
    ------
    DataError
    """
    found = _ALIASES.get(name.lower(), name.lower())
    if found not in ADJUSTMENTS:
        known = ", ".join(map(repr, (*ADJUSTMENTS, *_ALIASES)))
        raise DataError(f"adjust={name!r} is unknown; use one of {known}.")
    return found


def suited(method: str, tests: int, means: int, side: int) -> str:
    """The method that is used where `method` is asked for: sidak for one that is not defined for these tests."""
    if tests <= 1 and method != "scheffe":
        return "none"
    if (method == "tukey" and not means) or (side and method in _TWO_SIDED):
        return "sidak"
    return method


def p_values(t: Array, df: Array, side: int = 0) -> Array:
    """Of single tests: two-sided, or of the side -1 or 1 on which the alternative lies."""
    from scipy.special import ndtr, stdtr

    df = np.where(np.isnan(df), np.inf, df)
    below = -np.abs(t) if side == 0 else -side * t
    normal = np.isinf(df)
    tail = np.where(normal, ndtr(below), stdtr(np.where(normal, 1.0, df), below))
    return 2.0 * tail if side == 0 else tail


def adjusted(method: str, t: Array, df: Array, family: Family, side: int = 0) -> Array:
    """Adjusted p-values of one family; nan statistics stay out of it.

    Parameters
    ----------
    method : str
        One of :data:`ADJUSTMENTS`, as :func:`suited` gives it.
    t, df : (m,) arrays
    family : Family
    side : {0, -1, 1}
    """
    single = p_values(t, df, side)
    there = np.isfinite(t)
    m = int(there.sum())
    if method == "none" or not m:
        return single
    if method in _STEPWISE:
        out = np.full(len(t), np.nan)
        out[there] = stepwise(method, single[there])
        return out
    if method == "sidak":
        return _sidak(single, m)
    if method == "mvt":
        top = family.largest(side)
        bent = np.abs(t) if side == 0 else side * t
        return np.array([top.tail(c, d)[0] for c, d in zip(bent, df, strict=True)])
    return np.array([_tail(method, c, d, m, family) for c, d in zip(np.abs(t), df, strict=True)])


def _tail(method: str, t: float, df: float, m: int, family: Family) -> float:
    from scipy.special import chdtrc, fdtrc

    if np.isnan(t):
        return np.nan
    if method == "scheffe":
        r = family.rank
        return float(chdtrc(r, t * t) if np.isinf(df) else fdtrc(r, df, t * t / r))
    if method == "tukey":
        return range_tail(np.sqrt(2.0) * t, family.means, df)
    single = p_values(np.array([t]), np.array([df]))
    share = (m - 1.0) / m
    return share * range_tail(np.sqrt(2.0) * t, _as_many_means(m), df) + (1.0 - share) * float(
        _sidak(single, m)[0]
    )


def _as_many_means(m: int) -> float:
    """How many means have m differences."""
    return 0.5 * (1.0 + np.sqrt(1.0 + 8.0 * m))


def _sidak(p: Array, m: int) -> Array:
    with np.errstate(divide="ignore"):
        return -np.expm1(m * np.log1p(-np.minimum(p, 1.0)))


def stepwise(method: str, p: Array) -> Array:
    """Adjustments of p-values alone."""
    m = len(p)
    if method == "bonferroni":
        return np.minimum(m * p, 1.0)
    order = np.argsort(p, kind="stable")
    rank = np.arange(1, m + 1)
    if method == "holm":
        steps = np.maximum.accumulate((m + 1 - rank) * p[order])
    else:
        factor = m + 1.0 - rank if method == "hochberg" else m / rank
        if method == "by":
            factor = factor * np.sum(1.0 / rank)
        steps = np.minimum.accumulate((factor * p[order])[::-1])[::-1]
    out = np.empty(m)
    out[order] = np.minimum(steps, 1.0)
    return out


def critical_value(method: str, level: float, df: Array, family: Family, m: int, side: int = 0) -> Array:
    """Half-widths of simultaneous intervals in standard errors, for the df of each of m estimates.

    Parameters
    ----------
    method : str
        As :func:`suited` gives it.
    """
    ends = 2 if side == 0 else 1
    if method in _STEPWISE:
        return _quantile((1.0 - level) / (m * ends), df)
    if method == "sidak":
        return _quantile(-np.expm1(np.log(level) / m) / ends, df)
    if method == "none":
        return _quantile((1.0 - level) / ends, df)
    top = family.largest(side) if method == "mvt" else None
    rounded = np.array([float(f"{d:.10g}") for d in df])  # equal but for rounding: one search
    distinct, place = np.unique(rounded, return_inverse=True)
    return np.array([_critical(method, level, float(d), family, m, top) for d in distinct])[place]


def _critical(method: str, level: float, df: float, family: Family, m: int, top: Largest | None) -> float:
    from scipy.optimize import brentq
    from scipy.special import chdtri, fdtri

    if np.isnan(df):
        return np.nan
    if top is not None:
        return top.quantile(level, df)
    if method == "scheffe":
        r = family.rank
        bound = chdtri(r, 1.0 - level) if np.isinf(df) else r * fdtri(r, df, level)
        return float(np.sqrt(bound))
    if method == "tukey":
        return range_quantile(level, family.means, df) / np.sqrt(2.0)
    tukey = range_quantile(level, _as_many_means(m), df) / np.sqrt(2.0)
    sidak = float(_quantile(-np.expm1(np.log(level) / m) / 2.0, np.array([df]))[0])
    low, high = min(tukey, sidak), max(tukey, sidak)
    if high - low < 1e-9 * high:
        return low
    aim = 1.0 - level
    found = brentq(
        lambda c: _tail("dunnettx", c, df, m, family) - aim, low * (1 - 1e-9), high * (1 + 1e-9), xtol=1e-10
    )
    return float(found)  # pyright: ignore[reportArgumentType]


def _quantile(tail: float, df: Array) -> Array:
    """Upper quantile of t."""
    from scipy.special import ndtri, stdtrit

    df = np.where(np.isnan(df), np.inf, df)
    normal = np.isinf(df)
    return np.where(normal, -ndtri(tail), -stdtrit(np.where(normal, 1.0, df), tail))
