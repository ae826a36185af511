r"""The predictive distribution of rows that a fit has not seen.

Given the data that were fitted, the linear predictor of a new row is nearly normal, ``eta ~ N(m, v)``, v the variance of its
error (:mod:`lmmformula.inference.prediction_error`): of the coefficients, of the effects of known levels, and ``z'Sigma z``
for levels not seen, whose effects are so integrated out. The predictive density of a response is an integral in one dimension
::

    p(y | data) = int p(y | eta) N(eta; m, v) d eta

closed for a normal response, ``N(m, v + sigma^2 / w)``, and otherwise by adaptive Gauss-Hermite quadrature (Liu & Pierce
1994): with eta^ the mode of the integrand, 1 / s^2 its curvature, and nodes x_j for exp(-x^2 / 2), ::

    p(y | data) ~ s v^-1/2 sum_j w_j exp(x_j^2 / 2) p(y | eta_j) exp(-(eta_j - m)^2 / (2 v)),    eta_j = eta^ + s x_j

Variances and further parameters are taken as estimated. Rows of one new level are scored one by one.

References
----------
Liu & Pierce (1994), Biometrika 81, 624-629.
Vehtari, Gelman & Gabry (2017), Statist. Comput. 27, 1413-1432 (elpd).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lmmformula.typing import Array

__all__ = ["log_predictive", "predictive_mean"]

NODES = 61
STEPS = 60
SETTLED = 1e-8
"""Newton step, in standard deviations of eta, at which a mode is found."""


def log_predictive(
    family: Any, y: Array, mean: Array, variance: Array, aux: tuple[Array, ...], weights: Array | None
) -> Array:
    """log p(y | data) of each row, (n,).

    Parameters
    ----------
    family : Family
    y : (n,) array
    mean, variance : (n,) arrays
        m and v of the linear predictor.
    aux : tuple of (n,) arrays
        Auxiliary linear predictors.
    weights : (n,) array or None
        Prior weights or trials.
    """
    if family.is_linear and not family.repeated:
        sigma2 = family.auxiliaries[0].value(aux[0]) ** 2 / (1.0 if weights is None else weights)
        total = variance + sigma2
        return -0.5 * (np.log(2.0 * np.pi * total) + (y - mean) ** 2 / total)
    spread = np.sqrt(np.maximum(variance, 0.0))
    centre, s = _mode(family, y, mean, spread, aux, weights)
    nodes, logs = np.polynomial.hermite_e.hermegauss(NODES)
    terms = np.empty((NODES, len(y)))
    sure = spread <= 0.0
    unit = np.where(sure, 1.0, spread)
    for j, (x, w) in enumerate(zip(nodes, logs, strict=True)):
        eta = centre + s * x
        rows = family.rows(y, eta, aux, weights, derivatives=False).loglik
        prior = -0.5 * ((eta - mean) / unit) ** 2
        terms[j] = rows + prior + np.log(w) + 0.5 * x * x - 0.5 * np.log(2.0 * np.pi)
    top = np.nanmax(terms, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        integral = top + np.log(np.nansum(np.exp(terms - top), axis=0)) + np.log(s / unit)
    at_mean = family.rows(y, mean, aux, weights, derivatives=False).loglik
    return np.where(sure, at_mean, np.where(np.isfinite(top), integral, -np.inf))


def _mode(
    family: Any, y: Array, mean: Array, spread: Array, aux: tuple[Array, ...], weights: Array | None
) -> tuple[Array, Array]:
    """Mode of the integrand and its width; Newton's steps in units of the spread, halved where they lead away."""
    t, unit = np.zeros(len(y)), np.where(spread > 0.0, spread, 0.0)

    def height(t: Array) -> Array:
        value = family.rows(y, mean + unit * t, aux, weights, derivatives=False).loglik - 0.5 * t * t
        return np.where(np.isnan(value), -np.inf, value)

    best, curvature = height(t), np.ones(len(y))
    for _ in range(STEPS):
        rows = family.rows(y, mean + unit * t, aux, weights, derivatives=False)
        slope = np.nan_to_num(unit * rows.score) - t
        curvature = 1.0 + unit**2 * np.maximum(np.nan_to_num(rows.weight), 0.0)
        step = slope / curvature
        now = height(t + step)
        for _ in range(30):
            lower = ~(now >= best - 1e-12 * np.abs(best))
            if not lower.any():
                break
            step = np.where(lower, 0.5 * step, step)
            now = height(t + step)
        t, best = t + step, now
        if np.abs(step).max(initial=0.0) < SETTLED:
            break
    return mean + unit * t, unit / np.sqrt(curvature)


def predictive_mean(family: Any, mean: Array, variance: Array, aux: tuple[Array, ...]) -> Array:
    """E(y | data) of each row, (n,): the mean of the response averaged over eta."""
    if family.is_linear:
        return mean
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    spread = np.sqrt(np.maximum(variance, 0.0))
    total = np.zeros(len(mean))
    for x, w in zip(nodes, weights / np.sqrt(2.0 * np.pi), strict=True):
        total += w * family.mean(mean + spread * x, aux)
    return total
