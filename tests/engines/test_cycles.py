"""Sums over K from the cycles of levels that meet, against K itself."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from lmmformula.engines.krylov import cycles, schur
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.engines.krylov.moments import Moments
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import GroupBlock

FACTORS = (np.array([[0.8]]), np.array([[1.1]]))


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 0)


def complement(rows: int, levels: tuple[int, int]) -> Any:
    """The operator of two factors whose levels meet at random, a few levels without rows among them."""
    rng, terms = np.random.default_rng(4), []
    for name, m in zip("gh", levels, strict=True):
        codes, labels = rng.integers(0, m, rows).astype(np.int32), np.arange(m).astype(object)
        terms.append(GroupBlock(name, ("(Intercept)",), labels, codes, None, KINDS["us"](1), name))
    blocks = Blocks(terms, rows)
    gram = blocks.gram(rng.uniform(0.5, 1.5, rows), np.zeros((rows, 0)))
    return KrylovEngine().prepare(blocks).factor(gram, FACTORS).complement


@pytest.mark.parametrize("on_patterns", [False, True])
@pytest.mark.parametrize("levels", [(70, 60), (25, 20)])
def test_sums_are_those_of_k(monkeypatch, levels: tuple[int, int], on_patterns: bool) -> None:
    monkeypatch.setattr(cycles, "MOST", 100.0)
    s = complement(200, levels)
    k = np.eye(s.q) - s.apply(np.eye(s.q))
    n = s.pattern.by_row.matrix(s.n, s.q).toarray()
    assert len(s.pattern.cycles)
    found = Moments.of(s, on_patterns=on_patterns)
    assert found.trace_square == pytest.approx(np.sum(k * k), rel=1e-12)
    assert found.heads is not None
    assert found.heads.dense == pytest.approx(s.c_inverses[0].ravel() ** 2 @ (k * k).sum(axis=0), rel=1e-12)
    chain = s.inv.ravel() ** 2 @ (n @ n.T + n @ k @ n.T).diagonal()
    assert found.heads.chain == pytest.approx(chain, rel=1e-12)
    rows = np.repeat(np.arange(len(n)), np.diff(s.pattern.by_row.ptr))
    places = found.on_patterns
    np.testing.assert_allclose(places.nk, (n @ k)[rows, s.pattern.by_row.cols], atol=1e-13)
    np.testing.assert_allclose(places.own[:, 0], (k * k).sum(axis=0), atol=1e-13)
    np.testing.assert_allclose(k.diagonal(), places.kh, atol=1e-13)


def test_cycles_are_those_of_the_graph(monkeypatch) -> None:
    """Each two rows with two columns in common, once."""
    monkeypatch.setattr(cycles, "MOST", 100.0)
    s = complement(300, (80, 90))
    n, found = s.pattern.by_row, s.pattern.cycles
    columns = [set(n.cols[n.ptr[i] : n.ptr[i + 1]].tolist()) for i in range(s.pattern.rows)]
    shared = [len(a & b) for a, b in combinations(columns, 2)]
    assert len(found) == sum(c * (c - 1) // 2 for c in shared) > 0
    rows = np.repeat(np.arange(s.pattern.rows), np.diff(n.ptr))[found]
    assert (rows[:, 0] == rows[:, 1]).all()
    assert (rows[:, 2] == rows[:, 3]).all()
    assert (rows[:, 0] != rows[:, 2]).all()
    at = n.cols[found]
    assert (at[:, 0] == at[:, 2]).all()
    assert (at[:, 1] == at[:, 3]).all()
    assert (at[:, 0] < at[:, 1]).all()
    assert len(np.unique(np.sort(found, axis=1), axis=0)) == len(found)


def test_dense_designs_form_k_by_its_columns() -> None:
    s = complement(400, (20, 20))
    assert s.pattern.cycles is None
    assert Moments.of(s).exact
