r"""Coefficients of a smooth and their covariance.

Given the variances, the equations of the mixed model say of the twin (:mod:`lmmformula.ir.standard`) with ``R'R = X'V^-1X``

    Var(beta~) = s^2 R^-1 R^-T,   Cov(beta~, u) = -s^2 R^-1 H',   Var(u - u^) = s^2 (M^-1 + H H')                            (1)

H = M^-1 Lambda'Z'WX R^-1 (Henderson 1975). A coefficient of the user's is linear in (beta~, u), with rows A_beta and A_u, so
that with ``E = A_beta R^-1 - A_u'H`` the covariance of several is ``s^2 (E E' + A_u' M^-1 A_u)``. This is mgcv's Bayesian
covariance matrix ``V_p`` (Wood 2006), the one of confidence bands that cover on average across the function (Nychka 1988;
Marra & Wood 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.smooths.equations import equations_of
from lmmformula.inference.smooths.places import Places
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Coefficients", "coefficients", "spherical_columns"]


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """Of one function.

    Attributes
    ----------
    values : (K,) array
        The unpenalised before the penalised.
    covariance : (K, K) array
    draws : (S, K) array or None
        Of a posterior.
    """

    values: Array
    covariance: Array
    draws: Array | None = None


def coefficients(fit: Fitted, places: Places, level: int = 0) -> Coefficients:
    """Coefficients of a smooth, of one level where there are several."""
    draws = fit.inference.coefficient_draws(places.fixed, places.terms, level)
    if draws is not None:
        return Coefficients(draws.mean(axis=0), np.atleast_2d(np.cov(draws.T)), draws)
    estimate = fit.estimate
    values = [estimate.beta[list(places.fixed)], *(estimate.modes[i][level] for i in places.terms)]
    return Coefficients(np.concatenate(values), _covariance(fit, places, level))


def _covariance(fit: Fitted, places: Places, level: int) -> Array:
    point, standard = equations_of(fit), fit.standard
    groups = point.groups
    size = len(places.columns)
    fixed = np.zeros((size, fit.problem.p))
    fixed[: len(places.fixed)] = standard.coefficients[list(places.fixed)]
    effects = [np.zeros((g.m, g.k, size)) for g in groups]
    start = len(places.fixed)
    for i in places.terms:
        a, own = next((a, s) for a, g in enumerate(groups) for j, s in g.members if j == i)
        k = fit.problem.terms[i].k
        rows = standard.effects(i) @ point.factors[a][own]
        effects[a][level, :, start : start + k] = rows.T
        start += k
    error = fixed @ point.half
    solved = point.factor.solve(tuple(effects))
    out = np.zeros((size, size))
    for right, left, h in zip(effects, solved, point.h, strict=True):
        error = error - np.einsum("mkc,mkp->cp", right, h)
        out += right.reshape(-1, size).T @ left.reshape(-1, size)
    out += error @ error.T
    return standard.sigma_in(fit.estimate) ** 2 * 0.5 * (out + out.T)


def spherical_columns(fit: Fitted, terms: tuple[int, ...]) -> tuple[list[Array], list[Array]]:
    """Columns of C = Var(u - u^) / s^2 that belong to terms, per group (m, k, c), and unit columns of these effects."""
    point = equations_of(fit)
    groups = point.groups
    places = [
        (a, level, column)
        for i in terms
        for a, g in enumerate(groups)
        for j, s in g.members
        if j == i
        for level in range(g.m)
        for column in range(s.start, s.stop)
    ]
    units: list[Array] = [np.zeros((g.m, g.k, len(places))) for g in groups]
    for c, (a, level, column) in enumerate(places):
        units[a][level, column, c] = 1.0
    own = sum(np.einsum("mkc,mkp->pc", e, h) for e, h in zip(units, point.h, strict=True))
    solved = point.factor.solve(tuple(units))
    return [s + h @ own for s, h in zip(solved, point.h, strict=True)], units
