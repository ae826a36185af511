"""Influence of rows and groups on a fit: the sequence of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lmmformula.inference.influence.clusters import ClusterLinear, of_parts
from lmmformula.inference.influence.deletion import of_groups, of_rows
from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.measures import Measures, after_refits, measures
from lmmformula.inference.influence.record import Cutoff, Influence
from lmmformula.inference.influence.units import Units
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["influence"]

Solved: TypeAlias = Linear | ClusterLinear

CELLS = 4_000_000
"""Numbers of an array that is held at a time."""


def influence(fit: Fitted, group: str | None = None, refit: bool = False) -> Influence:
    """What leaving out each row, or all rows of each level of a factor, does to the fit.

    Gaussian models: the solution of the mixed-model equations without these rows, exactly, theta and the structure of residuals
    held at their estimates, sigma estimated again (:mod:`lmmformula.inference.influence.deletion`). Others: one step of scoring
    from the estimate, in the working model at the mode, with theta, the dispersion and what log|M| adds to the score of beta
    held (Pregibon 1981; Xiang, Tse & Lee 2002).

    Parameters
    ----------
    fit : Fit
    group : str, optional
        A grouping factor of the model, or any column of the data, or ``a:b``; by default single rows.
    refit : bool
        Estimate theta again without each unit too: one search for each, from the full optimum.

    Raises
    ------
    PlanError
        For posteriors, fits whose engine has M^-1 with errors only, and `refit` of fits that are not Gaussian.
    DataError
        For a group that there is not.

    Notes
    -----
    Cost: O(n p^2) for rows and for groups that all other factors are nested in; with crossed factors a solve for each of their
    effects that units share, and t^3 for each unit, t the number of them that it touches.
    """
    fit.inference.check("influence")
    fit.problem.refuse_elsewhere("influence of rows")
    if refit:
        fit.inference.check("influence refit")
    structured = fit.problem.residual is not None
    linear = ClusterLinear.of(fit) if structured else Linear.of(fit)
    units = Units.of(fit, group)
    counts = np.bincount(units.codes, linear.counts, units.m).astype(float)
    changes: pd.DataFrame | None = None
    with blas_threads(linear.dense_side):
        if group is None:
            step = max(1, CELLS // (linear.p + 1) ** 2)
            cuts = [slice(i, min(i + step, units.m)) for i in range(0, units.m, step)]
            found = Measures.joined([measures(linear, of_rows(linear, s), counts[s]) for s in cuts])
        else:
            taken = of_parts(linear, units) if isinstance(linear, ClusterLinear) else of_groups(linear, units)
            found = measures(linear, taken, counts)
    if refit:
        from lmmformula.inference.influence.refits import refits

        again = refits(fit, linear, units, np.isfinite(found.cook) | (linear.p == 0))
        found, changes = after_refits(linear, again.beta, again.covariance, again.sigma), again.changes
    return _record(fit, linear, units, found, changes)


def _record(
    fit: Fitted, linear: Solved, units: Units, found: Measures, changes: pd.DataFrame | None
) -> Influence:
    import pandas as pd

    columns: dict[str, Array | Index] = {}
    rows = units.is_rows
    if not rows:
        columns["n"] = units.counts
    columns |= {
        "cooks_distance": found.cook,
        "mdffits": found.mdffits,
        "covratio": found.covratio,
        "covtrace": found.covtrace,
    }
    if not np.isnan(linear.df):
        columns["sigma"] = found.sigma
    columns.update(_leverages(linear, units))
    if rows:
        columns.update(_studentised(linear, found))
    frame = pd.DataFrame(columns, index=units.labels)
    if changes is not None:
        frame = pd.concat([frame, changes.set_axis(units.labels)], axis=1)
    names = list(fit.problem.X.names)
    dfbeta, dfbetas = (
        pd.DataFrame(v, index=units.labels, columns=names) for v in (found.dfbeta, found.dfbetas)
    )
    return Influence(
        group=None if rows else str(units.labels.name),
        frame=frame,
        dfbeta=dfbeta,
        dfbetas=dfbetas,
        params=pd.DataFrame(fit.estimate.beta - found.dfbeta, index=units.labels, columns=names),
        cutoffs=_cutoffs(linear, frame),
        formula=fit.formula,
        how=_how(linear, refitted=changes is not None),
    )


def _how(linear: Solved, *, refitted: bool) -> str:
    if refitted:
        return "fitted again without each, variances included"
    if np.isnan(linear.df):
        return "one scoring step without each; variances and dispersion held"
    return "exact solution without each at the estimated theta; sigma estimated again"


def _leverages(linear: Solved, units: Units) -> Mapping[str, Array]:
    """diag(H_1) and diag(H_2) of Demidenko & Stukel (2005), and their sum: means over the rows of each unit.

    ``H_1 = X(X'V^-1X)^-1X'V^-1`` and ``H_1 + H_2 = I - W^-1P`` with ``P = V^-1 - V^-1 X(X'V^-1X)^-1X'V^-1``.
    """
    fixed = np.einsum("np,np->n", linear.x, linear.along)
    both = linear.fitted
    parts = {"leverage_fixed": fixed, "leverage_random": both - fixed, "leverage": both}
    if units.is_rows:
        return parts
    return {name: np.bincount(units.codes, own, units.m) / units.counts for name, own in parts.items()}


def _studentised(linear: Solved, found: Measures) -> Mapping[str, Array]:
    """Residuals over their standard errors, ``score / sqrt(sigma^2 P_rr)``, with sigma of all rows and without the row."""
    p_rr = linear.precision - np.einsum("np,np->n", linear.along, linear.along)
    share = np.divide(p_rr, linear.weights, out=np.zeros(linear.n), where=linear.weights != 0.0)
    spread = np.sqrt(np.where(share > np.finfo(float).eps, p_rr, np.nan))
    out = {"studentised": linear.score / (linear.sigma * spread)}
    if not np.isnan(linear.df):
        out["studentised_deleted"] = linear.score / (found.sigma / linear.unit * spread)
    return out


def _cutoffs(linear: Solved, frame: pd.DataFrame) -> tuple[Cutoff, ...]:
    """Rules of thumb from the literature; all depend on the number of units or on the units' own spread."""
    m, p = len(frame), linear.p
    out = []
    if p:
        out = [
            Cutoff("cooks_distance", 4.0 / m, f"4 / {m} units (Bollen & Jackman 1990)"),
            Cutoff("dfbetas", 2.0 / float(np.sqrt(m)), f"2 / sqrt({m}) (Belsley, Kuh & Welsch 1980)"),
            _fence("mdffits", frame["mdffits"].to_numpy()),
            Cutoff("covratio", 3.0 * p / m, f"1 +- 3 x {p} / {m} (Belsley, Kuh & Welsch 1980)", 1.0),
        ]
    mean = float(frame["leverage"].to_numpy().mean())
    out.append(Cutoff("leverage", 2.0 * mean, "twice the mean (Hoaglin & Welsch 1978)"))
    if "studentised_deleted" in frame and linear.df > 2:
        from scipy.special import stdtrit

        limit = float(stdtrit(linear.df - 1.0, 1.0 - 0.025 / m))
        out.append(Cutoff("studentised_deleted", limit, f"t test at 5% / {m} (Cook & Weisberg 1982)"))
    return tuple(out)


def _fence(measure: str, values: Array) -> Cutoff:
    """Tukey's outer fence of the units' values."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.25, 0.75]) if len(known) else (np.nan, np.nan)
    return Cutoff(measure, float(high + 3.0 * (high - low)), "third quartile + 3 x its range (Tukey 1977)")
