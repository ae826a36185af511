"""New rows are coded as the rows of the fit were."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.datasets import load_dataset
from lmmformula.errors import DataError, LmmformulaWarning
from lmmformula.formula import model_spec
from lmmformula.frame import build

pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.errors.RankDeficientWarning")

FORMULAS = [
    "y ~ x + (x | g)",
    "y ~ poly(x, 3) + ns(z, df = 3) + (poly(x, 2) | g)",
    "y ~ bs(x, df = 5) + bs(z, knots = c(-1, 1), degree = 2) + (1 | g)",
    "y ~ ns(x, df = 4, intercept = TRUE) - 1 + (ns(z, 2) | h)",
    "y ~ scale(x) * f + (scale(log(w)) | g)",
    "y ~ cut(x, 4) + cut(z, c(-5, 0, 5)) + (1 | g/k)",
    "y ~ o * b2 + fu + chr + lg + (f | g) + (0 + o || h)",
    'y ~ factor(t) + relevel(f, ref = "c") + C(o, contr.sum) + ordered(t) + (1 | id)',
    "y ~ I(x - mean(x)) + I((z - mean(z)) / sd(z)) + I(x > quantile(x, 0.25)) + (1 | interaction(f, b2))",
    'y ~ as.numeric(f) + as.integer(o) + ifelse(f == "b", x, 0) + dummy(f, "b") + (1 | factor(t))',
    "y ~ f:b2 + x + I(2 * x) + offset(log(w)) + offset(off) + (1 | k:g)",
    "y ~ dummy(f) + C(f, contr.helmert) + interaction(b2, lg) + (1 | lg)",
    "y ~ as.numeric(as.factor(t)) + as.integer(factor(chr)) + as.numeric(interaction(f, b2)) + (1 | g)",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_row_of_the_fit_comes_out_the_same(formula: str) -> None:
    data = load_dataset("syn")
    problem = build(model_spec(formula), data)
    recipe = pickle.loads(pickle.dumps(problem.recipe))
    for rows in ([0], [17], [5, 200, 5]):
        for new in (
            data.iloc[rows],
            data.iloc[rows].astype(dict.fromkeys(("f", "o", "g", "chr", "fu"), object)),
        ):
            check(problem, recipe.replay(new), rows)


def check(problem: Any, design: Any, rows: list[int]) -> None:
    np.testing.assert_allclose(design.X, problem.X.matrix[rows], rtol=1e-12, atol=1e-12)
    assert design.complete.all()
    if problem.offset is None:
        assert design.offset is None
    else:
        np.testing.assert_allclose(design.offset, problem.offset[rows])
    for term, (new,) in zip(problem.terms, design.terms, strict=True):
        np.testing.assert_array_equal(new.codes, term.codes[rows])
        assert new.new_levels == ()
        if term.basis is None:
            assert new.basis is None
        else:
            np.testing.assert_allclose(new.basis, term.basis[rows], rtol=1e-12, atol=1e-12)


def test_ranks_are_those_of_the_fit() -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0, 5.0, 7.0], "dose": [10, 10, 20, 20, 40, 40], "g": list("ababab")}
    recipe = build(model_spec("y ~ as.numeric(as.factor(dose)) + (1 | g)"), data).recipe
    assert recipe.replay({"dose": [40, 20, 40]}, terms=[]).X[:, 1].tolist() == [3.0, 2.0, 3.0]
    with pytest.raises(DataError, match=r"place of a level .* 2 of 3 rows .* `as.factor\(dose\)` .* '30'"):
        recipe.replay({"dose": [30, 20, 30]}, terms=[])
    read = build(model_spec("y ~ as.numeric(as.character(factor(dose))) + (1 | g)"), data).recipe
    assert read.replay({"dose": [30, 20]}, terms=[]).X[:, 1].tolist() == [30.0, 20.0]


def test_a_new_level_of_a_column_has_no_rank() -> None:
    recipe = syn_recipe("y ~ as.numeric(f) + (1 | g)")
    with pytest.raises(DataError, match="1 of 2 rows have a level of the column `f`"):
        recipe.replay({"f": ["c", "nobody's"]}, terms=[])


def syn_recipe(formula: str) -> Any:
    return build(model_spec(formula), load_dataset("syn")).recipe


def sleep() -> Any:
    return build(model_spec("Reaction ~ Days + (Days | Subject)"), load_dataset("sleepstudy")).recipe


def test_only_what_is_needed_is_asked_for() -> None:
    recipe = sleep()
    design = recipe.replay({"Days": [1, 2]}, terms=[])
    assert design.X.tolist() == [[1.0, 1.0], [1.0, 2.0]]
    assert design.terms == ()
    random = recipe.replay({"Days": [1.0], "Subject": ["309"]}, fixed=False)
    assert random.X is None
    assert random.terms[0][0].codes.tolist() == [1]
    with pytest.raises(DataError, match="no column `Subject`"):
        recipe.replay({"Days": [1.0]})


def test_new_levels_of_a_group() -> None:
    design = sleep().replay({"Days": [1, 2, 3, 4], "Subject": ["new", "310", "a", "new"]})
    ((term,),) = design.terms
    assert term.codes.tolist() == [-1, 2, -1, -1]
    assert term.new_levels == ("a", "new")
    assert term.new_codes.tolist() == [1, -1, 0, 1]


def test_group_as_numbers() -> None:
    design = sleep().replay({"Days": [1, 2], "Subject": [308, 372]})
    assert design.terms[0][0].codes.tolist() == [0, 17]


def test_new_level_of_a_fixed_factor() -> None:
    recipe = build(model_spec("y ~ f + chr + (1 | g)"), load_dataset("syn")).recipe
    with pytest.raises(
        DataError,
        match=r"`f` has 1 level that the fit did not see: 'd' \(in 2 rows\); known levels: 'a', 'b', 'c'",
    ):
        recipe.replay({"f": ["a", "d", "d"], "chr": ["echo"] * 3}, terms=())


def test_incomplete_rows() -> None:
    recipe = build(model_spec("y ~ x + f + log(z + 5) + (x | g)"), load_dataset("syn")).recipe
    new = {
        "x": [1.0, None, 2.0, 1.0],
        "f": ["a", "b", None, "c"],
        "z": [1.0, 1.0, 1.0, -9.0],
        "g": ["g01"] * 4,
    }
    design = recipe.replay(new)
    assert design.complete.tolist() == [True, False, False, False]
    assert design.terms[0][0].codes.tolist() == [0, -1, -1, 0]
    assert np.isnan(design.X[1]).all()
    with pytest.raises(DataError, match=r"2 of 4 new rows have missing values: `x` \(1\), `f` \(1\)"):
        recipe.replay(new, missing="raise")


def test_types_must_agree() -> None:
    recipe = build(model_spec("y ~ x + (1 | g)"), load_dataset("syn")).recipe
    with pytest.raises(DataError, match="column `x` was numeric in the fit"):
        recipe.replay({"x": ["a"]}, terms=())


def test_offset_argument() -> None:
    data = load_dataset("syn")
    spec = model_spec("y ~ x + offset(w) + (1 | g)")
    problem: Any = build(spec, data, offset="off")
    np.testing.assert_allclose(problem.offset, data.w + data.off)
    np.testing.assert_allclose(problem.recipe.replay(data.head(3), terms=()).offset, problem.offset[:3])
    problem = build(spec, data, offset=data.off.to_numpy())
    design = problem.recipe.replay(data.head(3), terms=())
    assert design.offset_missing
    np.testing.assert_allclose(design.offset, data.w[:3])


def test_beyond_the_boundary() -> None:
    """R: predict(lm(y ~ ns(x, df = 3))) goes on linearly, bs() by its outermost polynomials."""
    data = load_dataset("syn")
    recipe = build(model_spec("y ~ ns(x, df = 3) + (1 | g)"), data).recipe
    X = recipe.replay({"x": [3.0, 4.0, 5.0]}, terms=()).X
    np.testing.assert_allclose(X[0] - 2 * X[1] + X[2], 0, atol=1e-12)


def test_columns_dropped_at_the_fit_stay_dropped() -> None:
    with pytest.warns(LmmformulaWarning):
        problem = build(model_spec("y ~ f:b2 + (1 | g)"), load_dataset("syn"))
    design = problem.recipe.replay(pd.DataFrame({"f": ["c"], "b2": ["hi"]}), terms=())
    assert design.X.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
