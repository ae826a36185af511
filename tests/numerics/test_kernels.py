"""Small linear algebra against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.numerics import batched, blas, least_squares, tall
from lmmformula.numerics import ragged as ragged_products
from lmmformula.numerics.ragged import Ragged


@pytest.mark.parametrize("k", [1, 2, 4])
def test_batched(k: int) -> None:
    rng = np.random.default_rng(k)
    a = rng.normal(size=(7, k, k))
    s = a @ np.swapaxes(a, 1, 2) + np.eye(k)
    f = batched.cholesky(s)
    np.testing.assert_allclose(f @ np.swapaxes(f, 1, 2), s, atol=1e-12)
    np.testing.assert_allclose(batched.lower_inverse(f) @ f, np.broadcast_to(np.eye(k), s.shape), atol=1e-12)
    np.testing.assert_allclose(batched.matmul(s, a), s @ a)


def test_batched_cholesky_refuses_what_is_not_positive() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        batched.cholesky(np.array([[[1.0]], [[-1.0]]]))


@pytest.mark.parametrize("small", [True, False])
def test_blas_products(small: bool, monkeypatch) -> None:
    if not small:
        monkeypatch.setattr(blas, "_FEW", 0.0)
        monkeypatch.setattr(blas, "SMALL", 0)
    rng = np.random.default_rng(0)
    t, z = rng.normal(size=(7, 5)), rng.normal(size=(5, 5))
    z = z + z.T
    np.testing.assert_allclose(np.tril(blas.gram_lower(t)), np.tril(t.T @ t), atol=1e-12)
    np.testing.assert_allclose(blas.times_symmetric(t, z), t @ z, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_that_read_ahead(dtype: type, monkeypatch) -> None:
    """Columns that more levels meet than are read ahead, by a number that no tile divides."""
    monkeypatch.setattr(Ragged, "way", lambda _: "compiled")
    rng, m, q = np.random.default_rng(4), 333, 5
    met = rng.random((m, q)) < 0.7
    cols = np.nonzero(met)[1].astype(np.int32)
    ragged = Ragged.of(np.concatenate([[0], np.cumsum(met.sum(axis=1))]), cols, q, 1)
    assert ragged.is_single
    values = rng.normal(size=(1, len(cols)))
    t, z, out = ragged.dense(values), rng.normal(size=(q, q)), np.zeros((q, q), dtype)
    z = (z + z.T).astype(dtype)
    ragged.less_gram(out, values)
    near = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(np.tril(-out), np.tril(t.T @ t), rtol=near, atol=20 * near)
    np.testing.assert_allclose(ragged.on_pattern(values, z)[0], (t @ z)[met], rtol=near, atol=20 * near)


@pytest.mark.parametrize("way", ["dense", "sparse", "compiled"])
@pytest.mark.parametrize("k", [1, 3])
def test_ragged(way: str, k: int, monkeypatch) -> None:
    monkeypatch.setattr(Ragged, "way", lambda _: way)
    rng = np.random.default_rng(0)
    q, counts = 9, rng.integers(1, 6, 8)
    cols = np.concatenate([np.sort(rng.choice(q, c, replace=False)) for c in counts]).astype(np.int32)
    ragged = Ragged.of(np.concatenate([[0], np.cumsum(counts)]), cols, q, k)
    values = rng.normal(size=(k, len(cols)))
    t = ragged.dense(values)
    z = rng.normal(size=(q, q))
    z = z @ z.T
    np.testing.assert_allclose(np.tril(ragged.gram(values)), np.tril(t.T @ t), atol=1e-12)
    full = (t @ z).reshape(k, ragged.m, q)
    np.testing.assert_allclose(ragged.on_pattern(values, z), full[:, ragged.levels(), cols], atol=1e-12)
    y = rng.normal(size=(ragged.m, k, 2))
    x = rng.normal(size=(q, 2))
    product = np.moveaxis((t @ x).reshape(k, ragged.m, 2), 0, 1)
    transposed = t.T @ np.moveaxis(y, 1, 0).reshape(-1, 2)
    for much in (None, np.inf, 0):  # by a dense copy, at once, in parts
        if much is not None:
            monkeypatch.setattr(Ragged, "_is_small", lambda _: False)
            monkeypatch.setattr(ragged_products, "MUCH", much)
        np.testing.assert_allclose(ragged.times(values, x), product, atol=1e-12)
        np.testing.assert_allclose(ragged.transposed_times(values, y), transposed, atol=1e-12)


def test_the_way_is_chosen_by_size() -> None:
    def shape(m: int, c: int, q: int) -> Ragged:
        cols = np.tile(np.arange(c, dtype=np.int32), m)
        return Ragged.of(np.arange(0, m * c + 1, c), cols, q, 1)

    assert shape(20, 3, 10).way() == "dense"
    assert shape(5_000, 3, 3_000).way() == "sparse"
    assert shape(5_000, 60, 3_000).way() == "compiled"


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("by_rows", [True, False])
def test_least_squares(weighted: bool, by_rows: bool, monkeypatch) -> None:
    if not by_rows:
        monkeypatch.setattr(tall, "FEW", 0)
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(50), 1e4 + rng.normal(size=50), 1e-3 * rng.normal(size=50)])
    y = rng.normal(size=50) + 1e3
    w = rng.uniform(0.5, 2, 50) if weighted else None
    root = np.ones(50) if w is None else np.sqrt(w)
    expected = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
    found = least_squares.least_squares(tall.Tall(x), y, w)
    np.testing.assert_allclose(x @ found.coefficients, x @ expected, rtol=1e-9)
    gram = (x * root[:, None] ** 2).T @ x
    np.testing.assert_allclose(found.r.T @ found.r, gram, rtol=1e-9)
    assert found.log_det_r == pytest.approx(0.5 * np.linalg.slogdet(gram)[1], rel=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("gap", [1.0, 1e-4, 1e-9])
def test_tall_triangles_and_bases(weighted: bool, gap: float) -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=(20_000, 4)) * np.array([1.0, 1e-6, 1e5, 1.0])
    a[:, 3] = a[:, 0] + gap * a[:, 3]
    w = rng.uniform(0.5, 2, len(a)) if weighted else None
    expected = np.linalg.qr(a if w is None else a * np.sqrt(w)[:, None], mode="r")
    np.testing.assert_allclose(np.abs(tall.triangle(a, w)), np.abs(expected), rtol=1e-6, atol=1e-9 * 1e5)
    q = tall.orthonormal(a)
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(q @ (q.T @ a), a, atol=1e-9 * np.abs(a).max())
