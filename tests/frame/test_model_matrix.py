"""Columns of `model_matrix.json`: what R's model.matrix makes of functions and codings."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula.datasets import load_dataset
from lmmformula.errors import DataError, FormulaError, LmmformulaWarning
from lmmformula.formula import model_spec
from lmmformula.frame.contrasts import Contrast, coding
from lmmformula.frame.design import make_design
from lmmformula.frame.model_frame import evaluate
from lmmformula.frame.table import open_table

CASES = json.loads((Path(__file__).parent / "model_matrix.json").read_text())
OUTSIDE_I = {
    "~round(x, 1) + floor(z) + x %/% 2 + x %% 2": "%/% and %% outside I()",
    "~as.factor(lg) + !lg": "! outside I()",
}


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["formula"] not in OUTSIDE_I], ids=lambda c: c["formula"]
)
def test_as_in_r(case: dict[str, Any]) -> None:
    spec = model_spec(case["formula"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        frame = evaluate(spec, (), open_table(load_dataset("syn")), (), "drop", {})
    design = make_design(spec.fixed, frame)
    X = design.matrix(frame, frame.n)
    assert list(design.names) == case["names"]
    np.testing.assert_allclose(X.sum(0), case["sums"], rtol=1e-10, atol=1e-10 * len(X))
    np.testing.assert_allclose((X**2).sum(0), case["squares"], rtol=1e-10)
    np.testing.assert_allclose(X[2], case["row3"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("formula", sorted(OUTSIDE_I))
def test_arithmetic_outside_a_call_is_refused(formula: str) -> None:
    with pytest.raises(FormulaError):
        model_spec(formula)


@pytest.mark.parametrize("n", [2, 3, 12, 40, 60, 95])
def test_polynomial_contrasts_are_orthonormal(n: int) -> None:
    matrix, names = coding(Contrast("poly"), [str(i) for i in range(n)], "o")
    assert len(names) == n - 1
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(n - 1), atol=1e-13)
    np.testing.assert_allclose(matrix.sum(0), 0, atol=1e-13)


def test_polynomial_contrasts_of_too_many_levels() -> None:
    with pytest.raises(DataError, match="ordered factor `o` has 96 levels"):
        coding(Contrast("poly"), [str(i) for i in range(96)], "o")


def test_scores() -> None:
    """R: contr.poly(3, scores = c(1, 2, 4))."""
    matrix, _ = coding(Contrast("poly", scores=(1.0, 2.0, 4.0)), ["a", "b", "c"], "o")
    np.testing.assert_allclose(matrix[:, 0], [-0.6172134, -0.1543033, 0.7715167], atol=1e-7)
    np.testing.assert_allclose(matrix[:, 1], [0.5345225, -0.8017837, 0.2672612], atol=1e-7)
