"""The optimiser on functions with known minima."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lmmformula.numerics.trust_region import minimise


@dataclass(frozen=True)
class At:
    value: float
    gradient: Any
    hessian: Any
    error: float = 0.0


def rosenbrock(x):
    a, b = x
    value = (1 - a) ** 2 + 100 * (b - a * a) ** 2
    gradient = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
    hessian = np.array([[2 - 400 * (b - 3 * a * a), -400 * a], [-400 * a, 200.0]])
    return At(float(value), gradient, hessian)


def saddle(x):
    """Minima at (+-1, 0), a saddle at the origin: the shape of a deviance around a zero variance."""
    a, b = x
    return At(
        float((a * a - 1) ** 2 + b * b),
        np.array([4 * a * (a * a - 1), 2 * b]),
        np.diag([12 * a * a - 4, 2.0]),
    )


def test_curved_valley() -> None:
    found = minimise(rosenbrock, np.array([-1.2, 1.0]))
    assert found.converged
    assert found.evaluations < 60
    np.testing.assert_allclose(found.x, 1.0, atol=1e-4)


@pytest.mark.parametrize("start", [(0.0, 0.0), (1e-9, 0.5)])
def test_leaves_a_saddle(start) -> None:
    found = minimise(saddle, np.array(start))
    assert found.converged
    assert abs(abs(found.x[0]) - 1) < 1e-4


def test_limit_of_evaluations_is_reported() -> None:
    found = minimise(rosenbrock, np.array([-1.2, 1.0]), max_evaluations=5)
    assert not found.converged
    assert found.evaluations == 5


def test_flat_direction_ends() -> None:
    """One variable does not matter: the decrement does not see it."""
    found = minimise(
        lambda x: At(float((x[0] - 2) ** 2), np.array([2 * (x[0] - 2), 0.0]), np.diag([2.0, 0.0])),
        np.zeros(2),
    )
    assert found.converged
    assert found.x[0] == pytest.approx(2)


@pytest.mark.parametrize("claimed", [-0.5, 0.4, 3.0])
def test_a_rough_hessian_does_not_keep_a_search_from_its_minimum(claimed: float) -> None:
    """Curvature 1 along the second variable, claimed to be downwards, too small (steps overshoot) or too large."""

    def rough(x):
        a, b = x
        return At(float(a * a + 0.5 * b * b + b**4), np.array([2 * a, b + 4 * b**3]), np.diag([2.0, claimed]))

    found = minimise(rough, np.array([1.0, 0.7]))
    assert found.converged
    assert found.evaluations < 60
    np.testing.assert_allclose(found.x, 0.0, atol=1e-4)


def test_a_search_ends_where_the_value_only_rounds() -> None:
    """A gradient that rounding has left, beside a value that does not move."""
    found = minimise(
        lambda x: At(400.0 + 1e-14 * float(x[0]), np.array([-2e-9]), np.array([[1e-12]])), np.zeros(1)
    )
    assert found.converged
    assert found.evaluations < 20
