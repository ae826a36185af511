"""Scaled residuals: DHARMa's numbers on stored simulations, and the truth on models that are right or wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows

from lmmformula import DataError, Fit, LmmformulaError, fit, load_dataset
from lmmformula.inference.checking.autocorrelation import durbin_watson, lag_correlations, moran
from lmmformula.inference.checking.outcome import simulated_p
from lmmformula.inference.checking.scaled import Simulations, scaled
from lmmformula.reporting.simulated import SimulatedResiduals

REFERENCE = Path(__file__).parents[2] / "reference"
KNOWN: dict[str, Any] = json.loads((REFERENCE / "checking.json").read_text())
TICKS = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)"


@pytest.fixture(scope="module")
def ticks() -> Fit:
    return fit(TICKS, load_dataset("grouseticks"), family="poisson")


@pytest.fixture(scope="module")
def stored(ticks: Fit) -> SimulatedResiduals:
    """100 simulations of lme4, and the fitted values of ours."""
    with gzip.open(REFERENCE / "grouseticks_sims.csv.gz", "rt") as file:
        table = pd.read_csv(file).astype(float)
    fitted = ticks.predict(re_form=None)
    assert isinstance(fitted, pd.Series)
    simulations = Simulations.of(
        table["y"].to_numpy(), table.iloc[:, 1:].to_numpy(), fitted.to_numpy(), discrete=True
    )
    return SimulatedResiduals(scaled(simulations, 1), simulations, fitted.index, "stored", 1, False)


# -- DHARMa's definitions on stored simulations -----------------------------------------------------------------------


def test_ranks_are_dharmas(stored: SimulatedResiduals) -> None:
    known, (lower, upper) = KNOWN["dharma"], stored.simulations.ranks
    np.testing.assert_allclose(lower[:12], known["lower_head"], atol=1e-12)
    np.testing.assert_allclose(upper[:12], known["upper_head"], atol=1e-12)
    assert lower.sum() == pytest.approx(known["lower_sum"], abs=1e-9)
    assert upper.sum() == pytest.approx(known["upper_sum"], abs=1e-9)
    assert (stored.residuals >= lower).all()
    assert (stored.residuals <= upper).all()


def test_dispersion_is_dharmas(stored: SimulatedResiduals) -> None:
    known, found = KNOWN["dharma"], stored.test_dispersion()
    assert found.statistic == pytest.approx(known["dispersion_ratio_variance"], abs=1e-4)
    assert found.p_value == pytest.approx(known["dispersion_p_two_sided"], abs=1e-9)
    ratio = float(found.note.rsplit(" ", 1)[1])
    assert ratio == pytest.approx(known["dispersion_ratio_sd"], abs=1e-3)
    sides = [stored.test_dispersion(side).p_value for side in ("greater", "less")]
    assert min(2 * min(sides), 1.0) == pytest.approx(found.p_value)


def test_zeros_are_dharmas(stored: SimulatedResiduals) -> None:
    known, found = KNOWN["dharma"], stored.test_zero_inflation()
    assert found.observed == known["zeros_observed"]
    assert found.statistic == pytest.approx(known["zeros_ratio"], abs=1e-9)
    assert found.p_value == pytest.approx(known["zeros_p_two_sided"], abs=1e-9)


def test_uniformity_is_rs(stored: SimulatedResiduals) -> None:
    lower, upper = stored.simulations.ranks
    known = KNOWN["dharma"]["mid_quantile_ks"]
    middle = SimulatedResiduals(
        0.5 * (lower + upper), stored.simulations, stored.index, "middle", 1, False
    ).test_uniformity()
    assert middle.statistic == pytest.approx(known["D"], abs=1e-9)
    assert middle.p_value == pytest.approx(known["p"], abs=1e-4)


def test_outliers_are_dharmas(stored: SimulatedResiduals) -> None:
    found = stored.test_outliers()
    assert found.observed == KNOWN["dharma"]["outliers_both_margins"]
    margins = [stored.test_outliers(margin=margin).observed for margin in ("upper", "lower")]
    assert sum(margins) == found.observed
    from scipy.stats import binomtest

    plain = stored.test_outliers(method="binomial")
    assert plain.p_value == pytest.approx(binomtest(int(plain.observed), 403, 2 / 101).pvalue)


def test_two_sided_p() -> None:
    draws = np.arange(1.0, 11.0)
    assert simulated_p(draws, 9.0, "greater") == pytest.approx(0.2)
    assert simulated_p(draws, 9.0, "less") == pytest.approx(0.9)
    assert simulated_p(draws, 9.0, "two-sided") == pytest.approx(0.4)
    assert simulated_p(draws, 5.5, "two-sided") == 1.0
    assert simulated_p(draws, 99.0, "two-sided") == 0.0


# -- simulations of our own -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same(ticks: Fit) -> None:
    one, other = ticks.simulated_residuals(50, seed=3), ticks.simulated_residuals(50, seed=3)
    np.testing.assert_array_equal(one.residuals, other.residuals)
    assert (one.residuals != ticks.simulated_residuals(50, seed=4).residuals).any()
    free = ticks.simulated_residuals(50)
    np.testing.assert_array_equal(ticks.simulated_residuals(50, seed=free.seed).residuals, free.residuals)
    unkept = Simulations(
        *(getattr(one.simulations, k) for k in ("observed", "fitted", "n", "discrete", "draw"))
    )
    object.__setattr__(unkept, "_kept", None)  # as if they were too many to keep
    np.testing.assert_array_equal(unkept.ranks, one.simulations.ranks)


def test_a_continuous_response_has_ranks_of_its_distribution() -> None:
    """The probability that a conditional simulation is below y is known: the normal distribution at the residual."""
    from scipy.special import ndtr

    model = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    found = model.simulated_residuals(4_000, seed=1, conditional=True)
    expected = ndtr(model.residuals().to_numpy() / model.sigma)
    assert np.abs(found.residuals - expected).max() < 4.5 * 0.5 / np.sqrt(4_000)


def test_effects_drawn_anew_have_the_marginal_variance() -> None:
    model = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    found = model.simulated_residuals(4_000, seed=1)
    z = np.column_stack([np.ones(180), load_dataset("sleepstudy")["Days"]])
    table = model.varcorr()
    a, b, c = table["vcov"].iloc[[0, 2, 1]]
    spread = np.sqrt(np.einsum("ni,ij,nj->n", z, np.array([[a, b], [b, c]]), z) + model.sigma**2)
    np.testing.assert_allclose(found.simulations.matrix.std(axis=1), spread, rtol=0.06)


def test_a_subset_of_rows_is_simulated_alone(ticks: Fit) -> None:
    found = ticks.simulated_residuals(40, seed=1, rows=slice(0, 100))
    assert len(found) == 100
    assert "100 of 403 rows" in repr(found)
    assert list(found.index) == list(ticks.fittedvalues.index[:100])
    assert found.test_temporal(np.arange(100)).p_value >= 0.0
    with pytest.raises(DataError, match="chooses no row"):
        ticks.simulated_residuals(5, rows=[])


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    return {name: make(rows()) for name, make in KINDS.items()}


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("conditional", [False, True])
def test_every_kind_of_fit_answers(fits: dict[str, Fit], name: str, conditional: bool) -> None:
    model = fits[name]
    found = model.simulated_residuals(100, seed=1, conditional=conditional)
    assert found.test_uniformity().p_value > 0.01
    assert 0.4 < found.test_dispersion().statistic < 2.5
    assert "100 simulations of 120 rows" in repr(found)
    assert "Scaled residuals" in found._repr_html_()
    assert len(found.recalculate("g")) == 8


@pytest.mark.parametrize(
    ("family", "formula"),
    [
        ("gamma(link='log')", "pos ~ x + (1 | g)"),
        ("nbinom2", "count ~ x + (1 | g)"),
        ("lognormal", "pos ~ x + (1 | g)"),
        ("student", "y ~ x + (1 | g)"),
        ("binomial", "yes ~ x + (1 | g)"),
        ("beta", "share ~ x + (1 | g)"),
    ],
)
def test_every_family_is_uniform_under_its_own_model(family: str, formula: str) -> None:
    data = rows(400, 20)
    rng = np.random.default_rng(2)
    data["pos"] = np.exp(0.5 * data["y"])
    data["yes"] = (rng.uniform(size=400) < 1 / (1 + np.exp(-data["y"]))).astype(float)
    data["share"] = 1 / (1 + np.exp(-data["y"]))
    model = fit(formula, data, family=family)
    own = model.simulate(1, seed=5)["sim_1"].to_numpy()
    again = model.refit(own)
    assert again.simulated_residuals(200, seed=1).test_uniformity().p_value > 0.005
    assert again.simulated_residuals(200, seed=1, conditional=True).test_dispersion().p_value > 0.005


def test_zero_inflated_counts() -> None:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(40), 15)
    mu = np.exp(1.0 + 0.3 * rng.normal(size=40)[g])
    y = rng.poisson(mu) * (rng.uniform(size=600) > 0.3)
    data = pd.DataFrame({"y": y, "g": g})
    plain = fit("y ~ 1 + (1 | g)", data, family="poisson").simulated_residuals(200, seed=1)
    assert plain.test_zero_inflation("greater").p_value < 0.01
    inflated = fit("y ~ 1 + (1 | g)", data, family="poisson", ziformula="~ 1")
    found = inflated.simulated_residuals(200, seed=1)
    assert found.test_zero_inflation().p_value > 0.05
    assert found.test_zero_inflation().statistic == pytest.approx(1.0, abs=0.1)


def test_overdispersion_is_found(ticks: Fit) -> None:
    found = ticks.simulated_residuals(200, seed=1, conditional=True).test_dispersion("greater")
    assert found.p_value < found.least_p
    assert "p < 0.005" in str(found)
    assert found.statistic > 2.0


def test_a_bent_mean_moves_the_quartiles() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(-2.0, 2.0, 500)
    g = np.arange(500) % 10
    data = pd.DataFrame({"x": x, "y": x + x**2 + rng.normal(size=10)[g] + rng.normal(size=500), "g": g})
    wrong = fit("y ~ x + (1 | g)", data).simulated_residuals(200, seed=1)
    assert wrong.test_quantiles("x").p_value < 1e-6
    right = fit("y ~ x + I(x^2) + (1 | g)", data).simulated_residuals(200, seed=1)
    assert right.test_quantiles("x").p_value > 0.01


def test_quantile_test_holds_its_level() -> None:
    rng = np.random.default_rng(6)
    simulations = Simulations.of(np.zeros(300), np.zeros((300, 2)), rng.normal(size=300), discrete=False)
    p = []
    for _ in range(400):
        found = SimulatedResiduals(rng.uniform(size=300), simulations, pd.RangeIndex(300), "", 1, False)
        p.append(found.test_quantiles(at=(0.5,)).p_value)
    assert 0.02 < float(np.mean(np.array(p) < 0.05)) < 0.085


def test_zeros_of_a_continuous_response_are_refused() -> None:
    model = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    with pytest.raises(DataError, match="zero with probability zero"):
        model.simulated_residuals(10, seed=1).test_zero_inflation()


def test_rows_of_a_group_are_added_up(ticks: Fit) -> None:
    found = ticks.simulated_residuals(50, seed=2)
    by = found.recalculate("BROOD")
    data = load_dataset("grouseticks")
    brood = data["BROOD"].astype(str).to_numpy()
    sums = [float(data["TICKS"].to_numpy()[brood == name].sum()) for name in by.frame.index]
    np.testing.assert_array_equal(by.frame["observed"], sums)
    np.testing.assert_array_equal(
        ticks.simulated_residuals(50, seed=2, by_group="BROOD").residuals, by.residuals
    )
    codes = np.unique(brood, return_inverse=True)[1]
    np.testing.assert_array_equal(found.recalculate(codes).simulations.observed.sum(), data["TICKS"].sum())
    with pytest.raises(DataError, match="added up"):
        by.test_temporal("HEIGHT")
    assert 0.0 <= by.test_temporal(np.arange(len(by))).p_value <= 1.0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.test_temporal("nothing"), "time='nothing'"),
        (lambda r: r.test_temporal([1.0, 2.0]), "time= has 2 values"),
        (lambda r: r.test_temporal("YEAR"), "time"),
        (lambda r: r.test_dispersion("both"), "alternative='both'"),
        (lambda r: r.test_spatial("HEIGHT"), "coordinates of another one"),
        (lambda r: r.recalculate(None), "group=None"),
        (lambda r: r.plot(ax=3), "ax=3"),
    ],
)
def test_wrong_arguments_are_refused_by_name(ticks: Fit, ask: Any, said: str) -> None:
    with pytest.raises(LmmformulaError, match=said):
        ask(ticks.simulated_residuals(10, seed=1))


def test_the_plot(ticks: Fit) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    axes = ticks.simulated_residuals(30, seed=1).plot()
    assert [ax.get_ylabel() for ax in axes] == ["scaled residual"] * 2
    plt.close("all")


# -- autocorrelation --------------------------------------------------------------------------------------------------


def test_durbin_and_watson_are_lmtests() -> None:
    known = KNOWN["time"]
    e = np.array(known["residuals"])
    time = np.arange(len(e), dtype=float)
    for side in ("greater", "less"):
        found = durbin_watson(e, time, alternative=side)
        expected = known["all"]["greater"][1] if side == "greater" else known["all"]["less"]
        assert found.p_value == pytest.approx(expected, abs=1e-6)
    assert found.statistic == pytest.approx(known["all"]["greater"][0], rel=1e-10)
    assert durbin_watson(e, time).p_value == pytest.approx(known["all"]["two"], abs=1e-6)
    few = durbin_watson(e[:10][::-1], time[:10][::-1], alternative="greater")
    assert few.statistic == pytest.approx(known["one"]["greater"][0], rel=1e-10)
    assert few.p_value == pytest.approx(known["one"]["greater"][1], abs=1e-6)


def test_series_are_kept_apart() -> None:
    """By the matrices themselves, and the distribution by simulation."""
    rng = np.random.default_rng(3)
    series = np.repeat(np.arange(5), [4, 7, 1, 6, 9])
    time = rng.permutation(len(series)).astype(float)
    e = rng.normal(size=len(series))
    order = np.lexsort((time, series))
    a = np.zeros((len(e), len(e)))
    for i in range(1, len(e)):
        if series[order[i]] == series[order[i - 1]]:
            d = np.zeros(len(e))
            d[order[i]], d[order[i - 1]] = 1.0, -1.0
            a += np.outer(d, d)
    centred = e - e.mean()
    found = durbin_watson(e, time, series, "greater")
    assert found.statistic == pytest.approx(float(centred @ a @ centred / (centred @ centred)))
    z = rng.normal(size=(20_000, len(e)))
    z -= z.mean(axis=1, keepdims=True)
    ratio = np.einsum("si,ij,sj->s", z, a, z) / np.sum(z**2, axis=1)
    assert found.expected == pytest.approx(ratio.mean(), abs=0.02)
    assert found.p_value == pytest.approx(float(np.mean(ratio < found.statistic)), abs=0.015)


def test_both_distributions_agree_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    e, series = rng.normal(size=98), np.repeat(np.arange(7), 14)
    exact = durbin_watson(e, np.arange(98.0), series).p_value
    monkeypatch.setattr("lmmformula.inference.checking.autocorrelation.EXACT", 0)
    assert durbin_watson(e, np.arange(98.0), series).p_value == pytest.approx(exact, abs=5e-3)


def test_times_that_have_no_order_are_refused() -> None:
    with pytest.raises(DataError, match="same value twice in a series 2 times"):
        durbin_watson(np.arange(6.0), np.array([1.0, 1, 2, 2, 3, 4]))
    with pytest.raises(DataError, match="no series has two residuals"):
        durbin_watson(np.arange(6.0), np.arange(6.0), np.arange(6))


def test_correlations_of_a_process() -> None:
    rng = np.random.default_rng(1)
    e = np.zeros((50, 40))
    for t in range(1, 40):
        e[:, t] = 0.6 * e[:, t - 1] + rng.normal(size=50)
    time, series = np.tile(np.arange(40.0), 50), np.repeat(np.arange(50), 40)
    found = lag_correlations(e.ravel(), time, series, 3)
    np.testing.assert_allclose(found, [1.0, 0.6, 0.36, 0.216], atol=0.07)
    assert durbin_watson(e.ravel(), time, series, "greater").p_value < 1e-10


def test_moran_is_apes(monkeypatch: pytest.MonkeyPatch) -> None:
    e = np.array(KNOWN["time"]["residuals"])
    i = np.arange(1, 181)
    places = np.column_stack([np.sin(i * 1.7) * 10, np.cos(i * 0.37) * 7])
    for known, count in ((KNOWN["space"], 180), (KNOWN["space_few"], 10)):
        found = moran(e[:count], places[:count])
        assert found.statistic == pytest.approx(known["observed"], abs=1e-9)
        assert found.expected == pytest.approx(known["expected"])
        assert float(found.note.split()[-1]) == pytest.approx(known["sd"], rel=1e-2)
        assert found.p_value == pytest.approx(known["p.value"], abs=1e-7)
        assert moran(e[:count], 1000.0 * places[:count]).p_value == pytest.approx(found.p_value)
    monkeypatch.setattr("lmmformula.inference.checking.autocorrelation.CELLS", 2_000)  # in blocks
    assert moran(e, places).p_value == pytest.approx(KNOWN["space"]["p.value"], abs=1e-7)
