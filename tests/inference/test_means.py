"""Marginal means: what is asked for, the grid, contrasts, letters, trends and population averages against their definitions."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows
from scipy.special import expit, ndtr

from lmmformula import ArgumentError, DataError, Fit, FormulaError, PlanError, fit, load, load_dataset
from lmmformula.arguments.table import ARGUMENTS
from lmmformula.families.links import LINKS
from lmmformula.inference.means.draws import highest_density
from lmmformula.inference.means.grid import reference_grid
from lmmformula.inference.means.letters import letters
from lmmformula.inference.means.population import mean_over
from lmmformula.inference.means.scales import SQUARE, Scale, scale_of
from lmmformula.inference.means.specs import Specs, read_specs
from lmmformula.inference.multiplicity import ADJUSTMENTS, method_named

DATA = rows()


@pytest.fixture(scope="module")
def linear() -> Fit:
    return KINDS["reml"](DATA)


@pytest.fixture(scope="module")
def counts() -> Fit:
    return fit("count ~ x + f + (x | g)", DATA, family="poisson")


# -- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", Specs(("a",))),
        ("a * b | c + d", Specs(("a", "b"), ("c", "d"))),
        ("pairwise ~ a:b", Specs(("a", "b"), (), "pairwise")),
        ("~ 1", Specs(())),
        ("trt.vs.ctrl ~ `a b` | c", Specs(("a b",), ("c",), "trt.vs.ctrl")),
        (["a", "b"], Specs(("a", "b"))),
    ],
)
def test_specs(text: str | list[str], expected: Specs) -> None:
    assert read_specs(text) == expected


@pytest.mark.parametrize("text", ["a | b | c", "a ~ b ~ c", "a * ", "a | ", "a + a", "~"])
def test_odd_specs_are_refused(text: str) -> None:
    with pytest.raises(FormulaError):
        read_specs(text)


def test_adjustments_are_those_of_the_table() -> None:
    known = set(re.findall(r"'([\w-]+)'", ARGUMENTS["adjust"].accepted))
    assert {method_named(name) for name in known} == set(ADJUSTMENTS)


# -- the grid --------------------------------------------------------------------------------------------------------


def test_the_grid_by_hand() -> None:
    """Numbers at their mean before functions are applied, two-valued numbers and factor() with all of their values."""
    data = DATA.assign(two=(DATA["x"] > 0).astype(int), three=np.arange(len(DATA)) % 3, yes=DATA["x"] < 0.3)
    m = fit("y ~ poly(x, 2) + f * two + factor(three) + yes + offset(o) + (1 | g)", data)
    grid = reference_grid(m)
    values = {p.name: p.values for p in grid.predictors}
    assert values["x"] == (pytest.approx(data["x"].mean()),)
    assert values["f"] == ("high", "low", "mid")
    assert values["two"] == (0.0, 1.0)
    assert values["three"] == (0.0, 1.0, 2.0)
    assert values["yes"] == ("FALSE", "TRUE")
    assert values["o"] == (pytest.approx(data["o"].mean()),)
    new = pd.DataFrame(grid.columns)
    expected = m.predict(new, re_form=None)
    np.testing.assert_allclose(grid.X @ m.estimate.beta + grid.offset, expected, rtol=1e-12)
    same = [(data["f"] == f) & (data["two"] == t) for f, t in zip(new["f"], new["two"], strict=True)]
    both = [
        s & (data["three"] == h) & (data["yes"] == y)
        for s, h, y in zip(same, new["three"], new["yes"], strict=True)
    ]
    np.testing.assert_array_equal(grid.counts, [b.sum() for b in both])
    cells = m.emmeans("f", weights="cells").table
    shares = [
        expected[new["f"] == f] @ grid.counts[new["f"] == f] / (data["f"] == f).sum() for f in values["f"]
    ]
    np.testing.assert_allclose(cells["emmean"], shares, rtol=1e-12)
    without = m.emmeans("f", offset=0.0).table["emmean"]
    np.testing.assert_allclose(m.emmeans("f").table["emmean"] - without, data["o"].mean(), rtol=1e-9)


def test_prior_weights_count() -> None:
    m = fit("y ~ f + factor(g) + (1 | h)", DATA.assign(h=np.arange(len(DATA)) % 11), weights="w")
    grid = reference_grid(m)
    own: Any = DATA.groupby(["g", "f"])["w"].sum()
    cells = zip(grid.columns["g"], grid.columns["f"], strict=True)
    np.testing.assert_allclose(grid.counts, [own.get(c, 0.0) for c in cells])


def test_refusals_name_what_there_is(linear: Fit, tmp_path: object) -> None:
    with pytest.raises(DataError, match="no variable 'z'; it has x, f"):
        linear.emmeans("z")
    with pytest.raises(DataError, match="no level 'other'; it has high, low, mid"):
        linear.emmeans("f", at={"f": ["other"]})
    with pytest.raises(DataError, match="is a number, and at= asks for 'a'"):
        linear.emmeans("f", at={"x": "a"})
    with pytest.raises(DataError, match="which has no slope"):
        linear.emtrends("~ 1", "f")
    with pytest.raises(ArgumentError, match="adjust='tuckey' must be"):
        linear.emmeans("f").pairs(adjust="tuckey")
    with pytest.raises(DataError, match="the reference grid would have"):
        linear.emmeans("f", at={"x": np.linspace(0, 1, 50_000)})


def test_a_loaded_fit_takes_its_data_again(linear: Fit, tmp_path: object) -> None:
    path = f"{tmp_path}/fit.lmm"
    linear.save(path)
    loaded = load(path)
    with pytest.raises(DataError, match="pass data="):
        loaded.emmeans("f")
    pd.testing.assert_frame_equal(loaded.emmeans("f", data=DATA).table, linear.emmeans("f").table)


def test_nested_levels_are_averaged_over_those_there_are() -> None:
    """emmeans 1.8.4 finds the nesting in angle ~ recipe / B, and has these means and standard errors."""
    cake = load_dataset("cake")
    a, t = cake["recipe"].cat.codes + 1, cake["temperature"].cat.codes + 1
    cake["B"] = [f"{r}{k}" for r, k in zip(cake["recipe"], t % (1 + a), strict=True)]
    with pytest.warns(UserWarning, match="drop"):
        m = fit("angle ~ recipe / B + (1 | recipe:replicate)", cake)
    assert np.isnan(m.emmeans("recipe", nesting={}).table["emmean"].to_numpy()).all()
    table = m.emmeans("recipe").table
    np.testing.assert_allclose(table["emmean"], [33.12222, 31.64444, 31.52500], rtol=1e-6)
    np.testing.assert_allclose(table["SE"], [1.7368334, 1.7368334, 1.7483438], rtol=1e-5)


# -- contrasts -------------------------------------------------------------------------------------------------------


def test_contrasts_in_several_spellings(linear: Fit) -> None:
    means = linear.emmeans("f")
    named = means.contrast({"a": {"high": 1, "low": -1}, "b": [0.5, 0.5, -1]})
    matrix = means.contrast(np.array([[1, -1, 0], [0.5, 0.5, -1]]))
    value = means.table["emmean"].to_numpy()
    np.testing.assert_allclose(named.table["estimate"], [value[0] - value[1], value[:2].mean() - value[2]])
    np.testing.assert_array_equal(named.table["SE"], matrix.table["SE"])
    helmert = means.contrast("helmert").table["estimate"]
    np.testing.assert_allclose(helmert, [value[1] - value[0], value[2] - value[:2].mean()])
    assert list(means.pairs(reverse=True).table["contrast"]) == ["low - high", "mid - high", "mid - low"]
    both = linear.emmeans("revpairwise ~ f")
    assert both.contrasts is not None
    assert "low - high" in str(both)
    assert "low - high" in both._repr_html_()


def test_by_and_simple_say_the_same(linear: Fit) -> None:
    cells = linear.emmeans("f * x", at={"x": [-1, 0, 2]})
    pd.testing.assert_frame_equal(
        cells.contrast("consec", by="x").table, cells.contrast("consec", simple="f").table
    )
    assert len(cells.contrast("pairwise", by=[])) == 36


def test_results_do_not_depend_on_units() -> None:
    """x in millionths and y in thousands: the same t and p, scaled estimates."""
    moved = DATA.assign(x=1e6 * DATA["x"], y=1e-3 * DATA["y"])
    own, other = (fit("y ~ x * f + (1 | g)", d) for d in (DATA, moved))
    for ask in (
        lambda m: m.emmeans("pairwise ~ f").contrasts,
        lambda m: m.emtrends("pairwise ~ f", "x").contrasts,
    ):
        a, b = ask(own).table, ask(other).table
        np.testing.assert_allclose(b["t.ratio"], a["t.ratio"], rtol=1e-5)
        np.testing.assert_allclose(b["p.value"], a["p.value"], rtol=1e-4)
    np.testing.assert_allclose(other.joint_tests()["F.ratio"], own.joint_tests()["F.ratio"], rtol=1e-5)


def test_robust_errors_reach_means(linear: Fit) -> None:
    table = linear.emmeans("f", vcov="CR2", cluster="g").pairs().table
    known = linear.inference.uncertainty(vcov="CR2", cluster="g")
    row = -(np.array(linear.problem.X.names) == "flow").astype(float)[None, :]
    np.testing.assert_allclose(table["SE"][0], known.errors(row), rtol=1e-9)
    np.testing.assert_allclose(table["df"][0], known.df(row), rtol=1e-9)
    assert "CR2, 8 clusters of g" in table.attrs["note"]


# -- letters ---------------------------------------------------------------------------------------------------------


def test_letters_are_shared_exactly_by_what_does_not_differ() -> None:
    rng = np.random.default_rng(3)
    for k in (2, 3, 5, 8):
        for _ in range(20):
            values = rng.normal(size=k)
            differ = [pair for pair in combinations(range(k), 2) if rng.random() < 0.4]
            found = letters(values, differ)
            for i, j in combinations(range(k), 2):
                assert bool(set(found[i]) & set(found[j])) == ((i, j) not in differ)


def test_letters_of_a_line() -> None:
    """Three means of which only the outer ones differ."""
    assert letters(np.array([3.0, 1.0, 2.0]), [(0, 1)]) == ["b", "a", "ab"]
    assert letters(np.array([3.0, 1.0, 2.0]), [(0, 1)], reverse=True) == ["a", "b", "ab"]
    assert letters(np.array([3.0, np.nan]), []) == ["a", ""]


# -- slopes ----------------------------------------------------------------------------------------------------------


def test_slopes_of_polynomials_are_exact() -> None:
    m = fit("y ~ x + I(x^2) + I(x^3) + (1 | g)", DATA)
    b, at = m.estimate.beta, np.array([-1.0, 0.5, 2.0])
    found = m.emtrends("x", "x", at={"x": at}).table
    np.testing.assert_allclose(found["x.trend"], b[1] + 2 * b[2] * at + 3 * b[3] * at**2, rtol=1e-9)
    gradient = np.stack([0 * at, 1 + 0 * at, 2 * at, 3 * at**2], axis=1)
    np.testing.assert_allclose(
        found["SE"], np.sqrt(np.einsum("ri,ij,rj->r", gradient, m.vcov, gradient)), rtol=1e-9
    )


def test_slopes_of_a_response(counts: Fit) -> None:
    """Of a logarithm: rate times slope, averaged over the cells; over a population of the mean response."""
    found = counts.emtrends("f", "x", kind="response").table["x.trend"].to_numpy()
    rate = counts.emmeans("f", kind="response").table["rate"].to_numpy()
    np.testing.assert_allclose(found, counts.params["x"] * rate, rtol=1e-7)
    new = {"x": DATA["x"].mean() + np.array([-1e-4, 1e-4]), "f": ["low", "low"]}
    ends = counts.predict_population(new).to_numpy()
    slope: Any = counts.emtrends("f", "x", average="population").frame.set_index("f")["estimate"]
    assert slope["low"] == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-5)


# -- populations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "log", "sqrt", "probit", "logit", "cloglog"])
@pytest.mark.parametrize("s", [0.0, 0.3, 2.0])
def test_means_over_a_normal_effect(name: str, s: float) -> None:
    """Values and derivatives against sums over a fine grid."""
    scale = Scale(name, SQUARE if name == "sqrt" else LINKS[name].mean_jet, LINKS[name].eta)
    eta = np.array([-2.0, -0.3, 0.8])
    x = np.linspace(-10.0, 10.0, 20_001)
    weights = np.exp(-0.5 * x**2) / np.exp(-0.5 * x**2).sum()

    def brute(eta: np.ndarray, variance: float) -> np.ndarray:
        return LINKS[name].mean(eta[:, None] + np.sqrt(variance) * x) @ weights

    found = mean_over(scale, eta, np.full(3, s**2))
    np.testing.assert_allclose(found.value, brute(eta, s**2), rtol=1e-9)
    h = 1e-4
    np.testing.assert_allclose(
        found.d_eta, (brute(eta + h, s**2) - brute(eta - h, s**2)) / (2 * h), rtol=1e-6, atol=1e-8
    )
    if s:
        slope = (brute(eta, s**2 + h) - brute(eta, s**2 - h)) / (2 * h)
        np.testing.assert_allclose(found.d_variance, slope, rtol=1e-5, atol=1e-8)


def test_population_means_by_simulation(counts: Fit) -> None:
    """Rows with a random slope: the mean of exp(eta) over effects drawn from their distribution."""
    new = pd.DataFrame({"x": [-1.0, 0.0, 1.5], "f": ["low", "mid", "high"]})
    found = counts.predict_population(new)
    table: Any = counts.varcorr()
    sd = table[table["var2"].isna()]["vcov"].to_numpy()
    sigma = np.array([[sd[0], 0.0], [0.0, sd[1]]])
    sigma[0, 1] = sigma[1, 0] = table[table["var2"].notna()]["vcov"].iloc[0]
    b = np.random.default_rng(1).multivariate_normal([0.0, 0.0], sigma, size=400_000)
    eta = counts.predict(new, re_form=None, kind="link").to_numpy()
    drawn = np.exp(eta + b[:, :1] + b[:, 1:] * new["x"].to_numpy())
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(found - drawn.mean(axis=0)) < 4.0 * error).all()


def test_population_probabilities_by_simulation() -> None:
    m = fit("incidence | trials(size) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial")
    found: Any = m.emmeans("period", average="population").table
    b = np.random.default_rng(2).normal(0.0, m.varcorr()["sdcor"].iloc[0], 400_000)
    eta = m.emmeans("period").table["emmean"].to_numpy()
    drawn = expit(eta + b[:, None])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(found["prob"] - drawn.mean(axis=0)) < 4.0 * error).all()
    assert ((found["asymp.LCL"] > 0.0) & (found["asymp.UCL"] < 1.0)).all()
    # errors by draws of all parameters from their joint distribution, a tenth as wide so that means are linear in them
    assert m.joint_vcov is not None
    psi = np.random.default_rng(3).multivariate_normal(np.zeros(5), 0.01 * m.joint_vcov, size=4_000)
    rows = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1.0]])
    moved = eta + psi[:, :4] @ rows.T
    theta = m.theta.iloc[0] + psi[:, 4]
    scale = scale_of(m)
    values = mean_over(scale, moved, np.broadcast_to(theta[:, None] ** 2, moved.shape)).value
    np.testing.assert_allclose(found["SE"], 10.0 * values.std(axis=0), rtol=0.05)
    odds = m.emmeans("period", average="population").pairs().table
    p = drawn.mean(axis=0)
    np.testing.assert_allclose(odds["odds.ratio"][0], (p[0] / (1 - p[0])) / (p[1] / (1 - p[1])), rtol=5e-3)


def test_population_of_a_probit_is_closed() -> None:
    m = fit(
        "incidence | trials(size) ~ period + (1 | herd)",
        load_dataset("cbpp"),
        family="binomial(link='probit')",
    )
    s = m.varcorr()["sdcor"].iloc[0]
    eta = m.emmeans("period").table["emmean"]
    found = m.emmeans("period", average="population")
    np.testing.assert_allclose(found.table["prob"], ndtr(eta / np.sqrt(1 + s**2)), rtol=1e-9)
    assert "(exactly)" in found.table.attrs["note"]


def test_population_of_a_logarithm_has_residuals_too() -> None:
    m = fit("log(angle) ~ recipe + (1 | recipe:replicate)", load_dataset("cake"))
    total = m.varcorr()["vcov"].sum()
    eta = m.emmeans("recipe").table["emmean"]
    found = m.emmeans("recipe", average="population").table["response"]
    np.testing.assert_allclose(found, np.exp(eta + total / 2), rtol=1e-9)
    biased = m.emmeans("recipe", kind="response", bias_adjust=True).table["response"]
    np.testing.assert_allclose(biased, np.exp(eta) * (1 + total / 2), rtol=1e-9)


def test_population_of_the_rows_of_the_fit(counts: Fit) -> None:
    whole = counts.predict_population(se=True, interval=True)
    again = counts.predict_population(DATA, se=True, interval=True)
    np.testing.assert_allclose(whole, again, rtol=1e-9)
    assert list(whole.index) == list(DATA.index)


def test_zero_inflated_means_are_those_of_the_conditional_part() -> None:
    m = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="poisson", ziformula="~ mined")
    found = m.emmeans("mined", kind="response").table
    new = {"mined": ["yes", "no"]}
    np.testing.assert_allclose(found["rate"], m.predict(new, re_form=None, kind="conditional"), rtol=1e-9)
    said = "without structural zeros"
    averaged, predicted = m.emmeans("mined", average="population").table, m.predict_population(new)
    np.testing.assert_allclose(averaged["rate"], predicted, rtol=1e-9)
    assert all(said in table.attrs["note"] for table in (found, averaged, predicted))


# -- posteriors ------------------------------------------------------------------------------------------------------


def test_draws_are_averaged_one_by_one() -> None:
    m = KINDS["hmc"](DATA)
    means = m.emmeans("f")
    grid = reference_grid(m)
    draws = m.inference.combination_draws(grid.X)
    assert draws is not None
    np.testing.assert_allclose(np.asarray(means.draws), draws, rtol=1e-12)
    np.testing.assert_allclose(means.table["emmean"], np.median(draws, axis=0), rtol=1e-12)
    pairs: Any = means.pairs()
    apart = draws[:, 0] - draws[:, 1]
    assert pairs.table["probability"][0] == pytest.approx(max((apart > 0).mean(), (apart < 0).mean()))
    assert pairs.test(delta=0.5)["probability"][0] == pytest.approx((np.abs(apart) < 0.5).mean())
    ends: Any = pairs.confint(interval="quantile")
    np.testing.assert_allclose(ends.loc[0, ["lower.CI", "upper.CI"]], np.quantile(apart, [0.025, 0.975]))
    with pytest.raises(PlanError):
        m.joint_tests()
    with pytest.raises(DataError, match="posterior has no tests"):
        means.letters()


def test_highest_density_is_the_shortest() -> None:
    draws = np.random.default_rng(4).exponential(size=(4000, 1))
    low, high = highest_density(draws, 0.9)
    assert low[0] == draws.min()
    assert high[0] == pytest.approx(np.quantile(draws, 0.9), rel=0.01)


# -- plots -----------------------------------------------------------------------------------------------------------


def test_plots(linear: Fit) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    ax = linear.plot.means("f", comparisons=True)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["high", "low", "mid"]
    assert len(ax.texts) == 6  # two arrows for each mean
    ax = linear.emmeans("f").pairs().plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["high - low", "high - mid", "low - mid"]
    with pytest.raises(DataError, match="comparisons already"):
        linear.emmeans("f").pairs().plot(comparisons=True)
