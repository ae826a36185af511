r"""Do residuals spread alike everywhere: over the fit, and among the levels of factors.

z are the residuals of :class:`lmmformula.inference.checking.look.Look`, of variance 1 for every row if the model is right.

* Over the linear predictor: z^2 is regressed on it, and ``N R^2`` is chi-square with one degree of freedom (Breusch & Pagan
  1979 in Koenker's (1981) form, which does not take z for normal: R's ``lmtest::bptest(z ~ fitted)``). That form takes the
  variance of z^2 for the same in all rows. Of Pearson residuals it is ``2 + kappa_4 / kappa_2^2`` with the cumulants of the
  family at the row's mean, which has no bound where counts or chances are small: there the correlation of z^2 and the
  predictor is compared with those of responses that the family has at the estimates.
* Among levels: O'Brien's (1979) transform of z, whose mean in a level is the variance there, by a one-way analysis of
  variance, for every factor of the fixed part and every grouping factor whose levels have `ROWS` rows on average. Absolute
  deviations from the mean (Levene 1960) find differences among small levels where there are none, as those of a level add up
  to zero.

Effects are said besides p-values, as many rows find anything: the ratio of standard deviations between the fifths of the
rows with the largest and the smallest fit, and the share of the variance of the squares that levels explain (omega squared).
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.columns import factors
from lmmformula.inference.checking.finding import Finding, Verdict, not_checked, p_text
from lmmformula.inference.checking.look import Look
from lmmformula.typing import Array, Index

__all__ = ["breusch_pagan", "by_level", "obrien", "over_the_fit"]

CLEAR = 0.01
LITTLE, MUCH = 1.25, 2.0
"""Ratios of standard deviations that do not matter, and that do."""
SHARE, LARGE = 0.02, 0.15
"""Shares of the variance of the squares that do not matter, and that do."""
ROWS, LEAST = 5, 3
_MEANS = "Standard errors are averages: too small where the residuals spread most, too large where they spread least."


def over_the_fit(look: Look) -> list[Finding]:
    """Spread over the linear predictor."""
    z, eta = look.residuals, look.predictor
    if not np.ptp(eta) > 0.0 or len(z) < 3:
        return [not_checked("homogeneity", "all fitted values are alike.")]
    p = breusch_pagan(z, eta)[1] if look.has_law else _p_of_replicates(look)
    ends = np.array_split(np.argsort(eta, kind="stable"), 5)
    low, high = float(np.std(z[ends[0]])), float(np.std(z[ends[-1]]))
    ratio = high / low if low > 0.0 else np.inf
    size = max(ratio, 1.0 / max(ratio, 1e-300))
    verdict: Verdict = "fine" if p >= CLEAR or size < LITTLE else "problem" if size >= MUCH else "doubtful"
    found = f"residuals of the fifth with the largest fit spread {ratio:.2f} times those of the smallest ({p_text(p)})."
    name = "ratio of standard deviations"
    if verdict == "fine":
        return [Finding("homogeneity", "fine", found, "", "", name, ratio, LITTLE, p, "fitted values")]
    linear = look.fit.problem.family.is_linear
    advice = (
        "Model the logarithm of a positive response, or its spread: dispformula='~ x' with the predictor that drives it."
        if linear
        else "Another family or a formula for its dispersion, dispformula='~ x', may follow the variance."
    )
    return [Finding("homogeneity", verdict, found, _MEANS, advice, name, ratio, LITTLE, p, "fitted values")]


def by_level(look: Look) -> list[Finding]:
    """The factor among whose levels the residuals spread most differently."""
    found = {}
    for name, codes in factors(look.fit, look.rows).items():
        counts = np.bincount(codes)
        m = int((counts > 0).sum())
        if m >= 2 and look.size >= ROWS * m:
            found[name] = (*obrien(look.residuals, codes), m)
    if not found:
        return [not_checked("homogeneity", "there is no factor with five rows a level.", "levels")]
    worst = max(found, key=lambda name: found[name][0])
    share, p, m = found[worst]
    p = min(1.0, p * len(found))
    verdict: Verdict = "fine" if p >= CLEAR or share < SHARE else "problem" if share >= LARGE else "doubtful"
    text = f"the {m:,} levels of {worst} explain {max(share, 0.0):.1%} of the variance of the squared residuals ({p_text(p)})."
    name = "share of the variance of the squared residuals"
    if verdict == "fine":
        return [Finding("homogeneity", "fine", text, "", "", name, share, SHARE, p, worst)]
    advice = f"Let the spread depend on it: dispformula='~ {worst}' where it has few levels."
    return [Finding("homogeneity", verdict, text, _MEANS, advice, name, share, SHARE, p, worst)]


def breusch_pagan(z: Array, over: Array) -> tuple[float, float]:
    """N R^2 of z^2 on `over`, and its p-value."""
    from scipy.special import chdtrc

    r2 = _correlation(z, over) ** 2
    return len(z) * r2, float(chdtrc(1.0, len(z) * r2))


def _p_of_replicates(look: Look) -> float:
    """Two-sided p-value of the correlation of z^2 and the predictor among those of replicates, counting the observed one."""
    observed = _correlation(look.residuals, look.predictor)
    drawn = np.array([_correlation(z, look.predictor) for z in look.replicated()])
    side = min(np.count_nonzero(drawn >= observed), np.count_nonzero(drawn <= observed))
    return min(1.0, 2.0 * (1.0 + side) / (1.0 + len(drawn)))


def _correlation(z: Array, over: Array) -> float:
    s, x = z**2 - np.mean(z**2), over - over.mean()
    return float(s @ x / np.sqrt((s @ s) * (x @ x))) if np.any(s) else 0.0


def obrien(z: Array, codes: Index) -> tuple[float, float]:
    """omega squared and p-value of O'Brien's transform of z among levels with three rows or more."""
    from scipy.special import fdtrc

    counts = np.bincount(codes)
    kept = counts[codes] >= LEAST
    if not kept.any():
        return 0.0, 1.0
    z, codes = z[kept], np.unique(codes[kept], return_inverse=True)[1]
    counts = np.bincount(codes).astype(float)
    squares = (z - (np.bincount(codes, z) / counts)[codes]) ** 2
    sums, n_own = np.bincount(codes, squares)[codes], counts[codes]
    r = ((n_own - 1.5) * n_own * squares - 0.5 * sums) / ((n_own - 1.0) * (n_own - 2.0))
    own = np.bincount(codes, r) / counts
    m, n = len(counts), len(z)
    between = float(counts @ (own - r.mean()) ** 2)
    within = float(np.sum((r - own[codes]) ** 2))
    if m < 2 or within <= 0.0 or n <= m:
        return 0.0, 1.0
    mean_square = within / (n - m)
    omega = (between - (m - 1) * mean_square) / (between + within + mean_square)
    return float(omega), float(fdtrc(m - 1.0, float(n - m), between / (m - 1) / mean_square))
