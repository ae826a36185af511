"""The same model from every kind of table."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.datasets import load_dataset
from lmmformula.errors import DataError
from lmmformula.formula import model_spec
from lmmformula.frame import build, table_columns

FORMULA = "y ~ x + t + o * b2 + lg + chr + `my var` + (x | g) + (1 | item) + (1 | id)"
COLUMNS = ["y", "x", "t", "o", "b2", "lg", "chr", "my var", "g", "item", "id"]


def frame() -> pd.DataFrame:
    return load_dataset("syn").loc[:, COLUMNS]


def unordered() -> pd.DataFrame:
    out = frame()
    return out.assign(o=out.o.cat.as_unordered())


def to_polars(table: pd.DataFrame) -> Any:
    pl = pytest.importorskip("polars")
    columns = {}
    for name in table:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            kind = pl.Enum([str(c) for c in column.cat.categories])
            columns[name] = pl.Series(column.astype(str).tolist(), dtype=kind)
        else:
            columns[name] = pl.Series(column.tolist())
    return pl.DataFrame(columns)


def to_arrow(table: pd.DataFrame) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.Table.from_pandas(table)


def to_dict(table: pd.DataFrame) -> Any:
    return {
        name: table[name] if isinstance(table[name].dtype, pd.CategoricalDtype) else table[name].tolist()
        for name in table
    }


def same(a: Any, b: Any) -> None:
    assert a.X.names == b.X.names
    np.testing.assert_array_equal(a.X.matrix, b.X.matrix)
    np.testing.assert_array_equal(a.y, b.y)
    for s, t in zip(a.terms, b.terms, strict=True):
        assert s.levels.tolist() == t.levels.tolist()
        np.testing.assert_array_equal(s.codes, t.codes)
        assert s.codes.dtype == np.int32
        assert s.columns == t.columns
        if s.basis is not None:
            np.testing.assert_array_equal(s.basis, t.basis)


@pytest.mark.parametrize(
    ("convert", "source"),
    [
        (to_dict, frame),
        (to_arrow, frame),
        (to_arrow, unordered),
        (to_polars, unordered),
        (lambda t: t.convert_dtypes(), frame),
        (lambda t: t.assign(chr=t.chr.astype(object), lg=t.lg.astype(object)), frame),
        (lambda t: t.assign(x=[Decimal(str(v)) for v in t.x]), frame),
        (lambda t: t.assign(id=t.id.astype("Int64"), lg=t.lg.astype("boolean")), frame),
        (lambda t: t.set_index(np.arange(len(t))[::-1]), frame),
    ],
    ids=["dict", "arrow", "arrow-unordered", "polars", "nullable", "objects", "decimal", "Int64", "index"],
)
def test_same_problem(convert: Any, source: Any) -> None:
    table = source()
    spec = model_spec(FORMULA)
    same(build(spec, table), build(spec, convert(table)))


def test_arrow_backed_pandas() -> None:
    pa = pytest.importorskip("pyarrow")
    table = unordered()
    arrow = pa.Table.from_pandas(table).to_pandas(types_mapper=pd.ArrowDtype)
    same(build(model_spec(FORMULA), table), build(model_spec(FORMULA), arrow))


def test_files(tmp_path: Path) -> None:
    table = frame()
    plain = table.assign(**{c: table[c].astype(str) for c in ("o", "b2", "g", "item", "chr")})
    spec = model_spec(FORMULA.replace("item", "chr"))
    expected = build(spec, plain)
    plain.to_csv(tmp_path / "t.csv", index=False)
    plain.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    plain.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.parquet"):
        same(expected, build(spec, tmp_path / name))
        assert table_columns(str(tmp_path / name)) == tuple(COLUMNS)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
def test_csv_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        "1,2,a,TRUE,None",
        "2,NA,b,FALSE,nan",
        "3,4,,TRUE,None",
        "4,5,a,,null",
        "5,6,b,TRUE,nan",
        "6,7,a,FALSE,None",
    ]
    rows += ["7,9,b,FALSE,nan", "1,0,a,TRUE,None"]
    path.write_text("\n".join(["y,x,g,lg,none", *rows]))
    problem = build(model_spec("y ~ x + lg + (1 | g)"), path)
    assert problem.rows.tolist() == [0, 4, 5, 6, 7]
    assert build(model_spec("y ~ 1 + (1 | none)"), path).terms[0].levels.tolist() == ["None", "nan", "null"]


def test_missing_values_of_every_library() -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    columns: dict[str, list[Any]] = {
        "y": [1.0, 2.0, None, 4.0, 5.0, 6.0],
        "i": [1, 2, 3, None, 5, 7],
        "b": [True, None, False, True, True, False],
        "s": ["p", "q", "p", "q", "p", "q"],
    }
    spec = model_spec("y ~ i + b + (1 | s)")
    for table in (pl.DataFrame(columns), pa.table(columns), pd.DataFrame(columns), columns):
        with (
            pytest.warns(match=r"3 of 6 rows dropped: missing in `y` \(1\), `i` \(1\), `b` \(1\)"),
            pytest.raises(DataError, match="3 fixed-effects columns for 3 rows"),
        ):
            build(spec, table)


def test_long_identifiers_stay_integers() -> None:
    base = 9_007_199_254_740_993
    table = {"y": np.arange(8.0) % 3, "g": base + np.arange(8) // 2}
    assert build(model_spec("y ~ 1 + (1 | g)"), table).terms[0].levels.tolist() == [
        str(base + i) for i in range(4)
    ]


def test_level_order_and_labels() -> None:
    table = pd.DataFrame(
        {
            "y": np.arange(12.0) % 5,
            "num": [2.5, 10, -1, 100000] * 3,
            "flag": [True, False, True] * 4,
            "text": ["b", "B", "a", "é"] * 3,
            "cat": pd.Categorical(["z", "a", "m"] * 4, categories=["z", "unused", "m", "a"]),
        }
    )
    problem = build(model_spec("y ~ 1 + (1|num) + (1|flag) + (1|text) + (1|cat) + (1|cat:flag)"), table)
    levels = [t.levels.tolist() for t in problem.terms]
    assert levels[:4] == [
        ["-1", "2.5", "10", "100000"],
        ["FALSE", "TRUE"],
        ["B", "a", "b", "é"],
        ["z", "m", "a"],
    ]
    assert levels[4] == ["z:TRUE", "m:TRUE", "a:FALSE"]


def test_group_by_expressions() -> None:
    table = load_dataset("syn")
    by_factor = build(model_spec("y ~ x + (1 | factor(t))"), table).terms[0]
    assert by_factor.levels.tolist() == ["0", "1", "2", "3", "4"]
    by_interaction = build(model_spec("y ~ x + (1 | interaction(g, k))"), table).terms[0]
    by_colon = build(model_spec("y ~ x + (1 | g:k)"), table).terms[0]
    assert by_interaction.m == by_colon.m == 36
    nested = build(model_spec("y ~ x + (1 | (g:h)/k)"), table)
    assert [t.m for t in nested.terms] == [151, build(model_spec("y ~ x + (1 | g:h)"), table).terms[0].m]


def test_columns_named_like_functions() -> None:
    table = load_dataset("syn").rename(columns={"x": "scale", "z": "log", "w": "C", "t": "pi"})
    problem = build(model_spec("y ~ scale(scale) + log(C) + log + C(f, contr.sum) + pi + (scale | g)"), table)
    assert problem.X.names == (
        "(Intercept)",
        "scale(scale)",
        "log(C)",
        "log",
        "C(f, contr.sum)1",
        "C(f, contr.sum)2",
        "pi",
    )
    np.testing.assert_array_equal(problem.X.matrix[:, 6], table["pi"])
    np.testing.assert_allclose(problem.X.matrix[:, 2], np.log(table["C"]))


def test_context() -> None:
    table = load_dataset("syn")
    context = {
        "cube": lambda v: v**3,
        "knots": (-1.0, 1.0),
        "both": lambda a, b: np.column_stack([a, b]),
        "shift": 2,
    }
    problem = build(
        model_spec("y ~ cube(x) + bs(z, knots = knots) + both(w, t):f + I(x + shift) + (1 | g)"),
        table,
        context=context,
    )
    np.testing.assert_allclose(problem.X.matrix[:, 1], table.x**3)
    assert problem.X.names[2:4] == ("bs(z, knots = knots)1", "bs(z, knots = knots)2")
    assert "both(w, t)1:fa" in problem.X.names
    assert dict(problem.recipe.context).keys() == context.keys()


def test_imports_are_lazy() -> None:
    code = (
        "import sys, lmmformula, lmmformula.frame\n"
        "from lmmformula.formula import model_spec\n"
        "lmmformula.frame.build(model_spec('y ~ x + (x | g)'), {'y': [1., 2., 4., 3., 0., 1., 5., 9.], "
        "'x': [1., 2., 3., 5., 1., 0., 1., 3.], 'g': list('aabbccdd')}, levels_below_rows=False)\n"
        "print(sorted({'formulaic', 'narwhals', 'scipy', 'polars', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_polars_categorical_is_sorted_like_text() -> None:
    pl = pytest.importorskip("polars")
    table = pl.DataFrame(
        {"y": [1.0, 2.0, 4.0, 8.0, 3.0], "g": pl.Series(["z", "b", "z", "a", "b"], dtype=pl.Categorical)}
    )
    assert build(model_spec("y ~ 1 + (1 | g)"), table).terms[0].levels.tolist() == ["a", "b", "z"]


def test_duplicated_names_of_arrow() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], ["a", "b", "a"]], names=["y", "y", "g"])
    with pytest.raises(DataError, match="columns of the same name"):
        build(model_spec("y ~ 1 + (1 | g)"), table)
