"""Every formula that lme4 accepts: the same columns, sums, levels and counts."""

from __future__ import annotations

import dataclasses
import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.datasets import load_dataset
from lmmformula.errors import DataError, LmmformulaWarning
from lmmformula.formula import model_spec
from lmmformula.formula.spec import Name, Response
from lmmformula.frame import build
from lmmformula.frame.design import make_design
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.rank import independent_columns
from lmmformula.frame.table import open_table

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "reference" / "formulas.json").read_text())[
        "formulas"
    ]
}
VALID = [i for i, case in CASES.items() if case["valid"]]

REFUSED = {
    "f092": "(x | g) + (1 | g): two intercepts for g, not identifiable; refused by the parser",
    "f093": "(x | g) + (z | g): two intercepts for g; refused by the parser",
    "f148": "(1 | g) + (1 | g): the same term twice; refused by the parser",
    "f213": "an empty term (0 | g): lme4 parses it and fails when it fits",
    "f217": "factor response of a Gaussian model: lme4 parses it and fails when it fits",
    "f218": "factor response of a Gaussian model",
    "f219": "text response of a Gaussian model",
    "f224": "matrix response of a Gaussian model",
    "f226": "y ~ 1 | g: a random term without parentheses; refused by the parser",
    "f227": "y ~ x + 1 | g: a random term without parentheses; refused by the parser",
    "f228": "x * (1 | g): a random term inside a product; refused by the parser",
    "f229": "x - (1 | g): a random term cannot be subtracted; refused by the parser",
    "f230": "as many columns as rows: lme4 goes on without a residual degree of freedom",
}
SPLIT = "(f || g) and (x || g) are one diagonal block here; lme4 makes a term of each column"
"""Intended: with a factor, lme4 even keeps its columns correlated and codes all its levels."""


@cache
def data(name: str) -> pd.DataFrame:
    return load_dataset(name)


def numeric_response(case: dict[str, Any], spec: Any) -> Any:
    """Responses of other families are not this file's matter: put a numeric one in their place."""
    if case["response"]["class"] in ("numeric", "integer") or case["family"] == "gaussian":
        return spec
    column = {"syn": "y", "VerbAgg": "Anger", "bacteria": "week"}[case["dataset"]]
    return dataclasses.replace(spec, response=Response((Name(column),), column))


def built(case: dict[str, Any]) -> Any:
    frame = data(case["dataset"])
    spec = numeric_response(case, model_spec(case["formula"], tuple(frame.columns)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        contrasts = {"f": "contr.sum"} if case.get("contrasts") else None
        return build(
            spec,
            frame,
            weights=case.get("weights"),
            contrasts=contrasts,
            levels_below_rows=case["family"] == "gaussian",
        )


def close(actual: Any, expected: Any, scale: float = 1.0) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("case", [CASES[i] for i in VALID if i not in REFUSED], ids=lambda c: c["id"])
def test_columns_and_terms(case: dict[str, Any]) -> None:
    problem = built(case)
    X = problem.X
    assert list(X.names) == case["X_columns"]
    assert list(X.assign) == case["X_assign"]
    assert list(X.dropped) == case["X_dropped_columns"]
    assert problem.n == case["n_obs"]
    close(X.matrix.sum(0), case["X_colsums"], problem.n)
    close((X.matrix**2).sum(0), case["X_colsumsq"])
    close(X.matrix[2], case["X_row3"])
    if "offset_sum" in case:
        close(problem.offset.sum(), case["offset_sum"])
    if "weights_sum" in case:
        close(problem.weights.sum(), case["weights_sum"])
    if case["response"]["class"] in ("numeric", "integer"):
        close(problem.y.sum(), case["response"]["sum"][0])
    check_terms(case, problem)


def check_terms(case: dict[str, Any], problem: Any) -> None:
    """lme4 sorts terms by their number of levels; here they stand in the order of the formula."""
    expected = list(case["random_terms"])
    for term in problem.terms:
        found = [e for e in expected if belongs(e, term)]
        assert found, (term.label, [e["term"] for e in expected])
        basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
        for j, name in enumerate(term.columns):
            # A block of || stands for several of lme4's terms, each with one of its columns.
            match = next((e for e in found if name in e["cnms"]), None)
            assert match is not None or "||" in case["formula"]
            if match is None:
                continue
            check_column(match, term, basis[:, j], match["cnms"].index(name))
        for e in found if term.covariance.name == "diag" else found[:1]:
            expected.remove(e)
    assert not expected


def belongs(expected: dict[str, Any], term: Any) -> bool:
    if plain(expected["group"]) != plain(term.group):
        return False
    if term.covariance.name == "diag":
        return set(expected["cnms"]) & set(term.columns) != set() or expected["term"].startswith("0 + ")
    return list(term.columns) == expected["cnms"]


def plain(label: str) -> str:
    return label.replace("(", "").replace(")", "")


def check_column(expected: dict[str, Any], term: Any, column: np.ndarray, j: int) -> None:
    assert term.m == expected["n_levels"]
    assert list(term.levels[: len(expected["first_levels"])]) == expected["first_levels"]
    assert term.levels[-1] == expected["last_level"]
    counts = np.bincount(term.codes, minlength=term.m)
    head = expected["level_counts_head"]
    assert counts[: len(head)].tolist() == head
    close(column.sum(), expected["row_sums_per_column"][j], len(column))
    k = len(expected["cnms"])
    by_level = np.bincount(term.codes, weights=column, minlength=term.m)
    rows = expected["row_sums_head"][j::k]
    close(by_level[: len(rows)], rows, len(column))


def test_one_diagonal_block_for_double_bars() -> None:
    problem = built(CASES["f245"])
    (term,) = problem.terms
    assert term.columns == ("(Intercept)", "fb", "fc"), SPLIT
    assert term.covariance.name == "diag"


@pytest.mark.parametrize("case_id", sorted(REFUSED))
def test_refused_on_purpose(case_id: str) -> None:
    with pytest.raises(Exception, match=r"\w") as raised:
        built(CASES[case_id])
    assert type(raised.value).__module__ == "lmmformula.errors"


def test_same_columns_dropped_as_lme4_from_all_columns() -> None:
    """The design of f230 (339 columns, 234 rows), without the check that refuses it."""
    case = CASES["f230"]
    frame = data("syn").dropna()
    spec = model_spec(case["formula"], tuple(frame.columns))
    table = open_table(frame)
    columns = {name: table.column(name).at(None) for name in table.names}
    from lmmformula.frame.values import Factor, drop_unused

    columns = {k: drop_unused(v) if isinstance(v, Factor) else v for k, v in columns.items()}
    evaluator = Evaluator(columns, len(frame), spec.text, {}, {}, learn=True)
    design = make_design(spec.fixed, evaluator)
    kept = independent_columns(design.matrix(evaluator, len(frame)))
    assert [design.names[j] for j in kept] == case["X_columns"]


def test_too_many_columns_message() -> None:
    with pytest.raises(DataError, match="fixed-effects columns for 234 rows"):
        built(CASES["f230"])
