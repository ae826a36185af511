"""Models of several responses against dense likelihoods in R (nlme agrees) and TMB."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit

KNOWN = json.loads(Path(__file__).with_name("multivariate.json").read_text())
GAUSSIAN = ("biv_norescor_ml", "biv_rescor_reml")


@cache
def fitted(name: str) -> Fit:
    own = KNOWN["models"][name]
    return fit(own["formula"], pd.DataFrame(KNOWN["data"]), method=own["method"])


@pytest.mark.parametrize("name", GAUSSIAN)
def test_likelihood_fixed_effects_and_modes(name: str) -> None:
    own, m = KNOWN["models"][name], fitted(name)
    assert m.converged
    assert m.llf == pytest.approx(own["logLik"], abs=1e-6)
    assert m.df_model == own["df"]
    assert np.abs((m.params.to_numpy() - own["estimate"]) / own["se"]).max() < 1e-4
    np.testing.assert_allclose(m.bse, own["se"], rtol=1e-4)
    np.testing.assert_allclose(m.estimate.modes[0][:10], own["ranef"], atol=1e-5)
    assert list(m.params.index) == ["y1:(Intercept)", "y1:x", "y2:(Intercept)", "y2:x"]


def test_a_gaussian_and_a_poisson_response_by_laplace() -> None:
    own, m = KNOWN["models"]["biv_gauss_pois"], fitted("biv_gauss_pois")
    assert m.converged
    assert m.llf == pytest.approx(own["logLik"], abs=1e-6)
    assert m.df_model == own["df"]
    assert np.abs((m.params.to_numpy() - own["estimate"]) / own["se"]).max() < 1e-4
    np.testing.assert_allclose(m.bse, own["se"], rtol=1e-4)
    np.testing.assert_allclose(m.estimate.aux[0], own["log_sigma"], rtol=1e-5)
    sigma = m.tidy(effects="fixed").query("component == 'sigma_y1'")
    np.testing.assert_allclose(sigma["std_error"], own["log_sigma_se"], rtol=1e-4)
    np.testing.assert_allclose(m.varcorr()["sdcor"], [*own["sd"], *own["cor"]], rtol=1e-4)
    # the modes in R are those of the last parameters that were looked at; at ours the penalised score is zero
    np.testing.assert_allclose(m.estimate.modes[0][:10], own["ranef"], atol=3e-4)
    eta = m.predict(kind="link")
    np.testing.assert_allclose(eta[:10], own["linear_predictor"], atol=3e-4)
    rows = pd.DataFrame(KNOWN["data"])
    first, second = np.split(np.asarray(eta), 2)
    of_y1 = (rows["y1"].to_numpy() - first) / np.exp(2 * m.estimate.aux[0][0])
    score = np.column_stack([of_y1, rows["c2"].to_numpy() - np.exp(second)])
    lower = m.problem.terms[0].covariance.cholesky(m.estimate.theta)
    sums = np.array([score[rows["id"] == level].sum(axis=0) for level in m.problem.terms[0].levels])
    np.testing.assert_allclose(sums @ (lower @ lower.T), m.estimate.modes[0], atol=1e-7)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_variances_of_effects_and_residuals(name: str) -> None:
    own, table = KNOWN["models"][name], fitted(name).varcorr()
    effects, residuals = table[table["grp"] == "id"], table[table["grp"] == "Residual"]
    np.testing.assert_allclose(effects["sdcor"], [*own["sd"], *own["cor"]], rtol=1e-5)
    expected = [*own["sigma"], *(own["rescor"] or [])]
    np.testing.assert_allclose(residuals["sdcor"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_covariance_of_estimates_and_fitted_values(name: str) -> None:
    own, m = KNOWN["models"][name], fitted(name)
    np.testing.assert_allclose(m.cov_params(), own["vcov"], rtol=2e-4, atol=1e-7)
    by_response = m.fittedvalues.unstack("response").to_numpy()
    np.testing.assert_allclose(by_response[:5].ravel(), own["fitted"], atol=1e-5)
