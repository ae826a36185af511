"""Linear predictors far out: finite, accurate to the last digits, and monotone where the truth is."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from scipy.special import zeta

from lmmformula.families import Family, make_family, resolve
from lmmformula.families.special import (
    digamma_step,
    excess,
    excess_slope,
    lgamma_step,
    tetragamma_step,
    trigamma_step,
    zetas,
)

FAR = np.array([-700.0, -300.0, -40.0, -8.0, 8.0, 40.0, 300.0, 700.0])
BINARY = [make_family(resolve("binomial").distribution, k) for k in ("logit", "probit", "cloglog", "cauchit")]
LOG = [
    resolve(name)
    for name in ("poisson", "nbinom1", "nbinom2", "zero_inflated_poisson", "zero_inflated_nbinom2", "gamma")
]
BETA = [make_family(resolve("beta").distribution, k) for k in ("logit", "probit", "cloglog", "cauchit")]


@pytest.mark.parametrize("information", ["observed", "expected"])
@pytest.mark.parametrize("family", [*BINARY, *LOG, *BETA], ids=str)
def test_everything_is_finite(family: Family, information: str) -> None:
    values = {"beta": (0.2, 0.9), "binomial": (0.0, 1.0), "gamma": (0.5, 3.0)}.get(family.name, (0.0, 3.0))
    aux = (0.3, -0.5)[: len(family.auxiliaries)]
    # the true information of beta-cloglog is e^(2 eta), beyond the range of floats at 700
    far = FAR / 2 if family.name == "beta" else FAR
    for y in values:
        rows = family.rows(np.full(far.size, y), far, aux, information=information)  # type: ignore[arg-type]
        every = (rows.loglik, rows.score, rows.weight, rows.weight_eta)
        for values_ in (*every, *rows.d_aux, *rows.score_aux, *rows.weight_aux):
            assert np.isfinite(values_).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("family", BINARY, ids=str)
def test_binary_loglik_is_monotone_with_a_sign_of_score(family: Family) -> None:
    eta = np.linspace(-60, 60, 4001)
    for y, sign in ((1.0, 1), (0.0, -1)):
        rows = family.rows(np.full(eta.size, y), eta)
        assert (sign * np.diff(rows.loglik) >= 0).all()
        assert (sign * rows.score >= 0).all()
        assert (rows.loglik <= 0).all()
        if family.link != "cauchit":  # its log density is not concave
            assert (rows.weight >= 0).all()


def test_logit_keeps_relative_precision() -> None:
    eta = np.array([40.0, 200.0, 700.0])
    rows = resolve("binomial").rows(np.ones(3), eta)
    np.testing.assert_allclose(rows.loglik, -np.exp(-eta), rtol=1e-15)
    np.testing.assert_allclose(rows.score, np.exp(-eta), rtol=1e-15)
    np.testing.assert_allclose(rows.weight, np.exp(-eta), rtol=1e-15)


def normal_tail(z: float) -> tuple[float, float, float]:
    """r, -r', r'' of r(eta) = phi/Phi at eta = -z, by a 400-level continued fraction in 60 digits."""
    getcontext().prec = 60

    def r(z: Decimal) -> Decimal:
        value = Decimal(0)
        for level in range(400, 0, -1):
            value = level / (z + value)
        return z + value

    x = Decimal(z)
    value = r(x)
    delta = value - x  # eta + r
    d1 = -value * delta
    return float(value), float(-d1), float(-d1 * delta - value * (1 + d1))


@pytest.mark.parametrize("z", [3.0, 5.9, 6.1, 12.0, 40.0, 300.0, 700.0])
def test_probit_tail_against_sixty_digits(z: float) -> None:
    rows = resolve("binomial('probit')").rows(np.ones(1), np.array([-z]))
    score, weight, third = normal_tail(z)
    assert rows.score[0] == pytest.approx(score, rel=1e-13)
    assert rows.weight[0] == pytest.approx(weight, rel=2e-12)
    assert rows.weight_eta[0] == pytest.approx(-third, rel=1e-8)  # type: ignore[index]


def test_cloglog_small_probability_is_poisson() -> None:
    eta = np.array([-30.0, -100.0, -600.0])
    success = resolve("binomial(cloglog)").rows(np.ones(3), eta)
    np.testing.assert_allclose(success.loglik, eta, rtol=1e-12)
    np.testing.assert_allclose(success.weight, np.exp(eta) / 2, rtol=1e-12)
    failure = resolve("binomial(cloglog)").rows(np.zeros(3), eta)
    np.testing.assert_allclose(failure.weight, np.exp(eta), rtol=1e-15)


def test_negative_binomials_tend_to_poisson() -> None:
    y, eta = np.array([0.0, 1.0, 7.0, 40.0]), np.array([-1.0, 0.5, 2.0, 3.5])
    poisson = resolve("poisson").rows(y, eta)
    for name, a in (("nbinom2", 23.0), ("nbinom1", -23.0), ("nbinom2", 200.0), ("nbinom1", -200.0)):
        rows = resolve(name).rows(y, eta, (a,))
        np.testing.assert_allclose(rows.loglik, poisson.loglik, atol=3e-7 if abs(a) < 99 else 1e-13)
        np.testing.assert_allclose(rows.score, poisson.score, atol=3e-7 if abs(a) < 99 else 1e-13)
        np.testing.assert_allclose(rows.weight, poisson.weight, rtol=3e-7 if abs(a) < 99 else 1e-12)
        # dl/da of order 1/phi: ((y - mu)^2 - y) / 2 to first order, none of it lost to cancellation
        if abs(a) < 99:
            mu = np.exp(eta)
            lead = ((y - mu) ** 2 - y) / 2 * np.exp(-23.0) * (-1 if a > 0 else 1)
            lead = lead if a > 0 else lead / mu
            np.testing.assert_allclose(rows.d_aux[0], lead, atol=1e-13)


def test_gamma_and_beta_with_tiny_dispersion() -> None:
    y = np.array([0.999, 1.0, 1.002])
    a = -8.0  # sigma = e^-8: nearly Gaussian on the log scale, error O(sigma)
    rows = resolve("gamma").rows(y, np.zeros(3), (a,))
    z, nu = np.log(y), np.exp(-2 * a)
    np.testing.assert_allclose(
        rows.loglik, nu * (z - np.expm1(z)) - z - 0.5 * np.log(2 * np.pi) - a, rtol=1e-7
    )
    phi = np.exp(20.0)
    y, mu = np.array([0.4, 0.5]), np.array([0.40001, 0.5])
    rows = resolve("beta").rows(y, np.log(mu / (1 - mu)), (20.0,))
    kl = y * np.log(y / mu) + (1 - y) * np.log((1 - y) / (1 - mu))
    normal = -0.5 * np.log(2 * np.pi * mu * (1 - mu) / phi) - phi * (
        mu * np.log(mu / y) + (1 - mu) * np.log((1 - mu) / (1 - y))
    )
    assert (kl >= -1e-16).all()
    np.testing.assert_allclose(rows.loglik, normal, atol=1e-3)


@pytest.mark.parametrize("x", [19.999999, 20.000001])
def test_series_meet_the_functions_at_their_border(x: float) -> None:
    """Both branches agree at x = 20, so each is right on its side."""
    from scipy.special import digamma, gammaln, polygamma

    k = 3.5
    assert lgamma_step(x, k) == pytest.approx(gammaln(x + k) - gammaln(x) - k * np.log(x), abs=1e-13)
    assert digamma_step(x, k) == pytest.approx(digamma(x + k) - digamma(x), rel=1e-13)
    assert trigamma_step(x, k) == pytest.approx(polygamma(1, x + k) - polygamma(1, x), rel=1e-12)
    assert tetragamma_step(x, k) == pytest.approx(polygamma(2, x + k) - polygamma(2, x), rel=1e-11)
    assert excess(x, np.log(x)) == pytest.approx(x * np.log(x) - x - gammaln(x), abs=1e-13)
    assert excess_slope(x, np.log(x)) == pytest.approx(x * (np.log(x) - digamma(x)), rel=1e-12)


def test_zeta_of_any_size() -> None:
    """Against scipy's, from 1e-8 to 1e8."""
    x = np.geomspace(1e-8, 1e8, 401)
    for s, own in zip((2.0, 3.0), zetas(x), strict=True):
        np.testing.assert_allclose(own, zeta(s, x), rtol=3e-15)
