"""broom's tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataDroppedWarning, DataError, Fit, fit, load, load_dataset, to_markdown

COLUMNS = ["effect", "group", "term", "estimate", "std_error", "statistic", "df", "p_value"]


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


def test_tidy(sleep: Fit) -> None:
    table = sleep.tidy()
    assert list(table.columns) == COLUMNS
    assert list(table["effect"]) == ["fixed"] * 2 + ["ran_pars"] * 4
    assert list(table["term"]) == [
        "(Intercept)",
        "Days",
        "sd__(Intercept)",
        "sd__Days",
        "cor__(Intercept).Days",
        "sd__Observation",
    ]
    assert list(table["group"].dropna()) == ["Subject"] * 3 + ["Residual"]
    np.testing.assert_allclose(table["p_value"].dropna(), sleep.pvalues)
    np.testing.assert_allclose(table["estimate"].iloc[2:], sleep.varcorr()["sdcor"])
    assert table["estimate"].dtype == float


def test_tidy_parts_and_intervals(sleep: Fit) -> None:
    fixed = sleep.tidy("fixed", conf_int=True, level=0.9)
    assert list(fixed.columns) == [*COLUMNS, "conf_low", "conf_high"]
    np.testing.assert_allclose(fixed[["conf_low", "conf_high"]], sleep.conf_int(0.9))
    assert set(sleep.tidy("ran_pars")["effect"]) == {"ran_pars"}
    every = sleep.tidy(conf_int=True)
    spreads = every[every["effect"] == "ran_pars"]  # log scale and Fisher's z, as conf_int(parameters="all")
    expected = sleep.conf_int(parameters="all").iloc[:4].to_numpy()[[0, 2, 1, 3]]
    np.testing.assert_allclose(spreads[["conf_low", "conf_high"]], expected)
    np.testing.assert_allclose(spreads["std_error"], sleep.varcorr(se=True)["se"])


def test_tidy_modes() -> None:
    model = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", load_dataset("sleepstudy"))
    modes = model.tidy("ran_vals", conf_int=True)
    assert list(modes.columns) == [
        *("effect", "group", "level", "term", "estimate", "std_error", "conf_low", "conf_high")
    ]
    assert len(modes) == 36
    assert set(modes["group"]) == {"Subject", "Subject.1"}
    np.testing.assert_allclose(modes["estimate"], model.ranef()["condval"])
    assert bool(np.all(modes["conf_low"] < modes["estimate"]))


def test_tidy_refusals(sleep: Fit) -> None:
    with pytest.raises(DataError, match="effects='random'"):
        sleep.tidy("random")
    with pytest.raises(DataError, match="level"):
        sleep.tidy(level=2)


@pytest.mark.parametrize(("method", "criterion"), [("reml", "REMLcrit"), ("ml", "deviance")])
def test_glance(method: str, criterion: str) -> None:
    model = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"), method=method)
    row = model.glance()
    assert len(row) == 1
    assert row["nobs"].item() == 180
    assert row[criterion].item() == pytest.approx(model.deviance)
    assert row["AIC"].item() == pytest.approx(model.aic)
    assert row["df_residual"].item() == 176


def test_augment_takes_the_rows_used() -> None:
    data = load_dataset("sleepstudy").assign(other=1)
    data.loc[5, "Days"] = np.nan
    data.index = [f"row{i}" for i in range(180)]
    with pytest.warns(DataDroppedWarning):
        model = fit("Reaction ~ Days + (1 | Subject)", data)
    table = model.augment()
    assert list(table.columns) == ["Reaction", "Days", "Subject", ".fitted", ".resid", ".fixed"]
    assert len(table) == 179
    assert 5 not in table.index
    np.testing.assert_allclose(table["Reaction"] - table[".fitted"], table[".resid"])
    np.testing.assert_allclose(table[".fixed"], model.params.iloc[0] + model.params.iloc[1] * table["Days"])
    assert list(table["Subject"]) == list(data["Subject"].drop("row5"))


def test_augment_offset_weights_and_other_tables() -> None:
    data = load_dataset("sleepstudy")
    data["off"], data["w"] = 0.5 * data["Days"], 2.0
    columns = {name: data[name].tolist() for name in data.columns}
    model = fit("Reaction ~ Days + (1 | Subject)", columns, weights="w", offset="off")
    table = model.augment()
    np.testing.assert_allclose(table[".offset"], data["off"])
    np.testing.assert_allclose(table[".weights"], 2.0)
    assert list(table["Subject"]) == data["Subject"].astype(str).tolist()
    np.testing.assert_allclose(table["Days"], data["Days"])


def test_augment_of_a_path_and_of_a_loaded_fit(tmp_path: Path) -> None:
    path = tmp_path / "sleep.csv"
    load_dataset("sleepstudy").to_csv(path, index=False)
    model = fit("Reaction ~ Days + (1 | Subject)", str(path))
    from_file = model.augment()
    assert list(from_file["Reaction"]) == load_dataset("sleepstudy")["Reaction"].tolist()
    model.save(tmp_path / "m.lmm")
    loaded = load(tmp_path / "m.lmm").augment()
    assert list(loaded.columns) == [".response", "Subject", "Days", ".fitted", ".resid", ".fixed"]
    np.testing.assert_allclose(loaded[".response"], from_file["Reaction"])
    np.testing.assert_allclose(loaded[".fitted"], from_file[".fitted"])
    path.unlink()  # the fit has the columns it used
    pd.testing.assert_frame_equal(model.augment(), from_file)


REFERENCES = Path(__file__).parent.parent / "reference"
GENERALISED = ["effect", "component", *COLUMNS[1:]]


@pytest.mark.parametrize(
    ("name", "component"), [("tmb_salamanders_zip", "zi"), ("tmb_salamanders_nb1", "disp")]
)
def test_tidy_of_generalised_models(name: str, component: str) -> None:
    ref = json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))
    model = fit(
        ref["formula"], load_dataset(ref["dataset"]), family=ref["family"], ziformula=ref.get("ziformula")
    )
    table = model.tidy(conf_int=True)
    assert list(table.columns) == [*GENERALISED, "conf_low", "conf_high"]
    assert set(table["component"]) == {"cond", component}
    assert bool(table["df"].isna().all())
    mean = table[(table["effect"] == "fixed") & (table["component"] == "cond")]
    expected = ref["fixef"]
    np.testing.assert_allclose(mean["estimate"], expected["estimate"], rtol=1e-3)
    np.testing.assert_allclose(mean["statistic"], expected["stat"], rtol=1e-3)
    np.testing.assert_allclose(mean["p_value"], expected["p"], rtol=1e-2)
    np.testing.assert_allclose(mean[["conf_low", "conf_high"]], model.conf_int())
    other = table[table["component"] == component]
    if component == "zi":
        np.testing.assert_allclose(other["estimate"], ref["fixef_zi"]["estimate"], rtol=1e-3)
        np.testing.assert_allclose(other["std_error"], ref["fixef_zi"]["se"], rtol=1e-3)
    else:
        at = ref["vcov_full"]["names"].index("d~(Intercept)")
        assert other["estimate"].item() == pytest.approx(np.log(ref["sigma"]), rel=1e-3)
        assert other["std_error"].item() == pytest.approx(ref["vcov_full"]["matrix"][at][at] ** 0.5, rel=1e-3)
    assert list(table["term"])[-1] == "sd__(Intercept)"
    assert list(model.tidy("ran_vals").columns)[:3] == ["effect", "component", "group"]
    assert list(model.tidy("ran_pars").columns) == GENERALISED


def test_glance_of_generalised_models() -> None:
    data = load_dataset("Salamanders")
    formula = "count ~ mined + (1 | site)"
    counts = fit(formula, data, family="nbinom1")
    row = counts.glance()
    assert row["family"].item() == "nbinom1"
    assert row["link"].item() == "log"
    assert row["deviance"].item() == pytest.approx(-2 * counts.llf)
    assert row["sigma"].item() == pytest.approx(counts.dispersion["phi"])
    assert row["df_residual"].item() == 640
    zeros = fit(formula, data, family="poisson", ziformula="~ 1")
    assert zeros.glance()["sigma"].item() == 1.0
    assert zeros.glance()["df_residual"].item() == 640
    spread = fit(formula, data, family="nbinom2", dispformula="~ mined")
    assert np.isnan(spread.glance()["sigma"].item())


def test_augment_is_on_the_scale_of_the_response() -> None:
    model = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="poisson", ziformula="~ 1")
    table = model.augment()
    np.testing.assert_allclose(table[".fitted"], model.fittedvalues)
    np.testing.assert_allclose(table[".resid"], table["count"] - table[".fitted"])
    np.testing.assert_allclose(table[".fixed"], model.problem.X.matrix @ model.params.to_numpy())


def test_a_linear_model_without_random_effects_has_its_tables() -> None:
    """By REML se(log sigma) = 1 / sqrt(2 (n - p))."""
    model = fit("Reaction ~ Days", load_dataset("sleepstudy"))
    row = model.tidy("ran_pars", conf_int=True).iloc[0]
    assert row["std_error"] == pytest.approx(model.sigma / np.sqrt(2 * 178), rel=1e-6)
    assert row["conf_low"] < model.sigma < row["conf_high"]
    assert list(model.conf_int(parameters="all").index) == ["sigma", "(Intercept)", "Days"]
    assert "Residual variance" in to_markdown(model)
