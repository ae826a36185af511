"""The functions that Ghosh, Hastie & Owen published with their paper, on rows that a seed makes.

Their program and ``traces="diagonal"`` have the same fixed point but for one thing: its divisor of the dispersion is
``N - sum tr A``, ours that less p. The reference holds their numbers with either divisor, at a threshold so small that only
rounding is left, and with their default threshold, which stops them up to 1e-3 away from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import fit
from lmmformula.criteria.working import WorkingModel

REFERENCE = json.loads(
    (Path(__file__).parent.parent / "reference" / "pql_paper.json").read_text(encoding="utf-8")
)
FORMULA = REFERENCE["formula"]


def rows(seed: int, beta: list[float], levels: int = 174, density: float = 0.33) -> dict[str, Any]:
    """Cells of a square with one row each, drawn alike; seven predictors of correlation 0.5^|k - l|; a binary response."""
    rng = np.random.default_rng(seed)
    g, h = np.nonzero(rng.random((levels, levels)) < density)
    x = rng.standard_normal((len(g), len(beta) - 1))
    for k in range(1, x.shape[1]):
        x[:, k] = 0.5 * x[:, k - 1] + 0.75**0.5 * x[:, k]
    x = x.round(4)
    eta = beta[0] + x @ np.array(beta[1:])
    eta = eta + 0.8 * rng.standard_normal(levels)[g] + 0.4 * rng.standard_normal(levels)[h]
    y = (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return {"y": y, **{f"x{k + 1}": x[:, k] for k in range(x.shape[1])}, "g": g, "h": h}


@pytest.fixture(params=REFERENCE["cases"], ids=lambda case: case["name"])
def case(request) -> dict[str, Any]:
    return request.param


@pytest.fixture
def data(case) -> dict[str, Any]:
    made = rows(case["seed"], case["beta"])
    sums = [len(made["y"]), made["y"].sum(), made["g"].sum(), made["h"].sum(), round(made["x7"].sum(), 4)]
    assert sums == pytest.approx(case["sums"], abs=1e-6), (
        "the generator no longer makes the rows that R has seen"
    )
    return made


def estimates(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, float]:
    m = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", tolerance=1e-11)
    return m.params.to_numpy(), m.varcorr()["sdcor"].to_numpy()[:2], m.sigma**2


def assert_same(found: tuple[np.ndarray, np.ndarray, float], reference: dict[str, Any], rtol: float) -> None:
    for ours, theirs in zip(found, (reference[k] for k in ("beta", "sd", "dispersion")), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol)


def test_the_fixed_point_with_p_in_the_divisor(case, data) -> None:
    assert_same(estimates(data), case["with_p"], 1e-8)


def test_the_fixed_point_of_the_program_as_published(case, data, monkeypatch) -> None:
    ours = WorkingModel.divisor
    monkeypatch.setattr(WorkingModel, "divisor", lambda model, traces: ours(model, traces) + model.problem.p)
    assert_same(estimates(data), case["as_published"], 1e-8)


def test_the_divisors_differ_by_p_and_the_threshold_by_little(case, data) -> None:
    beta, sd, phi = estimates(data)
    published, n, p = case["as_published"], case["sums"][0], len(case["beta"])
    assert published["dispersion"] / phi == pytest.approx(1.0 - p / n, abs=2e-4)
    assert_same((beta, sd, phi), case["default_threshold"], 5e-3)
    np.testing.assert_allclose(sd, published["sd"], rtol=1e-3)


def test_the_sandwich(case, data) -> None:
    """Their working weights in the sandwich are not divided by the dispersion as in the fit, which moves it by 1e-4."""
    m = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal")
    np.testing.assert_allclose(m.bse, case["as_published"]["se_dispersion"], rtol=2e-3)
