"""What a user may get wrong: each ends in an error or warning that names the column or term and says what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import (
    DataDroppedWarning,
    DataError,
    FormulaError,
    LmmformulaError,
    PlanError,
    RankDeficientWarning,
    SingularFitWarning,
    fit,
    load_dataset,
    plan,
)

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture
def data() -> pd.DataFrame:
    return load_dataset("sleepstudy")


def refused(formula, data, *parts, error: type[LmmformulaError] = DataError, **arguments) -> None:
    before = data.copy() if isinstance(data, pd.DataFrame) else None
    with pytest.raises(error) as caught:
        fit(formula, data, **arguments)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    if before is not None:
        pd.testing.assert_frame_equal(data, before)


def test_missing_column(data) -> None:
    refused("Reaction ~ Dayz + (1 | Subject)", data, "Dayz", "Days")
    refused("Reaction ~ Days + (1 | subject)", data, "subject", "Subject")


def test_grouping_factor_with_one_level(data) -> None:
    refused("Reaction ~ Days + (1 | g)", data.assign(g="a"), "g", "1 level")


def test_grouping_factor_with_one_level_per_row(data) -> None:
    refused("Reaction ~ Days + (1 | g)", data.assign(g=range(180)), "g", "180")


def test_all_missing_response(data) -> None:
    refused(FORMULA, data.assign(Reaction=np.nan), "Reaction")


def test_constant_response(data) -> None:
    refused(FORMULA, data.assign(Reaction=3.0), "Reaction", "3")


def test_infinite_values(data) -> None:
    data.loc[[3, 5], "Days"] = np.inf
    refused(FORMULA, data, "Days", "2")


@pytest.mark.parametrize(
    ("weights", "part"),
    [
        (np.r_[-1.0, np.ones(179)], "1"),
        (np.ones(10), "10"),
        (np.r_[np.nan, np.ones(179)], "1"),
        (["a"] * 180, "weights"),
    ],
)
def test_weights(data, weights, part) -> None:
    refused(FORMULA, data, "weights", part, weights=weights)


def test_weights_column_that_does_not_exist(data) -> None:
    refused(FORMULA, data, "nosuch", "Days", weights="nosuch")


def test_duplicated_random_term(data) -> None:
    refused("Reaction ~ Days + (1 | Subject) + (1 | Subject)", data, "Subject", "^", error=FormulaError)


def test_more_random_effects_than_observations(data) -> None:
    data["half"] = np.repeat(np.arange(90), 2).astype(str)
    refused("Reaction ~ Days + (Days | half)", data, "180", "half")


def test_unseen_fixed_level_at_predict(data) -> None:
    data["dose"] = np.where(data["Days"] > 4, "high", "low")
    m = fit("Reaction ~ dose + (1 | Subject)", data)
    with pytest.raises(DataError, match=r"dose.*middle"):
        m.predict({"dose": ["middle"], "Subject": ["308"]})


def test_empty_frame(data) -> None:
    refused(FORMULA, data.iloc[:0], "no rows")
    refused(FORMULA, {}, "no rows")


def test_text_response(data) -> None:
    refused(FORMULA, data.assign(Reaction=["slow", "fast"] * 90), "Reaction", "numeric")


def test_no_random_effects_is_least_squares_and_the_plan_says_so(data) -> None:
    m = fit("Reaction ~ Days", data)
    assert "no random effects, such as (1 | group)" in str(m.plan)
    assert m.estimate.modes == ()


@pytest.mark.parametrize("formula", [None, 3, "", "   ", ["y ~ x"]])
def test_formula_that_is_no_formula(data, formula) -> None:
    refused(formula, data, error=LmmformulaError)


@pytest.mark.parametrize("table", [None, 3, "nosuch.csv", [1, 2], np.zeros((3, 2))])
def test_data_that_are_no_table(table) -> None:
    refused(FORMULA, table)


def test_methods_and_options(data) -> None:
    refused(FORMULA, data, "'laplac'", "laplace", error=PlanError, method="laplac")
    refused(FORMULA, data, "'draws'", "method='hmc' only", error=PlanError, draws=5)
    by_reml = {"method": "reml", "priors": {"b": "normal(0, 1)"}}
    refused(FORMULA, data, "priors", "REML", "method='hmc'", error=PlanError, **by_reml)
    refused(FORMULA, data, "max_steps=0", error=PlanError, method="krylov", max_steps=0)
    refused(FORMULA, data, "toleranse", "tolerance", error=PlanError, toleranse=1)
    refused(FORMULA, data, "poison", error=PlanError, family="poison")
    refused(FORMULA, data, "cannot be read", error=PlanError, family="__import__('os').x")
    refused(FORMULA, data, "count family", error=PlanError, ziformula="~ x")
    refused(FORMULA, data, "nagq", error=PlanError, nagq=5)
    refused(FORMULA, data, "engine", "blocked", error=PlanError, engine="warp")


def test_start_of_the_wrong_length(data) -> None:
    refused(FORMULA, data, "must hold 3", error=PlanError, start=[1.0, 1.0])
    refused(FORMULA, data, "start", error=PlanError, start=[1.0, np.nan, 1.0])


def test_what_would_not_fit_in_memory_is_refused_before_it_is_tried() -> None:
    rng = np.random.default_rng(0)
    n = 60_000
    data = {"y": rng.normal(size=n), "a": rng.integers(0, 25_000, n), "b": rng.integers(0, 20_000, n)}
    formula = "y ~ 1 + (1 | a) + (1 | b)"
    exact = {"memory_limit": 2e9, "engine": "blocked"}
    refused(formula, data, "1 | b", "GB", "19,005 levels", "engine='krylov'", error=PlanError, **exact)
    with pytest.raises(PlanError, match="dense part of"):
        plan(formula, data, **exact)
    with pytest.raises(PlanError, match="more memory"):
        plan(formula, data, memory_limit=5e6)
    chosen = plan(formula, data, memory_limit=2e9)
    assert chosen.engine == "krylov"
    assert "2 GB are available" in str(chosen)


def test_dropped_rows_and_columns_are_said(data) -> None:
    data["twice"] = 2 * data["Days"]
    data.loc[[0, 7], "Days"] = np.nan
    with (
        pytest.warns(RankDeficientWarning, match="twice"),
        pytest.warns(DataDroppedWarning, match="2 of 180 rows"),
    ):
        m = fit("Reaction ~ Days + twice + (1 | Subject)", data)
    assert m.nobs == 178
    assert list(m.params.index) == ["(Intercept)", "Days"]
    assert m.fittedvalues.index[0] == 1
    refused("Reaction ~ Days + (1 | Subject)", data, "Days", "2", missing="raise")


def test_a_singular_fit_names_its_term() -> None:
    with pytest.warns(SingularFitWarning, match=r"\(1 \| Batch\)"):
        m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    assert m.is_singular
    assert "Batch" in str(m.summary())


def test_unlike_scales_do_no_harm(data) -> None:
    """Units of the response and of predictors change the estimates by their factor and nothing else."""
    plain = fit(FORMULA, data)
    scaled = fit("r ~ d + (d | Subject)", data.assign(r=data["Reaction"] * 1e6, d=data["Days"] * 1e-5))
    assert scaled.converged
    np.testing.assert_allclose(scaled.params.to_numpy() / plain.params.to_numpy(), [1e6, 1e11], rtol=1e-6)
    np.testing.assert_allclose(scaled.sigma / plain.sigma, 1e6, rtol=1e-6)
    assert scaled.llf == pytest.approx(plain.llf - 178 * np.log(1e6) - np.log(1e-5), abs=1e-5)
