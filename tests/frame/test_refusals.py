"""Every input that cannot serve: the message names the column and counts the rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.datasets import load_dataset
from lmmformula.errors import (
    DataDroppedWarning,
    DataError,
    FormulaError,
    LmmformulaWarning,
    PlanError,
    RankDeficientWarning,
)
from lmmformula.formula import model_spec
from lmmformula.frame import build


def make(formula: str, data: Any = None, **options: Any) -> Any:
    return build(model_spec(formula), load_dataset("syn") if data is None else data, **options)


def syn(**columns: Any) -> pd.DataFrame:
    return load_dataset("syn").assign(**columns)


N = 240
HALF = np.where(np.arange(N) < 3, -1.0, 1.0)
INFINITE = np.where(np.arange(N) < 3, np.inf, 1.0)

REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "missing column": (
        lambda: make("y ~ xx + (1 | g)"),
        DataError,
        r"no column `xx` in the data \(did you mean",
    ),
    "missing column lists": (lambda: make("y ~ x + (1 | nosuch)"), DataError, "columns: y, x, z, w, t"),
    "case of a column": (lambda: make("y ~ X + (1 | g)"), DataError, r"no column `X` .*did you mean `x`"),
    "one level": (
        lambda: make("y ~ x + (1 | one)", syn(one="a")),
        DataError,
        "grouping factor `one` has 1 level in the 240 rows",
    ),
    "levels as rows": (
        lambda: make("y ~ x + (1 | obs)"),
        DataError,
        r"number of levels of each grouping factor must be < number of observations: `obs` has 240 levels",
    ),
    "effects as rows": (
        lambda: make("y ~ x + (x + z | g:h:k)"),
        DataError,
        r"number of observations \(=240\) <= number of random effects \(=453\) for term \(x \+ z \| g:h:k\)",
    ),
    "empty table": (
        lambda: make("y ~ x + (1 | g)", load_dataset("syn").head(0)),
        DataError,
        "the table has no rows",
    ),
    "all missing": (
        lambda: make("y ~ x + (1 | g)", syn(y=np.nan)),
        DataError,
        r"no complete row is left: all 240 rows have a missing value in `y` \(240\)",
    ),
    "constant response": (
        lambda: make("y ~ x + (1 | g)", syn(y=3.5)),
        DataError,
        "response `y` is constant: all 240 values are 3.5",
    ),
    "constant": (lambda: make("y ~ mean(x) + (1 | g)"), FormulaError, r"`mean\(x\)` is a constant"),
    "infinite column": (
        lambda: make("y ~ q + (1 | g)", syn(q=INFINITE)),
        DataError,
        "column `q` is infinite in 3 of 240 rows",
    ),
    "infinite response": (
        lambda: make("q ~ x + (1 | g)", syn(q=INFINITE)),
        DataError,
        "column `q` is infinite in 3 of 240",
    ),
    "infinite expression": (
        lambda: make("y ~ log(q) + (1 | g)", syn(q=np.where(np.arange(N) < 2, 0.0, 1.5 + np.arange(N)))),
        DataError,
        r"expression `log\(q\)` is infinite in 2 of 240 rows",
    ),
    "text response": (
        lambda: make("chr ~ x + (1 | g)"),
        DataError,
        r"response must be numeric: `chr` is text with 6 distinct values \(alpha, bravo",
    ),
    "two-level response": (
        lambda: make("yf ~ x + (1 | g)"),
        DataError,
        r'`yf` is a factor .*family="binomial"',
    ),
    "logical response": (lambda: make("lg ~ x + (1 | g)"), DataError, r'`lg` is logical .*family="binomial"'),
    "matrix response": (lambda: make("cbind(y, z) ~ x + (1 | g)"), DataError, "has several columns"),
    "no response": (lambda: make("~ x + (1 | g)"), FormulaError, "the formula has no response"),
    "negative weights": (
        lambda: make("y ~ x + (1 | g)", syn(q=HALF), weights="q"),
        DataError,
        "weights `q` are negative in 3 rows",
    ),
    "zero weights": (
        lambda: make("y ~ x + (1 | g)", weights=np.r_[np.zeros(4), np.ones(236)]),
        DataError,
        "weights `weights` are zero in 4 rows: drop these rows",
    ),
    "weights length": (
        lambda: make("y ~ x + (1 | g)", weights=np.ones(5)),
        DataError,
        "weights has 5 values, but the table has 240",
    ),
    "weights shape": (
        lambda: make("y ~ x + (1 | g)", weights=np.ones((240, 2))),
        DataError,
        r"weights has shape \(240, 2\)",
    ),
    "weights text": (
        lambda: make("y ~ x + (1 | g)", weights="chr"),
        DataError,
        r"weights= \(column `chr`\) needs numbers",
    ),
    "weights objects": (
        lambda: make("y ~ x + (1 | g)", weights=["a"] * 240),
        DataError,
        "weights must be numbers or the name",
    ),
    "weights missing": (
        lambda: make("y ~ x + (1 | g)", weights=np.r_[np.nan, np.nan, np.ones(238)]),
        DataError,
        r"weights is missing \(NaN\) in 2 of 240 rows",
    ),
    "weights infinite": (
        lambda: make("y ~ x + (1 | g)", weights=INFINITE),
        DataError,
        "weights is infinite in 3 of 240 rows",
    ),
    "weights no column": (lambda: make("y ~ x + (1 | g)", weights="nosuch"), DataError, "no column `nosuch`"),
    "weights twice": (lambda: make("y | weights(w) ~ x + (1 | g)", weights="w"), DataError, "given twice"),
    "offset length": (
        lambda: make("y ~ x + (1 | g)", offset=[1.0]),
        DataError,
        "offset has 1 values, but the table has 240 rows",
    ),
    "offset factor": (lambda: make("y ~ x + offset(f) + (1 | g)"), FormulaError, "needs numbers"),
    "dates": (
        lambda: make("y ~ d + (1 | g)", syn(d=pd.Timestamp("2024-01-01"))),
        DataError,
        "column `d` holds dates or times .*number",
    ),
    "mixed types": (
        lambda: make("y ~ q + (1 | g)", syn(q=pd.Series(["a", 1] * 120, dtype=object))),
        DataError,
        r"column `q` mixes types: str \(120\), int \(120\)",
    ),
    "complex": (lambda: make("y ~ q + (1 | g)", syn(q=1j)), DataError, "column `q` has type complex128"),
    "columns as rows": (
        lambda: make("y ~ obs + (1 | g)"),
        DataError,
        "240 fixed-effects columns for 240 rows",
    ),
    "one-level factor": (
        lambda: make("y ~ one + (1 | g)", syn(one="a")),
        DataError,
        r"`one` has 1 level \(a\)",
    ),
    "missing=raise": (
        lambda: make("y ~ xm + (1 | g)", missing="raise"),
        DataError,
        r"6 of 240 rows have missing values: `xm` \(6\)",
    ),
    "missing=what": (
        lambda: make("y ~ x + (1 | g)", missing="keep"),
        DataError,
        'missing must be "drop" or "raise"',
    ),
    "unknown function": (
        lambda: make("y ~ lgo(x) + (1 | g)"),
        FormulaError,
        r"(?s)unknown function lgo\(\).*\^\^\^.*did you mean log.*context=",
    ),
    "me": (
        lambda: make("y ~ me(x, z) + (1 | g)"),
        PlanError,
        "with measurement error of brms; not available",
    ),
    "trials": (
        lambda: make("s | trials(n) ~ x + (1 | g)"),
        DataError,
        r"trials\(\) belongs to family=\"binomial\"",
    ),
    "distributional": (
        lambda: make("bf(y ~ x + (1 | g), nu ~ x)"),
        PlanError,
        r"has no parameter 'nu' for a formula; it has: sigma",
    ),
    "arithmetic on a factor": (
        lambda: make("y ~ I(f + 1) + (1 | g)"),
        FormulaError,
        r"(?s)'\+' needs numbers, but this is a factor",
    ),
    "log of text": (
        lambda: make("y ~ log(chr) + (1 | g)"),
        FormulaError,
        r"log\(\) needs numbers, but this is text",
    ),
    "wrong argument": (
        lambda: make("y ~ poly(x, degre = 2, foo = 1) + (1 | g)"),
        FormulaError,
        r"poly\(\) has no argument 'foo'",
    ),
    "too many arguments": (
        lambda: make("y ~ sqrt(x, 2) + (1 | g)"),
        FormulaError,
        r"sqrt\(\) takes at most 1 argument",
    ),
    "degree": (
        lambda: make("y ~ poly(yb, 2) + (1 | g)"),
        DataError,
        r"poly\(\) of degree 2 needs more than 2 distinct values; there are 2",
    ),
    "few df": (lambda: make("y ~ bs(x, df = 2) + (1 | g)"), FormulaError, "at least 3 columns; df is 2"),
    "relevel": (
        lambda: make('y ~ relevel(f, ref = "q") + (1 | g)'),
        DataError,
        "'q' is not a level; levels are a, b, c",
    ),
    "contrasts name": (
        lambda: make("y ~ f + (1 | g)", contrasts={"f": "contr.what"}),
        DataError,
        "unknown contrast 'contr.what'",
    ),
    "contrasts absent": (
        lambda: make("y ~ f + (1 | g)", contrasts={"q": "contr.sum"}),
        DataError,
        "contrasts= names `q`",
    ),
    "contrasts shape": (
        lambda: make("y ~ f + (1 | g)", contrasts={"f": np.eye(2)}),
        DataError,
        "has 2 rows, but the factor has 3 levels",
    ),
    "base": (
        lambda: make("y ~ C(f, contr.treatment(base = 7)) + (1 | g)"),
        DataError,
        "base = 7 is outside the 3 levels",
    ),
    "data type": (
        lambda: make("y ~ x + (1 | g)", data=3),
        DataError,
        r"cannot read data of type builtins\.int",
    ),
    "no file": (lambda: make("y ~ x + (1 | g)", data="nosuch.csv"), DataError, "no such file: nosuch.csv"),
    "dict lengths": (
        lambda: make("y ~ x + (1 | g)", data={"y": [1.0, 2.0], "x": [1.0], "g": ["a", "b"]}),
        DataError,
        "columns of different length: `y` 2, `x` 1, `g` 2",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_duplicated_names() -> None:
    frame = pd.concat([load_dataset("syn"), load_dataset("syn")[["x"]]], axis=1)
    with pytest.raises(DataError, match="2 columns named `x`"):
        make("y ~ x + (1 | g)", frame)
    assert make("y ~ z + (1 | g)", frame).p == 2


def test_too_wide() -> None:
    n = 60_000
    frame = pd.DataFrame({"y": np.arange(n) % 7.0, "id": np.arange(n).astype(str), "g": np.arange(n) % 9})
    with pytest.raises(
        PlanError,
        match=r"`id` has 60,000 levels: 60,000 columns for 60,000 rows would take 28.8 GB.*\(1 \| id\)",
    ):
        make("y ~ id + (1 | g)", frame)


def test_dropped_rows_are_counted() -> None:
    frame = syn(z=np.where(np.arange(N) % 100 == 7, np.nan, 1.0) * np.arange(N))
    with pytest.warns(DataDroppedWarning, match=r"^9 of 240 rows dropped: missing in `xm` \(6\), `z` \(3\)"):
        problem = make("y ~ xm + z + (1 | g)", frame)
    assert problem.n == 231
    assert problem.n_rows_data == 240
    keep = frame.xm.notna() & frame.z.notna()
    np.testing.assert_array_equal(problem.rows, np.flatnonzero(keep))
    np.testing.assert_array_equal(problem.y, frame.y[keep])


def test_rows_dropped_by_an_expression() -> None:
    frame = load_dataset("syn")
    with pytest.warns(DataDroppedWarning, match=r"rows dropped: missing in `log\(x\)` \(\d+\)"):
        problem = make("y ~ log(x) + poly(z, 2) + (1 | g)", frame)
    kept = frame.x > 0
    assert problem.n == kept.sum()
    # The polynomial was learned on the rows that stay.
    np.testing.assert_allclose(problem.X.matrix[:, 2:].T @ problem.X.matrix[:, 2:], np.eye(2), atol=1e-12)


def test_weights_column_with_missing_values_drops_rows() -> None:
    with pytest.warns(DataDroppedWarning, match=r"2 of 240 rows dropped: missing in `q` \(2\)"):
        problem = make("y ~ x + (1 | g)", syn(q=np.r_[np.nan, np.nan, np.full(238, 2.0)]), weights="q")
    assert problem.weights.shape == (238,)


def test_missing_group_is_dropped() -> None:
    frame = syn(g=load_dataset("syn").g.where(np.arange(N) > 4))
    with pytest.warns(DataDroppedWarning, match=r"`g` \(5\)"):
        assert make("y ~ x + (1 | g:k)", frame).n == 235


def test_is_na_keeps_rows() -> None:
    assert make("y ~ ifelse(is.na(xm), 0, xm) + (1 | g)").n == 240


@pytest.mark.parametrize(
    ("formula", "dropped"),
    [
        ("y ~ x + I(2 * x) + z + (1 | g)", ("I(2 * x)",)),
        ("y ~ x + I(0 * x) + (1 | g)", ("I(0 * x)",)),
        ("y ~ f + I(as.numeric(f) == 2) + (1 | g)", ("I(as.numeric(f) == 2)TRUE",)),
        ("y ~ 0 + f + b2 + f:b2 + I(x - 2 * z) + x + z + (1 | g)", ("z",)),
    ],
)
def test_dropped_columns(formula: str, dropped: tuple[str, ...]) -> None:
    with pytest.warns(RankDeficientWarning, match=re.escape(", ".join(dropped))):
        problem = make(formula)
    assert problem.X.dropped == dropped
    assert np.linalg.matrix_rank(problem.X.matrix) == problem.p


def test_columns_of_very_different_size_stay() -> None:
    frame = syn(big=1e9 + np.arange(N), small=1e-9 * np.sin(np.arange(N)))
    assert make("y ~ x + small + (1 | g)", frame).X.dropped == ()
    assert make("y ~ big + (1 | g)", frame.assign(big=1e6 + np.arange(N))).X.dropped == ()


def test_more_effects_than_rows_where_allowed() -> None:
    assert make("yc ~ x + (1 | obs)", levels_below_rows=False).terms[0].m == 240


def test_contrasts_reach_the_fixed_part_only() -> None:
    problem = make("y ~ f + (f | g)", contrasts={"f": "contr.sum"})
    assert problem.X.names == ("(Intercept)", "f1", "f2")
    assert problem.terms[0].columns == ("(Intercept)", "fb", "fc")
    with pytest.warns(LmmformulaWarning, match="only random effects use"):
        make("y ~ x + (f | g)", contrasts={"f": "contr.sum"})


def test_contrast_matrix() -> None:
    matrix = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    a = make("y ~ f + (1 | g)", contrasts={"f": matrix}).X
    b = make("y ~ f + (1 | g)", contrasts={"f": "contr.sum"}).X
    np.testing.assert_array_equal(a.matrix, b.matrix)
    assert a.names == b.names


def test_a_parameter_of_residuals_that_relates_no_rows_is_refused() -> None:
    frame = pd.DataFrame(
        {"y": np.arange(12.0) ** 2, "t": np.tile([2, 4, 6], 4), "g": np.repeat(list("abcd"), 3)}
    )
    with pytest.raises(DataError, match="no two rows of one g are of those that theta relates"):
        build(model_spec("y ~ t + ma(t, gr = g)"), frame)
    with pytest.raises(DataError, match="rho relates"):
        build(model_spec("y ~ t + ar(t, gr = i)"), frame.assign(i=range(12)))
