"""Searches in models of time and space end, also where the data say nothing of a structure and its parameters run off."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lmmformula import build, fit
from lmmformula.backends.stretched import Stretch
from lmmformula.errors import SingularFitWarning
from lmmformula.ir.problem import Problem
from lmmformula.numerics.trust_region import minimise
from lmmformula.typing import Array

TERMS = (
    "exp(0 + pos(a, b) | one)",
    "gau(0 + pos(a, b) | one)",
    "mat(0 + pos(a, b) | one, nu = 1.5)",
    "ou(0 + t | g)",
    "ar1(0 + t | g)",
)


def noise(seed: int, family: str) -> dict[str, Any]:
    """Points, times and a response that depends on none of them."""
    rng, n = np.random.default_rng(seed), 80
    a, b = rng.uniform(size=(2, n))
    x, columns = rng.normal(size=n), {"g": np.repeat(np.arange(10), 8), "t": np.tile(np.arange(8), 10)}
    y = 0.3 * x + rng.normal(size=n) if family == "gaussian" else rng.poisson(np.exp(0.5 + 0.3 * x))
    return {"a": a, "b": b, "x": x, "y": y, "one": ["all"] * n, **columns}


@pytest.mark.filterwarnings("ignore::lmmformula.errors.BoundaryWarning")
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
@pytest.mark.parametrize("term", TERMS)
def test_structures_of_noise(term: str, family: str) -> None:
    """No worse than the model without them, which each contains, in a bearable number of evaluations."""
    for seed in range(4):
        data = noise(seed, family)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFitWarning)
            m = fit(f"y ~ x + {term}", data, family=family)
        assert m.converged, (seed, m.diagnostics)
        assert m.diagnostics["evaluations"] < 120
        assert (
            m.llf
            > fit("y ~ x", data, family=family, method="reml" if family == "gaussian" else "ml").llf - 1e-5
        )


class Bowl:
    """A quadratic around theta = (3, -2), with a parameter between that is no scale."""

    error = 0.0
    hessian = np.diag([2.0, 6.0, 4.0])

    def __init__(self, theta: Array) -> None:
        self.gradient = self.hessian @ (theta - np.array([3.0, 0.5, -2.0]))
        self.value = 0.5 * float(self.gradient @ (theta - np.array([3.0, 0.5, -2.0])))


def test_stretched_points_are_those_of_the_chain_rule() -> None:
    stretch = Stretch(np.array([True, False, True]), 10)
    rng = np.random.default_rng(1)
    point = stretch.over(Bowl, lambda _: 0.0)
    for x in rng.normal(size=(4, 3)):
        np.testing.assert_allclose(stretch.inward(stretch.outward(x)), x, atol=1e-12)
        for j, step in enumerate(1e-5 * np.eye(3)):
            above, below = point(x + step), point(x - step)
            assert (above.value - below.value) / 2e-5 == pytest.approx(
                point(x).gradient[j], rel=1e-6, abs=1e-7
            )
            np.testing.assert_allclose(
                (above.gradient - below.gradient) / 2e-5, point(x).hessian[j], rtol=1e-5, atol=1e-7
            )
    found = stretch.restored(minimise(point, np.array([0.1, 0.0, 0.1]), tolerance=1e-14))
    np.testing.assert_allclose(found.x, [3.0, 0.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(found.curvature, Bowl.hessian, rtol=1e-2, atol=1e-2)


def test_plain_variances_are_searched_as_they_are() -> None:
    data = noise(0, "gaussian")

    def made(term: str) -> Problem:
        return build(f"y ~ x + {term}", data)

    assert Stretch.of(made("(1 + x | g)")) is None
    own = Stretch.of(made("ou(0 + t | g) + (1 + x | g)"), before=2)
    assert own is not None
    assert own.scales.tolist() == [False, False, True, False, True, True, True]
