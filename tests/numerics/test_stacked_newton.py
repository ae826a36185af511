"""Many minima at once: from saddles, along flat valleys, over steep walls, and each with an end of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lmmformula.numerics.stacked_newton import follow_stack, minimise_stack
from lmmformula.typing import Array, Index


@dataclass(frozen=True)
class _At:
    value: Array
    gradient: Array
    hessian: Array


def _quartic(x: Array, which: Index) -> _At:
    """(x^2 - c)^2 / 4 + y^2 with c = which - 1: a saddle at the origin for c > 0, a flat minimum for c = 0."""
    c = which - 1.0
    s = x[:, 0] ** 2 - c
    gradient = np.column_stack([x[:, 0] * s, 2.0 * x[:, 1]])
    hessian = np.zeros((len(x), 2, 2))
    hessian[:, 0, 0], hessian[:, 1, 1] = 3.0 * x[:, 0] ** 2 - c, 2.0
    return _At(s**2 / 4.0 + x[:, 1] ** 2, gradient, hessian)


def test_each_search_has_its_own_end() -> None:
    found = minimise_stack(_quartic, np.tile([0.0, 3.0], (4, 1)), np.ones(4))
    assert found.converged.all()
    np.testing.assert_allclose(np.abs(found.x[[0, 2, 3], 0]), [0.0, 1.0, np.sqrt(2.0)], atol=1e-9)
    assert abs(found.x[1, 0]) < 1e-2
    np.testing.assert_allclose(found.x[:, 1], 0.0, atol=1e-12)
    assert found.evaluations.min() < found.evaluations.max()


def test_rosenbrock_from_many_places() -> None:
    def valley(x: Array, which: Index) -> _At:
        a, b = x[:, 0], x[:, 1]
        bend = b - a**2
        gradient = np.column_stack([-400.0 * a * bend - 2.0 * (1.0 - a), 200.0 * bend])
        hessian = np.empty((len(x), 2, 2))
        hessian[:, 0, 0] = 1200.0 * a**2 - 400.0 * b + 2.0
        hessian[:, 0, 1] = hessian[:, 1, 0] = -400.0 * a
        hessian[:, 1, 1] = 200.0
        return _At(100.0 * bend**2 + (1.0 - a) ** 2, gradient, hessian)

    start = np.random.default_rng(1).normal(size=(50, 2)) * 3.0
    found = minimise_stack(valley, start, np.ones(50))
    assert found.converged.all()
    np.testing.assert_allclose(found.x, 1.0, atol=1e-7)


def test_hessians_that_follow_lead_to_the_same_place() -> None:
    """From one Hessian for all of them, off by a third, also where the functions are not convex."""
    start = np.array([[2.0, 1.0], [0.4, -3.0], [-1.7, 0.5]])
    given = np.repeat(np.diag([4.0, 3.0])[None], 3, axis=0)
    found = follow_stack(lambda x, which: _quartic(x, which + 2), start, np.ones(3), given, tolerance=1e-14)
    assert found.converged.all()
    np.testing.assert_allclose(found.x[:, 0], [1.0, np.sqrt(2.0), -np.sqrt(3.0)], atol=1e-7)
    np.testing.assert_allclose(found.x[:, 1], 0.0, atol=1e-7)
    np.testing.assert_allclose(found.hessian[:, 1, 1], 2.0, rtol=0.1)


def test_where_there_is_no_value_nobody_steps() -> None:
    def walled(x: Array, which: Index) -> _At:
        with np.errstate(invalid="ignore", divide="ignore"):
            value = x[:, 0] - np.log(x[:, 0])
        return _At(value, 1.0 - 1.0 / x, (1.0 / x**2)[:, :, None])

    found = minimise_stack(walled, np.array([[5.0], [0.01], [-1.0]]), np.full(3, 10.0))
    assert found.converged.tolist() == [True, True, False]
    np.testing.assert_allclose(found.x[:2, 0], 1.0, rtol=1e-8)


def test_the_limit_of_evaluations() -> None:
    found = minimise_stack(_quartic, np.array([[9.0, 3.0]]), np.ones(1), max_evaluations=3)
    assert not found.converged[0]
    assert found.evaluations[0] <= 4


@pytest.mark.parametrize("size", [0, 1])
def test_nothing_to_move(size: int) -> None:
    def flat(x: Array, which: Index) -> _At:
        return _At(np.zeros(len(x)), np.zeros((len(x), 0)), np.zeros((len(x), 0, 0)))

    found = minimise_stack(flat, np.zeros((size, 0)), np.ones(size))
    assert found.converged.all()
    assert found.x.shape == (size, 0)
