"""Products and Gram blocks against the dense Z."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, z_matrix

from lmmformula.ir import blocks, gram_ways, patterns
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.groups import Group, GroupRows
from lmmformula.ir.patterns import cross_pattern, sorted_pairs
from lmmformula.numerics import row_sums


def dense(problem, group):
    parts = [z_matrix(problem.terms[i]).reshape(problem.n, group.m, -1) for i, _ in group.members]
    return np.concatenate(parts, axis=2).reshape(problem.n, -1)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_gram_and_products(layout: str, weighted: bool) -> None:
    problem = make_problem(layout, weighted=weighted)
    blocks = Blocks(problem.terms, problem.n)
    v = np.random.default_rng(0).normal(size=(problem.n, 3))
    gram = blocks.gram(problem.weights, v)
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    z = [dense(problem, g) for g in blocks.groups]
    np.testing.assert_allclose(gram.vv, (v.T * w) @ v)
    for a, g in enumerate(blocks.groups):
        full = ((z[a].T * w) @ z[a]).reshape(g.m, g.k, g.m, g.k)
        np.testing.assert_allclose(gram.diag[a], np.stack([full[s, :, s] for s in range(g.m)]), atol=1e-12)
        np.testing.assert_allclose(gram.rhs[a].reshape(-1, 3), (z[a].T * w) @ v, atol=1e-12)
    for (a, b), values in gram.cross.items():
        ga, gb, pattern = blocks.groups[a], blocks.groups[b], blocks.pattern(a, b)
        full = ((z[a].T * w) @ z[b]).reshape(ga.m, ga.k, gb.m, gb.k)
        np.testing.assert_allclose(values, full[pattern.rows(), :, pattern.indices], atol=1e-12)
    effects = [np.random.default_rng(1).normal(size=(g.m, g.k)) for g in blocks.groups]
    expected = sum(x @ e.ravel() for x, e in zip(z, effects, strict=True))
    np.testing.assert_allclose(blocks.apply(effects), expected, atol=1e-12)


@pytest.mark.parametrize("few", [64, 10_000])
@pytest.mark.parametrize("weighted", [True, False])
def test_columns_may_lie_apart(monkeypatch, weighted: bool, few: int) -> None:
    monkeypatch.setattr(blocks, "ROWS", few)
    problem = make_problem("crossed", weighted=weighted)
    own, v = Blocks(problem.terms, problem.n), np.random.default_rng(0).normal(size=(problem.n, 5))
    together = own.gram(problem.weights, v)
    for c in (0, 3):
        apart = own.gram(problem.weights, v[:, :c].copy(), [v[:, j].copy() for j in range(c, 5)])
        np.testing.assert_allclose(apart.vv, together.vv, atol=1e-12)
        for one, other in zip(apart.rhs, together.rhs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_pairs_in_order_of_rows_are_those_that_are_counted(monkeypatch) -> None:
    """Long levels, which are merged, and short ones; sums over rows and products with them are the same."""
    rng = np.random.default_rng(1)
    n = 4_000
    heavy = (60 * rng.random(n) ** 4).astype(np.int32)
    codes = [np.unique(c, return_inverse=True)[1].astype(np.int32) for c in (heavy, rng.integers(0, 900, n))]
    groups = [GroupRows(Group(str(i), int(c.max()) + 1, 1, ()), c, None) for i, c in enumerate(codes)]
    for a, b in (groups, groups[::-1]):
        counted, slots = cross_pattern(a, b)
        found = sorted_pairs(a, b)
        np.testing.assert_array_equal(found.pattern.indptr, counted.indptr)
        np.testing.assert_array_equal(found.pattern.indices, counted.indices)
        np.testing.assert_array_equal(found.slots, slots)
        np.testing.assert_array_equal(found.ordered, slots[found.rows.order])
        assert (np.diff(found.ordered) >= 0).all()
    w, v = rng.random(n), rng.normal(size=(n, 2))
    usual = Blocks((), n, groups).gram(w, v)
    monkeypatch.setattr(patterns, "MANY", 0)
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    monkeypatch.setattr(blocks, "FEW_PARTS", 1)
    monkeypatch.setattr(gram_ways, "SEVERAL", 2)
    monkeypatch.setattr(row_sums, "SHARED_CELLS", 0)
    compiled = Blocks((), n, groups)
    for _ in range(3):  # from the second time on with the columns in order of levels
        gram = compiled.gram(w, v)
        np.testing.assert_allclose(gram.cross[0, 1], usual.cross[0, 1], rtol=1e-12)
        for a in (0, 1):
            np.testing.assert_allclose(gram.diag[a], usual.diag[a], rtol=1e-12)
            np.testing.assert_allclose(gram.rhs[a], usual.rhs[a], atol=1e-12)
    assert compiled._arranged is not None
    np.testing.assert_allclose(
        compiled.gram(w, v + 1.0).rhs[0], Blocks((), n, groups).gram(w, v + 1.0).rhs[0], atol=1e-12
    )


def test_both_ways_of_finding_pairs_agree() -> None:
    """Few cells are counted in a table, many are sorted; the pattern is the same."""
    rng = np.random.default_rng(0)
    n = 3_000
    codes = [rng.integers(0, m, n).astype(np.int32) for m in (2_000, 900)]
    compact = [np.unique(c, return_inverse=True)[1].astype(np.int32) for c in codes]
    groups = [GroupRows(Group(str(i), int(c.max()) + 1, 1, ()), c, None) for i, c in enumerate(compact)]
    found, slots = cross_pattern(*groups)
    pairs = sorted(set(zip(compact[0].tolist(), compact[1].tolist(), strict=True)))
    assert list(zip(found.rows().tolist(), found.indices.tolist(), strict=True)) == pairs
    assert (found.rows()[slots] == compact[0]).all()
    assert (found.indices[slots] == compact[1]).all()
    small = [GroupRows(Group("s", 7, 1, ()), c % 7, None) for c in compact]
    table, slots = cross_pattern(*small)
    assert (table.rows()[slots] == small[0].codes).all()
    assert (table.indices[slots] == small[1].codes).all()
