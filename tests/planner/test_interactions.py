"""Many factors that are interactions of a few: blocks would leave a large dense part, most of which is empty."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, plan
from lmmformula.engines import registry

FORMULA = "y ~ z + (1 | a) + (1 | s:b) + (1 | s:a:c) + (1 | s:a:b)"


def table(states: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = list(product(range(states), range(4), range(5), range(3)))
    data = pd.DataFrame(rows, columns=["s", "a", "b", "c"])
    data["z"] = rng.normal(size=len(data))
    eta = 0.3 * data["z"].to_numpy()
    for factor in ("a", "s:b", "s:a:c", "s:a:b"):
        codes = data.groupby(factor.split(":")).ngroup().to_numpy()
        eta = eta + 0.6 * rng.normal(size=codes.max() + 1)[codes]
    data["y"] = eta + rng.normal(size=len(data))
    return data


def test_an_order_that_fills_in_little_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan(FORMULA, table(), method="ml").engine == "blocked"  # where it is all small
    monkeypatch.setattr(registry, "LARGE", 50)
    data = table(150)
    made = plan(FORMULA, data, method="ml")
    assert made.engine == "sparse"
    blocked = next(a for a in made.alternatives if a.engine == "blocked")
    assert blocked.seconds > 3.0 * made.seconds


def test_it_is_as_exact() -> None:
    found, known = (fit(FORMULA, table(), method="ml", engine=name) for name in ("sparse", "blocked"))
    np.testing.assert_allclose(found.llf, known.llf, atol=1e-8)
    np.testing.assert_allclose(found.theta, known.theta, atol=1e-5)


def test_crossed_factors_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their smaller one is dense whatever the order; a third of few levels changes nothing of that."""
    monkeypatch.setattr(registry, "LARGE", 50)
    rng, n = np.random.default_rng(1), 5_000
    codes = {name: rng.integers(0, m, n) for name, m in (("g", 200), ("h", 100), ("i", 3))}
    data = pd.DataFrame({"y": rng.normal(size=n), **codes})
    made = plan("y ~ 1 + (1 | g) + (1 | h) + (1 | i)", data, method="ml")
    assert "sparse" not in {made.engine, *(a.engine for a in made.alternatives)}
