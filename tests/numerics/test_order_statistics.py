"""Medians and spreads of numbers in parts are those of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lmmformula.numerics import order_statistics
from lmmformula.numerics.order_statistics import mean_ranks, median, spread

DRAWS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "far from zero": lambda rng, n: 1e9 + 1e-3 * rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n) ** 3,
    "few values": lambda rng, n: rng.integers(0, 3, n).astype(float),
    "one value": lambda rng, n: np.full(n, -2.5),
    "one far out": lambda rng, n: np.r_[rng.normal(size=n - 1), 1e12],
}


class Parts:
    """An array that is gone through in pieces."""

    def __init__(self, values: np.ndarray, size: int) -> None:
        self.values, self.size = values, size

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[i : i + self.size] for i in range(0, len(self.values), self.size))


@pytest.mark.parametrize("n", [1, 2, 999, 1_000])
@pytest.mark.parametrize("name", DRAWS)
def test_median_and_spread(name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "FEW", 20)
    monkeypatch.setattr(order_statistics, "BINS", 16)
    values = DRAWS[name](np.random.default_rng(n), n)
    assert median(Parts(values, 37)) == np.median(values) == median([values])
    for around in (True, False):
        centred = values - values.mean() if around else values
        found = spread(Parts(values, 37), around_mean=around)
        assert found == pytest.approx(np.sqrt(np.mean(centred**2)) or 1.0, rel=1e-7)


def test_mean_ranks() -> None:
    from scipy.stats import rankdata

    rng = np.random.default_rng(1)
    x = np.column_stack([draw(rng, 41) for draw in DRAWS.values()])
    x[3, 0] = np.nan
    np.testing.assert_array_equal(mean_ranks(x), rankdata(x, axis=0))
    np.testing.assert_array_equal(mean_ranks(x[:1]), np.where(np.isnan(x[:1]), np.nan, 1.0))
    assert mean_ranks(np.zeros((0, 2))).shape == (0, 2)
