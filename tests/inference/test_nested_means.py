"""Marginal means of nested factors against emmeans, and what is taken to be nested."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, fit

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "nested_means.json").read_text())
DATA = pd.DataFrame(REFERENCE["data"])


@cache
def model(formula: str = REFERENCE["formula"]) -> Fit:
    return fit(formula, DATA)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.RankDeficientWarning")
@pytest.mark.parametrize("case", REFERENCE["means"])
def test_means_are_emmeans(case: str) -> None:
    specs, weights = case.rsplit(" ", 1)
    expected = pd.DataFrame(REFERENCE["means"][case])
    found = model().emmeans(specs, weights=weights).table
    keys = [name for name in ("drug", "route", "sex") if name in expected]
    both = expected.merge(found, on=keys, suffixes=("_r", ""))
    assert len(both) == len(expected) == len(found)
    np.testing.assert_allclose(both["emmean"], both["emmean_r"], rtol=1e-6)
    np.testing.assert_allclose(both["SE"], both["SE_r"], rtol=1e-4)
    np.testing.assert_allclose(both["df"], both["df_r"], rtol=1e-3)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.RankDeficientWarning")
@pytest.mark.parametrize("case", REFERENCE["pairs"])
def test_comparisons_are_emmeans(case: str) -> None:
    expected = pd.DataFrame(REFERENCE["pairs"][case])
    found = model().emmeans(case).pairs().table
    assert found["contrast"].tolist() == expected["contrast"].tolist()
    np.testing.assert_allclose(found["estimate"], expected["estimate"], rtol=1e-5)
    np.testing.assert_allclose(found["SE"], expected["SE"], rtol=1e-4)
    np.testing.assert_allclose(found["p.value"], expected["p.value"], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("case", REFERENCE["crossed"])
def test_a_factor_without_main_effect_is_nested(case: str) -> None:
    expected = pd.DataFrame(REFERENCE["crossed"][case])
    means = model(REFERENCE["crossed_formula"]).emmeans(case)
    found = means.table
    keys = [name for name in ("route", "sex") if name in expected]
    both = expected.merge(found, on=keys, suffixes=("_r", ""))
    np.testing.assert_allclose(both["emmean"], both["emmean_r"], rtol=1e-6)
    assert "sex within route" in " ".join(str(means).split())


@pytest.mark.filterwarnings("ignore::lmmformula.errors.RankDeficientWarning")
def test_nesting_can_be_said() -> None:
    m = model()
    assert np.isnan(m.emmeans("route", nesting={}).table["emmean"].to_numpy()).all()
    said = m.emmeans("route", nesting={"drug": "route"}).table
    pd.testing.assert_frame_equal(said, m.emmeans("route").table)
    for wrong, words in (
        ({"drug": "block"}, "no factor of the fixed part"),
        ({"drug": "route", "route": "drug"}, "within itself"),
    ):
        with pytest.raises(DataError, match=words):
            m.emmeans("route", nesting=wrong)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.RankDeficientWarning")
def test_slopes_and_nests_in_nests() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"c": np.arange(160) % 8, "x": rng.normal(size=160), "g": np.arange(160) % 10})
    data["b"], data["a"] = data["c"] // 2, data["c"] // 4
    for name in "abc":
        data[name] = name + data[name].astype(str)
    data = data[~data["c"].isin(["c7"])]
    data["y"] = rng.normal(size=len(data)) + data["x"] + rng.normal(size=10)[data["g"]]
    m = fit("y ~ a + b + c * x + (1 | g)", data)
    table = m.emmeans("c").table
    assert list(table.columns[:3]) == ["c", "a", "b"]
    assert table["c"].tolist() == [f"c{i}" for i in range(7)]
    assert _nested(table["emmean"].to_numpy()) == pytest.approx(
        m.emmeans("a").table["emmean"].to_numpy()[1], rel=1e-10
    )
    slopes, whole = m.emtrends("c", "x").table["x.trend"], m.emtrends("a", "x").table["x.trend"]
    assert _nested(slopes.to_numpy()) == pytest.approx(whole.to_numpy()[1], rel=1e-8)


def _nested(values: np.ndarray) -> float:
    """The mean of a1: of b2, whose levels are c4 and c5, and of b3, which has c6 alone."""
    return float(0.5 * (values[4:6].mean() + values[6]))
