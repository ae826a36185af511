"""What is asked of a fit to censored or truncated responses: it works, or says by name what to do instead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, FormulaError, PlanError, fit, load

FORMULA = "y | cens(c, y2) ~ x + (1 | g)"


def data() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(12), 8)
    x = rng.normal(size=96).round(3)
    y = (1.0 + 0.8 * x + rng.normal(0.0, 0.6, 12)[g] + rng.normal(0.0, 0.8, 96)).round(3)
    kind = rng.choice(["none", "left", "right", "interval"], 96, p=[0.5, 0.15, 0.15, 0.2])
    seen = np.select(
        [kind == "left", kind == "right", kind == "interval"], [y + 0.3, y - 0.2, np.floor(y)], y
    )
    until = np.where(kind == "interval", np.floor(y) + 1.0, np.nan)
    return pd.DataFrame({"y": seen, "y2": until, "c": kind, "x": x, "g": g.astype(str), "whole": y})


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(FORMULA, data())


def test_missing_ends_of_rows_that_are_no_intervals_are_none(fitted: Fit) -> None:
    assert fitted.nobs == 96


def test_words_numbers_and_logicals_say_the_same(fitted: Fit) -> None:
    codes = {"left": -1, "none": 0, "right": 1, "interval": 2}
    other = fit(FORMULA, data().assign(c=lambda d: d["c"].map(codes)))
    assert other.llf == pytest.approx(fitted.llf, abs=1e-10)
    right = data().assign(c=lambda d: d["c"] == "right")
    assert fit("y | cens(c) ~ x + (1 | g)", right).llf == pytest.approx(
        fit("y | cens(c) ~ x + (1 | g)", right.assign(c=right["c"].astype(int))).llf
    )


def test_units_do_not_matter(fitted: Fit) -> None:
    other = fit(FORMULA, data().assign(y=lambda d: 1e4 * d["y"], y2=lambda d: 1e4 * d["y2"]))
    seen = int(np.sum((data()["c"] == "none").to_numpy()))
    assert other.llf == pytest.approx(fitted.llf - seen * np.log(1e4), abs=1e-6)
    np.testing.assert_allclose(other.params, 1e4 * fitted.params, rtol=1e-5)


def test_files_keep_the_bounds(fitted: Fit, tmp_path) -> None:
    fitted.save(tmp_path / "fit.lmm")
    other = load(tmp_path / "fit.lmm")
    np.testing.assert_array_equal(other.residuals("quantile", seed=3), fitted.residuals("quantile", seed=3))
    assert other.update(". ~ . - x", data=data()).llf < fitted.llf


def test_quantile_residuals_are_drawn_within_the_intervals(fitted: Fit) -> None:
    one, other = (fitted.residuals("quantile", seed=s).to_numpy() for s in (1, 2))
    exact = (data()["c"] == "none").to_numpy()
    np.testing.assert_allclose(one[exact], other[exact])
    assert (one[~exact] != other[~exact]).all()


def test_simulated_responses_are_before_censoring_and_can_be_fitted(fitted: Fit) -> None:
    drawn = np.asarray(fitted.simulate(1, seed=1)).reshape(-1)
    again, plain = fitted.refit(drawn), fit("y ~ x + (1 | g)", data().assign(y=drawn), method="ml")
    assert again.llf == pytest.approx(plain.llf, abs=1e-6)


def test_weights_repeat_censored_rows_too(fitted: Fit) -> None:
    twice = pd.concat([data(), data()], ignore_index=True)
    weighted = fit("y | cens(c, y2) + weights(w) ~ x", data().assign(w=2.0))
    assert weighted.llf == pytest.approx(fit("y | cens(c, y2) ~ x", twice).llf, abs=1e-7)


def test_subset_keeps_rows() -> None:
    own = fit("y | cens(c, y2) + subset(x > 0) ~ x + (1 | g)", data())
    other = fit(FORMULA, data()[data()["x"] > 0])
    assert own.llf == pytest.approx(other.llf, abs=1e-9)
    assert own.nobs == (data()["x"] > 0).sum()


def test_truncated_counts_without_zeros_are_the_truncated_family() -> None:
    rng = np.random.default_rng(2)
    counts = pd.DataFrame({"x": rng.normal(size=80)})
    counts["y"] = rng.poisson(np.exp(0.6 + 0.4 * counts["x"]))
    counts = counts[counts["y"] > 0]
    own = fit("y | trunc(lb = 1) ~ x", counts, family="poisson")
    other = fit("y ~ x", counts, family="truncated_poisson")
    assert own.llf == pytest.approx(other.llf, abs=1e-8)
    np.testing.assert_allclose(own.params, other.params, rtol=1e-5)
    assert np.asarray(own.simulate(3, seed=1)).min() >= 1


def test_a_rate_is_an_offset_where_sums_stay_in_the_family() -> None:
    rng = np.random.default_rng(3)
    counts = pd.DataFrame({"x": rng.normal(size=60), "n": rng.uniform(1.0, 9.0, 60)})
    counts["y"] = rng.poisson(counts["n"] * np.exp(0.2 + 0.3 * counts["x"]))
    own = fit("y | rate(n) ~ x", counts, family="poisson")
    assert own.llf == pytest.approx(fit("y ~ x + offset(log(n))", counts, family="poisson").llf, abs=1e-10)
    with pytest.raises(PlanError, match=r"Write offset\(log\(n\)\)"):
        fit("y | rate(n) ~ x", counts, family="nbinom2")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda d: fit(FORMULA, d, method="reml"), "only part is"),
        (lambda d: fit(FORMULA, d, method="pql"), "no expected information"),
        (lambda d: fit("y | cens(c) ~ x", d.assign(c="behind")), "'behind'"),
        (lambda d: fit("y | cens(c) ~ x", d.assign(c="interval")), "no upper end"),
        (lambda d: fit("y | trunc(lb = 0) ~ x", d), "lie outside of the bounds"),
        (lambda d: fit("y | trunc(lb = 3, ub = 1) ~ x", d), "leaves nothing"),
        (lambda d: fit("y | cens(c, y2) ~ x", d, family="student"), "known degrees of freedom"),
        (lambda d: fit("y | cens(c) ~ x", d.assign(y=0.5, c=0), family="beta"), "proportions"),
        (lambda d: fit("bf(y | subset(k) ~ x) + bf(whole ~ x)", d.assign(k=1)), "different rows"),
        (lambda d: fit("y | mi(x) ~ x", d), "takes no argument"),
        (lambda d: fit("y ~ mi(x)", d), "method='hmc' takes one response"),
        (lambda d: fit("as.ordered(k) | cens(c) ~ x", d.assign(k=1, c=0), family="cumulative"), "categories"),
    ],
)
def test_what_does_not_suit_is_refused_by_name(call, said: str) -> None:
    with pytest.raises((PlanError, DataError, FormulaError), match=said):
        call(data())


def test_random_effects_of_sigma_take_rows_that_are_seen_as_others() -> None:
    own = data().assign(c="none")
    right = ") ~ x + (1 | g), sigma ~ 1 + (1 | g))"
    m = fit(f"bf(whole | cens(c{right}", own)
    other = fit(f"bf(whole | weights(one{right}", own.assign(one=1.0), method="laplace")
    assert m.llf == pytest.approx(other.llf, abs=1e-6)
    assert m.estimate.theta[1] == pytest.approx(other.estimate.theta[1], abs=1e-3)


def test_several_responses_with_effects_of_their_own_are_models_of_their_own(fitted: Fit) -> None:
    both = fit(f"bf({FORMULA}) + bf(x ~ 1, family = gaussian) + set_rescor(FALSE)", data())
    alone = fit("x ~ 1", data(), method="ml")
    assert both.llf == pytest.approx(fitted.llf + alone.llf, abs=1e-6)
    assert "censored" in both.summary().data
    with pytest.raises(DataError, match="before censoring"):
        both.bootstrap(2, seed=1)


def test_a_summary_counts_censored_rows(fitted: Fit) -> None:
    counts = data()["c"].value_counts()
    said = fitted.summary().data
    for kind in ("left", "right", "interval"):
        assert f"{counts[kind]} {kind}-censored" in said


def test_what_compares_with_simulated_responses_says_what_to_use(fitted: Fit) -> None:
    with pytest.raises(DataError, match="before censoring"):
        fitted.bootstrap(2, seed=1)
    with pytest.raises(DataError, match=r"residuals\('quantile'\)"):
        fitted.simulated_residuals(n=10, seed=1)
