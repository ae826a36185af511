"""Names that statsmodels' results have."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula import fit, load_dataset

NAMES = [
    "params",
    "bse",
    "tvalues",
    "pvalues",
    "conf_int",
    "cov_params",
    "llf",
    "aic",
    "bic",
    "nobs",
    "df_resid",
    "df_model",
    "fittedvalues",
    "resid",
    "resid_pearson",
    "predict",
    "summary",
    "fe_params",
    "bse_fe",
    "random_effects",
    "cov_re",
    "scale",
    "converged",
]


@pytest.fixture(scope="module")
def pastes_fit():
    return fit("strength ~ 1 + (1 | batch/cask)", load_dataset("Pastes"))


def test_all_are_there(pastes_fit) -> None:
    assert [name for name in NAMES if not hasattr(pastes_fit, name)] == []


def test_aliases_agree_with_what_they_stand_for(pastes_fit) -> None:
    m = pastes_fit
    np.testing.assert_array_equal(m.fe_params, m.params)
    np.testing.assert_array_equal(m.bse_fe, m.bse)
    assert m.scale == pytest.approx(m.varcorr().set_index("grp").loc["Residual", "vcov"])
    np.testing.assert_array_equal(m.resid, m.residuals())
    np.testing.assert_array_equal(m.resid_pearson, m.residuals("pearson"))
    np.testing.assert_allclose(m.fittedvalues + m.resid, load_dataset("Pastes")["strength"])


def test_random_effects_by_factor(pastes_fit) -> None:
    modes = pastes_fit.ranef()
    effects = pastes_fit.random_effects
    assert set(effects) == set(modes["grpvar"])
    for name, table in effects.items():
        own = modes[modes["grpvar"] == name]
        assert table.index.name == name
        assert list(table.index) == list(own["grp"])
        np.testing.assert_array_equal(table["(Intercept)"], own["condval"])


def test_covariances_by_factor() -> None:
    m = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", load_dataset("sleepstudy"))
    matrices = m.cov_re
    assert list(matrices) == ["Subject", "Subject.1"]
    assert list(m.random_effects) == ["Subject", "Subject.1"]
    found = [matrices["Subject"].loc["(Intercept)", "(Intercept)"], matrices["Subject.1"].loc["Days", "Days"]]
    np.testing.assert_allclose(found, m.varcorr()["vcov"][:2])
    full = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).cov_re["Subject"]
    assert (
        full.loc["Days", "(Intercept)"] == full.loc["(Intercept)", "Days"] == pytest.approx(9.604, abs=2e-3)
    )
