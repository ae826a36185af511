"""Sparse patterns in slabs: every entry once, products as of the matrix, and little that fills up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from lmmformula.numerics import slabs as module
from lmmformula.numerics.slabs import START, Slabs, slab_widths


def times(slabs: Slabs, values, x):
    """The product that a device makes."""
    held = np.append(values, 0.0)
    parts = [np.einsum("rw,rwc->rc", held[s], x[c]) for s, c in zip(slabs.sources, slabs.cols, strict=True)]
    out = np.concatenate(parts)
    return out if slabs.back is None else out[slabs.back]


def ragged(rows: int, cols: int, heavy: bool):
    rng = np.random.default_rng(1)
    a = csr_array(random_array((rows, cols), density=0.03, rng=rng, format="csr"))
    if heavy:
        dense = a.toarray()
        dense[rows // 2], dense[1] = rng.normal(size=cols), 0.0
        a = csr_array(dense)
    return a


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("start", [1, START])
def test_products(heavy: bool, start: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "START", start)
    a = ragged(400, 3000, heavy)
    x = np.random.default_rng(2).normal(size=(3000, 3))
    slabs = Slabs.of(a.indptr, a.indices)
    np.testing.assert_allclose(times(slabs, a.data, x), a @ x, atol=1e-12)
    turned = a.T.tocsr()
    order = csr_array((np.arange(a.nnz), a.indices, a.indptr), shape=a.shape).T.tocsr().data
    by_column = Slabs.of(turned.indptr, turned.indices, order)
    y = x[:400]
    np.testing.assert_allclose(times(by_column, a.data, y), a.T @ y, atol=1e-12)
    used = np.concatenate([s.ravel() for s in by_column.sources])
    np.testing.assert_array_equal(np.sort(used[used < a.nnz]), np.arange(a.nnz))


def test_cuts_are_the_cheapest(monkeypatch) -> None:
    monkeypatch.setattr(module, "START", 30)
    counts = np.random.default_rng(3).choice([0, 1, 2, 5, 6, 20, 90], size=60)
    lengths = np.unique(np.maximum(counts, 1))

    def cost(ends) -> float:
        slab = np.searchsorted(ends, np.maximum(counts, 1))
        return float(np.asarray(ends)[slab].sum()) + 30 * len(ends)

    inner = [c for r in range(len(lengths)) for c in itertools.combinations(lengths[:-1], r)]
    best = min(cost([*c, lengths[-1]]) for c in inner)
    assert cost(slab_widths(counts)) == best


def test_a_row_that_meets_everything_fills_nothing_up() -> None:
    counts = np.append(np.random.default_rng(4).poisson(20, 50_000), 400_000)
    widths = slab_widths(counts)
    padded = widths[np.searchsorted(widths, counts)].sum()
    assert padded < 1.15 * counts.sum()
    many = np.arange(1, 5_000)
    widths = slab_widths(many)
    assert widths[-1] == many[-1]
    assert widths[np.searchsorted(widths, many)].sum() < 1.15 * many.sum()
