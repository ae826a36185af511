"""What a user of generalised models may get wrong: each is refused or warned of by name, with what to do."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import (
    DataDroppedWarning,
    DataError,
    LmmformulaError,
    PlanError,
    SingularFitWarning,
    fit,
    load_dataset,
)
from lmmformula.errors import LmmformulaWarning, SeparationWarning
from lmmformula.result import Fit

COUNTS = ("poisson", "nbinom1", "nbinom2", "zero_inflated_poisson")
RIGHT = "~ x + (1 | herd)"


@pytest.fixture
def data() -> pd.DataFrame:
    """cbpp with a predictor, counts, proportions, an outcome of two values and texts."""
    rng = np.random.default_rng(0)
    table = load_dataset("cbpp")
    n = len(table)
    b = (rng.uniform(size=n) < 0.5).astype(int)
    return table.assign(
        x=rng.normal(size=n),
        count=rng.poisson(np.exp(0.5 + rng.normal(size=15)[table["herd"].to_numpy(dtype=int) - 1])),
        p=rng.uniform(0.1, 0.9, n),
        b=b,
        two=np.where(b == 1, "yes", "no"),
        three=np.resize(["low", "mid", "high"], n),
        row=np.arange(n),
    )


def refused(
    formula: Any, data: Any, *parts: str, error: type[LmmformulaError] = DataError, **arguments: Any
) -> None:
    before = data.copy()
    with pytest.raises(error) as caught:
        fit(formula, data, **arguments)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    pd.testing.assert_frame_equal(data, before)


def fit_quietly(formula: str, data: Any, **arguments: Any) -> Fit:
    """A fit whose variance may be zero, which is not the matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return fit(formula, data, **arguments)


# -- the response -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", COUNTS)
@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("I(count - 3)", ("of 56 rows below 0", "lowest -3", "gaussian")),
        ("I(count + 0.5)", ("56 of 56 rows that are not whole", "in row 1", "offset(log(exposure))")),
        ("I(count * 0)", ("is 0 in all 56 rows", "right column")),
        ("three", ("must be numeric", "3 levels", "three")),
        ("cbind(incidence, size)", ("2 columns", "binomial")),
        ("incidence | trials(size)", ("trials()", "binomial")),
    ],
)
def test_counts(data, family: str, response: str, parts: tuple[str, ...]) -> None:
    refused(f"{response} {RIGHT}", data, *parts, family=family)


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("count", ("outside 0..1", "range 0 to", "cbind(successes, failures)")),
        ("I(p - 0.5)", ("outside 0..1", "range -0.")),
        ("I(b * 0 + 1)", ("nothing but successes", "all 56 rows", "right column")),
        ("I(b * 0)", ("nothing but failures", "all 56 rows")),
        ("cbind(I(0 * b), size)", ("nothing but failures",)),
        ("cbind(size, I(0 * b))", ("nothing but successes",)),
        ("cbind(incidence, size - 2 * incidence - 3)", ("negative counts", "first: row 3")),
        ("cbind(p, size)", ("not whole numbers", "row 1", "weights")),
        ("size | trials(incidence)", ("more successes than trials", "56 of 56")),
        ("three", ("two outcomes", "3 levels (high, low, mid)", "I(three == 'mid')")),
        ("I(b > 5)", ("two outcomes", "1 level (FALSE)")),
    ],
)
def test_successes(data, response: str, parts: tuple[str, ...]) -> None:
    refused(f"{response} {RIGHT}", data, *parts, family="binomial")


def test_cbind_of_three_columns(data) -> None:
    refused(
        f"cbind(incidence, size, b) {RIGHT}",
        data,
        "has 3 columns",
        family="binomial",
    )


@pytest.mark.parametrize(
    ("family", "response", "parts"),
    [
        ("beta", "b", ("no probability to 0 and 1", "`b` is 0 in", "of 56 rows", "binomial")),
        ("beta", "I(p * 3)", ("between 0 and 1", "outside", "percentages")),
        ("gamma", "I(p - 0.5)", ("positive values", "at or below 0", "gaussian")),
        ("gamma", "count", ("positive values", "exactly 0", "poisson")),
        ("inverse.gaussian", "I(p - 0.5)", ("positive values",)),
        ("lognormal", "I(p - 0.5)", ("positive values",)),
        ("student", "three", ("must be numeric", "three")),
        ("gamma", "two", ("must be numeric", "two", "binomial")),
    ],
)
def test_measurements(data, family: str, response: str, parts: tuple[str, ...]) -> None:
    refused(f"{response} {RIGHT}", data, *parts, family=family)


def test_infinite_and_missing_responses(data) -> None:
    data["y"] = np.where(np.arange(56) < 2, np.inf, 1.0)
    refused(f"y {RIGHT}", data, "`y`", "infinite", "2 of 56", family="poisson")
    data["y"] = np.where(np.arange(56) < 2, np.nan, data["count"])
    with pytest.warns(DataDroppedWarning, match=r"2 of 56 rows.*`y` \(2\)"):
        m = fit(f"y {RIGHT}", data, family="poisson")
    assert m.nobs == 54


def test_two_texts_are_two_outcomes(data) -> None:
    """The later level is the success, as in R."""
    text, number = (fit_quietly(f"{y} {RIGHT}", data, family="binomial") for y in ("two", "b"))
    assert text.deviance == number.deviance
    pd.testing.assert_series_equal(text.params, number.params)


# -- weights ----------------------------------------------------------------------------------------------------------


def test_weights_that_are_not_trials_are_warned_of(data) -> None:
    with pytest.warns(
        LmmformulaWarning, match=r"non-integer number of successes in 56 of 56 rows of `p`.*beta"
    ):
        fit_quietly(f"p {RIGHT}", data, family="binomial")
    with pytest.warns(LmmformulaWarning, match=r"non-integer number of successes in \d+ of 56 rows of `b`"):
        fit_quietly(f"b {RIGHT}", data, family="binomial", weights=np.full(56, 2.5))


@pytest.mark.parametrize("family", ["poisson", "binomial", "gamma"])
@pytest.mark.parametrize(
    ("weights", "part"),
    [(np.r_[-1.0, np.ones(55)], "negative in 1"), (np.r_[0.0, np.ones(55)], "zero in 1"), (np.ones(7), "7")],
)
def test_weights_that_mean_nothing(data, family: str, weights: Any, part: str) -> None:
    response = {"poisson": "count", "binomial": "b", "gamma": "p"}[family]
    refused(f"{response} {RIGHT}", data, "weights", part, family=family, weights=weights)


# -- families, links and methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "parts"),
    [
        ("binomal", ("'binomal' is not available", "poisson", "Did you mean 'binomial'")),
        ("binomial(link='probbit')", ("link 'probbit' does not exist", "cloglog", "Did you mean 'probit'")),
        ("poisson(link='probit')", ("link 'probit' is not available for family 'poisson'", "sqrt")),
        ("poisson(link=3)", ("cannot be read",)),
        ("student(df=-1)", ("df of family 'student'", "positive")),
        ("gamma(df=4)", ("no argument 'df'", "link")),
        (3, ("text or a Family", "int")),
    ],
)
def test_families_and_links(data, family: Any, parts: tuple[str, ...]) -> None:
    refused(f"b {RIGHT}", data, *parts, error=PlanError, family=family)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"method": "reml"}, ("REML is defined for Gaussian", "binomial(link='logit')", "method='laplace'")),
        ({"method": "hmc", "nagq": 5}, ("'nagq'", "method='hmc'", "draws")),
        (
            {"method": "krylov", "engine": "blocked"},
            ("method='krylov' works by the krylov engine", "'blocked'"),
        ),
        ({"method": "krylov", "nagq": 5}, ("nagq=5", "exact engine")),
        ({"probes": 10}, ("'probes'", "engine='krylov'")),
        ({"method": "krylov", "probes": 1}, ("probes=1", "at least 4")),
        ({"method": "krylov", "accuracy": 0.0}, ("accuracy=0.0", "sqrt(n)")),
        ({"priors": {"b": "normal"}}, ("cannot be read", "normal(mean, sd)")),
        ({"nagq": -1}, ("nagq=-1", "0 to 100")),
        ({"nagq": 101}, ("nagq=101", "0 to 100")),
        ({"nagq": 2.5}, ("nagq=2.5", "whole number")),
        ({"nagq": "9"}, ("nagq='9'", "whole number")),
        ({"information": "guess"}, ("information='guess'", "'observed' or 'expected'")),
        ({"start": [1.0, 1.0]}, ("must hold 1", "herd.(Intercept)")),
        ({"engine": "warp"}, ("'warp'", "blocked")),
        ({"dispformula": "~ x"}, ("dispformula='~ x'", "no dispersion parameter")),
    ],
)
def test_methods_and_options(data, arguments: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(f"b {RIGHT}", data, *parts, error=PlanError, family="binomial", **arguments)


def test_zero_inflation_of_real_numbers(data) -> None:
    refused(
        f"p {RIGHT}", data, "count family", "'student'", error=PlanError, family="student", ziformula="~ x"
    )


@pytest.mark.parametrize(
    ("formula", "parts"),
    [
        ("b ~ x + (1 | herd) + (1 | period)", ("one grouping factor", "2 grouping factors", "nagq=1")),
        ("b ~ x + (x * p | herd)", ("at most 3 columns", "4 columns")),
        ("b ~ x + (x + p | herd) + (0 + count | herd)", ("at most 3 columns", "4 columns")),
    ],
)
def test_quadrature_needs_one_factor_and_few_columns(data, formula: str, parts: tuple[str, ...]) -> None:
    refused(formula, data, "nagq=5", *parts, error=PlanError, family="binomial", nagq=5)


@pytest.mark.parametrize("arguments", [{"nagq": 5}, {"nagq": 0}, {"information": "expected"}])
def test_options_that_mean_nothing_for_a_gaussian_response(data, arguments: dict[str, Any]) -> None:
    refused(f"p {RIGHT}", data, next(iter(arguments)), "no meaning", "exact", error=PlanError, **arguments)


def test_no_random_effects_is_a_glm_and_the_plan_says_so(data) -> None:
    m = fit("b ~ x", data, family="binomial")
    assert "no random effects, such as (1 | group)" in str(m.plan)
    assert m.estimate.modes == ()


# -- formulas of further parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "family", "response"), [("ziformula", "poisson", "count"), ("dispformula", "beta", "p")]
)
@pytest.mark.parametrize("formula", ["count ~ x", "~ x + offset(p)"])
def test_further_formulas_take_no_response_and_no_offset(
    data, argument: str, family: str, response: str, formula: str
) -> None:
    more: dict[str, Any] = {argument: formula}
    refused(
        f"{response} {RIGHT}",
        data,
        "response and offsets belong to the main formula",
        error=PlanError,
        family=family,
        **more,
    )


def test_further_formulas_name_columns(data) -> None:
    for argument in ("ziformula", "dispformula"):
        more: dict[str, Any] = {argument: "~ nosuch"}
        refused(f"count {RIGHT}", data, "nosuch", "count", family="nbinom2", **more)


@pytest.mark.parametrize("family", ["poisson", "zero_inflated_poisson"])
def test_poisson_has_no_dispersion(data, family: str) -> None:
    """However its zero-inflation is asked for."""
    refused(f"count {RIGHT}", data, "no dispersion", error=PlanError, family=family, dispformula="~ x")
    if family == "poisson":
        more: dict[str, Any] = {"ziformula": "~ 1", "dispformula": "~ x"}
        refused(f"count {RIGHT}", data, "no dispersion", error=PlanError, family=family, **more)


def test_a_missing_value_of_the_zero_inflation_drops_its_row(data) -> None:
    rng = np.random.default_rng(3)
    table = pd.concat([data] * 6, ignore_index=True)
    table["count"] = rng.poisson(3.0, len(table)) * rng.integers(0, 2, len(table))
    table["z"] = rng.normal(size=len(table))
    complete = fit_quietly(f"count {RIGHT}", table.iloc[2:], family="poisson", ziformula="~ z")
    table.loc[[0, 1], "z"] = np.nan
    with pytest.warns(DataDroppedWarning, match=r"2 of 336 rows.*`z` \(2\)"):
        m = fit_quietly(f"count {RIGHT}", table, family="poisson", ziformula="~ z")
    assert m.nobs == 334
    assert len(m.problem.aux[0].matrix) == 334
    assert m.deviance == pytest.approx(complete.deviance, abs=1e-9)
    refused(f"count {RIGHT}", table, "z", "2", family="poisson", ziformula="~ z", missing="raise")


# -- data that do not determine the estimates ----------------------------------------------------------------------------


def separated(formula: str, data: pd.DataFrame, family: str, *names: str, **arguments: Any) -> Fit:
    with pytest.warns(SeparationWarning, match="separation") as caught:
        m = fit_quietly(formula, data, family=family, **arguments)
    said = [str(w.message) for w in caught if w.category is SeparationWarning]
    assert len(said) == 1
    for name in names:
        assert name in said[0], said[0]
    return m


def test_complete_separation_is_said(data) -> None:
    m = separated("b ~ copy + (1 | herd)", data.assign(copy=data["b"]), "binomial", "copy")
    assert np.isfinite(m.params).all()


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_a_level_without_successes_is_said(data, family: str) -> None:
    """Only the coefficient of that level is in doubt; the others are those of the remaining rows."""
    data["level"] = np.where(data["b"] == 0, np.resize(["a", "b", "c", "b"], 56), np.resize(["a", "b"], 56))
    m = separated("b ~ level + (1 | herd)", data, family, "levelc")
    rest = fit_quietly("b ~ level + (1 | herd)", data[data["level"] != "c"], family=family)
    np.testing.assert_allclose(m.params[["(Intercept)", "levelb"]], rest.params, atol=1e-3)
    np.testing.assert_allclose(m.bse[["(Intercept)", "levelb"]], rest.bse, rtol=1e-3)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_a_reference_level_without_successes_is_said(data, family: str) -> None:
    """It is the same separation, whichever level comes first."""
    data["level"] = np.where(data["b"] == 0, np.resize(["a", "b", "c", "b"], 56), np.resize(["b", "c"], 56))
    assert (data.loc[data["level"] == "a", "b"] == 0).all()
    separated("b ~ level + (1 | herd)", data, family, "(Intercept)")


def test_observation_level_effects_are_allowed_for_counts_and_refused_for_measurements(data) -> None:
    m = fit_quietly("incidence ~ x + (1 | row)", data, family="poisson")
    assert m.ngroups == {"row": 56}
    assert m.varcorr()["sdcor"].iloc[0] > 0.1
    refused("p ~ x + (1 | row)", data, "row", "56 levels", "residual variance")


# -- after the fit --------------------------------------------------------------------------------------------------------


@pytest.fixture
def counts(data) -> Fit:
    return fit("count ~ x + (1 | herd)", data, family="poisson")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"interval": "prediction", "kind": "link"}, ("new response", "'link'", "kind='response'")),
        ({"kind": "nosuch"}, ("'nosuch'", "response", "link")),
        ({"kind": "zi"}, ("'zi'", "response")),
        ({"kind": "zprob"}, ("'zprob'", "response")),
        ({"interval": "credible"}, ("'credible'", "'confidence'")),
    ],
)
def test_predictions_that_do_not_exist(
    counts: Fit, arguments: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        counts.predict(**arguments)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_intervals_of_the_mean_stay_in_its_range(counts: Fit, data) -> None:
    table = counts.predict(interval="confidence", se=True)
    assert isinstance(table, pd.DataFrame)
    low, mean, high, se = (table[c].to_numpy(dtype=float) for c in ("lower", "fit", "upper", "se"))
    assert (low > 0).all()
    assert ((low < mean) & (mean < high)).all()
    assert (se > 0).all()
    np.testing.assert_allclose(low * high, mean**2, rtol=1e-9)  # symmetric on the scale of the logarithm


@pytest.mark.parametrize(
    ("y", "parts"),
    [
        (np.full(56, -1.0), ("56 of 56 rows below 0",)),
        (np.full(56, 0.5), ("not whole numbers",)),
        (np.zeros(56), ("0 in all 56 rows",)),
        (np.ones(5), ("5 values", "56 rows")),
        (np.r_[np.nan, np.ones(55)], ("1 of 56",)),
    ],
)
def test_refits_check_the_response(counts: Fit, y: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        counts.refit(y)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_profiles_are_refused_with_what_to_use_instead(counts: Fit) -> None:
    with pytest.raises(PlanError, match=r"quasi-likelihood has none.*bootstrap"):
        counts.update(method="pql").profile()
    with pytest.raises(PlanError, match=r"nagq=0.*fit with nagq=1"):
        counts.update(nagq=0).profile()


@pytest.mark.parametrize("arguments", [{}, {"nagq": 0}, {"nagq": 5}, {"method": "pql"}])
def test_no_fixed_effects_at_all(arguments) -> None:
    data = load_dataset("cbpp")
    m = fit("cbind(incidence, size - incidence) ~ 0 + (1 | herd)", data, family="binomial", **arguments)
    assert m.params.empty
    assert "herd" in str(m.summary())
    frame = pd.DataFrame(m.predict(data.head(2), se=True))
    assert frame["se"].to_numpy().min() > 0
