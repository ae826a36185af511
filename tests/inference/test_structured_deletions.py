"""Influence, errors by clusters and smooths of fits with structured residuals, against dense matrices and equal models."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from lmmformula import Fit, fit, load_dataset
from lmmformula.errors import PlanError
from lmmformula.typing import Array


@cache
def _rows() -> pd.DataFrame:
    """Twelve groups of five or six times."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 6)
    x, e = rng.normal(size=72), rng.normal(size=(12, 6))
    e[:, 1:] += 0.6 * e[:, :-1]
    y = 1.0 + 0.5 * x + np.sin(2.0 * x) + e.ravel() + 3.0 * rng.normal(size=12)[g]
    v = np.tile(np.arange(6), 12)
    rows = pd.DataFrame({"y": y, "x": x, "g": g, "t": v, "site": g // 2})
    return rows.drop(index=[5, 22, 40]).reset_index(drop=True)


@cache
def _fit(formula: str, method: str = "reml") -> Fit:
    return fit(formula, _rows(), method=method)


SERIAL = "y ~ x + t + (1 | g) + ar(t, gr = g)"


def _covariance(m: Fit) -> tuple[Array, Array]:
    """V and R of SERIAL, relative to sigma^2, row by row."""
    rho = float(m.varcorr()["sdcor"].iloc[-1])
    same = np.equal.outer(_rows()["g"].to_numpy(), _rows()["g"].to_numpy())
    lag = np.abs(np.subtract.outer(_rows()["t"].to_numpy(), _rows()["t"].to_numpy()))
    r = rho**lag * same
    return r + float(m.varcorr()["vcov"].iloc[0]) / m.sigma**2 * same, r


def _without(m: Fit, v: Array, gone: NDArray[np.bool_]) -> tuple[Array, float, Array]:
    """beta, sigma and the covariance matrix of beta of generalised least squares without some rows."""
    x, y = m.problem.X.matrix[~gone], m.problem.y[~gone]
    inverse = np.linalg.inv(v[np.ix_(~gone, ~gone)])
    c = np.linalg.inv(x.T @ inverse @ x)
    beta = c @ x.T @ inverse @ y
    e = y - x @ beta
    sigma2 = float(e @ inverse @ e) / (len(y) - len(beta))
    return beta, float(np.sqrt(sigma2)), sigma2 * c


@pytest.mark.parametrize("group", [None, "g", "site", "t"])
def test_deletions_are_least_squares_of_the_other_rows(group: str | None) -> None:
    m = _fit(SERIAL)
    v, _ = _covariance(m)
    found = m.influence(group)
    labels = np.arange(len(_rows())) if group is None else _rows()[group].to_numpy()
    for i, label in enumerate(list(found.frame.index)[:6]):
        beta, sigma, c = _without(m, v, labels == int(label))
        np.testing.assert_allclose(found.params.iloc[i], beta, rtol=1e-6)
        assert found.frame["sigma"].iloc[i] == pytest.approx(sigma, rel=1e-6)
        moved = m.params.to_numpy() - beta
        np.testing.assert_allclose(found.dfbetas.iloc[i], moved / np.sqrt(np.diagonal(c)), rtol=1e-6)
        cook = moved @ np.linalg.solve(m.vcov, moved) / 3.0
        assert found.frame["cooks_distance"].iloc[i] == pytest.approx(cook, rel=1e-6)


def test_leverages_are_those_of_the_fitted_values() -> None:
    """``y^ = X beta^ + Z b^`` is linear in y: its matrix by the dense covariance."""
    m = _fit(SERIAL)
    (v, r), x = _covariance(m), m.problem.X.matrix
    inverse = np.linalg.inv(v)
    fixed = x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    whole = fixed + (v - r) @ inverse @ (np.eye(len(x)) - fixed)
    np.testing.assert_allclose(whole @ m.problem.y, m.fittedvalues, rtol=1e-6)
    found = m.influence().frame
    np.testing.assert_allclose(found["leverage"], np.diagonal(whole), rtol=1e-6)
    np.testing.assert_allclose(found["leverage_fixed"], np.diagonal(fixed), rtol=1e-6)


def test_refits_without_a_unit_are_fits_of_the_other_rows() -> None:
    data = _rows().query("t < 2")
    m = fit("y ~ x + unstr(t, gr = g)", data, method="ml")
    found = m.influence("g", refit=True)
    other = fit("y ~ x + unstr(t, gr = g)", data.query("g != 3"), method="ml")
    np.testing.assert_allclose(found.params.loc["3"], other.params, rtol=1e-4)
    ratio = other.varcorr()["vcov"].to_numpy()[1:] / m.varcorr()["vcov"].to_numpy()[1:] - 1.0
    changes = found.frame.filter(like="rvc_Residual.").loc["3"]
    np.testing.assert_allclose(changes, ratio, rtol=5e-3, atol=1e-4)


def _robust(m: Fit, v: Array, labels: Array, kind: str) -> Array:
    """The estimators of Pustejovsky & Tipton (2018, sec. 2), matrix by matrix."""
    x, inverse = m.problem.X.matrix, np.linalg.inv(v)
    c = np.linalg.inv(x.T @ inverse @ x)
    e, meat = m.problem.y - x @ m.params.to_numpy(), np.zeros_like(c)
    count = len(np.unique(labels))
    for label in np.unique(labels):
        rows = labels == label
        own, xi = v[np.ix_(rows, rows)], x[rows]
        adjust = np.eye(rows.sum())
        if kind == "CR3":
            adjust = np.linalg.inv(adjust - xi @ c @ xi.T @ np.linalg.inv(own))
        if kind == "CR2":
            root = np.linalg.cholesky(own)
            values, vectors = np.linalg.eigh(root.T @ (own - xi @ c @ xi.T) @ root)
            adjust = root @ (vectors / np.sqrt(values)) @ vectors.T @ root.T
        score = xi.T @ np.linalg.inv(own) @ adjust @ e[rows]
        meat += np.outer(score, score) * (count / (count - 1) if kind == "CR1" else 1.0)
    return c @ meat @ c


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
@pytest.mark.parametrize("cluster", ["g", "site"])
def test_errors_by_clusters_are_the_papers(kind: str, cluster: str) -> None:
    m = _fit(SERIAL)
    v, _ = _covariance(m)
    expected = _robust(m, v, _rows()[cluster].to_numpy(), kind)
    np.testing.assert_allclose(m.cov_params(kind, cluster), expected, rtol=1e-6, atol=1e-12)


def test_equal_models_have_equal_errors_tests_and_deletions() -> None:
    """Exchangeable residuals and a random intercept: clubSandwich's numbers are those of the other, tested elsewhere."""
    data = load_dataset("Orthodont")
    one = fit("distance ~ age * Sex + cosy(gr = Subject)", data)
    other = fit("distance ~ age * Sex + (1 | Subject)", data)
    for vcov in ("CR1", "CR2", "CR3"):
        first, second = (m.anova(vcov=vcov).iloc[:, 2:] for m in (one, other))
        np.testing.assert_allclose(first.astype(float), second.astype(float), rtol=1e-4)
    columns = ["cooks_distance", "mdffits", "covratio", "sigma"]
    for group in (None, "Subject"):
        first, second = (m.influence(group) for m in (one, other))
        np.testing.assert_allclose(first.dfbetas, second.dfbetas, rtol=1e-3, atol=1e-5)
        shared = columns[:3] if group else columns[:2]
        np.testing.assert_allclose(first.frame[shared], second.frame[shared], rtol=1e-3, atol=1e-6)


def test_clusters_that_share_correlated_residuals_are_refused() -> None:
    m = _fit("y ~ x + ar(t, gr = g)")
    assert "clusters of g" in m.cov_params("CR2").attrs["heading"]
    with pytest.raises(PlanError, match=r"correlated within groups of `g`.*cluster='g'"):
        m.cov_params("CR2", "t")


def test_smooths_beside_structured_residuals_have_the_tests_of_an_equal_model() -> None:
    data = _rows()
    one, other = (fit(f"y ~ s(x, k = 5) + t + {more}", data) for more in ("cosy(gr = g)", "(1 | g)"))
    assert one.llf == pytest.approx(other.llf, abs=1e-6)
    assert "sd_smooth|s(x)" in one.conf_int(parameters="all").index
    assert list(one.bootstrap(1, seed=1).columns).count("sd_smooth|s(x)") == 1
    np.testing.assert_allclose(
        one.smooths().astype(float).to_numpy(), other.smooths().astype(float).to_numpy(), rtol=1e-3, atol=1e-4
    )
    first, second = (m.smooth("s(x)") for m in (one, other))
    for column in first.frame.columns[1:]:
        np.testing.assert_allclose(first.frame[column], second.frame[column], rtol=1e-2, atol=1e-3)


def test_other_starts_and_optimisers_find_the_optimum() -> None:
    assert _fit(SERIAL).allfit(seed=1).same_optimum
    assert _fit("y ~ x + cosy(gr = g)").allfit(seed=1).same_optimum


def test_a_function_of_variances_has_its_error_and_profile() -> None:
    """The share of groups, by the delta method and by profile, of the model that cosy() does not need to write."""
    m = _fit("y ~ x + (1 | g) + ar(t, gr = g)", "ml")
    delta = m.ratio("g / (g + Residual)")
    profile = m.ratio("g / (g + Residual)", method="profile")
    assert delta.estimate == pytest.approx(profile.estimate)
    assert 0.0 < delta.se < 1.0
    assert profile.interval[0] < delta.estimate < profile.interval[1]
