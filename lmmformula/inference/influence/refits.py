"""Fits without each unit, variances and all: one search for each from where the fit of all rows ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import FitError
from lmmformula.inference.conditional import group_names, varcorr_places
from lmmformula.inference.influence.clusters import ClusterLinear
from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.units import Units
from lmmformula.ir.residual import residual_parameters, residual_values, visits_of
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.estimate import Estimate

__all__ = ["Refits", "refits"]


@dataclass(frozen=True, slots=True, eq=False)
class Refits:
    """What m fits without a unit each estimate, in the user's units; nan where one cannot be made.

    Attributes
    ----------
    beta, covariance, sigma : (m, p), (m, p, p) and (m,) arrays
    changes : DataFrame
        Relative change of each variance and covariance, ``(without - with) / with``: RVC (Dillane 2005).
    """

    beta: Array
    covariance: Array
    sigma: Array
    changes: pd.DataFrame


def refits(fit: Fitted, linear: Linear | ClusterLinear, units: Units, possible: NDArray[np.bool_]) -> Refits:
    """Fits without each unit for which it is `possible`: the rows that are left determine the fixed effects.

    Each takes the Gram of the rows that stay and a few factorisations.
    """
    import pandas as pd

    p, m = linear.p, units.m
    beta, covariance = np.full((m, p), np.nan), np.full((m, p, p), np.nan)
    sigma = np.full(m, np.nan)
    names, whole = _names(fit), _variances(fit, fit.estimate)
    spreads = np.full((m, len(whole)), np.nan)
    for i in np.flatnonzero(possible):
        stays = (units.codes != i).astype(float)
        try:
            found = fit.standard.outward(fit.backend.without(fit.optimum, stays).estimate)
        except FitError:
            continue
        beta[i], covariance[i], sigma[i] = found.beta, found.vcov, found.sigma
        spreads[i] = _variances(fit, found)
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = np.where(whole == 0.0, np.nan, spreads / whole - 1.0)
    return Refits(beta, covariance, sigma, pd.DataFrame(changes, columns=[f"rvc_{name}" for name in names]))


def _names(fit: Fitted) -> list[str]:
    """``Subject.(Intercept)``, ``Subject.(Intercept).Days``, ``Residual``."""
    groups, terms, out = group_names(fit), fit.problem.terms, []
    for i, a, b in varcorr_places(fit):
        columns = (
            []
            if i is None
            else [groups[i], terms[i].columns[a], *([] if b is None else [terms[i].columns[b]])]
        )
        out.append(".".join(columns) or "Residual")
    return [*out, *(f"Residual.{'.'.join(names)}" for names, _ in _of_visits(fit, fit.estimate))]


def _variances(fit: Fitted, estimate: Estimate) -> Array:
    """Variances and covariances in the order of ``varcorr()``."""
    terms, slices = fit.problem.terms, fit.problem.theta_slices()
    lowers = [t.covariance.cholesky(estimate.theta[s]) for t, s in zip(terms, slices, strict=True)]
    spread = [lower @ lower.T for lower in lowers]
    places = varcorr_places(fit)
    own = [1.0 if i is None else spread[i][a, a if b is None else b] for i, a, b in places]
    return np.array([*(estimate.sigma**2 * v for v in own), *(v for _, v in _of_visits(fit, estimate))])


def _of_visits(fit: Fitted, estimate: Estimate) -> list[tuple[tuple[str, ...], float]]:
    """Variances and covariances of residuals that have one for each position, with these."""
    residual = fit.problem.residual
    if residual is None:
        return []
    visits, out = visits_of(residual), []
    values = residual_values(residual, estimate.residual, float(np.log(estimate.sigma)))
    for own, value in zip(residual_parameters(residual), values, strict=True):
        if own.kind not in ("sd", "cor"):
            continue
        sds = [float(values[v]) for v in own.places]
        product = float(value) * sds[0] * sds[-1] if own.kind == "cor" else sds[0] ** 2
        out.append((tuple(visits[v] for v in own.places), product))
    return out
