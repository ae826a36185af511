"""Columns that are held by levels from the start: the columns of the design, whichever way they are asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit
from lmmformula.errors import RankDeficientWarning
from lmmformula.frame import held_columns
from lmmformula.ir import gram_ways
from lmmformula.ir.level_columns import ByLevel

N = 1_500
FORMULA = (
    "y ~ match + age + price + of_client * of_item + kind + I(age^2) + season + (1 | client) + (1 | item)"
)


def data() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    m, k = 200, 30
    client, item = (np.r_[np.arange(s), rng.integers(0, s, N - s)][rng.permutation(N)] for s in (m, k))
    frame = {
        "match": rng.normal(size=N),
        "age": rng.normal(size=m).round(2)[client],
        "price": rng.normal(size=k)[item],
        "of_client": rng.integers(0, 2, m)[client],
        "of_item": rng.integers(0, 2, k)[item],
        "kind": np.array(list("abcd"))[rng.integers(0, 4, k)[item]],
        "season": np.array(list("uvw"))[rng.integers(0, 3, N)],
        "client": client,
        "item": item,
    }
    eta = 0.5 * frame["match"] + 0.4 * rng.normal(size=m)[client] + 0.3 * rng.normal(size=k)[item]
    return pd.DataFrame({"y": (rng.random(N) < 1.0 / (1.0 + np.exp(-eta))).astype(float)} | frame)


@pytest.fixture
def many(monkeypatch):
    """Limits at which a few rows count as many."""
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    monkeypatch.setattr(held_columns, "ROWS", 400)


def test_the_columns_are_those_of_the_design(monkeypatch) -> None:
    frame = data()
    plain = build(FORMULA, frame, family="binomial")
    assert not isinstance(plain.X.columns, ByLevel)
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    ours = build(FORMULA, frame, family="binomial")
    columns = ours.X.columns
    assert isinstance(columns, ByLevel)
    names = np.array(ours.X.names)
    assert set(names[columns.held.rest_at]) == {"match", "of_client:of_item", "seasonv", "seasonw"}
    of_client, of_item = (set(names[at]) for at in columns.held.values_at)
    assert of_client == {"age", "of_client", "I(age^2)"}
    assert of_item == {"(Intercept)", "price", "of_item", "kindb", "kindc", "kindd"}
    assert ours.X.names == plain.X.names
    np.testing.assert_array_equal(columns.rows(slice(7, None, 3)), plain.X.matrix[7::3])
    np.testing.assert_array_equal(ours.X.matrix, plain.X.matrix)
    assert not ours.X.matrix.flags.writeable
    one, other = columns.moments(), plain.X.columns.moments()
    np.testing.assert_allclose(one.sums, other.sums, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(one.squares, other.squares, rtol=1e-12)


def test_a_fit_is_the_same_from_columns_held_by_level(monkeypatch) -> None:
    """By quasi-likelihood, whose sweeps differ then, and Laplace's approximation; with what reads all columns afterwards."""
    frame = data()
    for method in ("pql", "laplace"):
        plain = fit(FORMULA, frame, family="binomial", method=method)
        with monkeypatch.context() as limits:
            limits.setattr(gram_ways, "COMPILED_SUMS", 0.0)
            ours = fit(FORMULA, frame, family="binomial", method=method)
            assert isinstance(ours.problem.X.columns, ByLevel)
            np.testing.assert_allclose(ours.params, plain.params, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(ours.bse, plain.bse, rtol=1e-5)
            np.testing.assert_allclose(ours.theta, plain.theta, rtol=1e-4)
            np.testing.assert_allclose(ours.predict(), plain.predict(), rtol=1e-4)
            np.testing.assert_array_equal(ours.problem.X.matrix, plain.problem.X.matrix)


def test_columns_that_others_determine_are_dropped_as_ever(many) -> None:
    frame = data().assign(twice=lambda d: 2.0 * d["age"])
    with pytest.warns(RankDeficientWarning, match="twice"):
        ours = build(FORMULA.replace("price", "price + twice"), frame, family="binomial")
    assert "twice" not in ours.X.names
    np.testing.assert_array_equal(ours.X.matrix, build(FORMULA, frame, family="binomial").X.matrix)


def test_a_column_of_rows_in_one_row_only_is_one_of_rows(many) -> None:
    frame = data()
    last = frame.index[frame["client"] == frame["client"].mode()[0]][-1]  # a client with several rows
    frame.loc[last, "age"] += 1e-9
    held = build(FORMULA, frame, family="binomial").X.columns
    assert isinstance(held, ByLevel)
    assert len(held.held.rest_at) == 6  # age and its square too
