r"""Quantiles against the normal distribution, with an envelope by simulation instead of a naked test.

Values are centred and scaled to variance one, in the data and in every simulated sample of as many normal numbers, so that
the shape alone is judged. The i-th of N ordered uniforms is Beta(i, N + 1 - i); with F_i its distribution function at the
i-th ordered value,

    t = min_i 2 min(F_i, 1 - F_i),

over up to `PLACES` order statistics, those at the ends among them, is small where some quantile is too far out, in the tails
as in the middle (Aldor-Noiman et al. 2013). Its p-value is the share of simulated samples with a smaller t; the envelope is
where t is at its 5% quantile, so that 95% of right samples lie within as a whole.

Random effects are shrunken: Var(mode) = Sigma - Var(b | y), level by level, and each mode is divided by its own root before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.inference.checking.columns import evenly
from lmmformula.inference.checking.finding import Finding, Verdict, not_checked
from lmmformula.inference.checking.look import Look
from lmmformula.inference.conditional import group_names
from lmmformula.typing import Array, Index

__all__ = ["Shape", "normality_of_effects", "normality_of_residuals", "shape", "standardised_modes"]

PLACES = 100
SAMPLES = 400
"""Simulated samples."""
MOST = 5_000
"""Values that are compared: evenly spaced ones of more."""
CLEAR = 0.01
SKEW, TAILS = 0.5, 1.0
"""Skewness and excess kurtosis that do not matter."""
MOST_EFFECTS = 20_000
"""Random effects whose variances are found."""


@dataclass(frozen=True, eq=False)
class Shape:
    """Ordered values against the normal distribution.

    Attributes
    ----------
    values : (N,) array
        Standardised, ascending.
    expected, low, high : (N,) arrays
        Normal quantiles, and the ends of the envelope that holds 95% of samples as a whole.
    p : float
    skewness, kurtosis : float
        Of all values; the kurtosis of the normal distribution is 0.
    """

    values: Array
    expected: Array
    low: Array
    high: Array
    p: float
    skewness: float
    kurtosis: float

    @property
    def outside(self) -> int:
        """Values outside of the envelope."""
        return int(((self.values < self.low) | (self.values > self.high)).sum())


def shape(values: Array, rng: np.random.Generator) -> Shape:
    """Compare with the normal distribution. Cost: `SAMPLES` sorted samples."""
    from scipy.special import betaincinv, ndtri

    z = _standardised(values)
    skewness, kurtosis = float(np.mean(z**3)), float(np.mean(z**4) - 3.0)
    ordered = np.sort(z)
    if (chosen := evenly(len(ordered), MOST)) is not None:
        ordered = ordered[chosen]
    n = len(ordered)
    places = _places(n)
    drawn = np.sort(_standardised(rng.standard_normal((SAMPLES, n))), axis=1)
    own, others = float(_least(ordered[None, places], places, n)[0]), _least(drawn[:, places], places, n)
    bar = float(np.quantile(others, 0.05))
    ranks = np.arange(1.0, n + 1.0)
    low, high = (ndtri(betaincinv(ranks, n + 1.0 - ranks, side)) for side in (0.5 * bar, 1.0 - 0.5 * bar))
    p = float((1.0 + np.sum(others <= own)) / (SAMPLES + 1.0))
    return Shape(ordered, ndtri((ranks - 0.375) / (n + 0.25)), low, high, p, skewness, kurtosis)


def _standardised(values: Array) -> Array:
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred**2, axis=-1, keepdims=True))
    return centred / np.where(spread > 0.0, spread, 1.0)


def _places(n: int) -> Index:
    """Order statistics that are looked at: closer together at the ends."""
    if n <= PLACES:
        return np.arange(n)
    side = np.unique(np.geomspace(1.0, 0.5 * n, PLACES // 2).round().astype(np.intp)) - 1
    return np.unique(np.concatenate([side, n - 1 - side]))


def _least(ordered: Array, places: Index, n: int) -> Array:
    """t of each sample."""
    from scipy.special import betainc, ndtr

    ranks = places + 1.0
    f = betainc(ranks, n + 1.0 - ranks, ndtr(ordered))
    return np.asarray((2.0 * np.minimum(f, 1.0 - f)).min(axis=1))


def normality_of_residuals(look: Look) -> list[Finding]:
    """Shape of the residuals."""
    if look.size < 10:
        return [not_checked("normality", "fewer than ten rows have no shape.", "residuals")]
    family = look.fit.problem.family
    what = "residuals" if family.has_residual else f"quantile residuals of the {family.name} family"
    found = shape(look.residuals, look.generator)
    means = (
        "Fixed effects and their tests bear this well; prediction intervals and small samples do not."
        if family.has_residual
        else "The family does not describe the response: its variance or its shape is another one."
    )
    advice = (
        "Model a transformation (log of a positive response), or family='student' for heavy tails; "
        "conf_int(method='bootstrap') does "
        "not help, as it draws from the same model."
        if family.has_residual
        else "Compare families by AIC, such as nbinom2 with poisson, or gamma with lognormal."
    )
    return [_judged(found, what, "residuals", means, advice)]


def normality_of_effects(look: Look) -> list[Finding]:
    """Shape of the random effects, for each column of each term with a variance."""
    fit, out = look.fit, []
    for i, (term, name) in enumerate(zip(fit.problem.terms, group_names(fit), strict=True)):
        if term.of_mean:
            continue
        if term.m < 10:
            out.append(not_checked("normality", f"{term.m} levels of {term.group} have no shape.", name))
            continue
        for j, column in enumerate(term.columns):
            about = f"{column} | {term.group}"
            z = standardised_modes(look, i, j)
            if z is None:
                out.append(not_checked("normality", f"the effects of {about} have no variance.", about))
                continue
            means = "Predictions of single levels and of new ones are off; fixed effects of linear models bear it well."
            advice = "Look for groups of levels that differ (a missing predictor of the levels), and for single odd levels."
            out.append(_judged(shape(z, look.generator), f"the effects of {about}", about, means, advice))
    return out


def standardised_modes(look: Look, term: int, column: int) -> Array | None:
    """Modes over the standard deviation that each has under the model; None where that is zero."""
    fit = look.fit
    own = fit.problem.terms[term]
    modes = fit.estimate.modes[term][:, column]
    variance = float(fit.inference.spread(term)[0][column, column])
    if not np.ptp(modes) > 0.0 or not variance > 0.0:
        return None
    if fit.problem.q > MOST_EFFECTS and not fit.inference.has_effect_errors:
        return modes
    try:
        left = variance - np.asarray(fit.inference.effect_covariances()[term])[:, column, column]
    except LmmformulaError:
        return modes
    reliable = left > 1e-6 * variance  # levels about which the data say nothing have modes of zero
    return modes[reliable] / np.sqrt(left[reliable]) if reliable.sum() >= min(10, own.m) else None


def _judged(found: Shape, what: str, about: str, means: str, advice: str) -> Finding:
    odd = abs(found.skewness) > SKEW or abs(found.kurtosis) > TAILS
    verdict: Verdict = "doubtful" if found.p < CLEAR and odd else "fine"
    shown = f"skewness {found.skewness:+.2f}, excess kurtosis {found.kurtosis:+.2f}"
    beyond = (
        f"{found.outside:,} of {len(found.values):,} quantiles outside of the 95% envelope, p = {found.p:.2g}"
    )
    text = (
        f"{what} are not normal in shape: {shown} ({beyond})."
        if verdict != "fine"
        else f"{what} are normal in shape as far as matters: {shown} ({beyond})."
    )
    bad = verdict != "fine"
    largest = max(abs(found.skewness) / SKEW, abs(found.kurtosis) / TAILS)
    name = "skewness or kurtosis over its bar"
    return Finding(
        "normality",
        verdict,
        text,
        means if bad else "",
        advice if bad else "",
        name,
        largest,
        1.0,
        found.p,
        about,
    )
