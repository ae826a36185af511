"""uncertainty="full" of models with structured residuals, where the posterior of a mean is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from lmmformula import fit
from lmmformula.inference import averaging
from lmmformula.ir.residual import RESIDUAL_KINDS

N, LEVEL = 14, 0.9
"""Units with two positions each."""


def pairs() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.multivariate_normal([1.0, 3.0], [[1.0, 0.8], [0.8, 2.0]], size=N)


def half_widths(table: pd.DataFrame) -> np.ndarray:
    return ((table["upper"] - table["lower"]) / 2).to_numpy()


def reach(scatter: np.ndarray, df: float, extra: float = 0.0) -> np.ndarray:
    """Of a mean with a t posterior around the average; `extra` 1 for an observation."""
    return stdtrit(df, 0.5 + LEVEL / 2) * np.sqrt(scatter / df * (1.0 / N + extra))


@pytest.mark.parametrize("interval", ["confidence", "prediction"])
def test_any_covariance_of_two_visits_has_the_multivariate_t(interval: str) -> None:
    """Box & Tiao (1973, sec. 8.4): the mean vector of n normal vectors of t elements is t with n - t degrees of freedom."""
    y = pairs()
    rows = {"y": y.ravel(), "v": np.tile(["a", "b"], N), "u": np.repeat(np.arange(N), 2)}
    m: Any = fit("y ~ 0 + v + unstr(v, gr = u)", pd.DataFrame(rows))
    got = m.predict(interval=interval, level=LEVEL, uncertainty="full", seed=1)
    scatter = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    expected = reach(scatter, N - 2, 1.0 if interval == "prediction" else 0.0)
    np.testing.assert_allclose(half_widths(got)[:2], expected, rtol=0.03)


def test_two_responses_with_correlated_residuals_have_it_too() -> None:
    y = pairs()
    m: Any = fit("bf(mvbind(a, b) ~ 1) + set_rescor(TRUE)", pd.DataFrame({"a": y[:, 0], "b": 1e3 * y[:, 1]}))
    got = m.predict(interval="confidence", level=LEVEL, uncertainty="full", seed=1)
    scatter = ((y - y.mean(axis=0)) ** 2).sum(axis=0) * np.array([1.0, 1e6])
    np.testing.assert_allclose(half_widths(got)[[0, N]], reach(scatter, N - 2), rtol=0.03)


def test_a_variance_for_each_group_has_its_own_degrees_of_freedom() -> None:
    """With flat log standard deviations the mean of each group is t with n_j - 1, new rows too."""
    y = pairs()
    data = pd.DataFrame({"y": y.T.ravel(), "f": np.repeat(["a", "b"], N)})
    m: Any = fit("bf(y ~ 0 + f, sigma ~ f)", data, method="reml")
    scatter = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    for interval, extra in (("confidence", 0.0), ("prediction", 1.0)):
        got = m.predict({"f": ["a", "b"]}, interval=interval, level=LEVEL, uncertainty="full", seed=1)
        np.testing.assert_allclose(half_widths(got), reach(scatter, N - 1, extra), rtol=0.03)


def test_a_known_matrix_has_no_parameter_and_the_t_of_generalised_least_squares() -> None:
    y = pairs().ravel()
    known = 0.5 * np.eye(2 * N) + 0.5 * np.equal.outer(np.arange(2 * N) // 2, np.arange(2 * N) // 2)
    m: Any = fit("y ~ 1 + fcor(M)", pd.DataFrame({"y": y}), data2={"M": known})
    got = m.predict(interval="confidence", level=LEVEL, uncertainty="full", seed=1)
    weights = np.linalg.solve(known, np.ones(2 * N))
    mean = weights @ y / weights.sum()
    r2 = (y - mean) @ np.linalg.solve(known, y - mean)
    expected = stdtrit(2 * N - 1, 0.5 + LEVEL / 2) * np.sqrt(r2 / (2 * N - 1) / weights.sum())
    np.testing.assert_allclose(half_widths(got), expected, rtol=1e-6)


def test_compound_symmetry_of_the_residuals_is_a_random_intercept_for_new_groups(monkeypatch) -> None:
    """The same model where the correlation is positive; priors differ, a flat correlation and a flat standard deviation."""
    monkeypatch.setattr(averaging, "DRAWN", 200)
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(30), 4)
    data = pd.DataFrame({"y": rng.normal(size=30)[g] + rng.normal(size=120), "g": g})
    asked = {"interval": "confidence", "uncertainty": "full", "re_form": None, "seed": 2}
    one: Any = fit("y ~ 1 + cosy(gr = g)", data)
    other: Any = fit("y ~ 1 + (1 | g)", data)
    got, expected = one.predict(data.iloc[:1], **asked), other.predict(data.iloc[:1], **asked)
    np.testing.assert_allclose(half_widths(got), half_widths(expected), rtol=0.04)
    plain = half_widths(one.predict(data.iloc[:1], interval="confidence"))
    assert half_widths(got)[0] > plain[0]


POSITIONS = np.arange(6.0)[:, None]


@pytest.mark.parametrize("name", ["ar", "ma", "car1", "cosy", "sp_exp"])
def test_the_reference_density_of_a_single_parameter_integrates_to_one_and_has_no_edge(name: str) -> None:
    """Uniform for a correlation: its distribution function at the middle of phi is one half of what is between the ends."""
    kind = RESIDUAL_KINDS[name](np.zeros(6, dtype=np.int32), POSITIONS, (), False)
    phi = np.linspace(-30.0, 30.0, 4_001)
    values = np.exp([kind.log_reference(np.array([p])) for p in phi])
    mass = np.trapezoid(values, phi)
    assert np.isfinite(mass)
    assert values[0] + values[-1] < 1e-12 * mass
    if name in ("ar", "ma", "cosy"):
        natural = np.array([kind.natural(np.array([p]))[0] for p in phi])
        below = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(phi))]) / mass
        share = (natural - natural[0]) / (natural[-1] - natural[0])
        np.testing.assert_allclose(below, share, atol=1e-4)
