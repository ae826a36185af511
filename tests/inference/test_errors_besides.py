"""``y | se(s, sigma = TRUE)``: a residual variance beside known ones, against dense matrices and a grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from lmmformula import fit, load

FORMULA = "y | se(s, sigma = TRUE) ~ x + (1 | g)"


def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 5), rng.normal(size=60).round(3)
    s = rng.uniform(0.2, 0.9, 60).round(2)
    y = 1 + 0.8 * x + rng.normal(0, 0.7, 12)[g] + rng.normal(0, 0.6, 60) + s * rng.normal(size=60)
    return pd.DataFrame({"y": y.round(3), "x": x, "s": s, "g": g.astype(str)})


def deviance(own: pd.DataFrame, log_sigma: float, log_tau: float) -> float:
    """-2 log likelihood by its definition, beta at its best."""
    x = np.column_stack([np.ones(len(own)), own["x"]])
    same = np.equal.outer(np.array(own["g"]), np.array(own["g"]))
    v = np.diag(np.exp(2 * log_sigma) + np.array(own["s"]) ** 2) + np.exp(2 * log_tau) * same
    w = np.linalg.inv(v)
    beta = np.linalg.solve(x.T @ w @ x, x.T @ w @ own["y"])
    e = np.array(own["y"] - x @ beta)
    return float(np.linalg.slogdet(2 * np.pi * v)[1] + e @ w @ e)


def test_maximum_likelihood_is_that_of_the_dense_matrix() -> None:
    own = data()
    m = fit(FORMULA, own)
    best = minimize(lambda p: deviance(own, *p), [-0.5, -0.4], method="Nelder-Mead", options={"xatol": 1e-8})
    assert -2.0 * m.llf == pytest.approx(best.fun, abs=1e-7)
    assert m.estimate.aux[0][0] == pytest.approx(best.x[0], abs=1e-4)
    assert m.varcorr()["sdcor"].iloc[0] == pytest.approx(np.exp(best.x[1]), rel=1e-4)


def test_it_is_the_effect_of_each_row() -> None:
    own = data().assign(row=lambda d: np.arange(len(d)).astype(str))
    m, other = fit(FORMULA, own), fit("y | se(s) ~ x + (1 | g) + (1 | row)", own, method="ml")
    assert m.llf == pytest.approx(other.llf, abs=1e-7)
    np.testing.assert_allclose(m.params, other.params, rtol=1e-4)


def test_units_files_and_new_rows(tmp_path) -> None:
    own = data()
    m = fit(FORMULA, own)
    big = fit(FORMULA, own.assign(y=1e5 * own["y"], s=1e5 * own["s"]))
    assert big.llf == pytest.approx(m.llf - 60 * np.log(1e5), abs=1e-6)
    np.testing.assert_allclose(big.params, 1e5 * m.params, rtol=1e-5)
    m.save(tmp_path / "fit.lmm")
    assert load(tmp_path / "fit.lmm").update(". ~ . - x", data=own).llf < m.llf
    new = pd.DataFrame({"x": [0.0, 0.0], "s": [0.01, 3.0], "g": ["0", "0"]})
    wide = m.predict(new, interval="prediction", seed=1)
    narrow, wider = np.asarray(wide["upper"]) - np.asarray(wide["lower"])
    assert wider > 3 * narrow


def test_censored_with_known_errors_is_a_probability() -> None:
    own = data().assign(c=lambda d: np.where(d["y"] < 0.5, "left", "none"), y=lambda d: d["y"].clip(0.5))
    m = fit("y | se(s) + cens(c) ~ x", own)
    from scipy.stats import norm

    mu, seen = m.fittedvalues.to_numpy(), (own["c"] == "none").to_numpy()
    parts = np.where(seen, norm.logpdf(own["y"], mu, own["s"]), norm.logcdf(own["y"], mu, own["s"]))
    assert m.llf == pytest.approx(parts.sum(), abs=1e-9)


def test_the_posterior_is_that_of_a_grid() -> None:
    """Two standard deviations on a grid, effects and flat coefficients integrated out by their closed form."""
    own = data()
    priors = {"b": "flat()", "Intercept": "flat()", "sd": "exponential(1)", "sigma": "exponential(1)"}
    m = fit(FORMULA, own, method="hmc", priors=priors, draws=4_000, chains=2, warmup=200, seed=3)
    a, t = np.linspace(-3.0, 0.6, 50), np.linspace(-3.0, 1.2, 50)
    x = np.column_stack([np.ones(60), own["x"]])
    same = np.equal.outer(np.array(own["g"]), np.array(own["g"]))

    def logp(log_sigma: float, log_tau: float) -> float:
        v = np.diag(np.exp(2 * log_sigma) + np.array(own["s"]) ** 2) + np.exp(2 * log_tau) * same
        curvature = np.linalg.slogdet(x.T @ np.linalg.solve(v, x))[1]
        prior = log_sigma + log_tau - np.exp(log_sigma) - np.exp(log_tau)
        return -0.5 * (deviance(own, log_sigma, log_tau) + curvature) + prior

    p = np.array([[logp(i, j) for j in t] for i in a])
    p = np.exp(p - p.max())
    p /= p.sum()
    draws = m.inference.draws()
    found = np.exp(np.asarray(draws.aux[0]).reshape(-1))
    mean = float(p.sum(axis=1) @ np.exp(a))
    spread = float(np.sqrt(p.sum(axis=1) @ (np.exp(a) - mean) ** 2))
    assert found.mean() == pytest.approx(mean, abs=5 * spread / np.sqrt(4_000))
    assert found.std() == pytest.approx(spread, rel=0.06)
