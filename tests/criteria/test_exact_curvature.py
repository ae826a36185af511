"""All second derivatives of Laplace's approximation, against differences of the exact gradient and dense traces."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.backends import curvature
from lmmformula.criteria.exact_curvature import exact_curvature
from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import TraceProducts


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n, g, h = 240, rng.integers(0, 9, 240), rng.integers(0, 7, 240)
    x, u = rng.normal(size=n), rng.normal(size=(9, 2)) @ [[0.6, 0.3], [0.0, 0.5]]
    eta = -0.3 + 0.5 * x + u[g, 0] + u[g, 1] * x + 0.5 * rng.normal(size=7)[h]
    count = rng.poisson(np.exp(eta))
    return pd.DataFrame(
        {
            "x": x,
            "z": rng.normal(size=n),
            "g": g,
            "h": h,
            "s": rng.integers(0, 3, n),
            "count": count,
            "yes": count > 0,
        }
    )


def point_of(formula: str, frame: pd.DataFrame, **options: Any) -> LaplacePoint:
    point = fit(formula, frame, **options).point
    assert isinstance(point, LaplacePoint)
    return point


def beside_optimum(formula: str, frame: pd.DataFrame, **options: Any) -> LaplacePoint:
    point = point_of(formula, frame, **options)
    return point.model(np.where(np.abs(point.psi) < 1e-3, 0.3, point.psi) + 0.05, u=point.u)


@pytest.mark.filterwarnings("ignore:the fit is singular")
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("yes ~ x + z + (1 | g) + (1 | h)", {"family": "binomial"}),
        ("yes ~ x + (1 | g) + (1 | h)", {"family": "binomial('probit')"}),
        ("count ~ x + (x | g) + (0 + z | g) + (z | h)", {"family": "poisson"}),
        ("count ~ x + cs(1 + x | g) + (1 | h)", {"family": "poisson"}),
        ("count ~ 0 + (1 | g) + (1 | h) + (1 | s)", {"family": "poisson"}),
    ],
)
def test_curvature_is_that_of_differences(frame, formula, options):
    point = beside_optimum(formula, frame, **options)
    exact = exact_curvature(point)
    assert exact is not None
    differences = curvature._two_sided(point.model, np.ones(len(point.psi), dtype=bool), point)
    unit = 1.0 / np.sqrt(np.abs(np.diagonal(differences)))
    assert np.abs((exact - differences) * np.outer(unit, unit)).max() < 2e-5


@pytest.mark.filterwarnings("ignore:the fit is singular")
@pytest.mark.parametrize("formula", ["count ~ x + (x | g) + (z | h)", "count ~ x + (1 | g)"])
def test_traces_are_those_of_dense_matrices(frame, formula):
    """tr(M^-1 M_j M^-1 M_k), with weights of both signs."""
    point = beside_optimum(formula, frame, family="poisson")
    rng, model, shapes = np.random.default_rng(2), point.model, [v.shape for v in point.u]
    weights = rng.normal(size=(3, len(frame)))
    ends = np.cumsum([0, *(m * k for m, k in shapes)])
    columns = []
    for unit in np.eye(ends[-1]):
        parts = [unit[i:j].reshape(shape) for i, j, shape in zip(ends, ends[1:], shapes, strict=False)]
        columns.append(model.predictor(None, point.factors, parts))
    z = np.column_stack(columns)
    inverse = np.linalg.inv(z.T @ (point.weighted.weight[:, None] * z) + np.eye(z.shape[1]))
    moved = [inverse @ (z.T @ (w[:, None] * z)) for w in weights]
    dense = [[np.trace(a @ b) for a in moved] for b in moved]
    assert isinstance(point.factor, TraceProducts)
    assert point.factor.has_trace_products(len(weights))
    found = point.factor.trace_products([model.data.gram(w) for w in weights], point.factors)
    np.testing.assert_allclose(found, dense, rtol=1e-9)


def test_standard_errors_do_not_need_differences(frame, monkeypatch):
    def refused(*_: object) -> None:
        raise AssertionError("differences were taken")

    by_differences = fit("yes ~ x + (1 | g) + (1 | h)", frame, family="binomial", engine="sparse").bse
    for name in ("_one_sided", "_two_sided"):
        monkeypatch.setattr(curvature, name, refused)
    exact = fit("yes ~ x + (1 | g) + (1 | h)", frame, family="binomial", engine="blocked").bse
    np.testing.assert_allclose(exact, by_differences, rtol=1e-5)


def test_other_models_are_left_to_differences(frame):
    assert exact_curvature(point_of("count ~ x + (1 | g)", frame, family="poisson")) is None
    assert exact_curvature(point_of("count ~ x + (1 | g) + (1 | h)", frame, family="nbinom2")) is None
    expected = {"family": "binomial('probit')", "information": "expected"}
    assert exact_curvature(point_of("yes ~ x + (1 | g) + (1 | h)", frame, **expected)) is None
