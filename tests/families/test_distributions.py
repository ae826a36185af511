"""Densities, distribution functions, deviances and draws against scipy.stats and statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.genmod.families as smf
from scipy import stats
from scipy.special import gammaln

from lmmformula.families import LINKS, Family, make_family, resolve, zero_inflated
from lmmformula.families.special import log_factorials

MU = {"unit": np.array([0.1, 0.35, 0.6, 0.92])}
MU["positive"] = MU["real"] = np.array([0.4, 1.0, 2.5, 6.0])
SIGMA, W = 0.7, np.array([1.0, 2.0, 3.0, 0.5])
A = np.log(SIGMA)


def frozen(name: str, mu: np.ndarray, w: np.ndarray) -> Any:
    """scipy's distribution with variance sigma^2 V(mu) / w where w is a precision."""
    s2 = SIGMA**2 / w
    laws: dict[str, Any] = {
        "gaussian": lambda: stats.norm(mu, np.sqrt(s2)),
        "lognormal": lambda: stats.lognorm(np.sqrt(s2), scale=np.exp(mu)),
        "student": lambda: stats.t(4.0, mu, np.sqrt(s2)),
        "gamma": lambda: stats.gamma(1 / s2, scale=mu * s2),
        "inverse_gaussian": lambda: stats.invgauss(mu * s2, scale=1 / s2),
        "poisson": lambda: stats.poisson(mu),
        "nbinom1": lambda: stats.nbinom(mu / SIGMA, 1 / (1 + SIGMA)),
        "nbinom2": lambda: stats.nbinom(SIGMA, SIGMA / (SIGMA + mu)),
        "beta": lambda: stats.beta(mu * SIGMA, (1 - mu) * SIGMA),
    }
    return laws[name]()


AUX = {"poisson": (), "student": (A, np.log(3.0))}
Y = {
    "gaussian": np.array([-1.0, 0.5, 3.0, 7.0]),
    "student": np.array([-1.0, 0.5, 3.0, 7.0]),
    "beta": np.array([0.02, 0.3, 0.8, 0.9]),
}
COUNTS = np.array([0.0, 1.0, 3.0, 12.0])
NAMES = (
    "gaussian",
    "lognormal",
    "student",
    "gamma",
    "inverse_gaussian",
    "poisson",
    "nbinom1",
    "nbinom2",
    "beta",
)


def case(name: str) -> tuple[Family, np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
    family = resolve(name)
    mu = MU[family.distribution.mean_range]
    y = Y.get(name, COUNTS if family.is_discrete else np.array([0.2, 0.9, 4.0, 5.0]))
    return family, y, mu, family.link_function.eta(mu), AUX.get(name, (A,))


@pytest.mark.parametrize("name", NAMES)
def test_log_density(name: str) -> None:
    family, y, mu, eta, aux = case(name)
    precision = family.weights_are == "precision"
    law: Any = frozen(name, mu, W if precision else np.ones(4))
    log_density = law.logpmf(y) if family.is_discrete else law.logpdf(y)
    expected = log_density if precision else W * log_density
    np.testing.assert_allclose(family.rows(y, eta, aux, W).loglik, expected, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_distribution_function(name: str) -> None:
    family, y, mu, eta, aux = case(name)
    law = frozen(name, mu, W if family.weights_are == "precision" else np.ones(4))
    np.testing.assert_allclose(family.cdf(y, eta, aux, W), law.cdf(y), rtol=1e-9)
    below = law.cdf(y - 1) if family.is_discrete else law.cdf(y)
    np.testing.assert_allclose(family.cdf(y, eta, aux, W, below=True), below, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_distribution_function(name: str) -> None:
    """Kolmogorov-Smirnov on randomised quantiles, and the mean within five standard errors."""
    family, _, mu, _, aux = case(name)
    rng, n = np.random.default_rng(20260727), 20_000
    eta = np.full(n, family.link_function.eta(mu[2:3])[0])
    w = np.full(n, 1.7)
    y = family.simulate(rng, eta, aux, w)
    assert y.shape == (n,)
    assert y.dtype == float
    low, high = family.cdf(y, eta, aux, w, below=True), family.cdf(y, eta, aux, w)
    assert stats.kstest(low + (high - low) * rng.random(n), "uniform").pvalue > 1e-3
    if family.weights_are == "repeats":
        error = np.sqrt(family.variance(mu[2:3], aux)[0] / n)
        assert y.mean() == pytest.approx(family.mean(eta[:1], aux)[0], abs=5 * error)


def test_binomial_against_scipy() -> None:
    n, k, p = np.array([1.0, 5.0, 20.0, 7.0]), np.array([1.0, 0.0, 13.0, 7.0]), MU["unit"]
    family = resolve("binomial")
    eta = family.link_function.eta(p)
    np.testing.assert_allclose(family.rows(k / n, eta, (), n).loglik, stats.binom(n, p).logpmf(k), rtol=1e-11)  # type: ignore[union-attr]
    np.testing.assert_allclose(family.cdf(k / n, eta, (), n), stats.binom(n, p).cdf(k), rtol=1e-11)
    np.testing.assert_allclose(
        family.cdf(k / n, eta, (), n, below=True), stats.binom(n, p).cdf(k - 1), rtol=1e-11
    )
    rng = np.random.default_rng(1)
    y = family.simulate(rng, np.full(50_000, 0.4), (), np.full(50_000, 6.0))
    assert set(np.unique(np.rint(6 * y))) <= set(range(7))
    mu = 1 / (1 + np.exp(-0.4))
    assert y.mean() == pytest.approx(mu, abs=5 * np.sqrt(mu * (1 - mu) / 300_000))


def test_binary_rows_repeat_by_weight_without_a_coefficient() -> None:
    family = resolve("binomial")
    one = family.rows(np.array([0.0, 1.0]), np.array([0.3, -0.8])).loglik
    weighted = family.rows(np.array([0.0, 1.0]), np.array([0.3, -0.8]), (), np.array([2.5, 4.0])).loglik
    np.testing.assert_allclose(weighted, one * [2.5, 4.0], rtol=1e-14)


@pytest.mark.parametrize("name", ["poisson", "nbinom1", "nbinom2"])
def test_zero_inflation(name: str) -> None:
    family, y, mu, eta, own = case(name)
    inflated = zero_inflated(family)
    pi = 0.3
    aux = (*own, np.log(pi / (1 - pi)))
    law = frozen(name, mu, np.ones(4))
    p = (1 - pi) * law.pmf(y) + pi * (y == 0)
    np.testing.assert_allclose(inflated.rows(y, eta, aux).loglik, np.log(p), rtol=1e-10)
    np.testing.assert_allclose(inflated.cdf(y, eta, aux), pi + (1 - pi) * law.cdf(y), rtol=1e-10)
    assert inflated.cdf(np.zeros(1), eta[:1], aux, below=True) == 0
    np.testing.assert_allclose(inflated.mean(eta, aux), (1 - pi) * mu, rtol=1e-13)
    assert [a.name for a in inflated.auxiliaries][-1] == "zi"
    assert inflated.auxiliaries[-1].value(np.array(aux[-1])) == pytest.approx(pi)
    draws = inflated.simulate(np.random.default_rng(3), np.full(40_000, eta[2]), aux)
    p0 = np.exp(inflated.rows(np.zeros(1), eta[2:3], aux).loglik[0])
    assert (draws == 0).mean() == pytest.approx(p0, abs=5 * np.sqrt(p0 * (1 - p0) / 40_000))


STATSMODELS = {
    "gaussian": smf.Gaussian(),
    "binomial": smf.Binomial(),
    "poisson": smf.Poisson(),
    "gamma": smf.Gamma(link=smf.links.Log()),
    "inverse_gaussian": smf.InverseGaussian(link=smf.links.Log()),
    "nbinom2": smf.NegativeBinomial(alpha=1 / SIGMA),
}


@pytest.mark.parametrize("name", STATSMODELS)
def test_variance_and_deviance_against_statsmodels(name: str) -> None:
    theirs = STATSMODELS[name]
    family = resolve(name)
    mu = MU[family.distribution.mean_range]
    aux = (A,) if family.auxiliaries else ()
    y = {"binomial": np.array([0.0, 0.3, 0.7, 1.0])}.get(
        name, COUNTS if family.is_discrete else mu[::-1] + 0.1
    )
    np.testing.assert_allclose(family.unit_variance(mu, aux), theirs.variance(mu), rtol=1e-12)
    ours = family.deviance_residual_squared(y, mu, W, aux)
    np.testing.assert_allclose(np.sqrt(ours), np.abs(theirs.resid_dev(y, mu, var_weights=W)), rtol=1e-9)
    assert ours.sum() == pytest.approx(theirs.deviance(y, mu, var_weights=W), rel=1e-10)


@pytest.mark.parametrize("name", ["nbinom1", "beta", "zero_inflated_poisson", "zero_inflated_nbinom2"])
def test_deviance_of_other_families(name: str) -> None:
    """Zero at mu = y, never negative, and twice a difference of log densities elsewhere."""
    family = resolve(name)
    mu = MU[family.distribution.mean_range]
    y = Y["beta"] if name == "beta" else COUNTS
    aux = (A, -0.5)[-len(family.auxiliaries) :]
    # the own mean of a positive y leaves nothing; a zero is explained by mu = 0
    at_y = family.deviance_residual_squared(y[1:], y[1:], None, aux)
    np.testing.assert_allclose(at_y, 0, atol=1e-12)
    ours = family.deviance_residual_squared(y, mu, W, aux)
    assert (ours >= 0).all()
    eta = family.link_function.eta
    gap = family.rows(y[1:], eta(y[1:]), aux).loglik - family.rows(y[1:], eta(mu[1:]), aux).loglik
    np.testing.assert_allclose(ours[1:], W[1:] * np.maximum(2 * gap, 0), rtol=1e-9)


def test_deviance_of_student_and_lognormal_is_near_the_gaussian() -> None:
    y, mu = np.array([0.5, 1.5]), np.array([0.2, 1.9])
    student = resolve("student").deviance_residual_squared(y, mu, None, (0.3, 25.0))
    np.testing.assert_allclose(student, (y - mu) ** 2, rtol=1e-9)
    lognormal = resolve("lognormal").deviance_residual_squared(np.exp(y), mu, None, (0.3,))
    np.testing.assert_allclose(lognormal, (y - mu) ** 2, rtol=1e-12)


def test_lognormal_is_the_gaussian_of_the_logarithm() -> None:
    y, eta = np.array([0.4, 2.0, 5.0]), np.array([0.0, 0.5, 1.0])
    ours, theirs = resolve("lognormal").rows(y, eta, (A,)), resolve("gaussian").rows(np.log(y), eta, (A,))
    np.testing.assert_allclose(ours.loglik, theirs.loglik - np.log(y), rtol=1e-13)
    np.testing.assert_array_equal(ours.score, theirs.score)


SM_LINKS = {
    "identity": smf.links.Identity(),
    "log": smf.links.Log(),
    "inverse": smf.links.InversePower(),
    "sqrt": smf.links.Sqrt(),
    "inverse_squared": smf.links.InverseSquared(),
    "logit": smf.links.Logit(),
    "probit": smf.links.Probit(),
    "cloglog": smf.links.CLogLog(),
    "cauchit": smf.links.Cauchy(),
}


def test_links_of_latent_scales_are_the_identity() -> None:
    """Those of ordered categories, whose means are no probabilities."""
    values = np.array([-2.0, 0.3, 4.0])
    own = sorted(set(LINKS) - set(SM_LINKS))
    assert own == [f"latent_{name}" for name in ("cauchit", "cloglog", "logit", "loglog", "probit")]
    for name in own:
        np.testing.assert_array_equal(LINKS[name].eta(values), values)
        np.testing.assert_array_equal(LINKS[name].mean(values), values)


@pytest.mark.parametrize("name", SM_LINKS)
def test_links_against_statsmodels(name: str) -> None:
    link, theirs = LINKS[name], SM_LINKS[name]
    mu = np.array([0.08, 0.3, 0.5, 0.9])
    eta = link.eta(mu)
    np.testing.assert_allclose(eta, theirs(mu), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(link.mean(eta), mu, rtol=1e-13)
    jet = link.mean_jet(eta)
    np.testing.assert_allclose(jet.value, mu, rtol=1e-13)
    np.testing.assert_allclose(jet.d1 * np.ones(4), 1 / theirs.deriv(mu), rtol=1e-7)
    second = -theirs.deriv2(mu) / theirs.deriv(mu) ** 3
    np.testing.assert_allclose(jet.d2 * np.ones(4), second, rtol=1e-5, atol=1e-6)
    h = 1e-3
    d3 = (link.mean_jet(eta + h).d2 - link.mean_jet(eta - h).d2) / (2 * h)
    np.testing.assert_allclose(jet.d3 * np.ones(4), d3 * np.ones(4), rtol=1e-4, atol=1e-4)


def test_starting_values_suit_every_link() -> None:
    y, w = np.array([0.0, 0.5, 1.0, 0.2]), np.array([4.0, 2.0, 3.0, 5.0])
    for link in resolve("binomial").distribution.links:
        family = make_family(resolve("binomial").distribution, link)
        eta = family.start(y, w)
        assert np.isfinite(eta).all()
        assert family.valid(eta).all()
    for name in ("poisson", "nbinom1", "nbinom2", "zero_inflated_poisson"):
        for link in resolve(name).distribution.links:
            eta = make_family(resolve(name).distribution, link).start(COUNTS)
            assert np.isfinite(eta).all()
    for link in ("log", "inverse"):
        eta = make_family(resolve("gaussian").distribution, link).start(np.array([-1.0, 0.0, 2.0]))
        assert np.isfinite(eta).all()


@pytest.mark.parametrize("name", [*NAMES, "zero_inflated_nbinom2", "student(df=4)"])
def test_starting_auxiliaries_are_near_the_truth(name: str) -> None:
    family = resolve(name)
    truth = {"student": (A, np.log(3.0)), "zero_inflated_nbinom2": (0.5, -0.5), "poisson": ()}.get(name, (A,))
    eta = np.random.default_rng(8).normal(0.5, 0.3, 20_000)
    y = family.simulate(np.random.default_rng(7), eta, truth)
    start = family.start_aux(y, eta)
    assert len(start) == len(truth)
    assert np.isfinite(start).all()
    if family.name not in ("student", "student(df=4)", "zero_inflated_nbinom2"):
        np.testing.assert_allclose(start, truth, atol=0.25)


@pytest.mark.parametrize(
    "y",
    [
        np.array([3.0, 0.0, 7.0] * 5),
        np.array([0.5, 2.0, 1.0]),
        np.array([1e6]),
        np.zeros((2, 3)),
        np.zeros(0),
    ],
)
def test_log_factorials(y: np.ndarray) -> None:
    """Few different numbers among many, numbers that are not whole, one that is large, and none."""
    np.testing.assert_allclose(log_factorials(y), gammaln(y + 1.0), rtol=1e-15)


@pytest.mark.parametrize("family", ["poisson", "nbinom2", "nbinom1"])
def test_counts_of_any_size_can_be_drawn(family: str) -> None:
    """Weak priors have means that no whole number holds."""
    own = resolve(family)
    aux = tuple(np.zeros(3) for _ in own.auxiliaries)
    drawn = own.simulate(np.random.default_rng(1), np.array([0.0, 50.0, 600.0]), aux)
    assert drawn[0] < 20.0
    assert np.isfinite(drawn).all()
    assert abs(np.log(drawn[1:]) - np.array([50.0, 600.0])).max() < (1e-8 if family == "poisson" else 10.0)
