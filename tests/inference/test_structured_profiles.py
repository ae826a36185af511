"""Profile intervals of models with structured residuals, and everything else that is asked of their parameters by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from lmmformula import Fit, fit, load_dataset
from lmmformula.typing import Array

BOUND = 3.841458820694124
"""The 95% quantile of a chi-square with one degree of freedom."""


@cache
def _rows() -> pd.DataFrame:
    """Thirty groups of three visits."""
    rng = np.random.default_rng(8)
    root = np.array([[1.0, 0.0, 0.0], [0.6, 0.9, 0.0], [0.3, 0.5, 1.4]])
    e = rng.normal(size=(30, 3)) @ root.T
    v, x = np.tile(np.arange(3), 30), rng.normal(size=90)  # every group has all of them, in order
    return pd.DataFrame(
        {"y": 1.0 + 0.4 * x + e.ravel(), "x": x, "v": v, "g": np.repeat(np.arange(30), 3), "w": v.astype(str)}
    )


def _dense(m: Fit, covariance: Array) -> float:
    """-2 log L of the model without random effects, from the covariance matrix of the three rows of a group."""
    if np.linalg.eigvalsh(covariance)[0] < 1e-9:
        return 1e6
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    n = m.problem.n
    x = (root @ m.problem.X.matrix.reshape(-1, 3, m.problem.p)).reshape(n, -1)
    y = (m.problem.y.reshape(-1, 3) @ root.T).ravel()
    e = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(n * np.log(2.0 * np.pi) - 2.0 * n / 3 * np.log(np.diagonal(root)).sum() + e @ e)


def _rise(deviance: Callable[[Array], float], start: Array, place: int, value: float) -> float:
    """The least deviance with one coordinate held, over that without, by a search of SciPy's."""
    free = [j for j in range(len(start)) if j != place]

    def held(z: Array) -> float:
        at = start.copy()
        at[free], at[place] = z, value
        return float(deviance(at))

    best = minimize(deviance, start, method="BFGS", options={"gtol": 1e-6})
    return float(minimize(held, best.x[free], method="BFGS", options={"gtol": 1e-6}).fun) - float(best.fun)


def _visits(at: Array) -> Array:
    """Covariance of three visits, of log deviations and correlations."""
    r = np.eye(3)
    r[0, 1] = r[1, 0] = at[3]
    r[0, 2] = r[2, 0] = at[4]
    r[1, 2] = r[2, 1] = at[5]
    sd = np.exp(at[:3])
    return sd[:, None] * r * sd


@pytest.mark.parametrize("name", ["sd_1|unstr", "cor_2.0|unstr", "cor_2.1|unstr"])
def test_of_an_unstructured_covariance_the_deviance_rises_by_the_quantile(name: str) -> None:
    m = fit("y ~ x + unstr(w, gr = g)", _rows())
    ends = m.conf_int(method="profile", parameters=name).loc[name]
    known = m.varcorr()["sdcor"].to_numpy()[1:]
    start = np.concatenate([np.log(known[:3]), known[3:]])
    place = {"sd_1|unstr": 1, "cor_2.0|unstr": 4, "cor_2.1|unstr": 5}[name]

    for end in ends:
        held = float(np.log(end)) if name.startswith("sd") else float(end)
        assert _rise(lambda x: _dense(m, _visits(x)), start, place, held) == pytest.approx(BOUND, abs=2e-3)


def test_of_a_serial_correlation_and_a_variance_function() -> None:
    m = fit("bf(y ~ x + ar(v, gr = g), sigma ~ w)", _rows())
    names = ["rho|ar", "sigma: (Intercept)", "sigma: w2"]
    ends = m.conf_int(method="profile", parameters=names)
    residual = m.problem.residual
    assert residual is not None
    assert residual.variance is not None
    lag, columns = np.abs(np.subtract.outer(np.arange(3), np.arange(3))), residual.variance.block.matrix[:3]

    def deviance(at: Array) -> float:
        s = np.exp(columns @ at[1:])
        return _dense(m, np.tanh(at[0]) ** lag * np.outer(s, s))

    start = m.varcorr()["sdcor"].to_numpy()[1:]
    start = np.concatenate([[np.arctanh(start[0])], start[1:]])
    for name, place in zip(names, (0, 1, 3), strict=True):
        for end in ends.loc[name]:
            held = float(np.arctanh(end)) if place == 0 else float(end)
            assert _rise(deviance, start, place, held) == pytest.approx(BOUND, abs=2e-3)


def test_exchangeable_residuals_have_the_profiles_of_a_random_intercept() -> None:
    data = load_dataset("Orthodont")
    one = fit("distance ~ age * Sex + cosy(gr = Subject)", data)
    other = fit("distance ~ age * Sex + (1 | Subject)", data)
    first, second = (m.conf_int(method="profile", parameters="fixed") for m in (one, other))
    np.testing.assert_allclose(first, second, rtol=1e-4)
    grid = one.profile(parameters="rho|cosy", points=3)
    assert grid["value"].between(-1.0 / 3.0, 1.0).all()
    assert (np.diff(grid["zeta"]) > 0.0).all()


def test_what_the_data_do_not_bound_has_no_end() -> None:
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=40), "a": rng.uniform(size=40), "g": np.repeat(np.arange(10), 4)}
    m = fit("y ~ 1 + sp_exp(a, gr = g)", data)
    low, high = map(float, m.conf_int(method="profile", parameters="range|sp_exp").to_numpy()[0])
    assert low == 0.0
    assert float(m.varcorr()["sdcor"].iloc[-1]) <= high


def test_parameters_are_named_everywhere_alike() -> None:
    m = fit("y ~ x + (1 | g) + ar(v, gr = g)", _rows())
    names = ["sd_(Intercept)|g", "rho|ar", "sigma", "(Intercept)", "x"]
    wald = m.conf_int(parameters="all")
    assert list(wald.index) == names
    assert set(m.bootstrap(2, seed=1).columns) == set(names)
    assert (wald.to_numpy()[:, 0] < wald.to_numpy()[:, 1]).all()
    tested = m.hypothesis("`rho|ar` = 0.1")
    rho = m.varcorr(se=True).iloc[-1]
    assert float(tested["estimate"].iloc[0]) == pytest.approx(rho["sdcor"] - 0.1)
    assert float(tested["std_error"].iloc[0]) == pytest.approx(rho["se"], rel=1e-6)
