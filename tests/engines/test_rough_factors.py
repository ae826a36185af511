"""Factors of single precision lead a search; what it ends with is of double precision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.engines import blocked
from lmmformula.engines.blocked import BlockedFactor


def slopes() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n, levels = 1_500, (40, 30)
    g, h = (rng.integers(0, m, n) for m in levels)
    x = rng.normal(size=n)
    a, b = (scale * rng.normal(size=(m, 2)) for scale, m in zip((1.0, 0.6), levels, strict=True))
    y = 1.0 + x + a[g, 0] + a[g, 1] * x + b[h, 0] + b[h, 1] * x + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


FORMULA = "y ~ x + (x | g) + (x | h)"


@pytest.mark.parametrize("reml", ["reml", "ml"])
def test_the_estimate_is_that_of_double_precision(reml: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fit(FORMULA, slopes(), method=reml)
    monkeypatch.setattr(blocked, "SINGLE", 10)
    sides, factorise = [], blocked._factorise

    def seen(*arguments) -> BlockedFactor:
        out = factorise(*arguments)
        sides.append(out.dense.upper.dtype)
        return out

    monkeypatch.setattr(blocked, "_factorise", seen)
    led = fit(FORMULA, slopes(), method=reml)
    assert sides[0] == np.float32
    assert sides[-1] == np.float64
    assert sides.count(np.dtype(np.float64)) <= 4
    np.testing.assert_allclose(led.theta, plain.theta, atol=1e-6)
    np.testing.assert_allclose(led.llf, plain.llf, atol=1e-9)
    np.testing.assert_allclose(led.bse, plain.bse, rtol=1e-6)


def test_answers_of_a_rough_factor_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "SINGLE", 10)
    point = fit(FORMULA, slopes(), method="ml").optimum
    model, exact = point.model, point.factor
    rough = model.prepared.rough.factor(model.gram, point.factors).sharpened().factor
    assert rough.dense.upper.dtype == np.float32
    np.testing.assert_allclose(rough.logdet, exact.logdet, rtol=1e-5)
    for found, known in zip(rough.trace_blocks(), exact.trace_blocks(), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, known, atol=1e-4 * np.abs(known).max())
    for found, known in zip(rough.solve(model.gram.rhs), exact.solve(model.gram.rhs), strict=True):
        np.testing.assert_allclose(found, known, atol=1e-4 * np.abs(known).max())


def test_what_is_not_definite_in_single_precision_is_factorised_in_double() -> None:
    near = 1.0 - 1e-10
    matrix = np.array([[1.0, near], [near, 1.0]])
    out = blocked._factored_dense(lambda kind: matrix.astype(kind), single=True).upper
    assert out.dtype == np.float64
    np.testing.assert_allclose(np.triu(out).T @ np.triu(out), [[1.0, near], [near, 1.0]], atol=1e-15)
