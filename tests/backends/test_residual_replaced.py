"""What is said of structured effects beside which no residual is left, and how posteriors take coupled levels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, plan
from lmmformula.errors import BoundaryWarning


@cache
def series(noise: float = 0.0) -> pd.DataFrame:
    """Autoregressions whose residual is estimated as nothing, for this seed, or has `noise`."""
    rng = np.random.default_rng(0)
    e = rng.normal(size=(10, 12))
    for j in range(1, 12):
        e[:, j] = 0.8 * e[:, j - 1] + 0.6 * e[:, j]
    y = e.ravel() + noise * rng.normal(size=120)
    return pd.DataFrame({"y": y, "g": np.repeat(np.arange(10), 12), "t": np.tile(np.arange(12.0), 10)})


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_effects_in_the_residuals_place_are_said(unit: float) -> None:
    table = series()
    with pytest.warns(BoundaryWarning, match=r"ar1\(t\) \| g take the residual's place"):
        m = fit("y ~ ar1(0 + t | g)", table.assign(y=unit * table["y"]))
    assert "ar1(t) | g take the residual's place" in str(m.summary())


def test_a_residual_that_is_there_is_not_said_to_be_replaced() -> None:
    m = fit("y ~ ar1(0 + t | g)", series(1.0))  # warnings are errors
    assert "residual's place" not in str(m.summary())


def test_posteriors_of_coupled_levels_integrate_them_out_unless_told_otherwise() -> None:
    table = series().assign(y=lambda d: (d["y"] > 0).astype(int))
    chosen = plan("y ~ ar1(0 + t | g)", table, family="binomial", method="hmc")
    assert "integrated out approximately: by Laplace's approximation, as levels or rows" in str(chosen)
    plain = plan("y ~ (1 | g)", table, family="binomial", method="hmc")
    assert "nothing integrated out" in str(plain)
