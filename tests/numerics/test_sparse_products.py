"""Products of a sparse matrix with a column, over parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from lmmformula.engines.backfitting import clubbed
from lmmformula.numerics import sparse_products
from lmmformula.numerics.sparse_products import column_product


@pytest.mark.parametrize("shape", [(300, 7), (5, 200), (1, 1)])
@pytest.mark.parametrize("sums", [10, 32_000_000])
def test_column_product(shape: tuple[int, int], sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_products, "SUMS", sums)
    rng = np.random.default_rng(0)
    a = csr_array(random_array(shape, density=0.3, rng=rng))
    for matrix, by_rows, size in ((a, True, shape), (a.T, False, shape[::-1])):
        x = rng.normal(size=size[1])
        data = np.asarray(matrix.data, dtype=float)
        found = column_product(matrix.indptr, matrix.indices, data, x, (size[0], size[1]), by_rows=by_rows)
        np.testing.assert_allclose(found, matrix @ x, rtol=1e-12, atol=1e-14)


def test_couplings_over_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from oracle import make_problem

    blocks = make_problem("crossed").data.levels
    gram = blocks.gram(None, np.zeros((blocks.n, 0)))  # type: ignore[attr-defined]
    at, rng = clubbed.Couplings(blocks, gram), np.random.default_rng(1)
    for a, b in ((0, 1), (1, 0)):
        x = rng.normal(size=(blocks.groups[b].q, 1))
        plain = at.times(a, b, x)
        with monkeypatch.context() as patch:
            patch.setattr(clubbed, "THREADED", 0)
            np.testing.assert_allclose(at.times(a, b, x), plain, rtol=1e-12)
