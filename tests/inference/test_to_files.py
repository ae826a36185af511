"""Files of predictions and of rows: the numbers of predict() and augment(), in the order of the data, whatever the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import rows

from lmmformula import ArgumentError, DataError, Fit, PlanError, fit
from lmmformula.frame.sources import base

pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")

MODELS: dict[str, dict[str, Any]] = {
    "gaussian": {"formula": "y ~ x + f + (x | g)", "weights": "w"},
    "laplace": {"formula": "count ~ x + f + (1 | g) + offset(o)", "family": "poisson"},
    "pql": {"formula": "I(y > 0) ~ x + f + (1 | g)", "family": "binomial", "method": "pql"},
    "dispersion": {"formula": "y ~ x + (1 | g)", "dispformula": "~ x"},
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Rows of which a few are not complete."""
    frame = rows(300)
    frame.loc[[5, 140], "x"] = np.nan
    frame.loc[7, ["y"]] = np.nan
    frame["note"] = [f"row {i}" for i in range(len(frame))]
    return frame


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rows")
    for k in range(3):
        data.iloc[100 * k : 100 * (k + 1)].to_parquet(where / f"part-{k}.parquet")
    return where


@pytest.fixture(scope="module")
def fits(data: pd.DataFrame, folder: Path) -> dict[str, tuple[Fit, Fit]]:
    return {name: (fit(data=data, **model), fit(data=str(folder), **model)) for name, model in MODELS.items()}


def close(one: Any, other: Any) -> None:
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    assert np.isfinite(other).sum() > 0.9 * len(other)
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_fit(fits: dict[str, tuple[Fit, Fit]], name: str, tmp_path: Path) -> None:
    whole, parts = fits[name]
    expected = whole.augment()
    for m in (whole, parts):
        said = m.augment(out=tmp_path / "rows.parquet")
        found = pd.read_parquet(said.path)
        assert said.rows == len(expected) == len(found)
        assert said.columns == tuple(found.columns)
        assert said.size == (tmp_path / "rows.parquet").stat().st_size
        assert f"{len(found):,} rows" in str(said)
        assert list(found[".row"]) == list(expected.index)
        assert list(found.drop(columns=".row")) == list(expected)
        for column in (c for c in expected if c.startswith(".")):
            close(found[column], expected[column])


WISHES: dict[str, dict[str, Any]] = {
    "mean": {"new_levels": "population"},
    "link": {"kind": "link", "new_levels": "na"},
    "population": {"re_form": None},
    "errors": {"se": True, "interval": "confidence", "new_levels": "population"},
    "limits": {"interval": "prediction", "new_levels": "population", "seed": 4},
    "drawn": {"new_levels": "sample", "seed": 3},
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", MODELS)
def test_new_rows(
    fits: dict[str, tuple[Fit, Fit]], data: pd.DataFrame, name: str, wish: str, tmp_path: Path
) -> None:
    """In one batch every number is that of predict(); unseen levels, missing values and order included."""
    new = data.copy()
    new.loc[[3, 40, 200], "g"] = [99, 98, 99]
    expected = fits[name][0].predict(new, **WISHES[wish])
    frame = expected.to_frame("fit") if isinstance(expected, pd.Series) else expected
    for m, path in zip(fits[name], ("scored.parquet", "scored.csv"), strict=True):
        m.predict(new, out=tmp_path / path, columns="all", **WISHES[wish])
        read: Callable[..., pd.DataFrame] = pd.read_csv if path.endswith("csv") else pd.read_parquet
        found = read(tmp_path / path)
        assert list(found["note"]) == list(new["note"])
        assert list(found) == [*new, *(f".{column}" for column in frame)]
        drawn = wish == "limits" and m is fits[name][1] and name != "gaussian"
        for column in () if drawn else frame:
            close(found[f".{column}"], frame[column])


@pytest.mark.parametrize("wish", ["errors", "drawn"])
def test_batches_of_any_size(
    fits: dict[str, tuple[Fit, Fit]],
    data: pd.DataFrame,
    wish: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One unseen level has one effect in all batches, and what a batch does not show does not matter."""
    new = data.copy()
    new.loc[[3, 40, 200], "g"] = [99, 98, 99]
    new.to_parquet(tmp_path / "new.parquet")
    monkeypatch.setattr(base.gathered, "__defaults__", (17,))
    monkeypatch.setattr("lmmformula.frame.sources.paths._SHARE", 1e12)
    for m in fits["gaussian"]:
        m.predict(tmp_path / "new.parquet", out=tmp_path / "out.parquet", columns="note", **WISHES[wish])
        found = pd.read_parquet(tmp_path / "out.parquet")
        expected = m.predict(new, **WISHES[wish])
        frame = expected.to_frame("fit") if isinstance(expected, pd.Series) else expected
        assert list(found["note"]) == list(new["note"])
        for column in frame:
            close(found[f".{column}"], frame[column])


def test_all_rows_of_the_data_by_default(
    fits: dict[str, tuple[Fit, Fit]], data: pd.DataFrame, tmp_path: Path
) -> None:
    for m in fits["laplace"]:
        said = m.predict(out=tmp_path / "own.tsv")
        found = pd.read_csv(said.path, sep="\t")
        close(found[".fit"], m.predict(data))
        assert said.columns == ("count", "x", "f", "o", "g", ".fit")


def test_what_is_refused(fits: dict[str, tuple[Fit, Fit]], folder: Path, tmp_path: Path) -> None:
    whole, parts = fits["gaussian"]
    for m in (whole, parts):
        with pytest.raises(ArgumentError, match=r"\.parquet"):
            m.predict(out=tmp_path / "a.xlsx")
        with pytest.raises(DataError, match="does not exist"):
            m.augment(out=tmp_path / "none" / "a.parquet")
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="is a folder"):
            m.augment(out=tmp_path / "folder.csv")
        with pytest.raises(DataError, match="no column of the data"):
            m.predict(out=tmp_path / "a.csv", columns=["x", "nobody"])
        with pytest.raises(ArgumentError, match="name a column"):
            m.predict(
                {"x": [0.0], "f": ["low"], "g": [0]},
                out=tmp_path / "a.csv",
                weights=[1.0],
                interval="prediction",
            )
        with pytest.raises(PlanError, match=r"out=\"scored\.parquet\""):
            m.predict(str(folder))
    for ask in (lambda: parts.predict(), lambda: parts.predict(se=True), lambda: parts.augment()):
        with pytest.raises(PlanError, match="not in memory"):
            ask()


def test_an_error_leaves_the_file_as_it_was(
    fits: dict[str, tuple[Fit, Fit]], data: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "scored.csv"
    path.write_text("before\n")
    with pytest.raises(DataError, match="levels of g that the fit has not seen"):
        fits["gaussian"][1].predict(data.assign(g=99), out=path)
    assert path.read_text() == "before\n"
    assert list(tmp_path.iterdir()) == [path]
