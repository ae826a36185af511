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
