"""Censored and truncated responses against R: TMB and exact quadrature with random effects, survival's survreg without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, split_episodes

REFERENCE = json.loads(Path(__file__).with_name("censoring.json").read_text())
MODELS = [name for name in REFERENCE["models"] if name != "veteran"]


def data_of(name: str) -> pd.DataFrame:
    data = pd.DataFrame(REFERENCE["data"][name])
    if name == "kidney":
        data["sex"] = pd.Categorical(data["sex"], ["male", "female"])
    return data


@pytest.mark.parametrize("name", MODELS)
def test_laplace_is_that_of_tmb(name: str) -> None:
    own = REFERENCE["models"][name]
    m = fit(own["formula"], data_of(own["data"]), family=own["family"])
    se = np.array(own["se"])
    assert m.llf == pytest.approx(own["logLik"], abs=1e-6)
    np.testing.assert_allclose((m.params - own["estimate"]) / se, 0.0, atol=1e-4)
    np.testing.assert_allclose(m.bse, se, rtol=2e-4)
    assert m.estimate.aux[0][0] == pytest.approx(own["auxiliary"], abs=1e-4 * own["auxiliary_se"])
    assert m.varcorr()["sdcor"].iloc[0] == pytest.approx(own["sd"], rel=1e-4)


@pytest.mark.parametrize("name", ["tobit_left", "weibull_kidney"])
def test_quadrature_is_the_exact_likelihood(name: str) -> None:
    own = REFERENCE["models"][name]
    m = fit(own["formula"], data_of(own["data"]), family=own["family"], nagq=31)
    exact = own["exact"]
    assert m.llf == pytest.approx(exact["logLik"], abs=1e-6)
    np.testing.assert_allclose((m.params - exact["estimate"]) / np.array(own["se"]), 0.0, atol=1e-3)
    assert m.varcorr()["sdcor"].iloc[0] == pytest.approx(exact["sd"], rel=1e-3)


@pytest.mark.parametrize("family", ["weibull", "exponential", "lognormal", "gaussian"])
def test_without_random_effects_it_is_survreg(family: str) -> None:
    """survreg's scale is 1 / shape of the Weibull distribution, sigma of the others."""
    own = REFERENCE["models"]["veteran"][family]
    data = data_of("veteran").assign(cens=lambda d: 1 - d["status"])
    m = fit("time | cens(cens) ~ trt + karno", data, family=family)
    se = np.array(own["se"])
    assert m.llf == pytest.approx(own["logLik"], abs=1e-6)
    np.testing.assert_allclose((m.params - own["estimate"]) / se, 0.0, atol=1e-4)
    np.testing.assert_allclose(m.bse, se, rtol=1e-4)
    if "scale" in own:
        log_scale = float(m.estimate.aux[0][0]) * (-1.0 if family == "weibull" else 1.0)
        assert log_scale == pytest.approx(np.log(own["scale"]), abs=1e-4 * own["log_scale_se"])


def test_piecewise_exponential_is_glm_of_survsplit() -> None:
    own = REFERENCE["models"]["veteran"]["piecewise"]
    rows = split_episodes(data_of("veteran"), own["cut"])
    assert len(rows) == own["rows"]
    rows["piece"] = rows["episode"].cat.codes.astype(str)
    m = fit("status | rate(exposure) ~ piece + trt + karno", rows, family="poisson")
    se = np.array(own["se"])
    assert m.llf == pytest.approx(own["logLik"], abs=1e-7)
    np.testing.assert_allclose((m.params - own["estimate"]) / se, 0.0, atol=1e-5)
    np.testing.assert_allclose(m.bse, se, rtol=1e-5)
