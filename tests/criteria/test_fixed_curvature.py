"""Second derivatives in the fixed effects against dense traces and against differences of the exact gradient."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.backends import curvature
from lmmformula.criteria import fixed_curvature
from lmmformula.criteria.laplace import LaplacePoint


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n, g, h = 240, rng.integers(0, 9, 240), rng.integers(0, 7, 240)
    x = rng.normal(size=n)
    eta = -0.3 + 0.5 * x + 0.7 * rng.normal(size=9)[g] + 0.5 * rng.normal(size=7)[h]
    count = rng.poisson(np.exp(eta))
    frame = {
        "w": rng.uniform(0.5, 1.5, n),
        "x": x,
        "z": rng.normal(size=n),
        "g": g,
        "h": h,
        "count": count,
        "yes": count > 0,
    }
    return pd.DataFrame({**frame, "over": rng.poisson(np.exp(1.0 + eta) * rng.gamma(2.0, 0.5, n))})


def point_of(formula: str, frame: pd.DataFrame, **options: Any) -> LaplacePoint:
    point = fit(formula, frame, **options).point
    assert isinstance(point, LaplacePoint)
    return point


def _exact_traces(point: LaplacePoint, moves: list[np.ndarray]) -> np.ndarray:
    """tr(M^-1 M_j M^-1 M_k) from dense matrices."""
    shapes = [v.shape for v in point.u]
    columns = []
    for unit in np.eye(sum(v.size for v in point.u)):
        parts, at = [], 0
        for m, k in shapes:
            parts.append(unit[at : at + m * k].reshape(m, k))
            at += m * k
        columns.append(point.model.predictor(None, point.factors, parts))
    z = np.column_stack(columns)
    inverse = np.linalg.inv(z.T @ (point.weighted.weight[:, None] * z) + np.eye(z.shape[1]))
    pushed = [inverse @ (z.T @ (move[:, None] * z)) for move in moves]
    return np.array([[np.trace(a @ b) for a in pushed] for b in pushed])


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("yes ~ x + z + (1 | g) + (1 | h)", {"family": "binomial"}),
        ("count ~ x + (x | g) + (1 | h)", {"family": "poisson"}),
        ("yes ~ x + (1 | g)", {"family": "binomial('probit')", "information": "expected"}),
    ],
)
def test_curvature_is_that_of_differences(frame, formula, options):
    found = point_of(formula, frame, **options)
    point = found.model(found.psi + 0.05, u=found.u)
    beta = point.model.layout.beta
    smooth, effects = fixed_curvature._smooth_part(point)
    traces = _exact_traces(point, list(fixed_curvature._moves(point, effects)))
    differences = curvature._two_sided(point.model, np.ones(len(point.psi), dtype=bool), point)
    np.testing.assert_allclose(smooth - traces, differences[beta, beta], rtol=1e-5, atol=1e-6 * smooth.max())
    drawn = fixed_curvature._drawn(point, effects, np.random.default_rng(1), 200)
    error = drawn.std(axis=0) / np.sqrt(200)
    assert (np.abs(drawn.mean(axis=0) - traces) < 4.5 * error).all()


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("yes ~ x + z + (1 | g)", {"family": "binomial"}),
        ("count ~ x + (0 + w | g)", {"family": "poisson"}),
        ("count ~ x + (x | g)", {"family": "poisson"}),
        ("count ~ x + z", {"family": "poisson"}),
        ("yes ~ x + z + (1 | g)", {"family": "binomial('probit')", "information": "expected"}),
    ],
)
def test_up_to_one_grouping_factor_nothing_is_drawn(frame, formula, options):
    found = point_of(formula, frame, **options)
    point = found.model(found.psi + 0.05, u=found.u)
    beta = point.model.layout.beta
    differences = curvature._two_sided(point.model, np.ones(len(point.psi), dtype=bool), point)
    exact = fixed_curvature.beta_curvature(point, 0.0)
    assert exact is not None
    np.testing.assert_allclose(exact, differences[beta, beta], rtol=1e-5, atol=1e-6 * exact.max())


def test_curvature_is_drawn_only_where_it_is_precise(frame, monkeypatch):
    point = point_of("yes ~ x + (1 | g) + (1 | h)", frame, family="binomial")
    assert fixed_curvature.beta_curvature(point, 1.0) is None
    monkeypatch.setattr(fixed_curvature, "FEW_ROWS", 0)
    drawn = fixed_curvature.beta_curvature(point, 1.0)
    assert drawn is not None
    assert drawn.shape == (2, 2)
    assert fixed_curvature.beta_curvature(point, 1e-9) is None


def test_differences_on_one_side_are_those_on_both(frame):
    found = point_of("over ~ x + z + (1 | g) + (1 | h)", frame, family="nbinom2")
    point = found.model(found.psi, u=found.u)
    free = np.ones(len(point.psi), dtype=bool)
    one, both = (f(point.model, free, point) for f in (curvature._one_sided, curvature._two_sided))
    unit = 1.0 / np.sqrt(np.diagonal(both))
    assert np.abs((one - both) * np.outer(unit, unit)).max() < 1e-5


def test_standard_errors_use_drawn_curvature(frame, monkeypatch):
    exact = fit("yes ~ x + z + (1 | g) + (1 | h)", frame, family="binomial").bse
    monkeypatch.setattr(fixed_curvature, "FEW_ROWS", 0)
    monkeypatch.setattr(curvature, "SAMPLED", 0.02)
    monkeypatch.setattr(curvature, "exact_curvature", lambda point: None)
    drawn = fit("yes ~ x + z + (1 | g) + (1 | h)", frame, family="binomial").bse
    assert not np.array_equal(exact, drawn)
    np.testing.assert_allclose(drawn, exact, rtol=0.02)
