"""Steps that shrink by a steady ratio, and steps that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmmformula.numerics.geometric import SteadySteps, beyond


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.5])
def test_extrapolation_of_a_linear_iteration(ratio: float) -> None:
    """Slowest direction with `ratio`, two faster ones: the limit is met in a third of the steps or less."""

    def steps(*, hasten: bool) -> int:
        shrink, x, steady = np.array([ratio, 0.3 * ratio, 0.01]), np.array([1.0, -2.0, 5.0]), SteadySteps()
        for count in range(200):
            move = (shrink - 1.0) * x
            further = steady.further(float(np.linalg.norm(move))) if hasten else 0.0
            x = x + (1.0 + further) * move
            if np.linalg.norm(x) < 1e-12:
                return count
        return 200

    assert steps(hasten=True) < 0.75 * steps(hasten=False)


def test_no_extrapolation_where_ratios_vary_or_grow() -> None:
    for lengths in (
        [1.0, 0.1, 0.05, 0.001],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, 2.0, 4.0],
        [1.0, 0.9, 0.81, 0.73],
        [0.0, 0.0, 0.0],
    ):
        steady = SteadySteps()
        assert [steady.further(v) for v in lengths] == [0.0] * len(lengths)


def test_an_extrapolation_that_gained_nothing_is_the_last() -> None:
    steady = SteadySteps()
    assert [steady.further(v) for v in (1.0, 0.5)] == [0.0, 0.0]
    assert steady.further(0.25) == pytest.approx(1.0)
    assert [steady.further(v) for v in (0.2, 0.1, 0.05, 0.025)] == [0.0] * 4


def test_what_is_left_behind_a_step() -> None:
    assert beyond(0.5) == 1.0
    assert beyond(0.0) == 0.0
    assert beyond(1.0) == math.inf
