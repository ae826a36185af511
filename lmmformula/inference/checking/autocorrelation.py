r"""Autocorrelation in time (Durbin & Watson) and in space (Moran).

**Time.** Series g = 1..G of residuals e in the order of time, n in all, centred on their common mean::

    d = sum_g sum_t (e_gt - e_g,t-1)^2 / sum (e - mean)^2  =  e'A e / e'C e,       C = I - 11'/n                        (1)

A is block diagonal with the Laplacians of paths, and A1 = 0, so that A and C commute. For independent normal residuals d has
the distribution of a ratio of quadratic forms (Durbin & Watson 1950, eq. 11)::

    P(d < x) = P( sum_j (lambda_j - x) z_j^2 < 0 ),                                                                      (2)

lambda_j the eigenvalues of A, ``2 - 2 cos(pi j / n_g)``, j = 0 .. n_g - 1 of each series, one zero left out for the mean. Up
to `EXACT` residuals (2) is inverted numerically (Imhof 1961, eq. 3.2); beyond, d is normal with the moments of (2)::

    E = tr A / (n - 1),     Var = 2 (tr A^2 - E tr A) / (n^2 - 1),     tr A = sum 2 (n_g - 1),  tr A^2 = sum (6 n_g - 8).

One series is ``lmtest::dwtest(e ~ 1)``, which DHARMa applies to its residuals. ``r = 1 - d/2`` is near the correlation of
neighbours.

**Space.** With weights ``w_ij = (1/d_ij) / sum_j (1/d_ij)`` of the distances, zero on the diagonal, and z = e - mean::

    I = (n / S) sum_ij w_ij z_i z_j / sum z^2,     S = sum w = n,     E(I) = -1/(n - 1)                                  (3)

and the variance under random permutation (Cliff & Ord 1981, eq. 2.32), as ``ape::Moran.I`` and DHARMa have it. Rows of the
weights add to one, so the unit of distance does not matter. Cost O(n^2), in blocks of O(n).
"""

from __future__ import annotations

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.checking.outcome import Alternative, Outcome
from lmmformula.typing import Array, Index

__all__ = ["durbin_watson", "lag_correlations", "moran"]

EXACT = 100
"""Residuals from which on the normal approximation is used, as lmtest does."""
CELLS = 2_000_000
"""Distances that are held at a time."""


def durbin_watson(
    residuals: Array,
    time: Array,
    series: Index | None = None,
    alternative: Alternative = "two-sided",
) -> Outcome:
    """Durbin & Watson's test of residuals in the order of time, within series.

    Parameters
    ----------
    residuals, time : (n,) arrays
        Times differ within a series.
    series : (n,) array of int, optional
        Which series each residual is of; one for all by default.
    alternative : {"two-sided", "greater", "less"}
        "greater" looks for positive autocorrelation (d < 2).

    Raises
    ------
    DataError
        For a time that occurs twice in a series, and where no series has two residuals.
    """
    codes = np.zeros(len(residuals), dtype=np.intp) if series is None else series
    order = np.lexsort((time, codes))
    e, at, own = residuals[order] - residuals.mean(), time[order], codes[order]
    same = own[1:] == own[:-1]
    if (twice := int((same & (at[1:] == at[:-1])).sum())) > 0:
        raise DataError(
            f"time= has the same value twice in a series {twice:,} times, so its residuals have no order. Average them first: "
            "recalculate(group) adds up the rows of a time, or give series= by which times differ."
        )
    if not same.any() or len(e) < 3:
        raise DataError(
            "no series has two residuals, so there is none to compare with the one before: time= and the groups leave one row "
            "for each series."
        )
    d = float(np.sum(np.diff(e)[same] ** 2) / np.sum(e**2))
    counts = np.unique(own, return_counts=True)[1]
    below = _distribution(d, counts)
    p = {"greater": below, "less": 1.0 - below, "two-sided": 2.0 * min(below, 1.0 - below)}[alternative]
    many = f"{len(counts):,} series" if len(counts) > 1 else "one series"
    note = f"{many} of {len(e):,} residuals, lag-1 correlation {1.0 - 0.5 * d:.3f}"
    return Outcome(
        "Autocorrelation in time",
        "Durbin-Watson d",
        d,
        min(max(p, 0.0), 1.0),
        alternative,
        d,
        _mean(counts),
        note=note,
    )


def _mean(counts: Index) -> float:
    return float(np.sum(2.0 * (counts - 1.0)) / (counts.sum() - 1.0))


def _distribution(d: float, counts: Index) -> float:
    """P(D < d) of (2)."""
    from scipy.special import ndtr

    n, several = int(counts.sum()), counts[counts > 1].astype(float)
    if n < EXACT:
        values = np.concatenate([2.0 - 2.0 * np.cos(np.pi * np.arange(m) / m) for m in counts])
        return _imhof(np.sort(values)[1:] - d)
    trace, square = float(np.sum(2.0 * (several - 1.0))), float(np.sum(6.0 * several - 8.0))
    mean = trace / (n - 1.0)
    variance = 2.0 * (square - mean * trace) / (n**2 - 1.0)
    return float(ndtr((d - mean) / np.sqrt(variance)))


def _imhof(weights: Array) -> float:
    """P(sum w_j z_j^2 < 0): 1/2 - int_0^inf sin(theta(u)) / (u rho(u)) du / pi."""
    from scipy.integrate import quad

    scaled = weights / np.abs(weights).max()

    def inside(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(scaled * u))
        size = 0.25 * np.sum(np.log1p((scaled * u) ** 2))
        return float(np.sin(angle) * np.exp(-size) / u) if u > 0.0 else 0.5 * float(scaled.sum())

    value, _ = quad(inside, 0.0, np.inf, limit=400, epsabs=1e-10)
    return 0.5 - value / np.pi


def lag_correlations(residuals: Array, time: Array, series: Index, most: int = 10) -> Array:
    """Correlations of residuals 0, 1, ... `most` places apart within their series, pooled over series."""
    order = np.lexsort((time, series))
    e, own = residuals[order] - residuals.mean(), series[order]
    total = float(np.sum(e**2)) / len(e)
    out = [1.0]
    for lag in range(1, most + 1):
        same = own[lag:] == own[:-lag]
        if not same.any():
            break
        out.append(float(np.mean((e[lag:] * e[:-lag])[same])) / total)
    return np.array(out)


def moran(residuals: Array, places: Array, alternative: Alternative = "two-sided") -> Outcome:
    """Moran's I of residuals at places, by inverse distances.

    Parameters
    ----------
    residuals : (n,) array
    places : (n, d) array
        Coordinates in one unit; places differ.
    alternative : {"two-sided", "greater", "less"}
        "greater" looks for neighbours that are alike.

    Raises
    ------
    DataError
        For places that occur twice, and fewer than four of them.
    """
    from scipy.special import ndtr

    n = len(residuals)
    if n < 4:
        raise DataError(f"Moran's I needs four places at least, and there are {n}.")
    if (same := n - len(np.unique(places, axis=0))) > 0:
        raise DataError(
            f"{same:,} of {n:,} residuals have the coordinates of another one, which is at distance 0. Add up or average the "
            "rows of a place first: recalculate(group)."
        )
    z = residuals - residuals.mean()
    cross, s1, columns = _weighted_sums(z, places)
    s, v = float(n), float(np.sum(z**2))
    observed, expected = n / s * cross / v, -1.0 / (n - 1.0)
    s2 = float(np.sum((1.0 + columns) ** 2))
    k = (float(np.sum(z**4)) / n) / (v / n) ** 2
    first = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s**2)
    second = k * (n * (n - 1) * s1 - 2 * n * s2 + 6 * s**2)
    variance = (first - second) / ((n - 1.0) * (n - 2.0) * (n - 3.0) * s**2) - expected**2
    above = float(ndtr(-(observed - expected) / np.sqrt(variance)))
    p = {"greater": above, "less": 1.0 - above, "two-sided": 2.0 * min(above, 1.0 - above)}[alternative]
    return Outcome(
        "Autocorrelation in space",
        "Moran's I",
        observed,
        p,
        alternative,
        observed,
        expected,
        note=f"{n:,} places, standard deviation {np.sqrt(variance):.3g}",
    )


def _weighted_sums(z: Array, places: Array) -> tuple[float, float, Array]:
    """sum w_ij z_i z_j, sum (w_ij + w_ji)^2 / 2 and the column sums of w."""
    n, d = places.shape
    step = max(1, CELLS // (n * d))
    parts = [slice(a, min(a + step, n)) for a in range(0, n, step)]

    def inverse(rows: slice) -> Array:
        apart = np.sqrt(((places[rows, None, :] - places[None]) ** 2).sum(axis=-1))
        apart[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = np.inf
        return 1.0 / apart

    sums = np.concatenate([inverse(rows).sum(axis=1) for rows in parts])
    cross, s1, columns = 0.0, 0.0, np.zeros(n)
    for rows in parts:
        raw = inverse(rows)
        w = raw / sums[rows, None]
        cross += float(z[rows] @ (w @ z))
        columns += w.sum(axis=0)
        s1 += 0.5 * float(np.sum((w + raw / sums[None]) ** 2))
    return cross, s1, columns
