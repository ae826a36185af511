"""Files, names of data sets and dicts: numbers and missing values as R reads them, everything else refused by name."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, build, fit, load_dataset
from lmmformula.errors import LmmformulaWarning
from lmmformula.frame import open_table
from lmmformula.frame.files import read_csv, read_file

# What R 4.2's type.convert(c("1.5", cell), as.is = TRUE) makes of a cell: a number, NaN or NA, or text.
NUMBERS = {
    "NaN": np.nan, "nan": np.nan, "NAN": np.nan, "-NaN": np.nan, "+NaN": np.nan, "Nan": np.nan, " NaN ": np.nan,
    "": np.nan, "  ": np.nan, "NA": np.nan, "Inf": np.inf, "inf": np.inf, "-inf": -np.inf, "INF": np.inf,
    "infinity": np.inf, "0x1A": 26.0, "1e5": 1e5, "1E+05": 1e5, "5.": 5.0, ".5": 0.5, "+5": 5.0,
}  # fmt: skip
TEXTS = ["NULL", ".", "N/A", "missing", "1L", "1_000", "..5", "-", "nanx", "#N/A"]


def csv(*cells: str) -> pd.DataFrame:
    return read_csv(io.BytesIO("\n".join(["x,i", *(f"{c},{i}" for i, c in enumerate(cells))]).encode()))


def rows(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n).round(3), "g": np.arange(n) % 6})


@pytest.mark.parametrize("cell", NUMBERS)
def test_numbers_of_csv(cell: str) -> None:
    column = csv("1.5", cell, "2")["x"]
    np.testing.assert_array_equal(column.to_numpy(dtype=float), [1.5, NUMBERS[cell], 2.0])
    first = csv(cell, "1.5", "2")["x"]
    np.testing.assert_array_equal(first.to_numpy(dtype=float), [NUMBERS[cell], 1.5, 2.0])


@pytest.mark.parametrize("cell", TEXTS)
def test_text_of_csv(cell: str) -> None:
    assert list(csv("1.5", cell)["x"]) == ["1.5", cell]


def test_nan_in_a_column_of_text_is_text() -> None:
    assert list(csv("nan", "b", "NaN")["x"]) == ["nan", "b", "NaN"]
    assert list(csv("nan", "NaN")["x"]) == ["nan", "NaN"]


def test_identifiers_beyond_a_float_stay_text() -> None:
    ids = ["9007199254740993", "9007199254740992", "nan"]
    assert csv(*ids)["x"].tolist() == ids
    assert csv(*ids[:2], "NA", "5")["x"].tolist() == [2**53 + 1, 2**53, pd.NA, 5]
    assert csv("1e300", "NA", "5")["x"].dtype == np.float64


def test_one_type_whatever_the_length() -> None:
    """Read in chunks, a column would be numbers in one and text in another."""
    n = 400_000
    text = "x,g\n" + "\n".join(f"{i % 7}.5,{i % 3}" for i in range(n)) + "\nnan,1\n"
    column = read_csv(io.BytesIO(text.encode()))["x"]
    assert column.dtype == np.float64
    assert int(np.isnan(column.to_numpy()).sum()) == 1


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
@pytest.mark.parametrize("word", ["NaN", "nan", "NA", "", " "])
def test_missing_numbers_of_a_file(tmp_path: Path, suffix: str, word: str) -> None:
    data = rows()
    data.loc[[3, 9], "x"] = np.nan
    wanted = fit("y ~ x + (1 | g)", data)
    path = tmp_path / f"rows{suffix}"
    data.to_csv(path, index=False, na_rep=word, sep="\t" if suffix == ".tsv" else ",")
    m = fit("y ~ x + (1 | g)", path)
    assert (m.nobs, list(m.params.index)) == (58, ["(Intercept)", "x"])
    np.testing.assert_allclose(m.params, wanted.params)


@pytest.mark.parametrize("word", ["NULL", ".", "missing", "N/A"])
def test_a_nearly_numeric_column_is_warned_of(tmp_path: Path, word: str) -> None:
    data = rows().assign(x=lambda d: (d["x"] * 2).round().astype(str))
    data.loc[[3, 9], "x"] = word
    path = tmp_path / "rows.csv"
    data.to_csv(path, index=False)
    for source in (path, data, data.to_dict("list")):
        with pytest.warns(
            LmmformulaWarning, match=rf"58 of its 60 values are numbers; the others are '{word}' \(2\)"
        ):
            build("y ~ x + (1 | g)", source)


def test_categories_are_not_warned_of() -> None:
    data = rows().assign(
        k=lambda d: np.where(
            d.index < 5, "3+", (d.index % 3).astype(str)
        ),  # meant as it is where factor() says so
        t=lambda d: np.where(d.index % 2, "1", "b"),  # as many numbers as others
        d=lambda d: (d.index % 3).astype(str),  # digits only
        h=lambda d: np.where(d.index < 5, "x9", (d.index % 6).astype(str)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build("y ~ factor(k) + t + d + (1 | h)", data)
    with pytest.warns(LmmformulaWarning, match="write factor"):
        build("y ~ k + (1 | g)", data)


# -- JSON ----------------------------------------------------------------------------------------------------------


def test_json_of_every_shape(tmp_path: Path) -> None:
    data = rows().assign(f=lambda d: np.where(d["x"] > 0, "hi", "lö"), b=lambda d: d["x"] > 0.3)
    records = data.to_dict("records")
    shapes = {
        "records.json": json.dumps(records),
        "columns.json": json.dumps(data.to_dict("list")),
        "lines.jsonl": "\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\n",
        "lines.ndjson": "\n".join(json.dumps(r) for r in records),
        "lines.json": "\n\n".join(json.dumps(r) for r in records),
    }
    wanted = build("y ~ x + f + b + (1 | g)", data)
    for name, text in shapes.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        problem = build("y ~ x + f + b + (1 | g)", tmp_path / name)
        assert problem.X.names == wanted.X.names, name
        np.testing.assert_array_equal(problem.X.matrix, wanted.X.matrix)
        np.testing.assert_array_equal(problem.terms[0].codes, wanted.terms[0].codes)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
def test_json_missing_values_and_long_identifiers(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"y": float(i * i % 7), "id": 2**63 + i % 5, "x": float(i)} for i in range(20)
    ]
    records[2]["x"] = None
    del records[4]["x"]
    (tmp_path / "a.json").write_text(json.dumps(records))
    problem = build("y ~ x + (1 | id)", tmp_path / "a.json")
    assert problem.n == 18
    assert list(problem.terms[0].levels) == [str(2**63 + i) for i in range(5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "a table in JSON is a list of records"),
        ("3", "a table in JSON is a list of records"),
        ('{"y": [1, 2], "x": [1]}', "columns of different length: `y` 2, `x` 1"),
        ("{", "cannot read"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"y": 1}', "cannot read"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        build("y ~ x + (1 | g)", path)


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".xlsx", ".rds", ".sav", ".dta", ".feather", ".pkl", ".sqlite"])
def test_other_formats_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    rows().to_csv(path)
    with pytest.raises(DataError, match="its name says that it is"):
        read_file(path)


def test_shipped_data_sets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formula = "Reaction ~ Days + (Days | Subject)"
    m = fit(formula, "sleepstudy")
    np.testing.assert_array_equal(m.params, fit(formula, load_dataset("sleepstudy")).params)
    assert m.update("Reaction ~ 1 + (1 | Subject)").nobs == 180
    with pytest.raises(DataError, match="Did you mean the data set 'sleepstudy'"):
        fit(formula, "sleepstud")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sleepstudy").write_text("Reaction,Days,Subject\n1,2,3\n")
    assert open_table("sleepstudy").n_rows == 1, "a file has the right of way"


@pytest.mark.parametrize("name", ["x" * 5_000, "a/" * 2_500, "nul\0l.csv", "", "nosuch.csv", Path("nosuch")])
def test_paths_that_are_none(name: Any) -> None:
    with pytest.raises(DataError, match=r"no such file|path of a file"):
        fit("y ~ x + (1 | g)", name)


# -- dicts ---------------------------------------------------------------------------------------------------------


def test_scalars_are_one_row_or_are_repeated() -> None:
    data = rows().assign(f=lambda d: np.where(d["x"] > 0, "high", "low"))
    m = fit("y ~ x + f + (1 | g)", data)
    one = {"x": 0.5, "f": "high", "g": 3}
    wanted = m.predict(pd.DataFrame([one]))
    for given in (one, {**one, "x": np.float64(0.5)}, {**one, "x": np.array(0.5)}, {**one, "g": [3]}):
        np.testing.assert_allclose(m.predict(given), wanted)
    grid = {"x": [0.1, 0.2, 0.3], "f": "low", "g": 3}
    np.testing.assert_allclose(m.predict(grid), m.predict(pd.DataFrame(grid)))
    assert np.isnan(m.predict({**one, "x": None})).all()


def test_columns_that_are_none() -> None:
    base: dict[str, Any] = {"y": [1.0, 2.0, 4.0], "g": ["a", "b", "b"]}
    for bad, said in (
        (np.ones((3, 2)), r"column `x` has 2 dimensions \(3, 2\)"),
        ({1.0, 2.0, 3.0}, "column `x` is a set"),
        (iter([1.0, 2.0]), "column `x` is a list_iterator"),
        ({"a": 1}, "column `x` is a dict"),
        ([1.0, 2.0], "columns of different length: `y` 3, `g` 3, `x` 2"),
        ([[1.0], [2.0], [3.0]], "mixes types: list"),
    ):
        with pytest.raises(DataError, match=said):
            build("y ~ x + (1 | g)", {**base, "x": bad})
    with pytest.raises(DataError, match="no rows"):
        build("y ~ x + (1 | g)", {})


# -- values that no column can hold ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_identifiers_of_64_bits_without_sign() -> None:
    ids = np.array([2**63 + 7, 2**63 + 8, 2**64 - 1, 5] * 6, dtype=np.uint64)
    data = pd.DataFrame({"y": np.arange(24.0) ** 1.5, "id": ids})
    wanted = ["5", str(2**63 + 7), str(2**63 + 8), str(2**64 - 1)]
    polars = pytest.importorskip("polars")
    for table in (
        data,
        data.astype({"id": "UInt64"}),
        data.astype({"id": object}),
        {"y": data["y"], "id": ids.tolist()},
        polars.from_pandas(data),
        polars.from_pandas(data).to_arrow(),
    ):
        m = fit("y ~ 1 + (1 | id)", table)
        assert list(m.problem.terms[0].levels) == wanted
        np.testing.assert_allclose(m.predict(table), m.fittedvalues)
    close = pd.DataFrame({"y": np.arange(24.0) ** 1.5, "id": np.repeat(ids[:4] // 2 * 2, 6)})
    assert fit("y ~ id + (1 | g)", close.assign(g=np.arange(24) % 5)).nobs == 24


def test_categories_that_read_alike_are_refused() -> None:
    both = pd.Categorical.from_codes(np.arange(60) % 3, pd.Index([1, "1", 2], dtype=object))
    with pytest.raises(DataError, match=r"column `g` has categories that read alike: 1 \(int\), '1' \(str\)"):
        build("y ~ x + (1 | g)", rows().assign(g=both))


@pytest.mark.parametrize("where", ["g", "f"])
def test_half_characters_are_refused_by_name(where: str) -> None:
    data: dict[str, Any] = rows().to_dict("list")
    data["f"] = ["a", "b"] * 30
    data[where] = ["a", "b\udc80", "c"] * 20
    with pytest.raises(DataError, match=rf"column `{where}` holds text that is not Unicode, 'b\\udc80'"):
        build("y ~ f + (1 | g)", data)
    frame = pd.DataFrame({**data, where: pd.Series(data[where], dtype=object)})
    with pytest.raises(DataError, match="not Unicode"):
        build("y ~ f + (1 | g)", frame)


# -- names of coefficients -------------------------------------------------------------------------------------------


def named_alike() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return rows().assign(f=lambda d: np.array(["a", "b", "c"])[d.index % 3], fb=rng.normal(size=60))


def test_coefficients_have_names_of_their_own() -> None:
    with pytest.warns(LmmformulaWarning, match=r"would have the name 'fb'.*'f\[b\]' \(R: 'fb'\)"):
        build("y ~ f + fb + (1 | g)", named_alike())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = fit("y ~ f + fb + (1 | g)", named_alike())
        plain = fit("y ~ f + w + (1 | g)", named_alike().rename(columns={"fb": "w"}))
    assert list(m.params.index) == ["(Intercept)", "f[b]", "fc", "fb"]
    np.testing.assert_allclose(m.params, plain.params)
    assert list(m.anova().index) == ["f", "fb"]
    assert m.conf_int().index.is_unique


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("y ~ fb + f + (1 | g)", ["(Intercept)", "fb", "f[b]", "fc"]),
        ("y ~ fb + f:x + fb:x + (1 | g)", ["(Intercept)", "f[b]:x", "fb:x"]),
        ("y ~ `(Intercept)` + (1 | g)", ["(Intercept)", "`(Intercept)`"]),
    ],
)
def test_other_names_that_run_together(formula: str, names: list[str]) -> None:
    data = named_alike().assign(**{"(Intercept)": lambda d: d["x"] ** 2})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        found = build(formula, data).X.names
    assert len(set(found)) == len(found)
    assert set(names) <= set(found)


def test_random_slopes_have_names_of_their_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        columns = build("y ~ x + (f + fb | g)", named_alike()).terms[0].columns
    assert columns == ("(Intercept)", "f[b]", "fc", "fb")
