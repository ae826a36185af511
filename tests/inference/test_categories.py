"""Models of categories: how a response is read, and what comes after the fit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import anova, fit, load
from lmmformula.errors import DataError, FitError, LmmformulaWarning, PlanError

FORMULA = "y ~ x + f + (1 | g)"


def data(n: int = 160) -> Any:
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(["u", "v"], n), "g": np.arange(n) % 16})
    latent = table["x"] + (table["f"] == "v") + rng.normal(size=16)[table["g"]] + rng.logistic(size=n)
    table["k"] = np.digitize(latent, [-1.0, 0.3, 1.8]) + 1
    table["y"] = pd.Categorical(
        np.array(["low", "mid", "high", "top"])[table["k"] - 1], ["low", "mid", "high", "top"], True
    )
    return table


@cache
def fitted(formula: str = FORMULA, family: str = "cumulative") -> Any:
    return fit(formula, data(), family=family)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_whole_numbers_are_categories_in_their_order() -> None:
    found: Any = fit("k ~ x + f + (1 | g)", data(), family="clmm")
    assert found.llf == pytest.approx(fitted().llf, abs=1e-8)
    assert list(found.dispersion) == ["1|2", "2|3", "3|4"]
    assert list(fitted().dispersion) == ["low|mid", "mid|high", "high|top"]


def test_categories_without_rows_are_left_out() -> None:
    table = data().query("k != 2")
    found: Any = fit("y ~ x", table, family="cumulative")  # levels without rows are dropped, as everywhere
    with pytest.warns(LmmformulaWarning, match="no row of `k` has the category 2"):
        other = fit("k ~ x", table, family="cumulative")
    assert list(found.dispersion) == ["low|high", "high|top"]
    assert other.llf == pytest.approx(found.llf, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda d: d["y"].astype(str), r"`z` is text .*ordered=True.*family='categorical'"),
        (lambda d: pd.Categorical(d["y"], ordered=False), r"`z` is a factor without an order"),
        (lambda d: d["k"] / 2, r"rows that are not whole numbers"),
        (lambda d: d["k"] * 0 + 3, r"at least two categories, but `z` has 1 \(3\)"),
        (lambda d: np.arange(len(d)), r"every one of the 160 rows of `z` has a value of its own"),
    ],
)
def test_refused_responses(values: object, message: str) -> None:
    table = data()
    with pytest.raises(DataError, match=message):
        fit("z ~ x", table.assign(z=values(table)), family="cumulative")  # type: ignore[operator]


def test_the_intercept_is_the_thresholds() -> None:
    assert list(fitted().params.index) == ["x", "fv"]
    without = fit("y ~ 0 + x + f + (1 | g)", data(), family="cumulative")
    pd.testing.assert_series_equal(without.params, fitted().params, rtol=1e-6)
    alone = fit("y ~ 1", data(), family="cumulative")
    below = np.cumsum(data()["k"].value_counts(sort=False).sort_index())[:-1] / 160
    np.testing.assert_allclose(list(alone.dispersion.values()), np.log(below / (1 - below)), atol=1e-5)


def test_origins_and_units_of_columns_move_thresholds_alone() -> None:
    moved: Any = fit(FORMULA, data().assign(x=lambda d: 1e3 * d["x"] + 2e4), family="cumulative")
    base = fitted()
    assert moved.llf == pytest.approx(base.llf, abs=1e-6)
    assert moved.params["x"] * 1e3 == pytest.approx(base.params["x"], rel=1e-4)
    shift = np.array(list(moved.dispersion.values())) - 2e4 * moved.params["x"]
    np.testing.assert_allclose(shift, list(base.dispersion.values()), atol=1e-3)


def test_specific_effects_and_their_refusals() -> None:
    free = fitted("y ~ f + cs(x) + (1 | g)")
    assert free.df_model == fitted().df_model + 2
    assert free.llf > fitted().llf
    table = anova(fitted(), free)
    assert table["Df"].iloc[-1] == 2
    with pytest.raises(PlanError, match="thresholds of cumulative"):
        fit("y ~ cs(x)", data(), family="cumulative(threshold='equidistant')")
    with pytest.raises(PlanError, match=r"it needs family='cumulative'"):
        fit("k ~ cs(x)", data(), family="poisson")
    with pytest.raises(PlanError, match=r"cs\(x \* z\)"):
        fit("y ~ cs(x):f", data(), family="cumulative")


def test_options_are_words() -> None:
    with pytest.raises(PlanError, match="threshold of family 'cumulative' must be one of 'flexible'"):
        fit("y ~ x", data(), family="cumulative(threshold='round')")
    with pytest.raises(PlanError, match="gives no expected information"):
        fit(FORMULA, data(), family="cumulative", method="pql")
    with pytest.raises(DataError, match="needs at least three categories"):
        fit("z ~ x", data().assign(z=lambda d: d["k"] > 2), family="cumulative(threshold='symmetric')")


@pytest.mark.parametrize("kind", ["symmetric", "symmetric2", "equidistant"])
def test_fewer_thresholds_are_nested_in_all(kind: str) -> None:
    found: Any = fit("y ~ x", data(), family=f"cumulative(threshold='{kind}')")
    assert found.converged
    assert found.llf < fitted("y ~ x").llf
    np.testing.assert_allclose(found.predict().sum(axis=1), 1.0)


def test_weights_count_rows() -> None:
    counts = (
        data()
        .assign(x=lambda d: d["x"].round())
        .groupby(["x", "y"], observed=True)
        .size()
        .rename("n")
        .reset_index()
    )
    whole: Any = fit("y ~ x", data().assign(x=lambda d: d["x"].round()), family="cumulative")
    few = fit("y ~ x", counts, family="cumulative", weights="n")
    assert few.llf == pytest.approx(whole.llf, abs=1e-7)
    np.testing.assert_allclose(few.params, whole.params, rtol=1e-5)


def test_offsets_move_the_latent_variable() -> None:
    table = data()
    found: Any = fit("y ~ f + offset(x) + (1 | g)", table, family="cumulative")
    free = fit("y ~ f + x + (1 | g)", table.assign(x=lambda d: d["x"]), family="cumulative")
    assert found.llf <= free.llf
    assert found.df_model == free.df_model - 1
    assert found.predict(table, kind="link").corr(table["x"]) > 0.5


# -- after the fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["cumulative", "sratio(link='cloglog')", "cratio(link='cloglog')", "acat(link='probit')"]
)
def test_predictions_are_probabilities(family: str) -> None:
    m, new = fitted(family=family), data().head(6)
    shares = m.predict(new)
    assert list(shares.columns) == ["low", "mid", "high", "top"]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(shares, m.predict().iloc[:6])
    best = m.predict(new, kind="class")
    assert best.tolist() == shares.idxmax(axis=1).tolist()
    np.testing.assert_allclose(m.predict(new, kind="mean"), shares @ [1, 2, 3, 4], rtol=1e-12)
    np.testing.assert_allclose(m.fittedvalues[:6], m.predict(new, kind="mean"), rtol=1e-12)


def test_errors_and_limits_of_probabilities() -> None:
    m, new = fitted(), data().head(3)
    found = m.predict(new, se=True, interval="confidence")
    assert found.columns.nlevels == 2
    low, fit_, high = (found.xs(name, axis=1, level=1) for name in ("lower", "fit", "upper"))
    assert ((low > 0) & (low < fit_) & (fit_ < high) & (high < 1)).all().all()
    # of the first category by hand: the error of its threshold's distance to eta
    link = m.predict(new, kind="link", se=True)
    assert (found["low"]["se"] < link["se"]).all()
    with pytest.raises(DataError, match="a new response is a category"):
        m.predict(new, interval="prediction")


def test_draws_are_categories_and_can_be_fitted() -> None:
    m = fitted()
    drawn = m.simulate(3, seed=1)
    assert drawn["sim_1"].cat.categories.tolist() == ["low", "mid", "high", "top"]
    again = m.refit(drawn["sim_1"])
    direct = fit(FORMULA, data().assign(y=drawn["sim_1"]), family="cumulative")
    assert again.llf == pytest.approx(direct.llf, abs=1e-6)
    assert fit("k ~ x", data(), family="acat").simulate(1, seed=2)["sim_1"].between(1, 4).all()
    with pytest.raises(FitError, match="no rows of some category"):
        m.refit(drawn["sim_1"].where(drawn["sim_1"] != "top", "high"))
    with pytest.raises(DataError, match="`y` has the category none"):
        m.refit(drawn["sim_1"].astype(str).where(lambda s: s != "top", "none"))


def test_bootstrap_counts_draws_without_a_category() -> None:
    found = fitted().bootstrap(4, seed=3)
    assert list(found.columns) == ["x", "fv", "sd_(Intercept)|g", "low|mid", "mid|high", "high|top"]
    assert found.attrs["failed"] == found["x"].isna().sum()


def test_quantile_residuals_are_normal() -> None:
    from scipy import stats

    residuals = fitted().residuals("quantile", seed=4)
    assert stats.kstest(residuals, "norm").pvalue > 0.01
    with pytest.raises(PlanError, match="quantile residuals suit"):
        fitted().residuals("deviance")


def test_profiles_and_wald_limits_of_thresholds_agree() -> None:
    m = fitted()
    limits = m.conf_int(method="profile", parameters=["low|mid"], level=0.5).iloc[0].to_numpy()
    error = m.tidy().set_index("term").loc["low|mid", "std_error"]
    half = 0.6744898 * float(error)
    np.testing.assert_allclose(limits, m.dispersion["low|mid"] + np.array([-half, half]), atol=0.1 * half)


def test_means_are_on_the_latent_scale() -> None:
    m = fitted()
    means = m.emmeans("f")
    contrast = means.contrast("pairwise")
    assert float(contrast.frame["estimate"].iloc[0]) == pytest.approx(-m.params["fv"], rel=1e-8)
    assert "latent (logit) scale" in str(means)


def test_shares_of_variance_are_those_of_the_latent_variable() -> None:
    m = fitted()
    own = m.varcorr()["vcov"].iloc[0]
    assert m.icc()["g"] == pytest.approx(own / (own + np.pi**2 / 3))
    with pytest.raises(PlanError, match="need the link logit, probit, cloglog"):
        fitted(family="cumulative(link='cauchit')").r2()


def test_saved_fits_and_updates(tmp_path: Path) -> None:
    m = fitted(family="sratio(link='probit')")
    m.save(tmp_path / "m.lmm")
    again: Any = load(tmp_path / "m.lmm")
    pd.testing.assert_frame_equal(again.predict(), m.predict())
    smaller = again.update(
        ". ~ . - f", data=data().assign(y=lambda d: d["y"].cat.rename_categories({"low": "none"}))
    )
    assert list(smaller.dispersion) == ["none|mid", "mid|high", "high|top"]


def test_summary_and_report_have_a_table_of_thresholds(tmp_path: Path) -> None:
    from lmmformula import report

    text = str(fitted().summary())
    assert "Thresholds:" in text
    assert "mu = logit; thresholds = identity" in text
    page = Path(report(fitted(), tmp_path / "m.html")).read_text(encoding="utf-8")
    assert "low|mid" in page


def test_categories_without_an_order() -> None:
    table = data().assign(z=lambda d: d["y"].astype(str))
    m: Any = fit("z ~ x", table, family="categorical")
    assert m.problem.family.outcomes == ("high", "low", "mid", "top")
    assert m.df_model == 6
    np.testing.assert_allclose(
        m.predict().mean(), table["z"].value_counts(normalize=True).sort_index(), rtol=1e-5
    )
    # against binary models of pairs: the same odds from the rows of two categories where nothing is shared
    two = fit("z ~ x", table.query("z in ('high', 'low')"), family="categorical")
    binary = fit(
        "w ~ x", table.query("z in ('high', 'low')").assign(w=lambda d: d["z"] == "low"), family="binomial"
    )
    assert two.llf == pytest.approx(binary.llf, abs=1e-8)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_random_effects_for_each_category() -> None:
    table = data().assign(z=lambda d: d["y"].astype(str).replace("top", "high"))
    m: Any = fit("z ~ x + (1 | g)", table, family="categorical")
    assert len(m.varcorr()) == 2
    assert m.df_model == 6
    np.testing.assert_allclose(m.predict().sum(axis=1), 1.0)
