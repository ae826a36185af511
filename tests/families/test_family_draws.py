"""Draws and distribution functions of every family against its own density."""

from __future__ import annotations

import numpy as np
import pytest
from contract import aux_of, sample_space
from scipy import stats

from lmmformula.errors import FitError
from lmmformula.families import FAMILIES, Family, resolve

ETA = 0.35


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_distribution_function_adds_up_the_density(family: Family) -> None:
    aux = aux_of(family)
    y, measure = sample_space(family)
    w = np.full(y.size, 4.0 if family.weights_are == "trials" else 1.0)
    eta = np.full(y.size, ETA)
    p = np.exp(family.rows(y, eta, aux, w, derivatives=False).loglik) * measure
    order = np.argsort(y, kind="stable")
    total = np.cumsum(np.nan_to_num(p)[order])
    at = order[np.searchsorted(total, [0.05, 0.3, 0.6, 0.9])]
    few = family.cdf(y[at], eta[: at.size], aux, w[: at.size])
    # the trapezoidal rule counts half of the last value of a continuous response
    half = 0.0 if family.is_discrete else 0.5 * p[at] * ~np.isin(y[at], family.distribution.atoms)
    np.testing.assert_allclose(few, total[np.searchsorted(y[order], y[at])] - half, atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_draws_follow_the_distribution_function(family: Family) -> None:
    """Kolmogorov-Smirnov on randomised quantiles, and the mean within five standard errors."""
    rng, n, aux = np.random.default_rng(20261127), 3_000, aux_of(family)
    eta, w = np.full(n, ETA), np.full(n, 4.0 if family.weights_are == "trials" else 1.0)
    y = family.simulate(rng, eta, aux, w)
    assert y.shape == (n,)
    low, high = family.cdf(y, eta, aux, w, below=True), family.cdf(y, eta, aux, w)
    assert stats.kstest(low + (high - low) * rng.random(n), "uniform").pvalue > 1e-3
    variance = family.dispersion(aux) * family.unit_variance(family.location(eta[:1]), aux, w[:1])[0] / w[0]
    assert y.mean() == pytest.approx(family.mean(eta[:1], aux)[0], abs=5 * np.sqrt(variance / n))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_draws_for_several_predictors_of_a_row(family: Family) -> None:
    """A linear predictor for each of several draws, (draws, rows), gives as many responses."""
    eta, w = np.full((5, 7), ETA), np.full(7, 4.0)
    aux = tuple(np.full((5, 1), a) for a in aux_of(family))
    y = family.simulate(np.random.default_rng(3), eta, aux, w)
    assert y.shape == (5, 7)


@pytest.mark.parametrize(
    ("log_mean", "log_nu"), [(-3.0, 2.0), (4.0, -1.0), (0.5, 8.0), (2.0, -6.0), (9.0, 0.0)]
)
def test_compois_draws_of_any_mean_and_exponent(log_mean: float, log_nu: float) -> None:
    """Randomised quantiles are uniform, and the distribution function adds up the density where that has few terms."""
    family, n = FAMILIES["compois"], 2_000
    rng, eta = np.random.default_rng(5), np.full(n, log_mean)
    y = family.simulate(rng, eta, (log_nu,))
    low, high = (family.cdf(y, eta, (log_nu,), below=below) for below in (True, False))
    assert stats.kstest(low + (high - low) * rng.random(n), "uniform").pvalue > 1e-3
    if log_mean < 5.0:
        k = np.arange(1_000.0)
        p = np.exp(family.rows(k, np.full(1_000, log_mean), (log_nu,), derivatives=False).loglik)
        found = family.cdf(k[:40], np.full(40, log_mean), (log_nu,))
        np.testing.assert_allclose(found, np.cumsum(p)[:40], atol=1e-10)


def test_draws_outside_of_the_links_domain_are_refused() -> None:
    family = resolve("gamma(link='identity')")
    with pytest.raises(FitError, match=r"1 of 2 drawn linear predictors .* link 'identity' .* 'log'"):
        family.simulate(np.random.default_rng(1), np.array([1.0, -0.5]), (0.0,))


def test_compois_refuses_means_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="not a number"):
        FAMILIES["compois"].simulate(np.random.default_rng(1), np.array([np.nan]), (0.0,))
