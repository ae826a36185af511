r"""Over- and underdispersion, too many zeros, rows far out.

Overdispersion is looked for twice: by Pearson's chi-square of the residuals given the random effects over ``n - npar``
(Bolker et al. 2009; performance's ``check_overdispersion``), and by the variance of the responses around the fixed part
against that of simulations (DHARMa). Given the effects the response varies little around a fit that followed it, so that
simulations which keep the effects would cry underdispersion; those that draw them anew do not, and underdispersion is looked
for there alone.
"""

from __future__ import annotations

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.inference.checking import residual_tests
from lmmformula.inference.checking.finding import Finding, Verdict, not_checked, p_text
from lmmformula.inference.checking.look import Look
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.rows import row_labels
from lmmformula.typing import Array

__all__ = ["dispersion", "expected_zeros", "outliers", "zeros"]

CLEAR, SUSPECT = 0.01, 0.05
"""p-values of a problem and of doubt."""
LITTLE, MUCH = 1.2, 1.5
"""Ratios of variances (or of numbers of zeros) that do not matter, and that do."""
NAMED = 5
"""Rows that are named."""
_MORE = (
    "Use a family with a dispersion of its own (nbinom2 or nbinom1 for counts, betabinomial-like models or method='pql' for "
    "proportions), or add a random effect for each row; look for a missing predictor first."
)


def dispersion(look: Look) -> list[Finding]:
    """Over- and underdispersion of a response that is not normal."""
    fit, family = look.fit, look.fit.problem.family
    if family.has_residual:
        return [not_checked("dispersion", "a Gaussian model estimates its residual variance.")]
    if look.is_binary:
        return [
            not_checked(
                "dispersion",
                "0/1 responses have no variance besides their mean: group them, "
                "simulated_residuals(by_group=).",
            )
        ]
    if fit.estimate.quasi_dispersion:
        phi = fit.sigma**2
        found = f"the dispersion is estimated, {phi:.3g}, and standard errors are multiplied by its root."
        return [Finding("dispersion", "fine", found, "", "", "dispersion", phi)]
    test = residual_tests.dispersion(look.simulated)
    more = residual_tests.dispersion(look.simulated, "greater").p_value
    less = residual_tests.dispersion(look.simulated, "less").p_value
    ratio, p = test.statistic, more
    words = f"the variance around the fixed part is {test.statistic:.3g} of that of simulations"
    pearson = _pearson(look)
    if pearson is not None and pearson[1] <= more:
        ratio, p = pearson
        words = f"Pearson's chi-square is {ratio:.3g} times its degrees of freedom, and {words}"
    p = min(2.0 * p, 1.0)  # of two tests
    over = _verdict(p, ratio)
    if over != "fine":
        return [
            Finding(
                "dispersion",
                over,
                f"the response is overdispersed: {words} ({p_text(p)}).",
                "The response varies more than the family allows: standard errors are too small and p-values "
                "too low, by a factor of "
                f"about {np.sqrt(ratio):.2g} for what varies between rows.",
                _MORE,
                "ratio of variances",
                ratio,
                LITTLE,
                p,
            )
        ]
    under = _verdict(min(2.0 * less, 1.0), 1.0 / max(test.statistic, np.finfo(float).tiny))
    if under != "fine":
        return [
            Finding(
                "dispersion",
                "doubtful",
                f"the response is underdispersed: {words} ({p_text(less)}).",
                "The response varies less than the family allows: standard errors are too large.",
                "Look for rows that depend on each other or were rounded or capped; a quasi-likelihood "
                "(method='pql') estimates the "
                "dispersion.",
                "ratio of variances",
                test.statistic,
                1.0 / LITTLE,
                less,
            )
        ]
    return [
        Finding(
            "dispersion", "fine", f"{words} ({p_text(p)}).", "", "", "ratio of variances", ratio, LITTLE, p
        )
    ]


def _pearson(look: Look) -> tuple[float, float] | None:
    """Ratio and p-value; None where the family has no variance function."""
    try:
        found = look.fit.overdispersion().to_dict()
    except LmmformulaError:
        return None
    ratio, p = float(found["ratio"]), float(found["p_value"])
    return (ratio, p) if np.isfinite(ratio) and np.isfinite(p) else None


def _verdict(p: float, ratio: float) -> Verdict:
    if p < CLEAR and ratio > MUCH:
        return "problem"
    return "doubtful" if p < SUSPECT and ratio > LITTLE else "fine"


def zeros(look: Look) -> list[Finding]:
    """Zeros of counts against those of simulations, and those that the fit expects given its effects."""
    family = look.fit.problem.family
    if not (family.is_discrete and family.distribution.mean_range == "positive"):
        return [not_checked("zeros", "the response is no count.")]
    if look.fit.estimate.quasi_dispersion:
        return [
            not_checked(
                "zeros", "a quasi-likelihood with a free dispersion says nothing of how many zeros there are."
            )
        ]
    test = residual_tests.zero_inflation(look.simulated)
    expected = float(look.taken(expected_zeros(look)).sum())
    found = (
        f"{test.observed:,.0f} of {look.size:,} counts are zero; simulations have {test.expected:,.1f}, and the "
        f"fit given its effects "
        f"expects {expected:,.1f}"
    )
    ratio, p = test.statistic, test.p_value
    too_many = ratio > 1.0
    verdict = _verdict(p, ratio if too_many else 1.0 / max(ratio, 1e-300))
    if verdict == "fine":
        return [
            Finding(
                "zeros", "fine", f"{found} ({test.p_text}).", "", "", "zeros over simulated", ratio, LITTLE, p
            )
        ]
    advice = (
        "Compare nbinom2 (overdispersion makes zeros too) and ziformula='~ 1' by AIC."
        if too_many
        else "Look for a response that cannot be zero (a truncated count), or underdispersion."
    )
    return [
        Finding(
            "zeros",
            verdict,
            f"there are too {'many' if too_many else 'few'} zeros: {found} ({test.p_text}).",
            "The family does not describe how often nothing is counted; means of the others are pulled towards it.",
            advice,
            "zeros over simulated",
            ratio,
            LITTLE,
            p,
        )
    ]


def expected_zeros(look: Look) -> Array:
    """Probability of a zero of each row of the fit, given the random effects, (n,)."""
    problem = look.fit.problem
    none, weights = np.zeros(problem.n), problem.data.whole(problem.data.weights)
    return problem.family.cdf(none, linear_predictor(look.fit), auxiliary(look.fit), weights)


def outliers(look: Look) -> list[Finding]:
    """Rows whose residual is beyond what the largest of so many would be, and the number outside of all simulations."""
    from scipy.special import ndtr, ndtri

    z = look.residuals
    bar = float(-ndtri(0.5 * SUSPECT / len(z)))
    size = np.abs(z)
    far = np.flatnonzero(size > bar)
    worst = far[np.argsort(-size[far], kind="stable")]
    largest = float(size.max(initial=0.0))
    p = min(2.0 * float(ndtr(-largest)) * len(z), 1.0)
    name = "largest residual in standard deviations"
    beyond, crowded = _outside(look)
    if not len(worst) and not crowded:
        found = (
            f"no residual is beyond {bar:.2f} standard deviations, the bar for {len(z):,} rows (largest "
            f"{largest:.2f}){beyond}."
        )
        return [Finding("outliers", "fine", found, "", "", name, largest, bar, p)]
    labels = look.taken(np.asarray(row_labels(look.fit.problem)))  # type: ignore[arg-type]
    shown = ", ".join(f"{labels[r]} ({z[r]:+.1f})" for r in worst[:NAMED]) + (
        " ..." if len(worst) > NAMED else ""
    )
    rows = "no residual is far out alone"
    if len(worst):
        rows = f"{len(worst):,} row(s) are beyond {bar:.2f} standard deviations: {shown}"
    robust = "too many of them are overdispersion"
    if look.fit.problem.family.has_residual:
        robust = "family='student' is robust against them"
    return [
        Finding(
            "outliers",
            "doubtful",
            f"{rows}{beyond}.",
            "Single rows may carry the estimates, and widen the residual variance for all others.",
            f"Look at these rows (typing errors, other units, another population); {robust}.",
            name,
            largest,
            bar,
            p,
            about=shown,
        )
    ]


def _outside(look: Look) -> tuple[str, bool]:
    """How many rows lie outside of all simulations, in words, and whether these are too many."""
    if look.fit.estimate.quasi_dispersion:
        return "", False
    test = residual_tests.outliers(look.simulated)
    words = f"; {test.observed:,.0f} lie outside of all {look.n:,} simulations ({test.expected:,.1f} expected, {test.p_text})"
    return words, test.p_value < CLEAR and test.observed > test.expected
