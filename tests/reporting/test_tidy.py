"""broom's tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataDroppedWarning, DataError, Fit, fit, load, load_dataset

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
    assert int(every["conf_low"].notna().to_numpy().sum()) == 2


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
    path.unlink()
    pd.testing.assert_frame_equal(model.augment(), loaded)
