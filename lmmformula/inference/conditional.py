"""Random effects given the data: modes, conditional standard deviations, variances, and level coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import flat, known, term_spreads
from lmmformula.ir.covariance import sd_cor
from lmmformula.ir.variance_parameters import named_terms
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = [
    "coef",
    "conditional_covariances",
    "covariance_matrices",
    "group_names",
    "ranef",
    "varcorr",
    "varcorr_places",
]


def conditional_covariances(fit: Fit) -> tuple[Array, ...]:
    """Var(b | y) = sigma^2 L (M^-1)_ss L' of each level, per term (m, k, k), at the estimated beta and theta.

    Of a posterior, Var(b | y) over everything: variances without sampling error, correlations those of the draws.
    """
    if fit.posterior is not None:
        return _posterior_covariances(fit)
    point, problem = fit.optimum, fit.problem
    inverse, out = point.factor.inverse(), [np.empty(0)] * len(problem.terms)
    for a, group in enumerate(point.model.prepared.blocks.groups):
        factor = point.factors[a]
        full = fit.standard.sigma_in(fit.estimate) ** 2 * (factor @ inverse.diagonal(a) @ factor.T)
        for i, columns in group.members:
            back = fit.standard.effects(i)
            out[i] = back @ full[:, columns, columns] @ back.T
    return tuple(out)


def _posterior_covariances(fit: Fit) -> tuple[Array, ...]:
    """Off-diagonal elements are nan where the draws were not kept."""
    posterior, out = known(fit), []
    for i, sds in enumerate(posterior.effect_sds):
        k = sds.shape[1]
        cor = np.full((len(sds), k, k), np.nan)
        if posterior.effects is not None:
            b = flat(posterior.effects[i])
            centred = b - b.mean(axis=0)
            cov = np.einsum("smi,smj->mij", centred, centred)
            spread = np.sqrt(np.einsum("mii->mi", cov))
            cor = cov / np.maximum(spread[:, :, None] * spread[:, None, :], 1e-300)
        np.einsum("mii->mi", cor)[:] = 1.0
        out.append(cor * sds[:, :, None] * sds[:, None, :])
    return tuple(out)


def ranef(fit: Fit, condsd: bool = False) -> pd.DataFrame:
    """Conditional modes in lme4's long form; of a posterior, means and standard deviations."""
    import pandas as pd

    spread = _conditional_sds(fit) if condsd else None
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
        frames.append(pd.DataFrame(columns))
    if not frames:
        return pd.DataFrame(columns=["grpvar", "term", "grp", "condval", *(["condsd"] if condsd else [])])
    return pd.concat(frames, ignore_index=True)


def _conditional_sds(fit: Fit) -> tuple[Array, ...]:
    """Per term (m, k)."""
    if fit.posterior is not None:
        return fit.posterior.effect_sds
    return tuple(np.sqrt(np.maximum(np.einsum("mii->mi", c), 0.0)) for c in conditional_covariances(fit))


def covariance_matrices(fit: Fit) -> tuple[Array, ...]:
    """sigma^2 Sigma of each term, (k, k)."""
    out = []
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(fit.estimate.theta[s])
        out.append(lower @ lower.T)
    return tuple(out)


def group_names(fit: Fit) -> tuple[str, ...]:
    """Group of each term, with lme4's ``.1``, ``.2`` for further terms on the same factor."""
    seen: dict[str, int] = {}
    out = []
    for term in fit.problem.terms:
        count = seen.get(term.group, 0)
        out.append(term.group if not count else f"{term.group}.{count}")
        seen[term.group] = count + 1
    return tuple(out)


def varcorr(fit: Fit, se: bool = False) -> pd.DataFrame:
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
    spread = [_spread(fit, i) for i in range(len(terms))]
    for i, a, b in varcorr_places(fit):
        if i is None:
            rows.append(("Residual", None, None, _residual_variance(fit), fit.estimate.sigma))
            continue
        cov, sd, cor = spread[i]
        if b is None:
            rows.append((names[i], terms[i].columns[a], None, cov[a, a], sd[a]))
        else:
            rows.append((names[i], terms[i].columns[a], terms[i].columns[b], cov[b, a], cor[b, a]))
    table = pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])
    if se:
        from lmmformula.inference.spreads import notes, varcorr_errors

        table["se"], reasons = varcorr_errors(fit)
        if note := notes(reasons):
            table.attrs["note"] = note
    return table


def varcorr_places(fit: Fit) -> list[tuple[int | None, int, int | None]]:
    """Term, column and the second column of a covariance for each row of :func:`varcorr`; no term for the residual."""
    out: list[tuple[int | None, int, int | None]] = []
    for i, term in enumerate(fit.problem.terms):
        out += [(i, j, None) for j in range(term.k)]
        if named_terms([term])[0].correlation != "none":
            out += [(i, a, b) for a in range(term.k) for b in range(a + 1, term.k)]
    if (fit.problem.family.has_residual and not fit.problem.aux) or fit.estimate.quasi_dispersion:
        out.append((None, 0, None))
    return out


def _spread(fit: Fit, term: int) -> tuple[Array, Array, Array]:
    """Covariance matrix, standard deviations and correlations of one term."""
    if fit.posterior is not None:
        drawn = term_spreads(fit, term)
        return drawn.covariance.mean(axis=0), drawn.sd.mean(axis=0), drawn.cor.mean(axis=0)
    cov = covariance_matrices(fit)[term]
    return cov, *sd_cor(cov)


def _residual_variance(fit: Fit) -> float:
    if fit.posterior is not None:
        return float(np.mean(fit.posterior["sigma"] ** 2))
    return fit.estimate.sigma**2


def coef(fit: Fit) -> dict[str, pd.DataFrame]:
    """Fixed plus random effects of each level, one frame a grouping factor."""
    import pandas as pd

    out: dict[str, pd.DataFrame] = {}
    for term, b in zip(fit.problem.terms, fit.estimate.modes, strict=True):
        if term.group not in out:
            base = np.tile(fit.estimate.beta, (term.m, 1))
            out[term.group] = pd.DataFrame(base, index=list(term.levels), columns=list(fit.problem.X.names))
        frame = out[term.group]
        for j, column in enumerate(term.columns):
            frame[column] = frame[column] + b[:, j] if column in frame else b[:, j]
    return out
