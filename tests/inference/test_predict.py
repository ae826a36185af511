"""Predictions, their errors, and what happens to levels that the fit has not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from oracle import Oracle, z_matrix

from lmmformula import DataError, FormulaError, fit, load_dataset


@pytest.fixture(scope="module")
def sleep():
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def crossed():
    return fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin"))


NEW = {"Days": [1.0, 2.0, 3.0], "Subject": ["308", "new", "other"]}


def test_rows_of_the_fit_and_the_same_rows_as_new_data(sleep) -> None:
    data = load_dataset("sleepstudy")
    np.testing.assert_allclose(sleep.predict(), sleep.fittedvalues)
    np.testing.assert_allclose(sleep.predict(data), sleep.fittedvalues)
    np.testing.assert_allclose(sleep.predict(data, re_form="~ (Days | Subject)"), sleep.fittedvalues)
    np.testing.assert_allclose(
        sleep.predict(re_form=None), 251.405104848485 + 10.4672859595957 * data["Days"]
    )


def test_part_of_the_random_effects(sleep, crossed) -> None:
    data = load_dataset("sleepstudy")
    only = sleep.predict(data, re_form="~ (1 | Subject)")
    expected = (
        sleep.predict(re_form=None).to_numpy() + sleep.estimate.modes[0][sleep.problem.terms[0].codes, 0]
    )
    np.testing.assert_allclose(only, expected)
    plate = crossed.predict(re_form="~ (1 | plate)")
    np.testing.assert_allclose(
        plate, crossed.params.iloc[0] + crossed.estimate.modes[0][crossed.problem.terms[0].codes, 0]
    )


def test_re_form_that_the_fit_does_not_have(sleep) -> None:
    with pytest.raises(FormulaError, match="has no random effect of z for Subject"):
        sleep.predict(re_form="~ (1 + z | Subject)")
    with pytest.raises(FormulaError, match="no random effect of"):
        sleep.predict(re_form="~ (1 | plate)")


def test_population_prediction_needs_no_group(sleep) -> None:
    out = sleep.predict({"Days": [0.0, 1.0]}, re_form=None)
    np.testing.assert_allclose(out, [251.405104848485, 251.405104848485 + 10.4672859595957])


def test_unseen_levels_are_refused_by_name(sleep) -> None:
    with pytest.raises(DataError, match=r"2 of 3 rows have levels of Subject .* 'new', 'other'"):
        sleep.predict(NEW)


def test_unseen_levels_population_na_sample(sleep) -> None:
    population = sleep.predict(NEW, new_levels="population")
    np.testing.assert_allclose(population[1:], sleep.predict(NEW, re_form=None)[1:])
    na = sleep.predict(NEW, new_levels="na")
    assert na.isna().tolist() == [False, True, True]
    one = sleep.predict(NEW, new_levels="sample", seed=1)
    assert one[0] == pytest.approx(population[0])
    pd.testing.assert_series_equal(one, sleep.predict(NEW, new_levels="sample", seed=1))
    assert not np.allclose(one, sleep.predict(NEW, new_levels="sample", seed=2))


def test_sampled_levels_have_the_estimated_covariance(sleep) -> None:
    new = {"Days": np.tile([0.0, 5.0], 4_000), "Subject": np.repeat([f"n{i}" for i in range(4_000)], 2)}
    draws = sleep.predict(new, new_levels="sample", seed=0).to_numpy().reshape(-1, 2)
    z = np.array([[1, 0], [1, 5.0]])
    lower = sleep.sigma * sleep.problem.terms[0].covariance.cholesky(sleep.estimate.theta)
    expected = z @ lower @ lower.T @ z.T
    np.testing.assert_allclose(np.cov(draws.T), expected, rtol=0.1)


@pytest.mark.parametrize("which", ["sleep", "crossed"])
def test_standard_error_against_hendersons_equations(which, request) -> None:
    """Var of the prediction error from the inverse of the dense mixed-model equations."""
    m = request.getfixturevalue(which)
    oracle = Oracle(m.problem, m.estimate.theta, reml=True)
    z = np.hstack([z_matrix(t) for t in m.problem.terms])
    sigma = np.zeros((z.shape[1],) * 2)
    at = 0
    for block in oracle.sigma_blocks():
        sigma[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    xz = np.hstack([m.problem.X.matrix, z])
    p = m.problem.p
    lhs = xz.T @ xz
    lhs[p:, p:] += np.linalg.inv(sigma)
    expected = m.sigma * np.sqrt(np.einsum("ni,ij,nj->n", xz, np.linalg.inv(lhs), xz))
    np.testing.assert_allclose(m.predict(se=True)["se"], expected, rtol=1e-8)


def test_standard_error_without_random_effects_and_for_new_levels(sleep) -> None:
    x = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    fixed = np.einsum("ni,ij,nj->n", x, sleep.estimate.vcov, x)
    out = sleep.predict(NEW, re_form=None, se=True)
    np.testing.assert_allclose(out["se"] ** 2, fixed)
    lower = sleep.sigma * sleep.problem.terms[0].covariance.cholesky(sleep.estimate.theta)
    group = np.einsum("ni,ij,nj->n", x, lower @ lower.T, x)
    new = sleep.predict(NEW, new_levels="population", se=True)
    np.testing.assert_allclose(new["se"][1:] ** 2, (fixed + group)[1:])


def test_intervals_nest(sleep) -> None:
    inner = sleep.predict(NEW, new_levels="population", interval="confidence")
    outer = sleep.predict(NEW, new_levels="population", interval="prediction")
    assert (outer["lower"] < inner["lower"]).all()
    assert (inner["upper"] < outer["upper"]).all()
    spread = (outer["upper"] - outer["fit"]) ** 2 - (inner["upper"] - inner["fit"]) ** 2
    np.testing.assert_allclose(spread, (1.959963984540054 * sleep.sigma) ** 2)


def test_prediction_intervals_cover_new_groups() -> None:
    """Nominal coverage for observations of levels that the fit has not seen."""
    rng = np.random.default_rng(0)

    def sample(m, first):
        g = np.repeat(np.arange(m), 10)
        x = rng.normal(size=10 * m)
        b = rng.normal(size=(m, 2)) * [1.0, 0.5]
        y = 2 + x + b[g, 0] + b[g, 1] * x + rng.normal(size=10 * m)
        return {"y": y, "x": x, "g": (g + first).astype(str)}

    m = fit("y ~ x + (x | g)", sample(100, 0))
    new = sample(300, 1000)
    out = m.predict(new, new_levels="population", interval="prediction", level=0.9)
    inside = (new["y"] > out["lower"]) & (new["y"] < out["upper"])
    assert 0.87 < inside.mean() < 0.93


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "odds"}, "kind='odds'"),
        ({"new_levels": "guess"}, "new_levels='guess'"),
        ({"interval": "credible"}, "interval='credible'"),
        ({"level": 95}, "level=95"),
        ({"re_form": 3}, "re_form=3"),
    ],
)
def test_unknown_options(sleep, arguments, message) -> None:
    with pytest.raises(DataError, match=message):
        sleep.predict(**arguments)


def test_missing_column_is_named(sleep) -> None:
    with pytest.raises(DataError, match="Days"):
        sleep.predict({"Subject": ["308"]})


def test_offset_is_replayed_and_an_array_offset_is_refused() -> None:
    data = load_dataset("sleepstudy").assign(o=lambda d: d["Days"] * 2.0)
    by_name = fit("Reaction ~ 1 + offset(o) + (1 | Subject)", data)
    new = {"o": [0.0, 4.0], "Subject": ["308", "308"]}
    assert np.diff(by_name.predict(new))[0] == pytest.approx(4.0)
    by_column = fit("Reaction ~ 1 + (1 | Subject)", data, offset="o")
    np.testing.assert_allclose(by_column.predict(new), by_name.predict(new))
    by_array = fit("Reaction ~ 1 + (1 | Subject)", data, offset=data["o"].to_numpy())
    assert by_array.deviance == pytest.approx(by_name.deviance)
    with pytest.raises(DataError, match="offset given as an array"):
        by_array.predict(new)


def test_index_of_new_data_is_kept(sleep) -> None:
    new = pd.DataFrame({"Days": [1.0, 2.0], "Subject": ["308", "309"]}, index=["a", "b"])
    assert sleep.predict(new).index.tolist() == ["a", "b"]
    assert sleep.predict(new, se=True).index.tolist() == ["a", "b"]


def test_missing_values_in_new_data_predict_nan(sleep) -> None:
    out = sleep.predict({"Days": [1.0, np.nan], "Subject": ["308", "308"]})
    assert out.isna().tolist() == [False, True]


def test_levels_are_matched_by_label_whatever_the_type_of_the_column() -> None:
    data = load_dataset("sleepstudy")
    integers = data.assign(Subject=data["Subject"].astype(str).astype(int))
    m = fit("Reaction ~ Days + (Days | Subject)", integers)
    np.testing.assert_allclose(m.predict(data), m.fittedvalues)
    new = m.predict({"Days": [1.0], "Subject": ["someone"]}, new_levels="population")
    np.testing.assert_allclose(new, m.params.sum())
    by_text = fit("Reaction ~ Days + (Days | Subject)", data)
    np.testing.assert_allclose(by_text.predict(integers), by_text.fittedvalues)


def test_no_fixed_effects_at_all() -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ 0 + (1 | Subject)", data)
    assert m.params.empty
    assert len(m.df) == 0
    assert "Subject" in str(m.summary())
    np.testing.assert_allclose(m.predict(data, se=True)["fit"], m.fittedvalues)
