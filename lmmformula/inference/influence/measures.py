r"""Measures of influence from what a deletion takes, in coordinates in which the information of all rows is the identity.

With ``d = beta* - beta*_(I)``, s and s_(I) for sigma with all rows and without I, and the information left
``I - D_xx = Q diag(l) Q'`` (:mod:`lmmformula.inference.influence.deletion`), p fixed effects and C for the covariance of the
estimates:

    Cook's distance   d'C^-1 d / p                = |d|^2 / (p s^2)                       Cook (1977); Christensen et al. (1992)
    MDFFITS           d'C_(I)^-1 d / p            = sum l_j (Q'd)_j^2 / (p s_(I)^2)       Belsley, Kuh & Welsch (1980)
    COVRATIO          |C_(I)| / |C|               = (s_(I)/s)^2p / prod l_j
    COVTRACE          |tr(C^-1 C_(I)) - p|        = |(s_(I)/s)^2 sum 1/l_j - p|           Christensen, Pearson & Johnson (1992)
    DFBETAS           (beta - beta_(I))_j over the standard error of beta_(I)j            Belsley, Kuh & Welsch (1980)

Without random effects they are those of a linear model, but for DFBETAS, which there have the standard error from all rows with
s_(I); that of the estimate without I is influence.ME's and lme4's. HLMdiag holds s at its full value too, so that
its MDFFITS is ours times (s_(I)/s)^2, its COVRATIO ours over (s_(I)/s)^2p. Where an eigenvalue l_j is zero the rows that are
left do not determine the fixed effects, and there are no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from lmmformula.inference.influence.clusters import ClusterLinear
from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.taken import Taken
from lmmformula.typing import Array

__all__ = ["Measures", "after_refits", "measures"]

LOST = float(np.sqrt(np.finfo(float).eps))
"""Share of the information in some direction below which rounding decides what is left of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Numbers of m units; nan where the rows that are left do not determine the fixed effects.

    Attributes
    ----------
    cook, mdffits, covratio, covtrace : (m,) arrays
    sigma : (m,) array
        Without the unit, in the user's units; nan where it is not estimated as the root of a variance.
    dfbeta, dfbetas : (m, p) arrays
    """

    cook: Array
    mdffits: Array
    covratio: Array
    covtrace: Array
    sigma: Array
    dfbeta: Array
    dfbetas: Array

    @classmethod
    def joined(cls, parts: list[Measures]) -> Measures:
        """Those of further and further units."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def measures(linear: Linear | ClusterLinear, taken: Taken, counts: Array) -> Measures:
    """Measures at the estimated theta; `counts` are the observations of each unit."""
    p, eye = linear.p, np.eye(linear.p)
    values, vectors = np.linalg.eigh(eye - taken.xx) if p else (np.ones((len(counts), 0)), taken.xx)
    values = np.where(values.min(axis=1, initial=1.0, keepdims=True) > LOST, values, np.nan)
    turned = np.einsum("mij,mi->mj", vectors, taken.xr) / values
    sigma2 = np.full(len(counts), linear.sigma**2)
    if not np.isnan(linear.df):
        left = linear.df - counts
        r2 = linear.r2 - taken.rr - np.einsum("mi,mi->m", turned**2, values)
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma2 = np.where(left > 0.0, r2 / left, np.nan)
    root = np.einsum("ij,mjk->mik", linear.out, vectors) / np.sqrt(values)[:, None, :]
    moved = np.einsum("ij,mjk,mk->mi", linear.out, vectors, turned)
    scale = linear.unit * np.sqrt(sigma2)
    ratio = sigma2 / linear.sigma**2
    return _measures(
        linear,
        squared=np.einsum("mi,mi->m", turned, turned),
        weighted=np.einsum("mi,mi->m", turned**2, values) / sigma2,
        det=ratio**p / values.prod(axis=1),
        trace=ratio * (1.0 / values).sum(axis=1),
        sigma=np.full(len(counts), np.nan) if np.isnan(linear.df) else scale,
        dfbeta=moved,
        errors=np.sqrt(sigma2)[:, None] * np.linalg.norm(root, axis=2),
    )


def after_refits(linear: Linear | ClusterLinear, beta: Array, covariance: Array, sigma: Array) -> Measures:
    """Measures of fits without each unit: fixed effects (m, p), covariances (m, p, p), sigma (m,), in the user's units."""
    inward = np.linalg.inv(linear.out)
    moved = linear.beta - beta
    d = moved @ inward.T
    own = inward @ covariance @ inward.T / linear.sigma**2
    lost = np.isnan(own).any(axis=(1, 2))
    own[lost] = np.eye(linear.p)
    gap = np.where(lost, np.nan, 1.0)
    return _measures(
        linear,
        squared=np.einsum("mi,mi->m", d, d),
        weighted=np.einsum("mi,mi->m", d, np.linalg.solve(own, d[:, :, None])[:, :, 0]) / linear.sigma**2,
        det=gap * np.linalg.det(own),
        trace=gap * np.trace(own, axis1=1, axis2=2),
        sigma=sigma,
        dfbeta=moved,
        errors=np.sqrt(np.einsum("mii->mi", covariance)),
    )


def _measures(
    linear: Linear | ClusterLinear,
    *,
    squared: Array,
    weighted: Array,
    det: Array,
    trace: Array,
    sigma: Array,
    dfbeta: Array,
    errors: Array,
) -> Measures:
    """From |d|^2, d'C_(I)^-1 d, |C_(I)|/|C|, tr(C^-1 C_(I)), and the standard errors of beta_(I)."""
    p = linear.p or np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        dfbetas = dfbeta / errors
    return Measures(
        squared / (p * linear.sigma**2), weighted / p, det, np.abs(trace - p), sigma, dfbeta, dfbetas
    )
