"""Residuals that follow their neighbours in time or in space."""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.autocorrelation import durbin_watson, lag_correlations, moran
from lmmformula.inference.checking.columns import evenly, in_words, numbers_of, places_of
from lmmformula.inference.checking.finding import Finding, Verdict, not_checked
from lmmformula.inference.checking.look import Look
from lmmformula.typing import Array, Index

__all__ = ["in_space", "in_time"]

CLEAR = 0.01
LITTLE, MUCH = 0.1, 0.4
"""Correlations of neighbours that do not matter, and that do."""
MOST_PLACES = 3_000
"""Places whose distances are compared: evenly spaced ones of more."""


def in_time(look: Look) -> list[Finding]:
    """Durbin & Watson's test within the levels of the first grouping factor."""
    if look.time is None:
        return [not_checked("autocorrelation in time", "say when rows were observed: check(time='column').")]
    time = numbers_of(look.fit, look.time, "time", look.rows, look.size)
    terms = [t for t in look.sample.terms if t.shares is None]
    codes = np.zeros(look.size, dtype=np.intp)
    within = ""
    if terms:
        codes = terms[0].codes
        within = f" within {terms[0].group}"
    e, time, codes, same = _averaged(look.residuals, time, codes)
    test = durbin_watson(e, time, codes)
    lags = lag_correlations(e, time, codes, 5)
    r = 1.0 - 0.5 * test.statistic
    shown = ", ".join(f"{v:+.2f}" for v in lags[1:])
    averaged = f"; rows of one time{within} are averaged ({same:,})" if same else ""
    text = (
        f"neighbours in time{within} are correlated by {r:+.2f} (Durbin-Watson {test.statistic:.2f}, "
        f"{test.expected:.2f} expected, "
        f"{test.p_text}; lags 1 to {len(lags) - 1}: {shown}{averaged})."
    )
    verdict: Verdict = (
        "fine" if test.p_value >= CLEAR or abs(r) < LITTLE else "problem" if abs(r) >= MUCH else "doubtful"
    )
    bad = verdict != "fine"
    return [
        Finding(
            "autocorrelation in time",
            verdict,
            text,
            "Rows next to each other say the same twice: standard errors of what changes in time are too small."
            if bad
            else "",
            "Add a trend or season, a random slope of time, or gr(time, cov = 'ar1') effects." if bad else "",
            "lag-1 correlation",
            r,
            LITTLE,
            test.p_value,
        )
    ]


def _averaged(e: Array, time: Array, codes: Index) -> tuple[Array, Array, Index, int]:
    """Residuals of one time in a series as their mean times the root of their number, and how many rows went into others."""
    pairs, own, counts = np.unique(
        np.column_stack([codes.astype(float), time]), axis=0, return_inverse=True, return_counts=True
    )
    if len(pairs) == len(e):
        return e, time, codes, 0
    sums = np.bincount(own.ravel(), e) / np.sqrt(counts)
    return sums, pairs[:, 1], pairs[:, 0].astype(np.intp), len(e) - len(pairs)


def in_space(look: Look) -> list[Finding]:
    """Moran's I by inverse distances."""
    if look.coords is None:
        return [
            not_checked("autocorrelation in space", "say where rows were observed: check(coords=('x', 'y')).")
        ]
    places = places_of(look.fit, look.coords, "coords", look.rows)
    spots, own, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    e = np.bincount(own.ravel(), look.residuals) / np.sqrt(counts)
    chosen = evenly(len(spots), MOST_PLACES)
    subset = "" if chosen is None else f", {in_words(len(chosen), len(spots)).replace('rows', 'places')}"
    test = moran(e, spots) if chosen is None else moran(e[chosen], spots[chosen])
    shared = (
        f"; rows of one place are averaged ({len(places) - len(spots):,})" if len(spots) < len(places) else ""
    )
    sd = float(test.note.rsplit(" ", 1)[1])
    z = (test.statistic - test.expected) / sd
    text = (
        f"Moran's I of the residuals is {test.statistic:.3g} ({test.expected:.2g} expected, {z:+.1f} standard deviations away, "
        f"{test.p_text}{subset}{shared})."
    )
    bad = test.p_value < CLEAR
    return [
        Finding(
            "autocorrelation in space",
            "doubtful" if bad else "fine",
            text,
            "Near rows are alike in what the model does not explain: standard errors of what changes over the "
            "map are too small."
            if bad and z > 0.0
            else "Near rows differ more than others."
            if bad
            else "",
            "Add coordinates or a smooth of them, predictors that vary over the map, or effects of regions."
            if bad
            else "",
            "standard deviations from what is expected",
            z,
            np.nan,
            test.p_value,
        )
    ]
