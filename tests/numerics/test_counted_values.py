"""Values that codes name, and weighted sums by code in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.numerics import counted


@pytest.fixture(params=[0, 10**9], ids=["compiled", "counted"])
def many(request, monkeypatch):
    monkeypatch.setattr(counted, "MANY", request.param)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_values_of_codes_are_added_to_some_rows(kind):
    rng = np.random.default_rng(1)
    codes, values, out = rng.integers(0, 7, 50).astype(kind), rng.standard_normal((7, 2)), np.ones(50)
    counted.add_values_of(codes, values[:, 1], out, 10, 40, 2.0)
    some = slice(10, 40)
    np.testing.assert_allclose(out[some], 1.0 + 2.0 * values[codes[some], 1], rtol=1e-14)
    assert (np.delete(out, np.r_[some]) == 1.0).all()


@pytest.mark.parametrize("c", [1, 6, 8, 9])
def test_weighted_sums_by_code(monkeypatch, c):
    monkeypatch.setattr(counted, "MANY", 0)
    rng = np.random.default_rng(c)
    codes, weights, rows = rng.integers(0, 5, 40), rng.random(40), rng.standard_normal((40, c))
    found = counted.columns_by(codes, rows, 5, weights)
    if c > 8:
        assert found is None
        return
    assert found is not None
    expected = np.zeros((5, c))
    np.add.at(expected, codes, weights[:, None] * rows)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
