"""Errors of predictions that move with random effects of auxiliary predictors: one covariance matrix of all effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln

from lmmformula import fit, load_dataset
from lmmformula.inference.prediction_error import row_errors
from lmmformula.inference.prediction_rows import own_rows, selected

ROWS = [0, 49, 199, 299]
M, N = 40, 12

# glmmTMB 1.1.5: glmmTMB(count ~ spp + mined + (1 | site), ziformula = ~ mined + (1 | site), family = poisson, Salamanders),
# predict(m, type = ..., se.fit = TRUE) of rows 1, 50, 200, 300, and with site = NA of rows 1 and 50
INFLATED = {
    "link": [0.3024824682, 0.1481276141, 0.3295185107, 0.3253717093],
    "conditional": [0.2510679596, 0.3715091159, 0.3276471115, 0.1484200537],
    "zi": [0.10475721444, 0.07470297861, 0.08571492636, 0.10475721444],
    "response": [0.09439025108, 0.34332918040, 0.08778542129, 0.05418051233],
}
POPULATION = {
    "link": [0.2199381968, 0.1296523769],
    "zi": [0.06313341084, 0.05426107257],
    "response": [0.05868480296, 0.27888859657],
}


def test_zero_inflation_with_random_effects_against_glmmtmb() -> None:
    data = load_dataset("Salamanders")
    m: Any = fit("count ~ spp + mined + (1 | site)", data, ziformula="~ mined + (1 | site)", family="poisson")
    for kind, expected in INFLATED.items():
        np.testing.assert_allclose(m.predict(kind=kind, se=True)["se"].iloc[ROWS], expected, rtol=2e-5)
        np.testing.assert_allclose(m.predict(data.iloc[ROWS], kind=kind, se=True)["se"], expected, rtol=2e-5)
    for kind, expected in POPULATION.items():
        got = m.predict(data.iloc[ROWS[:2]], kind=kind, se=True, re_form=None)["se"]
        np.testing.assert_allclose(got, expected, rtol=2e-5)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(M), N)
    x = rng.normal(size=M * N)
    b = rng.multivariate_normal([0.0, 0.0], [[0.4, 0.3], [0.3, 0.6]], size=M)[g]
    zero = rng.uniform(size=M * N) < expit(-0.5 + b[:, 1])
    k = np.where(zero, 0, rng.poisson(np.exp(1.0 + 0.3 * x + b[:, 0])))
    y = 10.0 * (b[:, 0] + 0.4 * x + np.exp(0.3 * b[:, 1]) * rng.normal(size=M * N))
    return pd.DataFrame({"k": k, "y": y, "x": x, "g": g})


def inflated(y: np.ndarray, eta: np.ndarray, a: np.ndarray) -> np.ndarray:
    p, mu = expit(a), np.exp(eta)
    zero = np.log(p + (1.0 - p) * np.exp(-mu))
    return np.where(y == 0, zero, np.log1p(-p) + y * eta - mu - gammaln(y + 1.0))


def normal(y: np.ndarray, eta: np.ndarray, a: np.ndarray) -> np.ndarray:
    return -a - 0.5 * ((y - eta) * np.exp(-a)) ** 2


CASES: dict[str, tuple[str, str | None, Any]] = {
    "correlated": ("bf(k ~ x + (1 | p | g), zi ~ (1 | p | g))", "zero_inflated_poisson", inflated),
    "apart": ("bf(k ~ x + (1 | g), zi ~ (1 | g))", "zero_inflated_poisson", inflated),
    "sigma": ("bf(y ~ x + (1 | p | g), sigma ~ (1 | p | g))", None, normal),
}


@pytest.mark.parametrize("case", CASES)
def test_covariances_of_the_predictors_of_a_row_against_a_dense_matrix(data, case: str) -> None:
    """(2) of the module: the inverse Hessian in b by differences, and modes found again at moved parameters."""
    formula, family, density = CASES[case]
    m: Any = fit(formula, data, family=family or "gaussian")
    assert not m.is_singular
    (_, rows), *_ = own_rows(m, selected(m, "all"), aux_terms=True)
    errors = row_errors(m, rows, drawn=True)
    y, g = data["y" if case == "sigma" else "k"].to_numpy(), data["g"].to_numpy()
    terms, estimate = m.problem.terms, m.estimate
    cov = np.zeros((2, 2))
    for term, lower in zip(terms, m.problem.theta_slices(), strict=True):
        root = term.covariance.cholesky(estimate.theta[lower])
        at = [int(p) for p in (term.predictors or (0,))]
        cov[np.ix_(at, at)] += root @ root.T
    prior = np.linalg.inv(cov)

    def own_hessian(level: int) -> np.ndarray:
        """Of -log f(y, b) in the two effects of a level, at the mode."""
        here = np.flatnonzero(g == level)
        step, out = 1e-3, np.empty((2, 2))

        def value(move: np.ndarray) -> float:
            eta, a = estimate_eta[here] + move[0], estimate_a[here] + move[1]
            return -float(density(y[here], eta, a).sum())

        for i in range(2):
            for j in range(2):
                e, f = step * np.eye(2)[i], step * np.eye(2)[j]
                out[i, j] = (value(e + f) - value(e - f) - value(f - e) + value(-e - f)) / (4.0 * step**2)
        return out + prior

    estimate_eta = m.predict(kind="link").to_numpy()
    estimate_a = rows.aux[0]
    given = np.stack([np.linalg.inv(own_hessian(level)) for level in range(M)])[g]
    np.testing.assert_allclose(errors.own, given, rtol=2e-4, atol=1e-6 * np.abs(given).max())

    point, standard, layout = m.optimum, m.standard, m.optimum.model.layout
    moves = np.zeros((len(y), 2, layout.size))
    for j in range(layout.size):
        psi = np.array([point.psi, point.psi])
        psi[:, j] += [1e-5, -1e-5]
        ends = []
        for own in psi:
            there = point.model(own, u=point.u, tolerance=1e-13)
            stack = there.model.copies
            ends.append(stack.parts[0].of_predictors(there.mode.eta))
        moves[:, :, j] = ((ends[0] - ends[1]) / 2e-5).T * np.array([standard.slope, 1.0])
    expected = moves @ m.twin_vcov @ np.swapaxes(moves, 1, 2)
    along = np.stack([errors.along, errors.aux_along[0]], axis=1)
    got = along @ np.swapaxes(along, 1, 2)
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


def test_unseen_levels_keep_the_correlation_across_predictors(data) -> None:
    m: Any = fit(CASES["correlated"][0], data, family="zero_inflated_poisson")
    new = pd.DataFrame({"x": [0.0], "g": ["another"]})
    asked = {"kind": "link", "new_levels": "population", "se": True}
    population = m.predict(new, re_form=None, kind="link", se=True)["se"][0]
    variance = m.varcorr()["vcov"]
    assert m.predict(new, **asked)["se"][0] ** 2 == pytest.approx(population**2 + variance[0], rel=1e-6)
    drawn = [
        [m.predict(new, kind=kind, new_levels="sample", seed=seed)[0] for seed in range(300)]
        for kind in ("link", "zi")
    ]
    eta, a = np.array(drawn[0]), np.log(drawn[1]) - np.log1p(-np.array(drawn[1]))
    got = np.cov(eta, a)
    np.testing.assert_allclose(
        got[np.triu_indices(2)], [variance[0], variance[2], variance[1]], rtol=0.25
    )  # 300 draws: standard errors of 8%


def test_limits_of_new_responses_hold_the_errors_of_sigma(data) -> None:
    """Against draws written out: eta and log sigma from their joint normal distribution, then a response."""
    m: Any = fit(CASES["sigma"][0], data)
    got = m.predict(interval="prediction", seed=1).iloc[:1]
    (_, rows), *_ = own_rows(m, selected(m, "all"), aux_terms=True)
    errors = row_errors(m, rows, drawn=True)
    along = np.stack([errors.along[0], errors.aux_along[0][0]])
    cov = errors.own[0] + along @ along.T
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal([m.predict(kind="link")[0], rows.aux[0][0]], cov, size=200_000)
    y = drawn[:, 0] + np.exp(drawn[:, 1]) * rng.standard_normal(len(drawn))
    low, high = np.quantile(y, [0.025, 0.975])
    assert got["lower"][0] == pytest.approx(low, abs=0.04 * (high - low))
    assert got["upper"][0] == pytest.approx(high, abs=0.04 * (high - low))
