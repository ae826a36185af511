"""Whether methods agree as much as they should, and why not.

Differences of coefficients are measured in standard errors of the most trusted method: 0.1 of them costs a 95% interval a
tenth of a percentage point of its coverage, 0.5 of them three points. Variances have no such measure; they are compared by
the ratio of standard deviations. How far two methods may be apart depends on what they have in common (:data:`BARS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["BARS", "Bar", "flags", "most_trusted", "remarks"]

DISPERSED = 1.5
"""Factor from 1 beyond which an estimated dispersion says something of the family."""


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a method may lie from the reference without a flag.

    Attributes
    ----------
    errors : float
        For a coefficient, in standard errors of the reference.
    ratio : float
        For a standard deviation, and for a standard error: relative to the reference's.
    why : str
        What explains more than that.
    alike : Bar, optional
        That of two fits of this kind, where both find the maximum of the same criterion.
    gaussian : Bar, optional
        That of a Gaussian response.
    maximises : bool
        Whether its estimates are maxima, of which REML's are others than ML's.
    shrunk : str
        What it does to variances, whether or not that is too much.
    """

    errors: float
    ratio: float
    why: str
    alike: Bar | None = None
    gaussian: Bar | None = None
    maximises: bool = True
    shrunk: str = ""


SAME = Bar(
    0.01,
    0.01,
    "Both maximise the same criterion exactly, so one of the searches has not reached the optimum.",
)
REML = Bar(
    0.1, 0.1, "REML counts the degrees of freedom of the fixed effects in the variances, and ML does not."
)
BACKFITTING = Bar(
    0.1,
    0.1,
    "Variances by effective degrees of freedom are maximum likelihood with traces='exact', and approximate with "
    "traces='diagonal'.",
)
BARS = {
    "quadrature": SAME,
    "exact": SAME,
    "laplace": Bar(
        0.1,
        0.05,
        "Laplace's approximation is biased where a level has few rows: trust quadrature (nagq=).",
        SAME,
    ),
    "posterior": Bar(
        0.5,
        0.25,
        "A posterior mean is not a maximum: priors draw it, and that of a standard deviation with few levels lies above the "
        "mode.",
        maximises=False,
    ),
    "fast": Bar(
        0.1,
        0.05,
        "nagq=0 finds the fixed effects together with the modes, without the part of Laplace's approximation that "
        "moves with them.",
        SAME,
    ),
    "krylov": Bar(
        0.1,
        0.05,
        "The Krylov engine estimates the criterion and its gradient with random probes: raise probes= or lower "
        "accuracy=, and look whether the change is of this size with another seed=.",
    ),
    "corrected": Bar(
        0.1,
        0.05,
        "Corrected quasi-likelihood is Laplace's approximation with traces='exact', and comes near it with "
        "traces='diagonal'.",
        gaussian=BACKFITTING,
    ),
    "quasi": Bar(
        0.5,
        0.1,
        "Penalised quasi-likelihood is biased towards zero, coefficients and variances alike, where a level has few rows of a "
        "binary response or of small counts; a dispersion that it estimates is part of its standard errors.",
        gaussian=BACKFITTING,
        shrunk="Penalised quasi-likelihood underestimates the variances of random effects, the more the fewer rows a level "
        "has.",
    ),
}
"""Kind of fit -> :class:`Bar` of it beside a more trusted one; the most trusted kinds first."""
TRUST = tuple(BARS)


def most_trusted(fits: Mapping[str, Fitted]) -> str:
    """Name of the fit that the others are measured against; the first of several of one kind that converged."""

    def order(name: str) -> tuple[bool, int]:
        return not fits[name].converged, TRUST.index(fits[name].backend.trust)

    return min(fits, key=order)


def flags(name: str, fit: Fitted, reference_name: str, reference: Fitted) -> tuple[str, ...]:
    """Sentences on where `fit` is further from `reference` than it should be; empty if it is not."""
    bar = _bar(fit, reference)
    told = [
        *_coefficients_apart(name, fit, reference_name, reference, bar),
        *_ratios_apart(name, fit, reference_name, reference, bar),
    ]
    if told:
        told[-1] = f"{told[-1]} {bar.why}"
    return (*told, *_likelihoods_apart(name, fit, reference_name, reference))


def remarks(name: str, fit: Fitted, reference_name: str, reference: Fitted) -> tuple[str, ...]:
    """What is known of a pair of methods, whether or not they differ by much."""
    shrunk = BARS[fit.backend.trust].shrunk
    if not shrunk or BARS[reference.backend.trust].shrunk or fit.problem.is_linear:
        return ()
    mine, theirs = fit.inference.spread_intervals(None), reference.inference.spread_intervals(None)
    other = dict(zip(theirs.names, theirs.point, strict=True))
    ratios = [
        f"{(p / other[n]) ** 2:.2f} ({n[3:].removeprefix('(Intercept)|')})"
        for n, p in zip(mine.names, mine.point, strict=True)
        if n.startswith("sd_") and other.get(n, 0.0) > 0.0
    ]
    if not ratios:
        return ()
    advice = f" {_cure(fit, reference_name)}" if flags(name, fit, reference_name, reference) else ""
    return (f"{name}: its variances are {', '.join(ratios)} of {reference_name}'s. {shrunk}{advice}",)


def _cure(fit: Fitted, reference_name: str) -> str:
    """What to do about a quasi-likelihood that is too far from a likelihood."""
    family, phi = fit.problem.family, float(fit.sigma) ** 2
    if not family.has_residual and not 1.0 / DISPERSED < phi < DISPERSED:
        return (
            f"Its dispersion, {phi:.2g}, is part of the difference: the responses vary {'more' if phi > 1.0 else 'less'} than "
            f"{family.name} ones do, which {reference_name} does not allow for. Choose a family that does "
            "(nbinom2 for counts), add a random effect for each row, or hold it at 1 for the comparison: dispersion='fixed' "
            "or correction='laplace'."
        )
    if fit.problem.aux or family.auxiliaries or not family.is_canonical:
        return (
            f"That is too much here: trust the other, or use method='krylov' where the data are too large for it (the "
            f"correction to Laplace's approximation needs a canonical link and no dispersion, which {family} has not)."
        )
    return (
        "That is too much here: correction='laplace' adds the terms that Laplace's approximation has and it leaves out, at "
        "a cost that still grows like the number of rows."
    )


def _bar(fit: Fitted, reference: Fitted) -> Bar:
    kinds = [reference.backend.trust, fit.backend.trust]
    bar = BARS[max(kinds, key=TRUST.index)]
    if fit.problem.is_linear:
        if bar.maximises and fit.estimate.restricted != reference.estimate.restricted:
            return REML
        bar = bar.gaussian or bar
    return bar.alike if bar.alike and len(set(kinds)) == 1 else bar


def _coefficients_apart(
    name: str, fit: Fitted, reference_name: str, reference: Fitted, bar: Bar
) -> list[str]:
    mine, theirs = fit.inference.fixed_intervals(None), reference.inference.fixed_intervals(None)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (mine.point - theirs.point) / theirs.spread
    over = np.flatnonzero(np.abs(apart) > bar.errors)
    if not len(over):
        return []
    worst = int(over[np.argmax(np.abs(apart[over]))])
    more = f", the largest of {len(over)} such differences" if len(over) > 1 else ""
    return [
        f"{name}: {mine.names[worst]} is {mine.point[worst]:.4g} where {reference_name} has {theirs.point[worst]:.4g}: "
        f"{apart[worst]:+.2f} standard errors (expected within {bar.errors:g}){more}."
    ]


def _ratios_apart(name: str, fit: Fitted, reference_name: str, reference: Fitted, bar: Bar) -> list[str]:
    spreads, others = fit.inference.spread_intervals(None), reference.inference.spread_intervals(None)
    fixed, known = fit.inference.fixed_intervals(None), reference.inference.fixed_intervals(None)
    told = []
    for what, names, mine, theirs in (
        ("", spreads.names, spreads.point, dict(zip(others.names, others.point, strict=True))),
        (
            "the standard error of ",
            fixed.names,
            fixed.spread,
            dict(zip(known.names, known.spread, strict=True)),
        ),
    ):
        allowed = bar.ratio if not what else max(bar.ratio, 0.1)
        worst = _worst_ratio(names, mine, theirs)
        if worst is None or abs(np.log(worst[1])) <= np.log1p(allowed):
            continue
        told.append(
            f"{name}: {what}{worst[0]} is {worst[1]:.2f} times that of {reference_name} (expected within {allowed:.0%})."
        )
    return told


def _worst_ratio(
    names: tuple[str, ...], mine: np.ndarray, theirs: dict[str, float]
) -> tuple[str, float] | None:
    """Name and ratio of the number that differs most by its factor; correlations, zeros and what is missing left out."""
    ratios = [
        (n, float(v / theirs[n]))
        for n, v in zip(names, mine, strict=True)
        if not n.startswith("cor_") and v > 0.0 and np.isfinite(v) and 0.0 < theirs.get(n, 0.0) < np.inf
    ]
    return max(ratios, key=lambda item: abs(np.log(item[1])), default=None)


def _likelihoods_apart(name: str, fit: Fitted, reference_name: str, reference: Fitted) -> list[str]:
    """A log-likelihood that is an estimate, against the exact one of the same criterion."""
    if not fit.llf_stderr or fit.method != reference.method or not np.isfinite(reference.llf):
        return []
    apart, stderr = fit.llf - reference.llf, float(np.hypot(fit.llf_stderr, reference.llf_stderr))
    if abs(apart) <= 3.0 * stderr + 0.01:
        return []
    return [
        f"{name}: its log-likelihood is {apart:+.3g} off {reference_name}'s, with a standard error of {stderr:.2g}. The search "
        "has stopped elsewhere, or the standard error is too small: raise probes= or lower accuracy=."
    ]
