"""Tail probabilities of weighted sums of chi-squares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lmmformula.numerics.quadratic_form import tail


@pytest.mark.parametrize("q", [0.3, 2.0, 9.0, 25.0])
@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_equal_weights_are_a_chi_square(q: float, k: int) -> None:
    assert tail(2.5 * q, np.full(k, 2.5)) == pytest.approx(stats.chi2.sf(q, k), abs=1e-9)


@pytest.mark.parametrize(("f", "k", "d"), [(0.7, 2, 10), (2.2, 4, 31), (5.0, 3, 200)])
def test_a_ratio_is_an_f(f: float, k: int, d: int) -> None:
    weights, df = np.append(np.ones(k), -k * f / d), np.append(np.ones(k), d)
    assert tail(0.0, weights, df) == pytest.approx(stats.f.sf(f, k, d), abs=1e-9)


@pytest.mark.parametrize("weights", [(3.0, 1.0), (2.0, 1.0, 0.4), (1.0, 1.0, 0.9, 0.2, -0.5)])
def test_against_draws(weights: tuple[float, ...]) -> None:
    draws = np.random.default_rng(1).chisquare(1, (400_000, len(weights))) @ np.array(weights)
    for q in (1.0, 4.0, 8.0):
        share = float((draws > q).mean())
        assert tail(q, weights) == pytest.approx(share, abs=4.0 * np.sqrt(share * (1.0 - share) / len(draws)))


def test_far_out_it_is_a_bound() -> None:
    far = tail(200.0, np.array([1.0, 0.7, 0.5]))
    assert 0.0 < far < 1e-40
    assert far > stats.chi2.sf(200.0, 1)
    assert tail(-1.0, np.array([1.0, 2.0, 3.0])) == pytest.approx(1.0, abs=1e-12)
    assert tail(1.0, np.zeros(2)) == 0.0
