r"""Separation: a direction of the coefficients along which the likelihood of the response never falls.

For 0/1 responses the likelihood of every row rises, or stays, along d if ``x_r'd >= 0`` where y = 1, ``<= 0`` where y = 0,
and ``= 0`` where a proportion is in between; for counts with a log link if ``x_r'd <= 0`` where y = 0 and ``= 0`` elsewhere.
Where such a d moves any row, it does so for every value of the random effects, hence for the integrated likelihood too:
estimates run off along d (Albert & Anderson 1984; Correia, Guimaraes & Zylkin 2019). Whether there is one is a linear
programme (Konis 2007)::

    max sum_r |x_r'd|   subject to the signs above,   -1 <= d_j max|x_j| <= 1,

over the rows that differ. Its solution says which coefficients run to which infinity.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.finding import Finding, not_checked
from lmmformula.inference.checking.look import Look
from lmmformula.typing import Array

__all__ = ["direction", "separation"]

MOST_CELLS = 2_000_000
"""Rows that differ times columns up to which the programme is solved."""


def separation(look: Look) -> list[Finding]:
    """Coefficients that run off, and fitted probabilities of 0 and 1."""
    fit, family = look.fit, look.fit.problem.family
    unit = family.is_discrete and family.distribution.mean_range == "unit"
    counts = family.takes_zeros and family.link == "log"
    if not (unit or counts):
        return [not_checked("separation", "only 0/1 responses, proportions and counts can be separated.")]
    fit.problem.refuse_elsewhere("the search for separation")
    names = fit.problem.X.names
    cells = _cells(fit.problem.X.matrix, fit.problem.y, look)
    if cells is None:
        return [
            not_checked("separation", "the linear programme of so many rows and columns would take long.")
        ]
    found = direction(*cells, unit=unit)
    y = fit.problem.y
    ends = _at_ends(fit.fittedvalues.to_numpy(), look) if unit else 0
    said = f"; {ends:,} fitted probabilities are 0 or 1 to within rounding" if ends else ""
    name = "share of rows that a direction separates"
    if found is None and not fit.estimate.undetermined:
        return [
            Finding(
                "separation",
                "fine" if not ends else "doubtful",
                f"no combination of predictors separates the responses{said}.",
                "Rows far from the others have no uncertainty left." if ends else "",
                "Look for random effects with a huge standard deviation: few rows in a group separate it."
                if ends
                else "",
                name,
                0.0,
                0.0,
            )
        ]
    if found is None:
        runs = ", ".join(fit.estimate.undetermined)
        share = 0.0
    else:
        d, share = found
        runs = ", ".join(
            f"{n} to {'+' if v > 0 else '-'}infinity" for n, v in zip(names, d, strict=True) if v != 0.0
        )
    prior = fit.inference.priors is not None
    return [
        Finding(
            "separation",
            "doubtful" if prior else "problem",
            f"the predictors separate the responses: along {runs} the likelihood of {share:.0%} of the "
            f"{len(y):,} rows only rises{said}.",
            "The prior alone holds these coefficients: they depend on it."
            if prior
            else "These coefficients have no finite estimate: what is printed is where the search stopped. Others stand.",
            "Merge or drop levels of the predictor, or fit with method='hmc' and an informative prior of the coefficients.",
            name,
            share,
            0.0,
            about=runs,
        )
    ]


def _cells(x: Array, y: Array, look: Look) -> tuple[Array, Array, Array] | None:
    """Rows that differ in x and in whether y is at an end, with their numbers."""
    state = np.where(y <= 0.0, -1.0, np.where(y >= 1.0, 1.0, 0.0))
    if look.fit.problem.family.distribution.mean_range != "unit":
        state = np.where(y <= 0.0, -1.0, 0.0)
    found, counts = np.unique(np.column_stack([x, state]), axis=0, return_counts=True)
    if found.size > MOST_CELLS:
        return None
    return found[:, :-1], found[:, -1], counts.astype(float)


def direction(x: Array, state: Array, counts: Array, *, unit: bool) -> tuple[Array, float] | None:
    """d and the share of rows that it moves; None where nothing separates.

    Parameters
    ----------
    x : (r, p) array
    state : (r,) array
        1 where y is at its upper end, -1 where it is 0, 0 in between (or for a count above 0).
    counts : (r,) array
    unit : bool
        Whether the response has an upper end.
    """
    from scipy.optimize import linprog

    top = np.abs(x).max(axis=0, initial=0.0)
    if not x.shape[1] or not (state != 0.0).any():
        return None
    scaled = x / np.where(top > 0.0, top, 1.0)
    signed = scaled * state[:, None]
    free, held = signed[state != 0.0], scaled[state == 0.0]
    solved = linprog(
        -(counts[state != 0.0] @ free),
        A_ub=-free,
        b_ub=np.zeros(len(free)),
        A_eq=held if len(held) else None,
        b_eq=np.zeros(len(held)) if len(held) else None,
        bounds=(-1.0, 1.0),
        method="highs",
    )
    if solved.x is None:
        return None
    d = np.where(np.abs(solved.x) > 1e-7, solved.x, 0.0)
    moved = free @ d > 1e-7
    if not moved.any():
        return None
    share = float(counts[state != 0.0][moved].sum() / counts.sum())
    return d / np.where(top > 0.0, top, 1.0), share


def _at_ends(p: Array, look: Look) -> int:
    """Fitted probabilities that rounding cannot tell from 0 or 1."""
    edge = 10.0 * np.finfo(float).eps
    return int(((p < edge) | (p > 1.0 - edge)).sum())
