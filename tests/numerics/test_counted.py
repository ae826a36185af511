"""Sums by code, by a compiled loop and by numpy's counting."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from oracle import make_problem

from lmmformula.ir.blocks import Blocks
from lmmformula.numerics import counted, threads


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_sums_are_those_of_counting(monkeypatch, kind: type) -> None:
    rng = np.random.default_rng(0)
    codes, values = rng.integers(0, 40, 500).astype(kind), rng.normal(size=(500, 3))
    usual = [np.bincount(codes, column, 50) for column in values.T]
    monkeypatch.setattr(counted, "MANY", 0)
    for column, expected in zip(values.T, usual, strict=True):
        np.testing.assert_array_equal(counted.sums_by(codes, column, 50), expected)
    np.testing.assert_array_equal(counted.sums_by(codes, None, 50), np.bincount(codes, None, 50))


@pytest.mark.parametrize("c", range(1, 9))
def test_sums_of_columns_are_those_of_each(monkeypatch, c: int) -> None:
    rng = np.random.default_rng(c)
    codes, values = rng.integers(0, 40, 500).astype(np.int32), rng.normal(size=(500, c))
    assert counted.columns_by(codes, values, 50) is None
    monkeypatch.setattr(counted, "MANY", 0)
    expected = np.column_stack([np.bincount(codes, column, 50) for column in values.T])
    found = counted.columns_by(codes, values, 50)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-13)
    assert counted.columns_by(codes, np.zeros((500, 9)), 50) is None


@pytest.mark.parametrize("many", [0, 10**9])
def test_results_come_in_their_order(monkeypatch, many: int) -> None:
    monkeypatch.setattr(counted, "MANY", many)
    monkeypatch.setattr(threads, "worker_threads", lambda: 2)
    assert counted.together([partial(pow, 2, k) for k in range(9)], 5) == [2**k for k in range(9)]


@pytest.mark.parametrize("layout", ["crossed", "crossed slopes"])
def test_grams_of_several_groups_at_the_same_time(monkeypatch, layout: str) -> None:
    problem = make_problem(layout)
    v = np.random.default_rng(1).normal(size=(problem.n, 5))
    usual = Blocks(problem.terms, problem.n).gram(problem.weights, v)
    monkeypatch.setattr(counted, "MANY", 0)
    monkeypatch.setattr(threads, "worker_threads", lambda: 2)
    found = Blocks(problem.terms, problem.n).gram(problem.weights, v)
    assert list(found.cross) == list(usual.cross)
    pairs = zip(
        (*found.diag, *found.cross.values(), *found.rhs),
        (*usual.diag, *usual.cross.values(), *usual.rhs),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-12)
