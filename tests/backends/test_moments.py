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


def slopes(n: int = 4_000, levels: tuple[int, int] = (60, 40)) -> pd.DataFrame:
    """Correlated intercepts and slopes on both factors; some levels have fewer rows than columns."""
    rng = np.random.default_rng(5)
    g, h = (np.minimum(rng.geometric(3.0 / m, n), m) - 1 for m in levels)
    x = rng.normal(size=n)
    lower = np.array([[0.8, 0.0], [0.3, 0.5]])
    a, b = (scale * rng.normal(size=(m, 2)) @ lower.T for scale, m in zip((1.0, 0.6), levels, strict=True))
    y = 1.0 + x + a[g, 0] + a[g, 1] * x + b[h, 0] + b[h, 1] * x + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "w": rng.uniform(0.5, 2.0, n)})


def test_the_equations_of_several_columns_hold() -> None:
    data = slopes(1_200, (40, 25))
    m = model("y ~ x + (x | g) + (1 | h)", data, weights="w")
    found = moment_start(m)
    assert found is not None
    w, x = data["w"].to_numpy(), np.column_stack([np.ones(len(data)), data["x"]])
    root, variances = np.sqrt(w), np.zeros(5)
    r = data["y"] - x @ np.linalg.lstsq(x * root[:, None], data["y"] * root, rcond=None)[0]
    g, h = (pd.get_dummies(data[name]).to_numpy(float) for name in "gh")
    z = np.stack([g, g * x[:, 1:]], axis=2)  # rows, levels, columns
    pairs = [(0, 0), (1, 0), (1, 1)]

    def along(i: int, j: int) -> np.ndarray:
        out = z[:, :, i] @ z[:, :, j].T
        return out if i == j else out + out.T

    shapes = [np.diag(1.0 / w), *(along(*pair) for pair in pairs), h @ h.T]
    of_g, of_h = np.broadcast_to(np.eye(2), (g.shape[1], 2, 2)), np.ones(h.shape[1])
    for _ in range(5):
        moved = w[:, None, None] * np.einsum("njk,jlk->njl", z, of_g)  # W Z_j H_j'
        forms = [np.diag(w)]
        forms += [0.5 * (a + a.T) for a in (moved[:, :, i] @ moved[:, :, j].T for i, j in pairs)]
        forms += [(w[:, None] * h * of_h) @ (w[:, None] * h * of_h).T]
        seen = np.array([r @ f @ r for f in forms])
        expected = np.array([[np.vdot(f, s) for s in shapes] for f in forms])
        expected[0, 0] -= x.shape[1]
        variances = np.linalg.solve(expected, seen)
        spread = sum(v * s for v, s in zip(variances / variances[0], shapes, strict=True))
        wz, wh = w[:, None, None] * z, w[:, None] * h
        v = np.stack([of_one.T @ spread @ of_one for of_one in np.swapaxes(wz, 0, 1)])
        of_g = np.swapaxes(np.linalg.solve(v, np.einsum("njk,njl->jkl", z, wz)), 1, 2)
        of_h = np.diag(wh.T @ h) / np.diag(wh.T @ spread @ wh)
    one, both, two, alone = variances[1:] / variances[0]
    lower = np.linalg.cholesky([[one, both], [both, two]])
    np.testing.assert_allclose(found, [lower[0, 0], lower[1, 0], lower[1, 1], np.sqrt(alone)], rtol=1e-6)


def test_the_start_of_crossed_slopes_is_near_the_optimum() -> None:
    m = fit("y ~ x + (x | g) + (x | h)", slopes(8_000, (300, 200)), method="ml")
    found = moment_start(m.optimum.model)
    assert found is not None
    np.testing.assert_allclose(found, m.theta, atol=0.1)  # two standard errors of a sd of 0.8 from 200 levels


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
    assert moment_start(model("y ~ x + (1 | g) + (1 | h)", table(sds=(0.7, 0.0)))) is None
