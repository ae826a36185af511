"""What the checks find: in models that are right, in models that are wrong in one way, and beside R's numbers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.inference.checking.collinearity import condition_index, inflation
from lmmformula.inference.checking.dispersion import expected_zeros
from lmmformula.inference.checking.finding import ORDER, Finding
from lmmformula.inference.checking.linearity import bend
from lmmformula.inference.checking.look import Look
from lmmformula.inference.checking.normality import shape
from lmmformula.inference.checking.separation import direction
from lmmformula.inference.checking.singularity import directions, in_columns
from lmmformula.inference.checking.variance import breusch_pagan, obrien
from lmmformula.reporting.checked import Check

KNOWN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "reference" / "checking.json").read_text())


def quietly(*arguments: Any, **named: Any) -> Fit:
    """A fit that is wrong, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(*arguments, **named)


def the(found: Check, check: str, about: str = "") -> Finding:
    """The worst finding of one check."""
    return next(f for f in found.of(check) if about in f.about)


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def ticks() -> Fit:
    data = load_dataset("grouseticks")
    return fit("TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", data, family="poisson")


def right(n: int = 400, m: int = 40, seed: int = 1) -> pd.DataFrame:
    """Rows of a model that holds."""
    rng = np.random.default_rng(seed)
    g = np.arange(n) % m
    x, t = rng.normal(size=n), np.arange(n) // m
    own = rng.normal(size=(m, 2)) * (1.0, 0.5)
    y = 2.0 + x + own[g, 0] + own[g, 1] * x + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "t": t, "f": np.array(["a", "b"])[rng.integers(0, 2, n)]})


# -- a model that holds -----------------------------------------------------------------------------------------------


def test_a_right_model_has_no_problem() -> None:
    found = fit("y ~ x + f + (x | g)", right()).check(seed=1, time="t")
    assert found.ok
    assert found.problems == ()
    verdicts = set(found.frame["verdict"])
    assert verdicts == {"fine", "not checked"}


def test_verdicts_hold_their_level() -> None:
    """Over right models, few verdicts are wrong: each of about ten has a level of one in a hundred."""
    wrong = sum(
        len(quietly("y ~ x + f + (x | g)", right(seed=s)).check(seed=s, n=50, time="t").problems)
        for s in range(40)
    )
    assert wrong <= 10


def test_findings_are_sorted_and_printed(ticks: Fit) -> None:
    found = ticks.check(seed=1)
    order = [ORDER.index(f.verdict) for f in found.findings]
    assert order == sorted(order)
    assert not found.ok
    text = repr(found)
    assert "PROBLEM - dispersion: the response is overdispersed" in text
    assert "Means: The response varies more than the family allows" in text
    assert text.index("PROBLEM") < text.index("Doubtful") < text.index("Fine:") < text.index("Not checked:")
    assert max(map(len, text.splitlines())) <= 100
    assert "<details open>" in found._repr_html_()
    assert list(found.frame.columns)[:3] == ["check", "about", "verdict"]
    assert repr(ticks.check(seed=1)) == text


# -- R's numbers ------------------------------------------------------------------------------------------------------


def test_variance_inflation_is_cars(ticks: Fit) -> None:
    cake = load_dataset("cake")
    plain = fit("angle ~ recipe + temp + I(temp^2) + (1 | recipe:replicate)", cake)
    both = fit("angle ~ recipe * temp + (1 | recipe:replicate)", cake)
    for model, known in ((plain, KNOWN["cake"]["vif"]), (ticks, KNOWN["ticks"]["vif"])):
        found = list(inflation(model.vcov, model.problem.X.assign).values())
        np.testing.assert_allclose([v for v, _ in found], [row[0] for row in known], rtol=1e-4)
        assert [df for _, df in found] == [row[1] for row in known]
    found = list(inflation(both.vcov, both.problem.X.assign).values())
    np.testing.assert_allclose(
        [v for v, _ in found], [row["GVIF"] for row in KNOWN["cake_interaction"]["vif"]], rtol=1e-4
    )
    frame = plain.check(seed=1, n=20).frame
    vif = frame.loc[frame["check"] == "collinearity", "statistic"].iloc[0]
    assert vif == pytest.approx(KNOWN["cake"]["collinearity"][1]["VIF"], rel=1e-4)


def test_numbers_of_performance(ticks: Fit, sleep: Fit) -> None:
    """Overdispersion, expected zeros, R2, ICC; of a Poisson model with performance's lambda, from a fit without covariates."""
    known, over = KNOWN["ticks"], ticks.overdispersion().to_dict()
    assert over["ratio"] == pytest.approx(known["overdispersion"]["ratio"], rel=1e-4)
    assert over["chisq"] == pytest.approx(known["overdispersion"]["chisq"], rel=1e-4)
    assert over["p_value"] == pytest.approx(known["overdispersion"]["p"], rel=1e-2)
    zeros = float(expected_zeros(Look.at(ticks, 1, 10, None, None, None)).sum())
    assert round(zeros) == known["zeros"]["predicted"]
    assert float((ticks.problem.y == 0).sum()) == known["zeros"]["observed"]
    conditional, marginal = KNOWN["performance"]["r2"]
    np.testing.assert_allclose(sleep.r2().to_numpy(), [marginal, conditional], atol=1e-4)
    np.testing.assert_allclose(sleep.icc().to_numpy(), KNOWN["performance"]["icc"][:1], atol=1e-4)

    null = ticks.update("~ 1 + (1 | BROOD) + (1 | LOCATION)")
    random = float(np.sum(ticks.varcorr()["vcov"].to_numpy()))
    fixed = float(np.var(ticks.problem.X.matrix @ ticks.params.to_numpy(), ddof=1))
    residual = float(np.log1p(np.exp(-null.params.to_numpy()[0])))
    total = fixed + random + residual
    assert fixed / total == pytest.approx(known["r2"]["marginal"], abs=1e-4)
    assert (fixed + random) / total == pytest.approx(known["r2"]["conditional"], abs=1e-4)
    assert random / (random + residual) == pytest.approx(known["icc"]["adjusted"], abs=1e-4)


def test_breusch_and_pagan_are_lmtests(sleep: Fit) -> None:
    e, fitted = sleep.residuals().to_numpy(), sleep.fittedvalues.to_numpy()
    slope, level = np.polyfit(fitted, e, 1)  # bptest takes the residuals of a regression on them
    statistic, p = breusch_pagan(e - level - slope * fitted, fitted)
    assert statistic == pytest.approx(KNOWN["breusch"]["statistic"], rel=1e-4)
    assert p == pytest.approx(KNOWN["breusch"]["p"], abs=1e-4)


# -- units ------------------------------------------------------------------------------------------------------------


def test_no_number_has_a_unit() -> None:
    data = right(200, 20)
    other = data.assign(y=1e6 * data["y"], x=data["x"] / 3e4)
    one = fit("y ~ x + f + (x | g)", data).check(seed=1, n=40, time="t").frame
    two = fit("y ~ x + f + (x | g)", other).check(seed=1, n=40, time="t").frame
    assert list(one["check"]) == list(two["check"])
    assert list(one["verdict"]) == list(two["verdict"])
    same = (one["check"] != "convergence").to_numpy()
    for name in ("statistic", "p", "limit"):
        np.testing.assert_allclose(one[name][same], two[name][same], rtol=2e-3, atol=1e-5)


# -- wrong in one way -------------------------------------------------------------------------------------------------


def test_a_zero_variance_is_named() -> None:
    found = quietly("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2")).check(seed=1)
    finding = the(found, "singularity")
    assert finding.verdict == "problem"
    assert "variance of (1 | Batch) is zero" in finding.found


def test_the_direction_without_variance_is_named() -> None:
    """Slopes that are -2 times the intercepts: intercept + slope / 2 varies nowhere."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(30), 12), np.tile(np.arange(12.0), 30)
    b = rng.normal(size=30)
    y = b[g] * (1.0 - 2.0 * x / 12.0) + 0.5 * rng.normal(size=360)
    found = quietly("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x / 12.0, "g": g})).check(seed=1, n=20)
    finding = the(found, "singularity")
    assert finding.verdict == "problem"
    assert "(Intercept) + 0.4" in finding.found or "(Intercept) + 0.5" in finding.found
    share, weights = directions(np.array([[1.0, -2.0], [-2.0, 4.0]]), np.ones(2))
    assert share < 1e-7
    assert in_columns(("a", "b"), weights) == "the combination a + 0.5 b of the effects"
    assert in_columns(("a", "b"), directions(np.diag([1.0, 0.0]), np.ones(2))[1]) == "the column b"


def test_overdispersed_counts_and_zeros() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(40), 12)
    mu = np.exp(0.5 + 0.4 * rng.normal(size=40)[g])
    over = pd.DataFrame({"y": rng.negative_binomial(1.0, 1.0 / (1.0 + mu)), "g": g})
    found = fit("y ~ 1 + (1 | g)", over, family="poisson").check(seed=1, n=100)
    assert the(found, "dispersion").verdict == "problem"
    assert the(found, "zeros").verdict != "fine"
    right_one = fit("y ~ 1 + (1 | g)", over, family="nbinom2").check(seed=1, n=100)
    assert the(right_one, "dispersion").verdict == "fine"
    assert the(right_one, "zeros").verdict == "fine"
    few = pd.DataFrame(
        {"y": np.rint(4.0 + 0.4 * rng.normal(size=480) + 0.3 * rng.normal(size=40)[g]), "g": g}
    )
    under = quietly("y ~ 1 + (1 | g)", few, family="poisson").check(seed=1, n=100)
    assert "underdispersed" in the(under, "dispersion").found


def test_quasi_likelihoods_say_their_dispersion() -> None:
    model = KINDS["pql"](rows(), dispersion="free")
    found = model.check(seed=1, n=20)
    assert "the dispersion is estimated" in the(found, "dispersion").found
    assert the(found, "zeros").verdict == "not checked"


def test_a_curve_is_seen_within_and_between_groups() -> None:
    data = right()
    rng = np.random.default_rng(5)
    h = rng.uniform(-2.0, 2.0, 40)
    data["h"] = h[data["g"]]
    data["bent"] = data["y"] + data["x"] ** 2
    within = fit("bent ~ x + (1 | g)", data).check(seed=1, n=20)
    assert the(within, "linearity", "x").verdict == "problem"
    data["between"] = data["y"] + 1.5 * data["h"] ** 2
    between = fit("between ~ x + h + (1 | g)", data).check(seed=1, n=20)
    finding = the(between, "linearity", "h")
    assert finding.verdict == "problem"
    assert "effects of g" in finding.found
    good = fit("between ~ x + poly(h, 2) + (1 | g)", data).check(seed=1, n=20)
    assert the(good, "linearity", "h").verdict == "fine"


def test_the_curve_is_an_f_test_of_least_squares() -> None:
    rng = np.random.default_rng(6)
    x, z = rng.normal(size=(2, 60))
    y = rng.normal(size=60)
    columns = np.column_stack([np.ones(60), x, z])
    larger = np.column_stack([columns, x**2, x**3, x**4])
    rss = [float(np.linalg.lstsq(c, y, rcond=None)[1][0]) for c in (columns, larger)]
    from scipy.stats import f

    statistic = (rss[0] - rss[1]) / 3 / (rss[1] / 54)
    found = bend(y, x, columns)
    assert found is not None
    assert found[1] == pytest.approx(float(f.sf(statistic, 3, 54)))
    assert found[0] == pytest.approx(1.0 - rss[1] / rss[0])
    assert bend(y, z[:1].repeat(60), columns) is None


def test_a_spread_that_grows_is_seen() -> None:
    data = right()
    rng = np.random.default_rng(7)
    data["fan"] = 5.0 + 3.0 * data["x"] + np.exp(0.6 * data["x"]) * rng.normal(size=400)
    found = quietly("fan ~ x + (1 | g)", data).check(seed=1, n=20)
    assert the(found, "homogeneity", "fitted").verdict == "problem"
    data["split"] = data["y"] + np.where(data["f"] == "a", 4.0, 0.0) * rng.normal(size=400)
    split = fit("split ~ x + f + (1 | g)", data).check(seed=1, n=20)
    finding = the(split, "homogeneity", "f")
    assert finding.verdict == "problem"
    assert finding.about == "f"


def test_the_spread_of_chances_and_counts_is_that_of_their_means() -> None:
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(40), 10), rng.normal(size=400)
    chance = 1.0 / (1.0 + np.exp(-(0.3 + 2.5 * x + 1.5 * rng.normal(size=40)[g])))
    mean = np.exp(-1.0 + x + 0.5 * rng.normal(size=40)[g])
    data = pd.DataFrame({"g": g, "x": x, "n": rng.integers(1, 5, 400)})
    data["one"] = (rng.random(400) < chance).astype(float)
    data["some"], data["count"] = rng.binomial(data["n"], chance), rng.poisson(mean)
    data["more"] = rng.poisson(mean * rng.gamma(0.5, 2.0, 400))  # variance mu + 2 mu^2
    for left, family, fine in (
        ("one", "binomial", True),
        ("some | trials(n)", "binomial", True),
        ("count", "poisson", True),
        ("more", "poisson", False),
    ):
        found = fit(f"{left} ~ x + (1 | g)", data, family=family, method="pql").check(seed=1)
        assert (the(found, "homogeneity", "fitted").verdict == "fine") is fine, left


def test_residuals_of_chances_are_normal_whatever_dispersion_is_estimated() -> None:
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(60), 12), rng.normal(size=720)
    chance = 1.0 / (1.0 + np.exp(-(0.3 + 2.5 * x + 1.5 * rng.normal(size=60)[g])))
    data = pd.DataFrame({"g": g, "x": x, "y": (rng.random(720) < chance).astype(float)})
    found = fit("y ~ x + (1 | g)", data, family="binomial", method="pql").check(seed=1)
    assert the(found, "outliers").verdict == "fine"
    assert the(found, "normality", "residuals").verdict == "fine"


def test_obrien_holds_its_level() -> None:
    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(30), 6)
    p = np.array([obrien(rng.normal(size=180), codes)[1] for _ in range(400)])
    assert 0.02 < float(np.mean(p < 0.05)) < 0.08


def test_time_and_space() -> None:
    rng = np.random.default_rng(9)
    e = np.zeros((30, 15))
    for t in range(1, 15):
        e[:, t] = 0.8 * e[:, t - 1] + rng.normal(size=30)
    x, y = np.meshgrid(np.arange(30.0), np.arange(15.0), indexing="ij")
    data = pd.DataFrame(
        {"e": e.ravel(), "g": x.ravel().astype(int), "t": y.ravel(), "lon": x.ravel(), "lat": y.ravel()}
    )
    data["wave"] = 3.0 * np.sin(data["lon"] / 4.0) * np.cos(data["lat"] / 3.0) + 0.3 * rng.normal(size=450)
    data["h"] = rng.permutation(450) % 15
    serial = fit("e ~ 1 + (1 | g)", data).check(seed=1, n=20, time="t")
    assert the(serial, "autocorrelation in time").verdict == "problem"
    spatial = quietly("wave ~ 1 + (1 | h)", data).check(seed=1, n=20, coords=("lon", "lat"))
    assert the(spatial, "autocorrelation in space").verdict == "doubtful"
    assert the(spatial, "autocorrelation in time").verdict == "not checked"
    twice = fit("e ~ 1 + (1 | g)", data).check(
        seed=1, n=20, time=np.repeat(np.arange(225.0), 2), coords=data[["lon", "h"]]
    )
    assert "averaged" in the(twice, "autocorrelation in time").found
    with pytest.raises(DataError, match="time='when'"):
        fit("e ~ 1 + (1 | g)", data).check(time="when")
    with pytest.raises(DataError, match="coords="):
        fit("e ~ 1 + (1 | g)", data).check(coords=[1.0, 2.0])


def test_separation_says_which_coefficients_run_where() -> None:
    data = right(200, 20)
    rng = np.random.default_rng(10)
    f = np.array(["low", "mid", "high"])[rng.integers(0, 3, 200)]
    data["f"] = f
    data["yes"] = np.where(f == "high", 1.0, rng.integers(0, 2, 200))
    found = quietly("yes ~ f + x + (1 | g)", data, family="binomial").check(seed=1, n=20)
    finding = the(found, "separation")
    assert finding.verdict == "problem"
    assert "flow to -infinity" in finding.found
    assert "fmid to -infinity" in finding.found
    assert " x to" not in finding.found
    assert finding.statistic == pytest.approx(float(np.mean(f == "high")))
    apart = data.assign(n=np.where(f == "low", 0, rng.poisson(2.0, 200)))
    counts = quietly("n ~ f + (1 | g)", apart, family="poisson").check(seed=1, n=20)
    assert "flow to -infinity" in the(counts, "separation").found
    mixed = quietly("yes ~ x + (1 | g)", data, family="binomial").check(seed=1, n=20)
    assert the(mixed, "separation").verdict == "fine"


def test_directions_of_separation() -> None:
    x = np.column_stack([np.ones(6), [1.0, 2, 3, 4, 5, 6]])
    ones = np.ones(6)
    found = direction(x, np.array([-1.0, -1, -1, 1, 1, 1]), ones, unit=True)
    assert found is not None
    assert found[0][1] > 0.0
    assert found[1] >= 5 / 6
    assert direction(x, np.array([-1.0, 1, -1, 1, 1, 1]), ones, unit=True) is None
    assert direction(x, np.array([0.0, 0, -1, 1, 1, 1]), ones, unit=True) is None
    scaled = direction(x * (1.0, 1e9), np.array([-1.0, -1, -1, 1, 1, 1]), ones, unit=True)
    assert scaled is not None
    np.testing.assert_allclose(scaled[0] * (1.0, 1e9), found[0], atol=1e-7)


def test_columns_levels_and_slopes() -> None:
    data = right()
    data["copy"] = 2.0 * data["x"]
    data["four"] = data["g"] % 4
    data["level"] = (np.arange(40) % 7.0)[data["g"]]
    data["near"] = data["x"] + 0.05 * np.random.default_rng(77).normal(size=400)
    found = quietly("y ~ x + copy + near + (level | g) + (1 | four)", data).check(seed=1, n=20)
    assert "copy" in the(found, "rank").found
    assert the(found, "collinearity").verdict == "problem"
    assert the(found, "condition").verdict == "doubtful"
    assert the(found, "levels").about == "four"
    assert the(found, "slopes").about == "level | g"


def test_condition_index_has_no_unit_and_no_origin() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(50), rng.normal(size=(50, 3))])
    one = condition_index(x, (0, 1, 2, 3))
    assert condition_index(x * (1.0, 1e5, 1e-4, 3.0) + (0.0, 1e4, 7.0, -2.0), (0, 1, 2, 3)) == pytest.approx(
        one
    )
    exact = np.linalg.cond(np.corrcoef(x[:, 1:].T)) ** 0.5
    assert one == pytest.approx(exact)


def test_rows_far_out_and_influential_groups() -> None:
    data = right()
    data.loc[17, "y"] += 12.0
    found = fit("y ~ x + (1 | g)", data).check(seed=1, n=50)
    finding = the(found, "outliers")
    assert finding.verdict == "doubtful"
    assert finding.about.startswith("17 (+")
    data = right()
    far = data["g"] == 3
    data.loc[far, "x"] += 25.0
    assert the(fit("y ~ x + (1 | g)", data).check(seed=1, n=20), "influence").about == "g 3"


def test_shape_against_simulated_samples() -> None:
    rng = np.random.default_rng(4)
    assert shape(rng.standard_t(2.5, 500), rng).p < 0.01
    assert shape(rng.exponential(size=60), rng).p < 0.01
    p, inside = [], []
    for _ in range(60):
        found = shape(7.0 + 3.0 * rng.normal(size=80), rng)
        p.append(found.p)
        inside.append(found.outside == 0)
    assert 0.3 < float(np.mean(p)) < 0.7
    assert np.mean(inside) > 0.85
    many = shape(rng.normal(size=20_000), rng)
    assert len(many.values) == 5_000


def test_effects_are_judged_by_their_own_variance() -> None:
    """Modes of levels with 2 and with 50 rows shrink differently; standardised they are alike."""
    rng = np.random.default_rng(5)
    g = np.concatenate([np.repeat(np.arange(60), 2), np.repeat(np.arange(60, 120), 50)])
    data = pd.DataFrame({"y": rng.normal(size=120)[g] + rng.normal(size=len(g)), "g": g})
    model = fit("y ~ 1 + (1 | g)", data)
    from lmmformula.inference.checking.normality import standardised_modes

    z = standardised_modes(Look.at(model, 1, 10, None, None, None), 0, 0)
    assert z is not None
    assert float(np.std(z[:60])) == pytest.approx(1.0, abs=0.25)
    assert float(np.std(z[60:])) == pytest.approx(1.0, abs=0.25)
    raw = model.ranef()["condval"].to_numpy()
    assert float(np.std(raw[:60])) < 0.9 * float(np.std(raw[60:]))
    skewed = rng.exponential(size=120) ** 1.5
    data["odd"] = skewed[g] + 0.2 * rng.normal(size=len(g))
    assert the(fit("odd ~ 1 + (1 | g)", data).check(seed=1, n=20), "normality", "| g").verdict == "doubtful"


def test_a_search_that_stopped() -> None:
    model = quietly("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), max_evaluations=2)
    finding = model.check(seed=1, n=20).findings[0]
    assert (finding.check, finding.verdict) == ("convergence", "problem")
