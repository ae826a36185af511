"""Structured residuals against nlme: likelihoods to 1e-4, estimates to 1e-3 of a standard error."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, load_dataset

KNOWN = json.loads(Path(__file__).with_name("residuals.json").read_text())


def _data(name: str) -> pd.DataFrame:
    if name in KNOWN["data"]:
        return pd.DataFrame(KNOWN["data"][name])
    return load_dataset(name)


@cache
def _fit(name: str) -> Fit:
    model = KNOWN["models"][name]
    return fit(model["formula"], _data(model["data"]), method=model["method"])


@pytest.mark.parametrize("name", KNOWN["models"])
def test_likelihood_and_fixed_effects(name: str) -> None:
    model, m = KNOWN["models"][name], _fit(name)
    assert m.converged
    assert m.llf == pytest.approx(model["logLik"], abs=1e-6)
    off = (m.params.to_numpy() - np.array(model["estimate"])) / np.array(model["se"])
    assert np.abs(off).max() < 1e-4
    assert m.df_model == model["df"]
    if m.problem.residual is not None:
        np.testing.assert_allclose(m.bse, model["se"], rtol=1e-4)


@pytest.mark.parametrize("name", KNOWN["models"])
def test_variance_parameters(name: str) -> None:
    m, known = _fit(name), KNOWN["models"][name]["variance"]
    table = m.varcorr()
    rows: dict[Any, float] = dict(zip(table["var1"], table["sdcor"], strict=True))
    for theirs, ours in {"rho": "rho", "phi": "phi", "range": "range", "nugget": "nugget"}.items():
        if theirs in known:
            assert rows[ours] == pytest.approx(known[theirs][0], rel=1e-4)
    for theirs, value in known.items():
        if theirs.startswith("sd_"):
            assert rows["(Intercept)"] == pytest.approx(value[0], rel=1e-4)
    if name == "lme_varident_reml":
        assert [rows["SexMale"], rows["SexFemale"]] == pytest.approx(known["log_sigma"], abs=1e-5)
    elif "sigma" in known:
        assert m.sigma == pytest.approx(known["sigma"][0], rel=1e-5)
    if name == "lme_varpower_ml":
        assert m.estimate.aux[0] == pytest.approx(known["log_sigma"], abs=1e-4)


def test_a_variance_function_by_ml_is_the_same_by_both_criteria() -> None:
    """Laplace's criterion, which has the coefficients of sigma beside beta, and the profiled one."""
    data = _data("r2_long")
    laplace = _fit("lme_varpower_ml")
    both = fit("bf(y_het ~ x + time + (1 | id), sigma ~ log(time))", data, method="reml")
    by_ml = both.standard.outward(both.backend.unrestricted(both.optimum).estimate)
    assert by_ml.deviance == pytest.approx(laplace.deviance, abs=1e-6)
    np.testing.assert_allclose(by_ml.beta, laplace.params, atol=1e-5)
