"""Random effects given the data: modes, conditional standard deviations, variances, and level coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.words import notes
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.structured import shown_levels
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = [
    "coef",
    "conditional_covariances",
    "covariance_matrices",
    "covariances_at_optimum",
    "group_names",
    "is_one",
    "random_effects",
    "ranef",
    "varcorr",
    "varcorr_places",
    "varying",
]


def conditional_covariances(fit: Fitted) -> tuple[Array, ...]:
    """Var(b | y) = sigma^2 L (M^-1)_ss L' of each level, per term (m, k, k), at the estimated beta and theta.

    Of a posterior, Var(b | y) over everything: variances without sampling error, correlations those of the draws.
    """
    return fit.inference.effect_covariances()


def covariances_at_optimum(fit: Fitted) -> tuple[Array, ...]:
    """The same of a fit that is no posterior."""
    point, problem = fit.optimum, fit.problem
    inverse, out = point.factor.inverse(), [np.empty(0)] * len(problem.terms)
    for a, group in enumerate(point.model.prepared.blocks.groups):
        factor = point.factors[a]
        full = fit.standard.sigma_in(fit.estimate) ** 2 * (factor @ inverse.diagonal(a) @ factor.T)
        for i, columns in group.members:
            back = fit.standard.effects(i)
            out[i] = back @ full[:, columns, columns] @ back.T
    return tuple(out)


def ranef(fit: Fitted, condsd: bool = False) -> pd.DataFrame:
    """Conditional modes in lme4's long form; of a posterior, means and standard deviations."""
    import pandas as pd

    spread = fit.inference.effect_errors() if condsd else None
    frames = []
    for i, (term, b) in enumerate(zip(fit.problem.terms, fit.estimate.modes, strict=True)):
        columns = {
            "grpvar": np.full(b.size, term.group, dtype=object),
            "term": np.repeat(np.array(term.columns, dtype=object), term.m),
            "grp": np.tile(np.asarray(term.levels, dtype=object), term.k),
            "condval": b.T.ravel(),
        }
        if spread is not None:
            columns["condsd"] = spread[i].T.ravel()
        frame = pd.DataFrame(columns)
        frames.append(frame if term.owners is None else frame[np.tile(term.owners, term.k)])
    if not frames:
        return pd.DataFrame(columns=["grpvar", "term", "grp", "condval", *(["condsd"] if condsd else [])])
    return pd.concat(frames, ignore_index=True)


def covariance_matrices(fit: Fitted) -> tuple[Array, ...]:
    """sigma^2 Sigma of each term, (k, k)."""
    out = []
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(fit.estimate.theta[s])
        out.append(lower @ lower.T)
    return tuple(out)


def group_names(fit: Fitted) -> tuple[str, ...]:
    """Group of each term, with lme4's ``.1``, ``.2`` for further terms on the same factor."""
    seen: dict[str, int] = {}
    out = []
    for term in fit.problem.terms:
        count = seen.get(term.group, 0)
        out.append(term.group if not count else f"{term.group}.{count}")
        seen[term.group] = count + 1
    return tuple(out)


def varcorr(fit: Fitted, se: bool = False) -> pd.DataFrame:
    """Variances and covariances in lme4's long form; the last row is the residual, if there is one.

    Where a quasi-likelihood estimates a dispersion, that row holds it and its root, as lme and glmmPQL print it. Of a posterior
    every entry is the mean of its draws, so that a mean variance is not the square of a mean standard deviation.

    Parameters
    ----------
    fit : Fit
    se : bool
        Add ``se``, the standard errors of the standard deviations and correlations, see
        :mod:`lmmformula.inference.spreads`; of a posterior the standard deviations of their draws. Missing at the boundary:
        ``attrs["note"]`` says why.
    """
    import pandas as pd

    rows: list[tuple[str, str | None, str | None, float, float]] = []
    names, terms = group_names(fit), fit.problem.terms
    spread = [fit.inference.spread(i) for i in range(len(terms))]
    for i, a, b in varcorr_places(fit):
        if i is None:
            rows.append(("Residual", None, None, fit.inference.residual_variance(), fit.estimate.sigma))
            continue
        cov, sd, cor = spread[i]
        if b is None:
            rows.append((names[i], varying(terms[i])[a], None, cov[a, a], sd[a]))
        else:
            rows.append((names[i], terms[i].columns[a], terms[i].columns[b], cov[b, a], cor[b, a]))
    rows += [(p.group, p.var1, p.var2, p.vcov, p.spread.value) for p in fit.inference.structure_parameters()]
    table = pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])
    if se:
        table["se"], reasons = fit.inference.varcorr_errors()
        if note := notes(reasons):
            table.attrs["note"] = note
    return table


SMOOTH = "smooth"
"""Stands for the columns of a smooth's penalised part, which have one variance."""


def is_one(term: GroupBlock) -> bool:
    """Whether one row stands for all columns of a term."""
    return bool(term.smooth) and term.covariance.within.one_variance


def varying(term: GroupBlock) -> tuple[str, ...]:
    """What has a standard deviation of its own, by name: columns, or a smooth's penalised part as a whole."""
    if not is_one(term):
        return term.columns
    head = term.smooth.rpartition(": ")[0]
    return (f"{head}:{SMOOTH}" if head and any(term.predictors) else SMOOTH,)


def random_effects(fit: Fitted) -> pd.DataFrame:
    """:func:`varcorr`, without a residual's row where the dispersion is an auxiliary parameter."""
    table = fit.varcorr()
    if more := len(fit.inference.structure_parameters()):
        table = table.iloc[: len(table) - more]
    if fit.problem.is_linear or fit.estimate.quasi_dispersion:
        return table
    return table.loc[table["var1"].notna()]


def varcorr_places(fit: Fitted) -> list[tuple[int | None, int, int | None]]:
    """Term, column and the second column of a covariance for each row of :func:`varcorr`; no term for the residual."""
    out: list[tuple[int | None, int, int | None]] = []
    for i, term in enumerate(fit.problem.terms):
        out += [(i, j, None) for j in range(1 if is_one(term) else term.k)]
        if term.covariance.within.correlated:
            out += [(i, a, b) for a in range(term.k) for b in range(a + 1, term.k)]
    one = not fit.problem.responses  # several responses have a residual variance each
    if one and (
        (fit.problem.family.estimates_sigma and not fit.problem.aux) or fit.estimate.quasi_dispersion
    ):
        out.append((None, 0, None))
    return out


def coef(fit: Fitted) -> dict[str, pd.DataFrame]:
    """Fixed plus random effects of each level, one frame a grouping factor."""
    import pandas as pd

    out: dict[str, pd.DataFrame] = {}
    for term, name, b in zip(fit.problem.terms, group_names(fit), fit.estimate.modes, strict=True):
        group = term.group
        if group in out and len(out[group]) != term.m:  # positions within its levels
            group = name
        if group not in out:
            base = np.tile(fit.estimate.beta, (term.m, 1))
            out[group] = pd.DataFrame(base, index=list(term.levels), columns=list(fit.problem.X.names))
        frame = out[group]
        for j, column in enumerate(term.columns):
            frame[column] = frame[column] + b[:, j] if column in frame else b[:, j]
        if (shown := shown_levels(term.covariance.across, term.m)) < term.m:
            out[group] = frame.head(shown)
    return out
