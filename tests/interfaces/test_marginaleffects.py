"""Predictions, comparisons and slopes by marginaleffects, against ours and their finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import DataError, fit, load, load_dataset
from lmmformula.typing import Array

pl: Any = pytest.importorskip("polars")
package: Any = pytest.importorskip("marginaleffects")
predictions, avg_predictions = package.predictions, package.avg_predictions
comparisons, avg_comparisons = package.comparisons, package.avg_comparisons
slopes, avg_slopes = package.slopes, package.avg_slopes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def gaussian():
    return fit("Reaction ~ poly(Days, 2) + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def binomial():
    data = load_dataset("cbpp").assign(size=lambda d: d["size"].astype(float))
    return fit("incidence/size ~ period + log(size) + (1 | herd)", data, family="binomial", weights="size")


@pytest.fixture(scope="module")
def poisson():
    data = load_dataset("Salamanders")
    return fit("count ~ mined * DOY + offset(log(sample)) + (1 | site)", data, family="poisson")


MODELS = {"gaussian": "Days", "binomial": "size", "poisson": "DOY"}


@pytest.fixture(params=list(MODELS))
def case(request):
    return request.getfixturevalue(request.param), MODELS[request.param]


def _predicted(model, frame: pd.DataFrame, kind: str = "response") -> Array:
    return model.predict(frame, re_form=None, kind=kind).to_numpy()


def _standard_errors(model, function) -> Array:
    """Delta method: central differences of `function` in the coefficients, and the covariance matrix of the fit."""
    beta, columns = model.estimate.beta, []
    for j in range(len(beta)):
        step = np.zeros(len(beta))
        step[j] = 1e-5 * max(1.0, abs(beta[j]))
        columns.append((function(beta + step) - function(beta - step)) / (2 * step[j]))
    jacobian = np.column_stack(columns)
    return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, model.vcov, jacobian))


@pytest.mark.parametrize("kind", ["response", "link"])
def test_predictions(case, kind: str) -> None:
    model, _ = case
    adapter = model.to_marginaleffects(kind=kind)
    out = predictions(adapter)
    data = model.recall.data.to_pandas()
    np.testing.assert_allclose(out["estimate"], _predicted(model, data, kind), rtol=1e-12)
    X = adapter.get_exog(adapter.get_modeldata())
    expected = _standard_errors(model, lambda b: adapter.get_predict(b, X)["estimate"].to_numpy())
    np.testing.assert_allclose(out["std_error"], expected, rtol=1e-5)
    if kind == "link":
        np.testing.assert_allclose(
            out["std_error"],
            np.sqrt(np.einsum("ij,jk,ik->i", X[:, : model.problem.p], model.vcov, X[:, : model.problem.p])),
            rtol=1e-5,
        )


def test_standard_errors_are_those_of_predict(gaussian) -> None:
    out = predictions(gaussian.to_marginaleffects())
    own = gaussian.predict(gaussian.recall.data.to_pandas(), re_form=None, se=True)
    np.testing.assert_allclose(out["std_error"], own["se"], rtol=1e-5)
    reach = stats.t.ppf(0.975, gaussian.df.min()) * own["se"]  # t, as the tests of the coefficients
    np.testing.assert_allclose(out["conf_high"], own["fit"] + reach, rtol=1e-6)


def test_slopes(case) -> None:
    model, variable = case
    out = slopes(model.to_marginaleffects(), variables=variable)
    data, h = model.recall.data.to_pandas().astype({variable: float}), 1e-4
    high, low = (_predicted(model, data.assign(**{variable: data[variable] + s * h})) for s in (1, -1))
    expected = (high - low) / (2 * h)
    np.testing.assert_allclose(out["estimate"], expected, rtol=1e-4, atol=1e-7)
    average = avg_slopes(model.to_marginaleffects(), variables=variable)
    assert average["estimate"][0] == pytest.approx(expected.mean(), rel=1e-4)


def test_comparisons_of_a_number(case) -> None:
    model, variable = case
    out = comparisons(model.to_marginaleffects(), variables={variable: 1})
    data = model.recall.data.to_pandas().astype({variable: float})
    high, low = (_predicted(model, data.assign(**{variable: data[variable] + s})) for s in (0.5, -0.5))
    np.testing.assert_allclose(out["estimate"], high - low, rtol=1e-9)


def test_groups_and_new_rows(poisson) -> None:
    adapter = poisson.to_marginaleffects()
    by_site = avg_predictions(adapter, by="site")
    data = poisson.recall.data.to_pandas()
    expected = _predicted(poisson, data)
    assert by_site.height == 23
    for site, estimate in zip(by_site["site"], by_site["estimate"], strict=True):
        assert estimate == pytest.approx(expected[(data["site"] == site).to_numpy()].mean(), rel=1e-9)
    new = pd.DataFrame({"mined": ["yes", "no"], "DOY": [0.0, 1.0], "sample": [1.0, 2.0]})
    out = predictions(
        adapter, newdata=pl.DataFrame(new.to_dict("list"), schema_overrides={"mined": pl.Enum(["yes", "no"])})
    )
    np.testing.assert_allclose(out["estimate"], _predicted(poisson, new), rtol=1e-12)


def test_comparisons_of_a_factor(poisson, binomial) -> None:
    out = avg_comparisons(poisson.to_marginaleffects(), variables="mined")
    data = poisson.recall.data.to_pandas()
    high, low = (_predicted(poisson, data.assign(mined=level)) for level in ("no", "yes"))
    assert out["contrast"].to_list() == ["no - yes"]
    assert out["estimate"][0] == pytest.approx((high - low).mean(), rel=1e-9)
    adapter = poisson.to_marginaleffects()
    sides = [adapter.get_exog(pl.DataFrame(data.assign(mined=v).to_dict("list"))) for v in ("no", "yes")]

    def difference(beta: Array) -> Array:
        ends = [adapter.get_predict(beta, side)["estimate"].to_numpy() for side in sides]
        return np.array([np.mean(ends[0] - ends[1])])

    se = _standard_errors(poisson, difference)
    assert out["std_error"][0] == pytest.approx(se[0], rel=1e-5)
    labels = avg_comparisons(binomial.to_marginaleffects(), variables="period")["contrast"].to_list()
    assert labels == ["2 - 1", "3 - 1", "4 - 1"]


def test_a_matrix_in_place_of_the_covariance(gaussian) -> None:
    adapter = gaussian.to_marginaleffects()
    once, twice = (predictions(adapter, vcov=c * gaussian.vcov)["std_error"].to_numpy() for c in (1, 4))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)
    assert "std_error" not in predictions(adapter, vcov=False).columns
    with pytest.raises(DataError, match="own covariance matrix only"):
        predictions(adapter, vcov="HC3")


def test_rows_dropped_from_the_fit_stay_out() -> None:
    data = load_dataset("sleepstudy")
    data.loc[[3, 7], "Reaction"] = np.nan
    with pytest.warns(match="2 of 180 rows dropped"):
        model = fit("Reaction ~ Days + (1 | Subject)", data)
    assert predictions(model.to_marginaleffects()).height == 178


def test_loaded_fits_and_refusals(gaussian, tmp_path) -> None:
    gaussian.save(tmp_path / "m.lmm")
    loaded = load(tmp_path / "m.lmm")
    with pytest.raises(DataError, match="pass data="):
        loaded.to_marginaleffects()
    data = gaussian.recall.data.to_pandas()
    out = predictions(loaded.to_marginaleffects(data=data.head(5)))
    np.testing.assert_allclose(out["estimate"], _predicted(gaussian, data.head(5)))
    with pytest.raises(DataError, match="kind='odds' is unknown"):
        gaussian.to_marginaleffects(kind="odds")
    array = fit("Reaction ~ Days + (1 | Subject)", data, offset=np.ones(180))
    with pytest.raises(DataError, match="given as an array"):
        array.to_marginaleffects()
    reserved = data.rename(columns={"Days": "group"})
    with pytest.raises(DataError, match="keeps the name 'group'"):
        fit("Reaction ~ group + (1 | Subject)", reserved).to_marginaleffects()


@pytest.mark.parametrize("variables", [["mined", "spp"], {"spp": "pairwise"}, {"spp": "sequential"}, None])
def test_every_way_of_comparing_factors(variables: Any) -> None:
    """Contrasts of means of predictions, whatever polars calls the levels of a column."""
    data = load_dataset("Salamanders")
    model = fit("count ~ mined + spp + DOY + (1 | site)", data, family="poisson")
    found = avg_comparisons(model.to_marginaleffects(), variables=variables)
    means = {
        (name, level): _predicted(model, data.assign(**{name: level})).mean()
        for name in ("mined", "spp")
        for level in data[name].unique()
    }
    shown = [row for row in found.data.iter_rows(named=True) if row["term"] != "DOY"]
    assert len(shown) == {list: 7, dict: 21 if variables == {"spp": "pairwise"} else 6}.get(
        type(variables), 7
    )
    for row in shown:
        high, low = (means[row["term"], level] for level in row["contrast"].split(" - "))
        assert row["estimate"] == pytest.approx(high - low, rel=1e-8)


def test_the_old_question_for_levels_is_answered_by_polars_1_and_2() -> None:
    from lmmformula.interfaces.polars_levels import LevelsFrame

    frame = LevelsFrame.of(
        pl.DataFrame({"f": pl.Series(["b", "a", "b"], dtype=pl.Enum(["b", "a", "c"])), "x": [1, 2, 3]})
    )
    for own in (frame, frame.with_columns(y=pl.col("x") + 1)):
        assert own["f"].cat.get_categories().to_list() == ["b", "a", "c"]
        assert own["f"].unique().sort().to_list() == ["b", "a"]
        assert own["x"].to_list() == [1, 2, 3]
        assert own["f"].cat.len_chars().to_list() == [1, 1, 1]


def test_t_tests_where_ours_are() -> None:
    """One number of degrees of freedom for the package, that of each estimate in t_tests()."""
    data = load_dataset("Oats")
    model = fit("yield ~ nitro * Variety + (1 | Block)", data)
    adapter = model.to_marginaleffects()
    assert adapter.df_resid == pytest.approx(model.df.min())
    first = data[data["Variety"] == "Golden Rain"]  # the first level, where the slope is the coefficient
    rows = adapter.get_modeldata()[first.index.to_list()]
    own = adapter.t_tests(avg_slopes(adapter, variables="nitro", newdata=rows))
    assert own["estimate"][0] == pytest.approx(model.params["nitro"], rel=1e-6)
    assert own["df"][0] == pytest.approx(model.df["nitro"], rel=1e-5)
    assert own["p_value"][0] == pytest.approx(model.pvalues["nitro"], rel=5e-3)
    everywhere = adapter.t_tests(predictions(adapter), conf_level=0.9)
    assert everywhere["df"].min() < 20 < model.df.max()
    assert (everywhere["conf_high"] > everywhere["conf_low"]).all()
    with pytest.raises(DataError, match="Jacobian"):
        adapter.t_tests(predictions(adapter, vcov=False))


def test_z_tests_where_ours_are(poisson) -> None:
    adapter = poisson.to_marginaleffects()
    assert adapter.df_resid == float("inf")
    found = avg_slopes(adapter, variables="DOY")
    own = adapter.t_tests(found)
    assert own["df"][0] == float("inf")
    assert own["p_value"][0] == pytest.approx(found["p_value"][0], rel=1e-6)
    assert own["conf_low"][0] == pytest.approx(found["conf_low"][0], rel=1e-9)
