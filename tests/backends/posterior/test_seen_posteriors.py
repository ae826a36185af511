"""Posteriors of a censored and of an ordinal response against grids of their two or three parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from lmmformula import Fit, fit

DRAWS = {"method": "hmc", "draws": 2_000, "chains": 2, "sampler": "importance", "seed": 5}


def compare(drawn: np.ndarray, grid: np.ndarray, density: np.ndarray) -> None:
    """Mean within five errors of 1,500 effective draws, spread within a tenth."""
    mean = float(density @ grid)
    spread = float(np.sqrt(density @ (grid - mean) ** 2))
    assert drawn.mean() == pytest.approx(mean, abs=5.0 * spread / np.sqrt(1_500.0))
    assert drawn.std() == pytest.approx(spread, rel=0.1)


def drawn_of(m: Fit, j: int) -> np.ndarray:
    return np.asarray(m.inference.draws().beta)[..., j].ravel()


def test_a_censored_response() -> None:
    rng = np.random.default_rng(3)
    truth = 1.0 + rng.normal(size=25)
    y, c = np.maximum(truth, 0.6).round(3), np.where(truth < 0.6, "left", "none")
    priors = {"Intercept": "normal(0, 3)", "sigma": "exponential(1)"}
    m = fit("y | cens(c) ~ 1", pd.DataFrame({"y": y, "c": c}), priors=priors, **DRAWS)
    mu, a = np.linspace(-1.0, 2.5, 120), np.linspace(-1.0, 1.2, 110)
    z = (y[:, None, None] - mu[None, :, None]) / np.exp(a)
    rows = np.where((c == "none")[:, None, None], norm.logpdf(z) - a, norm.logcdf(z))
    log_p = rows.sum(axis=0) + norm.logpdf(mu, 0.0, 3.0)[:, None] - np.exp(a) + a
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    compare(drawn_of(m, 0), mu, p.sum(axis=1))
    compare(np.exp(np.asarray(m.inference.draws().aux[0]).ravel()), np.exp(a), p.sum(axis=0))


def test_an_ordinal_response() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=40).round(2)
    y = np.digitize(0.9 * x + rng.logistic(size=40), [-0.8, 0.7])
    priors = {"b": "normal(0, 2)", "Intercept[1]": "normal(0, 3)", "Intercept[2]": "normal(0, 3)"}
    data = pd.DataFrame({"y": pd.Categorical(y, ordered=True), "x": x})
    m = fit("y ~ x", data, family="cumulative", priors=priors, **DRAWS)
    b, low, high = np.linspace(-0.8, 3.0, 50), np.linspace(-2.8, 0.8, 48), np.linspace(-0.8, 2.8, 48)
    b, low, high = b[:, None, None], low[None, :, None], high[None, None, :]
    centre = x.mean()  # thresholds have their priors where x is at its mean
    log_p = norm.logpdf(b, 0, 2) + sum(norm.logpdf(t - b * centre, 0.0, 3.0) for t in (low, high))
    for xi, yi in zip(x, y, strict=True):
        below = (0.0, expit(low - b * xi), expit(high - b * xi), 1.0)
        log_p = log_p + np.log(np.maximum(below[yi + 1] - below[yi], 1e-300))
    p = np.where(low < high, np.exp(log_p - log_p.max()), 0.0)
    p /= p.sum()
    compare(drawn_of(m, 0), b.ravel(), p.sum(axis=(1, 2)))
