"""Columns that are constant within levels: what is made of them is what the columns themselves give."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.ir import gram_ways, level_columns
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.numerics import tall

N = 2_003


def term(name: str, codes: np.ndarray, basis: np.ndarray | None = None) -> GroupBlock:
    levels = np.arange(codes.max() + 1).astype(str).astype(object)
    columns = tuple(f"c{j}" for j in range(1 if basis is None else basis.shape[1]))
    return GroupBlock(name, columns, levels, codes.astype(np.int32), basis, KINDS["us"](len(columns)))


def layout(order: tuple[int, ...]) -> tuple[MemoryRows, np.ndarray, np.ndarray]:
    """Rows of three groups, one of them with slopes, in some order; X has columns of each, of rows, and a constant one."""
    rng = np.random.default_rng(2)
    sizes = (700, 40, 25)
    codes = [np.r_[np.arange(m), rng.integers(0, m, N - m)][rng.permutation(N)] for m in sizes]
    terms = [term("a", codes[0]), term("b", codes[1]), term("s", codes[2], rng.normal(size=(N, 2)))]
    of = [rng.normal(size=(m, k))[c] for m, k, c in zip(sizes, (2, 4, 2), codes, strict=True)]
    x = np.column_stack([np.ones(N), of[0][:, 0], rng.normal(size=(N, 2)), of[1], of[2], of[0][:, 1]])
    y, w, offset = rng.normal(size=N), rng.uniform(0.0, 2.0, N), rng.normal(size=N)
    return MemoryRows(y, w, offset, x, (), [terms[i] for i in order]), x, w


@pytest.fixture
def many(monkeypatch):
    """Limits at which a few rows count as many."""
    for module, name, value in (
        (gram_ways, "COMPILED_SUMS", 0.0),
        (level_columns, "ROWS", 300),
        (level_columns, "LEVELS", 100),
        (tall, "ROWS", 300),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_sums_and_products_are_those_of_the_columns(order: tuple[int, ...], many) -> None:
    rows, x, w = layout(order)
    held = rows.levels.level_columns(x)
    assert held is not None
    taken = {g.name: set(at.tolist()) for g, at in zip(rows.levels.groups, held.values_at, strict=True)}
    assert taken == {
        "a": {1, 10},
        "b": {0, 4, 5, 6, 7},
        "s": set(),
    }  # those of `s` stay: its effects have slopes
    plain = rows.levels.gram(w, x)
    for weights in (w, None):
        plain, ours = rows.levels.gram(weights, x), rows.gram(weights, fixed=True)
        alone, square = rows.weighted_columns(weights)
        for a in range(3):
            np.testing.assert_allclose(ours.rhs[a], plain.rhs[a], rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(alone[a], plain.rhs[a], rtol=1e-12, atol=1e-11)
            np.testing.assert_array_equal(ours.diag[a], rows.gram(weights).diag[a])
        np.testing.assert_allclose(ours.vv, plain.vv, rtol=1e-12, atol=1e-11)
        np.testing.assert_array_equal(square, ours.vv)
        np.testing.assert_array_equal(ours.vv, ours.vv.T)
    rng = np.random.default_rng(0)
    beta, effects = rng.normal(size=x.shape[1]), [rng.normal(size=(g.m, g.k)) for g in rows.levels.groups]
    assert rows.offset is not None
    eta = x @ beta + rows.levels.apply(effects) + rows.offset
    np.testing.assert_allclose(rows.apply(beta, effects), eta, rtol=1e-12, atol=1e-12)
    for none in (None, np.zeros(0)):  # effects alone
        np.testing.assert_array_equal(rows.apply(none, effects, offset=False), rows.levels.apply(effects))
    np.testing.assert_allclose(rows.apply(beta, ()), x @ beta + rows.offset, rtol=1e-12, atol=1e-12)
    r = rng.normal(size=N)
    np.testing.assert_allclose(rows.fixed.transposed(r), x.T @ r, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(rows.fixed.transposed(r, w), x.T @ (w * r), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(rows.fixed.times(x.T[:, :3]), x @ x.T[:, :3], rtol=1e-12, atol=1e-12)


def test_columns_of_rows_alone_are_left_as_they_are(many) -> None:
    """One number that differs makes a column one of the rows."""
    rows, x, _ = layout((0, 1, 2))
    assert rows.levels.level_columns(np.random.default_rng(1).normal(size=(N, 11))) is None
    last = x.copy()
    last[-1, 5] += 1e-9
    held = rows.levels.level_columns(last)
    assert held is not None
    assert held.values_at[1].tolist() == [0, 4, 6, 7]


def test_plans_count_the_columns_that_vary(many) -> None:
    """By the first rows, which a plan looks at, as by all of them."""
    rows, x, _ = layout((0, 1, 2))
    held = rows.levels.level_columns(x, look=False)
    assert held is None  # nobody has looked at all rows for it
    assert rows.varying == 4
    plain = MemoryRows(rows.y, None, None, np.random.default_rng(1).normal(size=(N, 11)), (), rows.terms)
    assert plain.varying == 11


def test_few_rows_are_not_looked_at() -> None:
    rows, x, _ = layout((0, 1, 2))
    assert rows.varying == x.shape[1]
