"""Marginal means of zero inflation and dispersion against emmeans on glmmTMB, of draws, and their hypotheses."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, fit, load_dataset
from lmmformula.inference.uncertainty import row_variances
from lmmformula.typing import Record

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "components_means.json").read_text())


@cache
def model(component: str) -> Fit:
    data = load_dataset("Salamanders")
    if component == "zi":
        return fit("count ~ spp + mined + (1 | site)", data, family="poisson", ziformula="~ mined")
    return fit("count ~ spp + mined + (1 | site)", data, family="nbinom2", dispformula="~ DOP + mined")


@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("zi", {}),
        ("zi_response", {"kind": "response"}),
        ("disp", {}),
        ("disp_at", {"at": {"DOP": 1.0}}),
        ("disp_response", {"kind": "response"}),
    ],
)
def test_means_are_emmeans(case: str, arguments: Record) -> None:
    component = case.split("_")[0]
    expected = pd.DataFrame(REFERENCE[case])
    means = model(component).emmeans("mined", component=component, **arguments)
    found = expected.merge(means.table, on="mined", suffixes=("_r", ""))
    name = "response" if "kind" in arguments else "emmean"
    np.testing.assert_allclose(found[name], found["estimate"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["SE"], found["SE_r"], rtol=2e-3)
    assert np.isinf(found["df"].to_numpy()).all()


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_levels_without_zeros_leave_the_others_alone() -> None:
    rng = np.random.default_rng(2)
    f, g = np.tile(["a", "b", "c"], 100), np.repeat(np.arange(30), 10)
    y = rng.poisson(np.exp(1.8 + 0.3 * rng.normal(size=30)[g]))
    y = np.where(f == "a", np.maximum(y, 1), np.where(rng.random(300) < 0.3, 0, y))
    data = pd.DataFrame({"y": y, "f": f, "g": g})
    m = fit("y ~ f + (1 | g)", data, family="poisson", ziformula="~ 0 + f")
    others = fit("y ~ f + (1 | g)", data[data["f"] != "a"], family="poisson", ziformula="~ 0 + f")
    means = m.emmeans("f", component="zi")
    alone = others.emmeans("f", component="zi")
    assert means.table["SE"].iloc[0] == np.inf
    np.testing.assert_allclose(means.table["SE"].iloc[1:], alone.table["SE"], rtol=0.02)
    last = means.pairs().table.iloc[-1]
    assert last["contrast"] == "b - c"
    assert last["SE"] == pytest.approx(alone.pairs().table["SE"].iloc[0], rel=0.02)


def test_variances_of_combinations_of_what_is_undetermined() -> None:
    covariance = np.array([[4.0, 1.0, 0.0, 0.0], [1.0, 9.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4])
    covariance[2, 2] = covariance[3, 3] = np.inf
    rows = np.array([[1.0, -1.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    np.testing.assert_array_equal(row_variances(rows, covariance), [11.0, np.inf, np.nan])


def test_comparisons_and_hypotheses() -> None:
    m, expected = model("zi"), REFERENCE["zi_pairs"]
    found = m.emmeans("mined", component="zi").contrast({"yes - no": {"yes": 1, "no": -1}}).table
    np.testing.assert_allclose(found["estimate"], expected["estimate"], rtol=1e-4)
    np.testing.assert_allclose(found["SE"], expected["SE"], rtol=2e-3)
    ratios = m.emmeans("mined", component="zi", kind="response").pairs().table
    np.testing.assert_allclose(
        np.log(ratios["odds.ratio"]),
        found["estimate"] * np.where(ratios["contrast"] == "yes / no", 1.0, -1.0),
    )
    coefficient = next(n for n in m.inference.parameter_names if n.startswith("zi: mined"))
    row = m.hypothesis(f"`{coefficient}` = 0")
    own = REFERENCE["zi_coef"]
    np.testing.assert_allclose(np.abs(row["estimate"]), abs(own["Estimate"]), rtol=1e-4)
    np.testing.assert_allclose(row["std_error"], own["Std. Error"], rtol=2e-3)


def test_names_of_components() -> None:
    m = model("disp")
    by_name, by_word = (m.emmeans("mined", component=c).table for c in ("phi", "disp"))
    pd.testing.assert_frame_equal(by_name, by_word)
    pd.testing.assert_frame_equal(m.emmeans("mined", component="cond").table, m.emmeans("mined").table)
    with pytest.raises(DataError, match="no parameter"):
        m.emmeans("mined", component="zi")
    with pytest.raises(DataError, match="spp"):
        m.emmeans("spp", component="disp")
    with pytest.raises(PlanError, match="component="):
        m.emmeans("mined", component="disp", vcov="CR0")
    plain = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="nbinom2")
    overall = plain.emmeans("~ 1", component="phi", kind="response").table
    assert overall["response"].to_numpy()[0] == pytest.approx(plain.dispersion["phi"], rel=1e-8)


def test_draws_of_a_posterior() -> None:
    data = load_dataset("Salamanders")
    m = fit(
        "count ~ mined + (1 | site)",
        data,
        family="poisson",
        ziformula="~ mined",
        method="hmc",
        sampler="importance",
        marginalize="laplace",
        chains=1,
        draws=1000,
        seed=1,
    )
    own = m.inference.draws().aux[0].reshape(-1, 2)
    found = m.emmeans("mined", component="zi").table
    by_level = {"yes": own[:, 0], "no": own[:, 0]}
    names = m.problem.aux[0].names
    by_level["yes" if names[1].endswith("yes") else "no"] = own.sum(axis=1)
    for level, value in zip(found["mined"], found.iloc[:, 1], strict=True):
        assert value == pytest.approx(np.median(by_level[level]), rel=1e-8)
