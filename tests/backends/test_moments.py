"""The start by moments, against its equations on dense matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit
from lmmformula.backends.moments import moment_start
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine


def table(
    n: int = 3_000, levels: tuple[int, int] = (80, 60), sds: tuple[float, float] = (0.7, 0.4)
) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    g, h = (rng.integers(0, m, n) for m in levels)
    x = rng.normal(size=n)
    effects = [sd * rng.normal(size=m) for sd, m in zip(sds, levels, strict=True)]
    y = 1.0 + x + effects[0][g] + effects[1][h] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "w": rng.uniform(0.5, 2.0, n)})


def model(formula: str, data: pd.DataFrame, **options) -> Profiled:
    return Profiled.of(build(formula, data, **options), BlockedEngine(), reml=True)


@pytest.mark.parametrize("weights", [None, "w"])
def test_the_equations_hold(weights: str | None) -> None:
    data = table()
    found = moment_start(model("y ~ x + (1 | g) + (1 | h)", data, weights=weights))
    assert found is not None
    w = np.ones(len(data)) if weights is None else data["w"].to_numpy()
    x = np.column_stack([np.ones(len(data)), data["x"]])
    root = np.sqrt(w)
    r = data["y"] - x @ np.linalg.lstsq(x * root[:, None], data["y"] * root, rcond=None)[0]
    z = [pd.get_dummies(data[name]).to_numpy(float) for name in "gh"]
    shapes = [np.diag(1.0 / w), *(a @ a.T for a in z)]  # var r in units of each variance
    by_level = [np.ones(a.shape[1]) for a in z]
    variances = np.ones(3)
    for _ in range(5):
        sums = [w[:, None] * a for a in z]
        forms = [np.diag(w), *((s * v) @ s.T for s, v in zip(sums, by_level, strict=True))]
        seen = np.array([r @ f @ r for f in forms])
        expected = np.array([[np.vdot(f, s) for s in shapes] for f in forms])
        expected[0, 0] -= x.shape[1]
        variances = np.linalg.solve(expected, seen)
        spread = sum(v * s for v, s in zip(variances / variances[0], shapes, strict=True))
        by_level = [(np.diag(s.T @ a) / np.diag(s.T @ spread @ s)) ** 2 for s, a in zip(sums, z, strict=True)]
    np.testing.assert_allclose(found**2, variances[1:] / variances[0], rtol=1e-8)


def test_a_level_of_most_rows_does_not_rule() -> None:
    """One level of h has a third of all rows: without weights its own effect would be the variance."""
    data = table(20_000, (900, 300))
    data.loc[: len(data) // 3, "h"] = 0
    m = fit("y ~ x + (1 | g) + (1 | h)", data, method="ml")
    found = moment_start(m.optimum.model)
    assert found is not None
    np.testing.assert_allclose(found, m.theta, rtol=0.08)  # two standard errors of a sd from 300 levels


def test_the_start_is_near_the_optimum() -> None:
    data = table(20_000, (900, 700))
    m = fit("y ~ x + (1 | g) + (1 | h)", data, method="ml")
    found = moment_start(m.optimum.model)
    assert found is not None
    np.testing.assert_allclose(found, m.theta, rtol=0.05)  # two standard errors of a sd from 700 levels


def test_where_moments_say_nothing() -> None:
    assert moment_start(model("y ~ x + (x | g)", table())) is None
    assert moment_start(model("y ~ x + (1 | g) + (1 | h)", table(sds=(0.7, 0.0)))) is None
