"""Tables as polars frames."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit, load_dataset, to_polars
from lmmformula.interfaces import polars as module

pl: Any = pytest.importorskip("polars")


@pytest.fixture(scope="module")
def sleep_fit():
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


def test_series_keep_their_index(sleep_fit) -> None:
    table = to_polars(sleep_fit.params, index="term")
    assert table.columns[0] == "term"
    assert table["term"].to_list() == ["(Intercept)", "Days"]
    np.testing.assert_array_equal(table[:, 1], sleep_fit.params)


def test_frames(sleep_fit) -> None:
    modes = to_polars(sleep_fit.ranef(condsd=True))
    assert modes.columns == ["grpvar", "term", "grp", "condval", "condsd"]
    assert modes.schema["condval"] == pl.Float64
    assert modes.schema["grp"] == pl.String
    np.testing.assert_array_equal(modes["condval"], sleep_fit.ranef()["condval"])
    spread = to_polars(sleep_fit.varcorr())
    assert spread["var2"].to_list() == [None, None, "Days", None]


def test_rows_keep_positions_and_categories() -> None:
    data = load_dataset("sleepstudy")
    data.loc[3, "Reaction"] = np.nan
    with pytest.warns(match="1 of 180 rows dropped"):
        model = fit("Reaction ~ Days + (1 | Subject)", data)
    rows = to_polars(model.augment(), index="row")
    assert rows["row"].to_list() == [i for i in range(180) if i != 3]
    assert rows.schema["Subject"] == pl.Enum(list(data["Subject"].cat.categories))
    assert rows["Subject"].to_list() == list(data["Subject"].drop(index=3))


def test_missing_values_are_null() -> None:
    pql = fit(
        "incidence/size ~ period + (1 | herd)",
        load_dataset("cbpp"),
        family="binomial",
        weights="size",
        method="pql",
    )
    one = to_polars(pql.glance())
    assert one["logLik"].to_list() == [None]
    assert one["nobs"].to_list() == [56]


def test_dicts_and_several_levels(sleep_fit) -> None:
    coefficients = to_polars(sleep_fit.coef(), index="level")["Subject"]
    assert coefficients.columns == ["level", "(Intercept)", "Days"]
    assert coefficients["level"][0] == "308"
    frame = pd.DataFrame(
        {"v": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["g", None])
    )
    assert to_polars(frame).columns == ["g", "index_1", "v"]


def test_refusals(sleep_fit) -> None:
    with pytest.raises(DataError, match="not Fit"):
        to_polars(sleep_fit)
    with pytest.raises(DataError, match="both called 'a'"):
        to_polars(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="a")))


def test_what_comes_out_goes_in() -> None:
    data = to_polars(load_dataset("sleepstudy"))
    model = fit("Reaction ~ Days + (Days | Subject)", data)
    assert model.llf == pytest.approx(-871.8141, abs=1e-4)
    table = to_polars(model.predict(data.head(3), se=True))
    assert table.columns == ["fit", "se"]


def test_docstring_example() -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted) == (0, 3)
