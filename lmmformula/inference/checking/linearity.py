r"""Residuals against each numeric predictor: is its effect straight, or of the shape that the formula gives it?

Orthonormal polynomials of degrees 1 to 4 of the predictor are made orthogonal to X over the rows, so that what the model has
already is taken out; with B the r columns that are left and e the residuals given the random effects,

    F = (|B'e|^2 / r) / ((|e|^2 - |B'e|^2) / (N - p - r)),       R^2 = |B'e|^2 / |e|^2.

A predictor that is constant within the levels of a grouping factor leaves no trace there, as the random effects follow it:
it is compared with the modes of the intercepts instead, a row a level.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.columns import numeric_variables
from lmmformula.inference.checking.finding import Finding, Verdict, not_checked, p_text
from lmmformula.inference.checking.look import Look
from lmmformula.inference.checking.normality import standardised_modes
from lmmformula.inference.checking.residual_tests import orthonormal_powers
from lmmformula.typing import Array

__all__ = ["bend", "linearity"]

DEGREE = 4
CLEAR = 0.01
SHARE, LARGE = 0.02, 0.1
"""Shares of the variance of the residuals that do not matter, and that do."""
LEFT = 1e-4
"""Length of a polynomial of which so little is left beside X is none."""


def linearity(look: Look) -> list[Finding]:
    """A finding for each numeric predictor."""
    variables = numeric_variables(look.fit, look.rows)
    if not variables:
        return [not_checked("linearity", "the fixed part has no numeric predictor of more than two values.")]
    tested = {}
    for name, x in variables.items():
        found = _of_levels(look, x)
        where = ""
        if found is None:
            found = bend(look.residuals, x, look.columns)
        else:
            found, where = found
        if found is not None:
            tested[name] = (*found, where)
    out = []
    for name, (share, p, where) in tested.items():
        p = min(1.0, p * len(tested))
        verdict: Verdict = (
            "fine" if p >= CLEAR or share < SHARE else "problem" if share >= LARGE else "doubtful"
        )
        what = where or "the residuals"
        text = f"a curve over {name} explains {share:.1%} of the variance of {what} ({p_text(p)})."
        bad = verdict != "fine"
        out.append(
            Finding(
                "linearity",
                verdict,
                text,
                f"The effect of {name} has another shape than the formula gives it: slopes are averages over its range."
                if bad
                else "",
                f"Look at m.plot.residuals(); add I({name}^2), poly({name}, 3) or ns({name}, 4) and compare by "
                f"AIC, or take its logarithm."
                if bad
                else "",
                "share of the variance of the residuals",
                share,
                SHARE,
                p,
                name,
            )
        )
    return out or [
        not_checked("linearity", "the formula follows every numeric predictor as far as its values differ.")
    ]


def bend(e: Array, x: Array, columns: Array, weights: Array | None = None) -> tuple[float, float] | None:
    """R^2 and p-value of what polynomials of x add to `columns`; None where they add nothing."""
    from scipy.special import fdtrc

    basis = orthonormal_powers(x, DEGREE)
    base = _orthonormal(columns)
    rest = basis - base @ (base.T @ basis)
    rest = rest - base @ (base.T @ rest)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    b = left[:, sizes > LEFT]
    e = e - base @ (base.T @ e)
    r, n = b.shape[1], len(e)
    total, free = float(e @ e), n - base.shape[1] - b.shape[1]
    if r == 0 or free < 1 or not total > 0.0:
        return None
    explained = float(np.sum((b.T @ e) ** 2))
    f = (explained / r) / (max(total - explained, 0.0) / free) if explained < total else np.inf
    return explained / total, float(fdtrc(float(r), float(free), f))


def _orthonormal(columns: Array) -> Array:
    """A basis of the columns' space."""
    if not columns.shape[1]:
        return np.zeros((len(columns), 0))
    size = np.sqrt((columns**2).sum(axis=0))
    left, values, _ = np.linalg.svd(columns / np.where(size > 0.0, size, 1.0), full_matrices=False)
    return left[:, values > 1e-10 * values[0]]


def _of_levels(look: Look, x: Array) -> tuple[tuple[float, float] | None, str] | None:
    """The same of the modes of a factor within whose levels x is constant; None if it varies within all factors."""
    for i, term in enumerate(look.sample.terms):
        if term.shares is not None or "(Intercept)" not in term.columns:
            continue
        codes = term.codes
        counts = np.bincount(codes, minlength=term.m)
        if (counts == 1).all():
            continue
        seen = counts > 0
        low, high = np.full(term.m, np.inf), np.full(term.m, -np.inf)
        np.minimum.at(low, codes, x)
        np.maximum.at(high, codes, x)
        if (high[seen] > low[seen]).any():
            continue
        modes = standardised_modes(look, i, term.columns.index("(Intercept)"))
        if modes is None or len(modes) != term.m or seen.sum() < 8:
            return None, ""
        sums = np.column_stack([np.bincount(codes, column, term.m) for column in look.columns.T])
        means = sums[seen] / counts[seen, None]
        constant = np.ptp(means, axis=0) == 0.0
        means = means[:, ~constant | (np.cumsum(constant) == 1)]
        return bend(modes[seen], low[seen], means), f"the effects of {term.group}"
    return None
