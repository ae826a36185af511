r"""Collinear columns: variance inflation of terms, condition of the columns, columns that were dropped.

With C the correlation matrix of the estimates of all coefficients but the intercept, cut into those of a term (1) and the
others (2), Fox & Monette (1992, eq. 10)::

    GVIF = det C_11 det C_22 / det C,       VIF of one coefficient,       GVIF^(1/(2 df)) comparable to its root

as ``car::vif`` and ``performance::check_collinearity`` have it; C is that of the mixed model, so a predictor that varies
between groups is compared with others that do. The condition index (Belsley, Kuh & Welsch 1980) is the root of the largest
over the smallest eigenvalue of X'X with centred columns of unit length: it has neither unit nor origin.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.finding import Finding, not_checked
from lmmformula.inference.checking.look import Look
from lmmformula.typing import Array

__all__ = ["collinearity", "condition_index", "dropped_columns", "inflation"]

HIGH, MUCH = 5.0, 10.0
"""Squares of GVIF^(1/(2 df)), comparable to VIF, that are high and very high."""
ILL = 30.0
"""Condition index that is called strong dependence (Belsley et al.)."""


def collinearity(look: Look) -> list[Finding]:
    """The worst term, and the condition index of all columns."""
    fit = look.fit
    x = fit.problem.X
    names = [label for j, label in enumerate(x.term_labels, 1) if j in x.assign]
    if len(names) < 2:
        return [not_checked("collinearity", "there are fewer than two terms besides the intercept.")]
    if not np.isfinite(fit.vcov).all():
        return [not_checked("collinearity", "some coefficients run off to infinity and have no covariances.")]
    table = inflation(fit.vcov, x.assign)
    comparable = {names[i]: g ** (1.0 / df) for i, (g, df) in enumerate(table.values())}
    worst = max(comparable, key=lambda name: comparable[name])
    value, index = comparable[worst], condition_index(look.columns, x.assign)
    interaction = ":" in worst or any(":" in n and worst in n.split(":") for n in names)
    verdict = "problem" if value >= MUCH and not interaction else "doubtful" if value >= HIGH else "fine"
    where = f"{worst} (VIF {value:.3g}; {np.sqrt(value):.2g} times the standard error without the others)"
    out = [
        Finding(
            "collinearity",
            verdict,
            f"the most collinear term is {where}."
            if verdict != "fine"
            else f"the largest VIF is {value:.3g}, of {worst}.",
            ""
            if verdict == "fine"
            else f"The data hardly tell {worst} from the others: its estimate is unbiased but imprecise.",
            ""
            if verdict == "fine"
            else "Centre the variables of the interaction or power, which changes what the main effects mean and not the fit."
            if interaction or "^" in worst
            else "Leave one of the terms out, join them into one, or read them together (joint tests) and not one by one.",
            "VIF",
            value,
            HIGH,
            about=worst,
        )
    ]
    ill = index >= ILL
    out.append(
        Finding(
            "condition",
            "doubtful" if ill else "fine",
            f"the condition index of the centred columns is {index:.3g}.",
            "Some combination of the columns is nearly constant, and the coefficients along it are imprecise."
            if ill
            else "",
            "Look at VIF for which; centre variables before powers and products are made of them."
            if ill
            else "",
            "condition index",
            index,
            ILL,
        )
    )
    return out


def inflation(vcov: Array, assign: tuple[int, ...]) -> dict[int, tuple[float, int]]:
    """GVIF and number of coefficients of each term, 0 being the intercept, which is left out."""
    owner = np.array(assign)
    kept = np.flatnonzero(owner > 0)
    cov = vcov[np.ix_(kept, kept)]
    root = np.sqrt(np.diagonal(cov))
    c, owner = cov / np.outer(root, root), owner[kept]
    whole = np.linalg.slogdet(c)[1]
    out = {}
    for term in np.unique(owner):
        one, rest = np.flatnonzero(owner == term), np.flatnonzero(owner != term)
        parts = sum(np.linalg.slogdet(c[np.ix_(some, some)])[1] for some in (one, rest))
        out[int(term)] = (float(np.exp(parts - whole)), len(one))
    return out


def condition_index(columns: Array, assign: tuple[int, ...]) -> float:
    """Root of the largest over the smallest eigenvalue of the columns, centred if there is an intercept, of unit length."""
    owner = np.array(assign)
    x = columns[:, owner > 0]
    x = x - x.mean(axis=0) if (owner == 0).any() else x
    x = x / np.sqrt((x**2).sum(axis=0))
    values = np.linalg.eigvalsh(x.T @ x)
    return float(np.sqrt(values[-1] / max(values[0], np.finfo(float).tiny)))


def dropped_columns(look: Look) -> list[Finding]:
    """Columns that the fit left out as earlier ones determine them."""
    names = look.fit.problem.X.dropped
    if not names:
        return [
            Finding(
                "rank",
                "fine",
                "no column of the fixed part is determined by others.",
                "",
                "",
                "columns dropped",
                0.0,
                0.0,
            )
        ]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return [
        Finding(
            "rank",
            "doubtful",
            f"{len(names)} column(s) of the fixed part are constant or determined by earlier ones, and were dropped: {shown}.",
            "Their coefficients are zero by convention, and what the others mean depends on the order of the terms.",
            "Take the variable out, or merge combinations of factors that the data lack.",
            "columns dropped",
            float(len(names)),
            0.0,
            about=shown,
        )
    ]
