"""Factors of dense positive definite matrices, by numpy's LAPACK and by scipy's."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.numerics import definite
from lmmformula.numerics.definite import factored


@pytest.fixture(params=[True, False], ids=["numpy", "scipy"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(definite, "SMALL", 0)
    return request.param


def lower_triangle(s: np.ndarray) -> np.ndarray:
    """What engines give: nothing is known above the diagonal."""
    return np.where(np.tri(len(s), dtype=bool), s, 1e6)


@pytest.mark.parametrize("spread", [1.0, 1e6])
def test_answers_are_those_of_the_matrix(small: bool, spread: float) -> None:
    rng = np.random.default_rng(0)
    scale = np.geomspace(1.0, spread, 7)
    s = np.cov(rng.normal(size=(7, 30))) * np.outer(scale, scale)
    b, z = rng.normal(size=(2, 7, 3))
    own = factored(lower_triangle(s))
    assert (own.back is not None) == small
    inverse = own.inverse()
    assert inverse.flags.c_contiguous
    np.testing.assert_array_equal(inverse, inverse.T)
    np.testing.assert_allclose(
        scale[:, None] * inverse * scale, np.linalg.inv(s / np.outer(scale, scale)), rtol=1e-11
    )
    np.testing.assert_allclose(own.solve(b), np.linalg.solve(s, b), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(2.0 * own.log_diagonal, np.linalg.slogdet(s)[1], rtol=1e-13)
    np.testing.assert_allclose(own.half().T @ s @ own.half(), np.eye(7), atol=1e-9)
    np.testing.assert_allclose(own.half_solve(z), own.half() @ z, rtol=1e-9)
    np.testing.assert_array_equal(own.half(), np.triu(own.half()))


def test_single_precision_answers_in_double(small: bool) -> None:
    s = np.array([[2.0, 0.5], [0.5, 1.0]])
    own = factored(s.astype(np.float32))
    assert own.upper.dtype == own.inverse().dtype == np.float32
    assert own.solve(np.eye(2, dtype=np.float32)).dtype == np.float64
    np.testing.assert_allclose(own.solve(np.eye(2)), np.linalg.inv(s), rtol=1e-6)


def test_what_is_not_definite_is_refused(small: bool) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factored(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_nothing_is_a_matrix_too() -> None:
    own = factored(np.zeros((0, 0)))
    assert own.log_diagonal == 0.0
    assert own.inverse().shape == (0, 0)
    assert own.solve(np.zeros((0, 2))).shape == own.half_solve(np.zeros((0, 2))).shape == (0, 2)
