"""``y | se(s)``: residual variances that are known, as in meta-analysis."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from lmmformula import fit, load
from lmmformula.errors import DataError, FormulaError, PlanError

DATA = json.loads((Path(__file__).parents[1] / "reference" / "levels.json").read_text())["data"]
FORMULA = "yi | se(sei) ~ ablat + (1 | trial)"


def trials() -> pd.DataFrame:
    return pd.DataFrame(DATA["bcg"])


def deviance(tau: float, data: pd.DataFrame, *, reml: bool) -> float:
    """By its definition, dense."""
    v = tau**2 + np.array(data["sei"]) ** 2
    x = np.column_stack([np.ones(len(v)), data["ablat"]])
    weighted = x.T / v
    beta = np.linalg.solve(weighted @ x, weighted @ data["yi"])
    e = np.array(data["yi"] - x @ beta)
    out = np.sum(np.log(2 * np.pi * v)) + np.sum(e**2 / v)
    if reml:
        out += np.linalg.slogdet(weighted @ x)[1] - 2 * np.log(2 * np.pi)
    return float(out)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_agrees_with_the_definition(method: str) -> None:
    data, reml = trials(), method == "reml"
    m = fit(FORMULA, data, method=method)
    near = {"xatol": 1e-9, "fatol": 1e-12}
    found = minimize(lambda t: deviance(t[0], data, reml=reml), [0.3], method="Nelder-Mead", options=near)
    assert -2.0 * m.llf == pytest.approx(found.fun, abs=1e-8)
    assert m.varcorr()["sdcor"].iloc[0] == pytest.approx(abs(found.x[0]), rel=1e-5)
    assert m.sigma == 1.0
    assert m.varcorr()["grp"].tolist() == ["trial"]
    assert m.df_model == 3


def test_units_do_not_matter() -> None:
    data = trials()
    m, other = fit(FORMULA, data), fit(FORMULA, data.assign(yi=data["yi"] * 1e5, sei=data["sei"] * 1e5))
    np.testing.assert_allclose(other.params, m.params * 1e5, rtol=1e-7)
    np.testing.assert_allclose(other.varcorr()["sdcor"], m.varcorr()["sdcor"] * 1e5, rtol=1e-6)


def test_profile_of_the_spread_is_that_of_the_definition() -> None:
    data = trials()
    m = fit(FORMULA, data, method="ml")
    ends = m.conf_int(method="profile")
    assert list(ends.index) == ["sd_(Intercept)|trial", "(Intercept)", "ablat"]
    upper = ends.iloc[0, 1]
    assert deviance(upper, data, reml=False) + 2 * m.llf == pytest.approx(3.841459, abs=1e-3)


def test_rows_draw_their_own_errors(tmp_path) -> None:
    data = trials()
    m = fit(FORMULA, data)
    draws = np.asarray(m.simulate(4000, seed=1))
    tau = m.varcorr()["sdcor"].iloc[0]
    np.testing.assert_allclose(draws.std(axis=1), np.sqrt(tau**2 + data["sei"] ** 2), rtol=0.06)
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    new = data.head(2).assign(sei=[0.1, 2.0])
    limits = again.predict(new, interval="prediction")
    width = np.array(limits["upper"] - limits["lower"])
    assert width[1] > 2.0 * width[0]


def test_without_random_effects_and_with_weights_that_are_not_repeats() -> None:
    data = trials()
    m = fit("yi | se(sei) ~ ablat", data)
    x, w = np.column_stack([np.ones(13), data["ablat"]]), 1.0 / np.array(data["sei"]) ** 2
    np.testing.assert_allclose(m.bse, np.sqrt(np.diagonal(np.linalg.inv(x.T @ (x * w[:, None])))), rtol=1e-9)


def test_what_does_not_suit_is_refused() -> None:
    data = trials()
    with pytest.raises(PlanError, match=re.escape("(1 | row)")):
        fit("yi | se(sei, sigma = TRUE) ~ ablat", data, method="reml")
    with pytest.raises(FormulaError, match=re.escape("se() beside weights()")):
        fit("yi | se(sei) + weights(sei) ~ 1 + (1 | trial)", data)
    with pytest.raises(PlanError, match="Gaussian responses with identity link"):
        fit("ablat | se(sei) ~ 1 + (1 | trial)", data, family="poisson")
    with pytest.raises(PlanError, match="known residual variances"):
        fit(FORMULA, data, method="pql")
    with pytest.raises(PlanError, match="no expected information"):
        fit("yi | se(sei, sigma = TRUE) ~ ablat + (1 | alloc)", data, method="pql")
    with pytest.raises(DataError, match="cannot be told from the residual variance"):
        fit("yi | se(sei, sigma = TRUE) ~ 1 + (1 | trial)", data)
    with pytest.raises(PlanError, match="satterthwaite"):
        fit(FORMULA, data).anova(ddf="kenward-roger")
