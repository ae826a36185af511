"""Products with rows in groups of one pattern, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.engines.krylov.compressed import Compressed, filled


def rows_of(levels: int, k: int, columns: int) -> tuple[Compressed, np.ndarray, np.ndarray]:
    """A pattern in groups of k rows, its values, and the dense matrix."""
    rng = np.random.default_rng(0)
    met = [np.sort(rng.choice(columns, rng.integers(1, columns), replace=False)) for _ in range(levels)]
    cols = np.concatenate([np.tile(own, k) for own in met]).astype(np.int32)
    counts = np.repeat([len(own) for own in met], k)
    ptr = np.concatenate([[0], np.cumsum(counts)])
    values, dense = rng.normal(size=len(cols)), np.zeros((levels * k, columns))
    dense[np.repeat(np.arange(levels * k), counts), cols] = values
    return Compressed(ptr, cols, slice(None)), values, dense


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("c", [3, 8])
def test_a_product(c: int, single: bool) -> None:
    pattern, values, dense = rows_of(6, 4, 11)
    kind, near = (np.float32, 1e-5) if single else (np.float64, 1e-13)
    x = np.random.default_rng(1).normal(size=(11, c))
    wide = filled(x.astype(kind), alike=True)
    assert wide.shape[1] % 4 == 0
    out = pattern.times_alike(values.astype(kind), wide)
    assert out.dtype == kind
    np.testing.assert_allclose(out[:, :c], dense @ x, atol=near)
    pattern.add_alike(values.astype(kind), -2.0, wide, out)
    np.testing.assert_allclose(out[:, :c], -(dense @ x), atol=2 * near)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_products_within_levels_and_their_scaling(k: int) -> None:
    pattern, values, dense = rows_of(7, k, 9)
    blocks = dense.reshape(7, k, 9)
    head, m = 2 * k, 5
    found = pattern.level_products(head, m, k, values, 3.0 * values)
    np.testing.assert_allclose(found, 3.0 * blocks[2:] @ blocks[2:].swapaxes(1, 2), atol=1e-12)
    lower = np.tril(np.random.default_rng(2).normal(size=(m, k, k)))
    scaled = values.copy()
    pattern.scale_levels(head, lower, scaled)
    moved = np.zeros_like(dense)
    moved[np.repeat(np.arange(len(dense)), np.diff(pattern.ptr)), pattern.cols] = scaled
    expected = np.concatenate([blocks[:2], lower @ blocks[2:]]).reshape(dense.shape)
    np.testing.assert_allclose(moved, expected, atol=1e-12)
