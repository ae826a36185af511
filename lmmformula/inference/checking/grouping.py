r"""Grouping factors: enough levels for a variance, and slopes that vary within them.

A variance of m levels has about m - 1 degrees of freedom, so its relative standard error is near ``sqrt(2 / (m - 1))``
whatever the rows. A slope of x is told from the intercepts by rows of one level that differ in x: where x is constant within
every level, ``(x | g)`` says only that the variance of the intercepts depends on x.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.finding import Finding
from lmmformula.inference.checking.look import Look
from lmmformula.inference.checking.replicates import sampled
from lmmformula.ir.design import GroupBlock
from lmmformula.typing import Array

__all__ = ["levels", "slopes", "varies_within"]

FEW = 5
"""Levels below which a variance is hardly estimated (Bolker et al. 2009, Gelman & Hill 2007)."""


def levels(look: Look) -> list[Finding]:
    """The grouping factor with the fewest levels."""
    terms = [term for term in look.fit.problem.terms if not term.of_mean]
    if not terms:
        return []
    term = min(terms, key=lambda t: t.m)
    error = float(np.sqrt(2.0 / max(term.m - 1, 1)))
    found = f"the grouping factor of fewest levels is {term.group} ({term.m:,})."
    if term.m >= FEW:
        return [
            Finding("levels", "fine", found, "", "", "levels", float(term.m), float(FEW), about=term.group)
        ]
    return [
        Finding(
            "levels",
            "problem" if term.m < 3 else "doubtful",
            found,
            f"A variance of {term.m} levels has a relative standard error near {error:.0%}: its estimate is "
            f"little more than a guess, "
            "and standard errors of what varies between the levels hang on it.",
            f"Use {term.group} as a fixed effect, or fit with method='hmc' and a prior of its standard deviation.",
            "levels",
            float(term.m),
            float(FEW),
            about=term.group,
        )
    ]


def slopes(look: Look) -> list[Finding]:
    """Random slopes of what does not vary within levels."""
    out = []
    for term in sampled(look.fit.problem, None).terms:
        if term.basis is None or term.shares is not None or term.k < 2:
            continue
        share = varies_within(term)
        for j, name in enumerate(term.columns):
            if name != "(Intercept)" and share[j] == 0.0 and "(Intercept)" in term.columns:
                out.append(_constant(term, name))
    return out


def _constant(term: GroupBlock, name: str) -> Finding:
    return Finding(
        "slopes",
        "doubtful",
        f"{name} is constant within every level of {term.group}, so ({term.label}) has no slopes to estimate.",
        f"The effects say only that levels with another {name} vary more or less; their correlation with the "
        f"intercepts is arbitrary.",
        f"Take {name} out of the random part: (1 | {term.group}).",
        "share of levels within which it varies",
        0.0,
        0.0,
        about=f"{name} | {term.group}",
    )


def varies_within(term: GroupBlock) -> Array:
    """Share of the levels within which each column takes several values, (k,)."""
    order = np.argsort(term.codes, kind="stable")
    starts = np.flatnonzero(np.diff(term.codes[order], prepend=-1))
    assert term.basis is not None
    basis = term.basis[order]
    spread = np.maximum.reduceat(basis, starts) - np.minimum.reduceat(basis, starts)
    return np.asarray(np.mean(spread > 0.0, axis=0), dtype=float)
