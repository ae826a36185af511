"""Means, trends and tests of models with smooths, against mgcv and emmeans and against predictions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, PlanError, fit

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE: dict[str, Any] = json.loads((FOLDER / "smooth_means.json").read_text(encoding="utf-8"))
BY_FACTOR = "y ~ f + s(x, by = f) + s(z)"
PLACES = {"x": [0.2, 0.5, 0.8]}


@cache
def data() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "smooths.csv")


@cache
def fitted(formula: str, family: str = "gaussian") -> Fit:
    return fit(formula, data(), family=family)


def agrees(table: pd.DataFrame, wanted: dict[str, list[float]], rtol: float = 1e-4) -> None:
    for name, values in wanted.items():
        np.testing.assert_allclose(table[name].to_numpy(float), values, rtol=rtol)


def test_means_and_trends_are_those_of_emmeans() -> None:
    m = fitted(BY_FACTOR)
    agrees(m.emmeans("f").table, REFERENCE["means"])
    agrees(m.emmeans("f").pairs().table, REFERENCE["pairs"])
    agrees(m.emmeans("x", at=PLACES).table, REFERENCE["along"])
    agrees(m.emtrends("f", "x").table, REFERENCE["trends"])


def test_with_random_effects_that_are_zero() -> None:
    m = fitted("y ~ f + s(x) + (1 | g)")
    for level, place, j in (("a", 0.3, 0), ("b", 0.7, 1)):
        mean = m.emmeans("x", at={"x": [place], "f": [level]}).table
        slope = m.emtrends("x", "x", at={"x": [place], "f": [level]}).table
        agrees(mean.rename(columns={"emmean": "estimate"}), _row("grouped", j))
        agrees(slope.rename(columns={"x.trend": "estimate"}), _row("grouped_trends", j))


def _row(name: str, j: int) -> dict[str, list[float]]:
    return {key: [values[j]] for key, values in REFERENCE[name].items()}


def test_degrees_of_freedom_are_those_of_a_variance_as_a_function_of_its_parameters() -> None:
    """Satterthwaite's, with dv/dphi by differences of the standard errors of predictions at other variances."""
    m = fitted("y ~ f + s(x, k = 6) + (1 | g)")
    at = {"x": [0.3], "f": ["a"]}
    new = pd.DataFrame({"x": [0.3], "f": ["a"]})
    table = m.emmeans("x", at=at).table
    from dataclasses import replace

    from lmmformula.inference.wald import information

    def variance(j: int, step: float) -> float:
        theta = m.optimum.theta.copy()
        theta[j] += step
        point = m.optimum.model(theta)
        moved = replace(m.estimate, theta=m.standard.theta_out(theta), sigma=m.estimate.sigma)
        again = replace(m, estimate=moved)
        again.__dict__["optimum"] = point
        said: Any = again.predict(new, re_form=None, se=True)
        return float(said["se"].iloc[0]) ** 2

    v = float(table["SE"].iloc[0]) ** 2
    count = len(m.optimum.theta)
    slopes = np.array([(variance(j, 1e-4) - variance(j, -1e-4)) / 2e-4 for j in range(count)] + [2 * v])
    spread = slopes @ information(m).covariance @ slopes
    assert table["df"].iloc[0] == pytest.approx(2 * v**2 / spread, rel=1e-3)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_means_are_predictions(family: str) -> None:
    response = "y" if family == "gaussian" else "cnt"
    m = fitted(f"{response} ~ f + s(x, k = 6) + (1 | g)", family)
    new = pd.DataFrame({"f": ["a", "b"], "x": data()["x"].mean()})
    said: Any = m.predict(new, re_form=None, se=True, kind="link")
    agrees(m.emmeans("f").table, {"emmean": list(said["fit"]), "SE": list(said["se"])}, 1e-8)
    population = m.emmeans("f", average="population")
    rows: Any = m.predict_population(new, se=True)
    shown = population.table.iloc[:, 1:3].to_numpy()
    np.testing.assert_allclose(shown, rows.to_numpy(), rtol=1e-8)
    if family == "poisson":
        link = population.shown_as("link").table["emmean"]
        assert np.log(rows["fit"].to_numpy()) == pytest.approx(link.to_numpy())
        variance = float(m.varcorr().query("grp == 'g'")["vcov"].iloc[0])
        assert rows["fit"].to_numpy() == pytest.approx(np.exp(said["fit"].to_numpy() + variance / 2))


def test_a_posterior_has_draws_of_its_smooths() -> None:
    m = fit("y ~ f + s(x, k = 5)", data(), method="hmc", sampler="importance", draws=400, chains=2, seed=1)
    exact = fitted("y ~ f + s(x, k = 5)")
    for made in (lambda k: k.emmeans("f").table, lambda k: k.emtrends("f", "x").table):
        one, other = made(m), made(exact)
        gap = np.abs(one.iloc[:, 1].to_numpy() - other.iloc[:, 1].to_numpy())
        assert (gap < 0.3 * other["SE"].to_numpy()).all()
        np.testing.assert_allclose(one["SE"], other["SE"], rtol=0.15)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_variables_that_only_the_penalised_part_names() -> None:
    m = fitted('y ~ f + s(day, bs = "cc")')
    assert list(m.emmeans("day", at={"day": [0.1, 0.6]}).table["day"]) == [0.1, 0.6]
    assert any("day" in e.variables for e in m.conditional_effects().effects)


def test_trends_at_the_end_of_the_range_do_not_warn() -> None:
    m = fitted("y ~ f + s(x)")
    end = float(data()["x"].to_numpy().max())
    assert np.isfinite(m.emtrends("x", "x", at={"x": [end]}).table["SE"]).all()


def test_tests_of_factors_leave_smooths_at_their_mean() -> None:
    table = fitted(BY_FACTOR).joint_tests()
    assert list(table["model term"]) == ["f"]
    t = REFERENCE["pairs"]["estimate"] / REFERENCE["pairs"]["SE"]
    assert table["F.ratio"].iloc[0] == pytest.approx(t**2, rel=1e-3)


def test_what_is_for_fixed_effects_is_refused() -> None:
    m = fitted("y ~ f + s(x) + (1 | g)")
    with pytest.raises(PlanError, match=r"adjusts the covariance matrix of fixed effects.*s\(x\)"):
        m.emmeans("f", ddf="kenward-roger")
    with pytest.raises(PlanError, match=r"vcov= and cluster= are for fixed effects"):
        m.emmeans("f", vcov="CR2")


def test_a_row_of_anova_for_each_smooth() -> None:
    wanted, m = REFERENCE["anova"], fitted(BY_FACTOR)
    table = m.anova()
    assert list(table.index) == ["f", "s(x):fa", "s(x):fb", "s(z)"]
    own = table.iloc[1:]
    np.testing.assert_allclose(own["edf"], wanted["edf"], rtol=1e-5)
    np.testing.assert_allclose(own["NumDF"], wanted["ref"], rtol=1e-5)
    np.testing.assert_allclose(own["F value"], wanted["F"], rtol=1e-5)
    np.testing.assert_allclose(own["DenDF"], wanted["residual"], rtol=1e-5)
    assert table["F value"].iloc[0] == pytest.approx(wanted["f"], rel=1e-4)
    np.testing.assert_allclose(table["Mean Sq"], table["F value"] * m.sigma**2)
    assert "edf" in str(m.anova())
    pd.testing.assert_frame_equal(pd.DataFrame(m.drop1()), pd.DataFrame(table), check_names=False)


def test_a_row_of_chi_square_for_each_smooth() -> None:
    m = fitted("cnt ~ f + s(x, k = 6) + (1 | g)", "poisson")
    table, shown = m.anova(), m.smooths()
    assert list(table.index) == ["f", "s(x)"]
    assert table.loc["s(x)", "Chisq"] == shown.loc["s(x)", "Chisq"]
    assert table.loc["s(x)", "Df"] == shown.loc["s(x)", "ref.df"]


def test_likelihood_ratios_without_a_smooth() -> None:
    from scipy.stats import chi2

    m = fit("y ~ f + s(x, k = 6) + s(z, k = 6)", data(), method="ml")
    table = m.drop1(test="chisq")
    assert list(table.index) == ["<none>", "f", "s(x, k = 6)", "s(z, k = 6)"]
    small = fit("y ~ f + s(x, k = 6)", data(), method="ml")
    ratio = 2.0 * (m.llf - small.llf)
    row: Any = table.loc["s(z, k = 6)"]
    assert row["LRT"] == pytest.approx(ratio, rel=1e-6)
    assert row["npar"] == 2.0
    assert row["Pr(>Chisq)"] == pytest.approx(0.5 * (chi2.sf(ratio, 1) + chi2.sf(ratio, 2)), rel=1e-6)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_steps_leave_out_smooths_of_noise() -> None:
    rng = np.random.default_rng(2)
    noisy = data().assign(w=rng.uniform(size=len(data())))
    m = fit("y ~ s(x, k = 6) + s(w, by = f, k = 5)", noisy)
    found = m.step(keep=("s(x)",))
    assert "s(w" not in found.formula
    assert "s(x" in found.formula
