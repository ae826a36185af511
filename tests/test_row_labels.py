"""Results for rows carry the labels of the frame that went in, and a Series is read by its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows

from lmmformula import DataError, Fit, fit, load
from lmmformula.errors import LmmformulaWarning

INDEXES: dict[str, Callable[[int], pd.Index]] = {
    "shuffled": lambda n: pd.Index(np.random.default_rng(1).permutation(n)),
    "text": lambda n: pd.Index([f"row {i}" for i in range(n)], name="row"),
    "repeated": lambda n: pd.Index(np.arange(n) // 7),
    "dates": lambda n: pd.date_range("2026-01-01", periods=n, freq="h"),
    "pairs": lambda n: pd.MultiIndex.from_arrays([np.arange(n) // 9, np.arange(n) % 9], names=["a", "b"]),
    "counted": lambda n: pd.RangeIndex(n),
}
ROW_RESULTS: dict[str, Callable[[Fit], Any]] = {
    "fittedvalues": lambda m: m.fittedvalues,
    **{
        f"residuals {kind}": lambda m, kind=kind: m.residuals(kind)
        for kind in ("response", "pearson", "working")
    },
    "resid": lambda m: m.resid,
    "predict": lambda m: m.predict(),
    "predict link": lambda m: m.predict(kind="link"),
    "predict population": lambda m: m.predict(re_form=None),
    "predict se": lambda m: m.predict(se=True, interval="confidence"),
    "simulate": lambda m: m.simulate(2, seed=1),
    "augment": lambda m: m.augment(),
}


MODEL = "y ~ x + (1 | g)"


def with_rows(role: str, values: Any, data: Any) -> Fit:
    arguments: dict[str, Any] = {role: values}
    return fit(MODEL, data, **arguments)


def indexed(kind: str) -> pd.DataFrame:
    data = rows()
    return data.set_axis(INDEXES[kind](len(data)), axis=0)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("labels", ["shuffled", "repeated"])
@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
def test_every_result_for_rows_has_the_labels_of_the_rows_used(kind: str, labels: str) -> None:
    data = indexed(labels)
    gaps = np.isin(np.arange(len(data)), (0, 40, 119))
    for table, used in ((data, data), (data.assign(x=data["x"].mask(gaps)), data[~gaps])):
        m = KINDS[kind](table)
        for name, result in ROW_RESULTS.items():
            out = result(m)
            pd.testing.assert_index_equal(out.index, used.index, exact="equiv", obj=name)
        again = m.predict(table)
        pd.testing.assert_index_equal(again.index, table.index)
        there = table["x"].notna().to_numpy()
        np.testing.assert_allclose(again[there], m.fittedvalues, rtol=1e-9)
        assert np.isnan(again[~there]).all()


@pytest.mark.parametrize("labels", INDEXES)
def test_fitted_values_stand_beside_their_rows(labels: str) -> None:
    data = indexed(labels)
    m = fit(MODEL, data)
    if data.index.is_unique:  # pandas aligns columns by label
        beside = data.assign(mu=m.fittedvalues, r=m.residuals())
        np.testing.assert_allclose(beside["mu"] + beside["r"], beside["y"], rtol=1e-12)
    assert m.fittedvalues.index.equals(data.index)
    assert m.fittedvalues.index.names == data.index.names
    pd.testing.assert_frame_equal(m.augment().loc[:, ["y", "x"]], data.loc[:, ["y", "x"]])


def test_a_saved_fit_keeps_the_labels(tmp_path: Path) -> None:
    zoned = indexed("dates").tz_localize("Europe/Rome")
    with pytest.warns(LmmformulaWarning, match="without the labels of the rows"):
        fit(MODEL, zoned).save(tmp_path / "m.lmm")
    assert load(tmp_path / "m.lmm").fittedvalues.index.equals(pd.RangeIndex(len(zoned)))
    for labels in INDEXES:
        m = fit(MODEL, indexed(labels))
        m.save(tmp_path / "m.lmm")
        loaded = load(tmp_path / "m.lmm")
        assert list(loaded.fittedvalues.index) == list(m.fittedvalues.index), labels
        pd.testing.assert_series_equal(
            loaded.fittedvalues, m.fittedvalues, check_index=False, check_freq=False
        )


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
def test_tables_without_labels_count_their_rows() -> None:
    data = rows()
    polars = pytest.importorskip("polars").DataFrame(data.to_dict("list"))
    for table in (polars, polars.to_arrow(), data.to_dict("list")):
        m = fit(MODEL, table)
        assert m.fittedvalues.index.equals(pd.RangeIndex(len(data)))
        assert m.predict(table).index.equals(pd.RangeIndex(len(data)))
    holes = {**data.to_dict("list"), "x": [None, *data["x"][1:]]}
    assert list(fit(MODEL, holes).fittedvalues.index) == list(range(1, len(data)))


def test_a_posterior_for_arviz_has_the_labels() -> None:
    pytest.importorskip("arviz_base")
    data = indexed("text")
    tree = KINDS["hmc"](data).to_datatree(log_likelihood=False, seed=1)
    assert list(tree["posterior_predictive"].coords["row"].values) == list(data.index)


# -- a Series says which row each of its numbers is for -------------------------------------------------------------


@pytest.mark.parametrize("role", ["weights", "offset"])
@pytest.mark.parametrize("labels", ["shuffled", "text", "repeated"])
def test_a_series_is_aligned_by_its_index(role: str, labels: str) -> None:
    data = indexed(labels)
    column = {"weights": "w", "offset": "o"}[role]
    wanted = with_rows(role, column, data)
    given = [data[column], data[column].to_numpy(), data[column].tolist()]
    if data.index.is_unique:
        more = pd.concat([data[column], pd.Series([9.0], index=[10_000])])  # of a larger table
        given += [data[column].sample(frac=1.0, random_state=2), more]
    for values in given:
        m = with_rows(role, values, data)
        np.testing.assert_allclose(m.params, wanted.params, rtol=1e-12)


@pytest.mark.parametrize("role", ["weights", "offset"])
def test_a_series_that_does_not_conform_is_refused(role: str) -> None:
    data = indexed("text")
    column = data["w"]
    plain, twice = column.reset_index(drop=True), pd.concat([column.iloc[:-1], column.iloc[:1]])
    for bad, said in (
        (plain, "lacks labels of 120 of 120"),
        (column.iloc[5:], "'row 0'"),
        (twice, "more than once"),
    ):
        with pytest.raises(DataError, match=said):
            with_rows(role, bad, data)
    with pytest.raises(DataError, match="lacks labels"):
        with_rows(role, column, data.reset_index(drop=True).to_dict("list"))
    with pytest.raises(DataError, match="must be numbers"):
        with_rows(role, data["f"], data)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
@pytest.mark.parametrize("labels", ["shuffled", "repeated"])
def test_refit_reads_a_series_by_its_index(labels: str) -> None:
    data = indexed(labels)
    data = data.assign(x=data["x"].mask(np.arange(len(data)) == 17))
    m = fit(MODEL, data)
    whole: Any = pd.Series(np.random.default_rng(3).normal(size=len(data)), index=data.index)
    used: Any = whole[data["x"].notna().to_numpy()]
    wanted = m.refit(used.to_numpy())
    for y in (used, whole, whole.to_numpy(), used.to_frame("sim_1")):
        np.testing.assert_allclose(m.refit(y).params, wanted.params, rtol=1e-12)
    if whole.index.is_unique:
        np.testing.assert_allclose(
            m.refit(used.sample(frac=1.0, random_state=4)).params, wanted.params, rtol=1e-12
        )
        with pytest.raises(DataError, match="lacks labels"):
            m.refit(used.set_axis(used.index + 1000))
    np.testing.assert_allclose(wanted.augment()["y"], used)
    with pytest.raises(DataError, match="must be one number"):
        m.refit("x")


def test_a_dict_of_series_is_aligned_too() -> None:
    data = indexed("shuffled")
    wanted = fit(MODEL, data)
    mixed = {"y": data["y"], "x": data["x"].sample(frac=1.0, random_state=1), "g": data["g"].to_numpy()}
    m = fit(MODEL, mixed)
    np.testing.assert_allclose(m.params, wanted.params, rtol=1e-12)
    assert m.fittedvalues.index.equals(data.index)
    with pytest.raises(DataError, match="`x` is a Series whose index differs"):
        fit(MODEL, {**mixed, "x": data["x"].set_axis(data.index + 1)})
