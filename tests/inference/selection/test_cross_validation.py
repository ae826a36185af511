"""Predictions of rows left out: their densities by integration, scores by hand, and what would leak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from lmmformula import DataError, Fit, PlanError, fit, load_dataset
from lmmformula.families import resolve
from lmmformula.inference.selection.predictive_density import log_predictive, predictive_mean

SLEEP = load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def slopes() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", SLEEP)


@pytest.mark.parametrize(
    ("family", "y", "weights", "eta"),
    [
        ("poisson", 7.0, None, 1.2),
        ("poisson", 0.0, None, -2.0),
        ("binomial", 1.0, None, -1.5),
        ("binomial", 0.25, 8.0, 0.4),
        ("gamma(link='log')", 3.1, None, 0.3),
        ("nbinom2", 12.0, None, 1.0),
    ],
)
@pytest.mark.parametrize("spread", [0.05, 0.7, 2.5])
def test_a_density_is_the_integral_over_the_linear_predictor(
    family: str, y: float, weights: float | None, eta: float, spread: float
) -> None:
    own = resolve(family)
    aux = tuple(np.array([0.3]) for _ in own.auxiliaries)
    w = None if weights is None else np.array([weights])

    def density(t: float) -> float:
        rows = own.rows(np.array([y]), np.array([eta + spread * t]), aux, w, derivatives=False)
        return float(np.exp(rows.loglik[0]) * stats.norm.pdf(t))

    def mean(t: float) -> float:
        return float(own.mean(np.array([eta + spread * t]), aux)[0] * stats.norm.pdf(t))

    expected = integrate.quad(density, -12, 12, epsabs=1e-13, limit=400)[0]
    found = log_predictive(own, np.array([y]), np.array([eta]), np.array([spread**2]), aux, w)
    assert found[0] == pytest.approx(np.log(expected), abs=1e-5)
    average = integrate.quad(mean, -12, 12, epsabs=1e-12, limit=400)[0]
    got = predictive_mean(own, np.array([eta]), np.array([spread**2]), aux)
    assert got[0] == pytest.approx(average, rel=1e-4)


def test_without_uncertainty_it_is_the_density() -> None:
    own = resolve("poisson")
    found = log_predictive(own, np.array([3.0]), np.array([1.0]), np.zeros(1), (), None)
    assert found[0] == pytest.approx(stats.poisson.logpmf(3, np.e))


def test_new_levels_have_their_effects_integrated_out(slopes: Fit) -> None:
    """One fold by hand: the fit without three subjects, and the marginal normal density of their rows."""
    folds = (SLEEP["Subject"].astype(str).isin(["308", "335", "372"])).astype(int).to_numpy()
    found = slopes.cross_validate("Subject", folds=folds)
    out = folds == 1
    trained = fit("Reaction ~ Days + (Days | Subject)", SLEEP[~out])
    x = np.column_stack([np.ones(out.sum()), SLEEP.loc[out, "Days"]])
    theta = trained.theta.to_numpy()
    lower = trained.sigma * np.array([[theta[0], 0.0], [theta[1], theta[2]]])
    variance = np.einsum("ni,ij,nj->n", x, lower @ lower.T + trained.cov_params().to_numpy(), x)
    sd = np.sqrt(variance + trained.sigma**2)
    density = stats.norm.logpdf(SLEEP.loc[out, "Reaction"], x @ trained.params.to_numpy(), sd)
    np.testing.assert_allclose(found.frame.loc[out, "elpd"], density, rtol=1e-6)
    np.testing.assert_allclose(found.frame.loc[out, "predicted"], x @ trained.params.to_numpy(), rtol=1e-7)
    np.testing.assert_allclose(
        found.frame.loc[out, "upper"] - found.frame.loc[out, "predicted"],
        stats.norm.ppf(0.975) * sd,
        rtol=1e-6,
    )
    assert found.n_folds == 2
    assert found.measures == "rows of new levels of Subject, their effects integrated out"


def test_rows_of_known_levels_are_predicted_from_their_level(slopes: Fit) -> None:
    folds = np.arange(180) % 2
    found = slopes.cross_validate("row", folds=folds)
    trained = fit("Reaction ~ Days + (Days | Subject)", SLEEP[folds == 0])
    predicted = trained.predict(SLEEP[folds == 1], interval="prediction")
    np.testing.assert_allclose(found.frame.loc[folds == 1, "predicted"], predicted["fit"], rtol=1e-6)
    np.testing.assert_allclose(found.frame.loc[folds == 1, "lower"], predicted["lower"], rtol=1e-6)
    assert found.measures == "new rows of known levels of Subject"
    new = slopes.cross_validate("Subject", seed=1, score="rmse").summary.loc["rmse", "estimate"]
    assert found.summary.loc["rmse", "estimate"] < 0.7 * new


def test_leaving_out_single_rows_of_a_linear_model_is_press() -> None:
    data = load_dataset("Dyestuff").assign(x=lambda d: np.sin(np.arange(len(d))))
    m = fit("Yield ~ x", data)
    found = m.cross_validate(folds=30, seed=1, score=["rmse", "mae"])
    x = m.problem.X.matrix
    h = np.diagonal(x @ np.linalg.solve(x.T @ x, x.T))
    press = m.residuals().to_numpy() / (1.0 - h)
    assert found.summary.loc["rmse", "estimate"] == pytest.approx(np.sqrt(np.mean(press**2)), rel=1e-10)
    assert found.summary.loc["mae", "estimate"] == pytest.approx(np.mean(np.abs(press)), rel=1e-10)
    assert found.by == "row"


def test_standard_errors_are_those_of_sums_over_levels(slopes: Fit) -> None:
    found = slopes.cross_validate(seed=3)
    sums = pd.DataFrame(
        found.frame.groupby("unit", observed=True)[["elpd", "squared_error", "covered"]].sum()
    )
    summary = found.summary
    assert summary.loc["elpd", "estimate"] == pytest.approx(found.frame["elpd"].sum())
    assert summary.loc["elpd", "se"] == pytest.approx(np.sqrt(18 * sums["elpd"].var(ddof=1)))
    means = sums["covered"] / 10
    assert summary.loc["coverage", "se"] == pytest.approx(means.std(ddof=1) / np.sqrt(18))
    error = sums["squared_error"].div(10).std(ddof=1) / np.sqrt(18)
    assert summary.loc["rmse", "se"] == pytest.approx(error / (2 * summary.loc["rmse", "estimate"]))
    assert found.units["rows"].tolist() == [10.0] * 18


def test_models_are_compared_in_pairs(slopes: Fit) -> None:
    small = fit("Reaction ~ Days + (1 | Subject)", SLEEP)
    first, second = slopes.cross_validate(seed=3), small.cross_validate(seed=3)
    gain = first.minus(second)
    each = first.units["elpd"] - second.units["elpd"]
    own = np.asarray(each, dtype=float)
    found = gain.to_dict()
    assert found["difference"] == pytest.approx(own.sum())
    assert found["se"] == pytest.approx(np.sqrt(18 * own.var(ddof=1)))
    with pytest.raises(DataError, match="differ in rows"):
        first.minus(small.cross_validate(seed=4))


def test_what_a_formula_learns_each_fold_learns_from_its_own_rows() -> None:
    """Knots and bounds of a spline move with the rows; a copy of the call on the training rows predicts the same."""
    formula = "Reaction ~ ns(Days, 3) + (1 + scale(Days) | Subject)"
    data = SLEEP.assign(Days=SLEEP["Days"] + 0.3 * np.cos(np.arange(180)))
    late = data["Days"].rank().to_numpy() > 110
    found = fit(formula, data).cross_validate("row", folds=late.astype(int), score="elpd")
    trained = fit(formula, data[~late])
    np.testing.assert_allclose(
        found.frame.loc[late, "predicted"], trained.predict(data[late]).to_numpy(), rtol=1e-5
    )


def test_a_response_scaled_by_its_own_rows_is_refused() -> None:
    m = fit("scale(Reaction) ~ Days + (1 | Subject)", SLEEP)
    with pytest.raises(
        DataError, match=r"fold 1 of .*response is transformed by what is learned from the rows"
    ):
        m.cross_validate(seed=1)
    logged = fit("log(Reaction) ~ Days + (1 | Subject)", SLEEP)
    assert logged.cross_validate(seed=1, score="rmse").summary.loc["rmse", "estimate"] < 1.0


@pytest.mark.parametrize("family", ["binomial", "pql"])
def test_scores_of_successes(family: str) -> None:
    data = load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    method = "pql" if family == "pql" else "auto"
    m = fit(formula, data, family="binomial", method=method)
    found = m.cross_validate(folds=5, seed=2)
    assert set(found.scores) == {"elpd", "rmse", "brier", "log_loss", "coverage"}
    frame = found.frame
    p, y, n = (frame[c].to_numpy() for c in ("predicted", "y", "trials"))
    np.testing.assert_allclose(n, data["size"])
    brier = np.sum(n * (y * (1 - p) ** 2 + (1 - y) * p**2)) / n.sum()
    assert found.summary.loc["brier", "estimate"] == pytest.approx(brier)
    loss = -np.sum(n * (y * np.log(p) + (1 - y) * np.log(1 - p))) / n.sum()
    assert found.summary.loc["log_loss", "estimate"] == pytest.approx(loss)
    again = m.cross_validate(folds=5, seed=2)
    pd.testing.assert_frame_equal(again.frame, frame)


def test_weights_and_offsets_given_as_arrays_go_with_their_rows() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {"x": rng.normal(size=60), "g": np.repeat(np.arange(10), 6), "w": rng.uniform(0.5, 2, 60)}
    )
    data["o"] = rng.normal(size=60)
    data["y"] = data["o"] + data["x"] + rng.normal(size=10)[data["g"]] + rng.normal(size=60)
    by_name = fit("y ~ x + (1 | g)", data, weights="w", offset="o").cross_validate(folds=4, seed=1)
    arrays: dict[str, Any] = {"weights": data["w"].to_numpy(), "offset": data["o"].to_numpy()}
    by_array = fit("y ~ x + (1 | g)", data, **arrays).cross_validate(folds=4, seed=1)
    np.testing.assert_allclose(by_array.frame["elpd"], by_name.frame["elpd"], rtol=1e-9)


def test_leakage_is_refused_by_name(slopes: Fit) -> None:
    with pytest.raises(DataError, match=r"leakage: 18 levels of Subject lie in several.*'308'"):
        slopes.cross_validate("Subject", folds=np.arange(180) % 3)
    with pytest.raises(DataError, match="folds=19 is more than there are levels of Subject, 18"):
        slopes.cross_validate("Subject", folds=19)
    with pytest.raises(DataError, match="one fold only"):
        slopes.cross_validate("Subject", folds=np.zeros(180))
    with pytest.raises(DataError, match="the fold of each row"):
        slopes.cross_validate("Subject", folds=[1, 2, 3])


def test_what_is_left_out_must_be_said_where_it_is_not_clear() -> None:
    m = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin"))
    with pytest.raises(PlanError, match=r"2 grouping factors \(plate, sample\).*by='plate'"):
        m.cross_validate()
    found = m.cross_validate("sample", seed=1)
    assert found.n_folds == 6
    assert found.measures.endswith("levels of plate that a fold has seen are known to it")
    other = fit("Reaction ~ Days + (1 | Subject)", SLEEP).cross_validate(
        "Days", folds=5, seed=1, score="rmse"
    )
    assert (other.by, other.n_units) == ("Days", 10)


def test_a_level_of_a_factor_that_a_fold_lacks_is_named() -> None:
    data = load_dataset("Machines")
    m = fit("score ~ Machine + (1 | Worker)", data)
    with pytest.raises(DataError, match=r"fold \d of 3, without 18 rows"):
        m.cross_validate("Machine", folds=3, seed=1)


def test_scores_that_do_not_suit_are_refused(slopes: Fit) -> None:
    with pytest.raises(DataError, match="score='brier' is for successes"):
        slopes.cross_validate(score="brier")
    with pytest.raises(DataError, match="score='auc' is unknown"):
        slopes.cross_validate(score=["elpd", "auc"])


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_densities_move_with_the_unit_alone(slopes: Fit, unit: float) -> None:
    moved = SLEEP.assign(Reaction=unit * SLEEP["Reaction"], Days=SLEEP["Days"] / unit)
    other = fit("Reaction ~ Days + (Days | Subject)", moved).cross_validate(folds=3, seed=5)
    first = slopes.cross_validate(folds=3, seed=5)
    np.testing.assert_allclose(other.frame["elpd"] + np.log(unit), first.frame["elpd"], rtol=1e-5, atol=1e-5)
    assert other.summary.loc["coverage", "estimate"] == first.summary.loc["coverage", "estimate"]


def test_what_it_prints(slopes: Fit) -> None:
    found = slopes.cross_validate(folds=3, seed=5, level=0.9)
    text = repr(found)
    assert text.startswith("3-fold cross-validation. Model: Reaction ~ Days + (Days | Subject)")
    assert "Standard errors are over 18 levels of Subject." in text
    assert "90% prediction intervals" in text
    assert "<table" in found._repr_html_()


def test_smooths_are_no_factors_whose_levels_are_left_out() -> None:
    rng = np.random.default_rng(2)
    data = {"x": np.tile(np.linspace(0.0, 1.0, 8), 10), "g": np.repeat(np.arange(10), 8)}
    data["y"] = np.sin(6.0 * data["x"]) + rng.normal(size=80) + rng.normal(size=10)[data["g"]]
    alone = fit("y ~ s(x, k = 5)", data).cross_validate(folds=2, seed=1)
    assert (alone.by, alone.measures) == ("row", "new rows")
    beside = fit("y ~ s(x, k = 5) + (1 | g)", data).cross_validate(folds=2, seed=1)
    assert (beside.by, beside.measures) == ("g", "rows of new levels of g, their effects integrated out")


def test_fields_over_all_rows_are_none_either() -> None:
    rng = np.random.default_rng(3)
    data = {"a": rng.uniform(size=60), "b": rng.uniform(size=60), "one": ["all"] * 60}
    data |= {"g": np.repeat(np.arange(10), 6), "y": 0.5 * rng.normal(size=60) + rng.normal(size=10).repeat(6)}
    data["y"] += np.sin(4.0 * data["a"]) + np.cos(4.0 * data["b"])
    m = fit("y ~ 1 + exp(0 + pos(a, b) | one) + (1 | g)", data, method="ml")
    assert m.cross_validate(folds=2, seed=1).by == "g"
