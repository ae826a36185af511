"""The scikit-learn estimator: its own promises, and scikit-learn's checks."""

# scikit-learn's functions return what was put in, which their types do not say.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import doctest
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import lmmformula
from lmmformula import DataError, load_dataset

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from lmmformula.interfaces import sklearn as module
from lmmformula.interfaces.sklearn import MixedModelRegressor

SLEEP = "Reaction ~ Days + (Days | Subject)"

LEFT_OUT = {
    "check_regressors_train": "wants R2 > 0.5 from ten columns; which columns count is the formula's business",
    "check_regressor_data_not_an_array": "its frame has columns called 0, 1, ...; a frame is read by its names, not as x0, x1",
    "check_supervised_y_no_nan": "rows with a missing response are left out of a fit, as in the rest of the package",
    "check_fit2d_1sample": "a mixed model of one row is refused, but by a DataError that speaks of the response",
}


@parametrize_with_checks(
    [MixedModelRegressor("~ (1 | I(sin(97 * x0) > 0))")], expected_failed_checks=lambda _: LEFT_OUT
)
@pytest.mark.filterwarnings("ignore")  # boundary fits of noise, which the checks are full of
def test_checks_of_scikit_learn(estimator, check) -> None:
    check(estimator)


@pytest.fixture
def sleep() -> pd.DataFrame:
    return load_dataset("sleepstudy")


def test_fit_and_predict_are_those_of_the_package(sleep: pd.DataFrame) -> None:
    model = MixedModelRegressor(SLEEP).fit(sleep)
    own = lmmformula.fit(SLEEP, sleep)
    np.testing.assert_array_equal(model.predict(sleep), own.fittedvalues)
    np.testing.assert_array_equal(model.model_.params, own.params)
    assert list(model.feature_names_in_) == ["Reaction", "Days", "Subject"]
    assert model.n_features_in_ == 3
    assert model.score(sleep) == pytest.approx(r2_score(sleep["Reaction"], own.fittedvalues), rel=1e-12)
    population = model.set_params(re_form=None).predict(sleep[["Days"]])
    np.testing.assert_allclose(population, own.predict(sleep, re_form=None))


def test_new_levels_and_missing_values(sleep: pd.DataFrame) -> None:
    model = MixedModelRegressor(SLEEP).fit(sleep)
    new = pd.DataFrame({"Days": [1.0, np.nan], "Subject": ["new", "308"]})
    predicted = model.predict(new)
    assert predicted[0] == pytest.approx(model.model_.params.sum())
    assert np.isnan(predicted[1])
    with pytest.raises(DataError, match="has not seen"):
        model.set_params(new_levels="error").predict(new)


@pytest.mark.parametrize(
    "formula", ["~ Days + (Days | Subject)", SLEEP, "log(Reaction) ~ Days + (Days | Subject)"]
)
def test_y_takes_the_place_of_the_left_side(formula: str, sleep: pd.DataFrame) -> None:
    X, y = sleep[["Days", "Subject"]], np.sqrt(sleep["Reaction"])
    own = lmmformula.fit(SLEEP, X.assign(Reaction=y))
    model = MixedModelRegressor(formula).fit(X, y)
    np.testing.assert_allclose(model.model_.params, own.params, rtol=1e-12)
    np.testing.assert_allclose(model.predict(X), own.fittedvalues, rtol=1e-12)
    assert list(model.feature_names_in_) == ["Days", "Subject"]
    assert "Reaction" not in X
    # Without the index of the frame: rows count, not labels.
    again = MixedModelRegressor(formula).fit(X, y.to_numpy())
    np.testing.assert_array_equal(again.model_.params, model.model_.params)


def test_a_response_is_needed(sleep: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="requires y to be passed"):
        MixedModelRegressor("~ Days + (1 | Subject)").fit(sleep)
    with pytest.raises(DataError, match="two columns"):
        MixedModelRegressor(
            "cbind(incidence, size - incidence) ~ period + (1 | herd)", family="binomial"
        ).fit(load_dataset("cbpp"), np.ones(56))
    logged = MixedModelRegressor("log(Reaction) ~ Days + (1 | Subject)").fit(sleep)
    with pytest.raises(DataError, match="pass y, on the scale of the predictions"):
        logged.score(sleep)
    assert 0.5 < logged.score(sleep, np.log(sleep["Reaction"].to_numpy())) < 1
    with pytest.raises(NotFittedError):
        MixedModelRegressor(SLEEP).predict(sleep)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MixedModelRegressor(SLEEP).fit(sleep, np.ones(3))


def test_other_tables(sleep: pd.DataFrame) -> None:
    expected = MixedModelRegressor(SLEEP).fit(sleep).predict(sleep)
    text = sleep.astype({"Subject": str})
    for table in (pl.from_pandas(text), pl.from_pandas(text).to_arrow(), dict(text.items())):
        model = MixedModelRegressor(SLEEP).fit(table)
        np.testing.assert_allclose(model.predict(table), expected, rtol=1e-9)
        replaced = MixedModelRegressor(SLEEP).fit(table, sleep["Reaction"].to_numpy())
        np.testing.assert_allclose(replaced.predict(table), expected, rtol=1e-9)


def test_parameters_clone_and_pickle(sleep: pd.DataFrame) -> None:
    model = MixedModelRegressor(SLEEP, method="ml", fit_arguments={"engine": "dense"})
    assert set(model.get_params()) == {
        "formula",
        "family",
        "method",
        "re_form",
        "new_levels",
        "fit_arguments",
    }
    twin = clone(model).set_params(method="reml")
    assert (model.method, twin.method) == ("ml", "reml")
    twin.fit(sleep)
    assert (twin.model_.method, twin.model_.estimate.engine) == ("REML", "dense")
    assert not hasattr(clone(twin), "model_")
    back = pickle.loads(pickle.dumps(twin))
    np.testing.assert_array_equal(back.predict(sleep), twin.predict(sleep))


def test_families(sleep: pd.DataFrame) -> None:
    cbpp = load_dataset("cbpp")
    model = MixedModelRegressor(
        "incidence/size ~ period + (1 | herd)", family="binomial", fit_arguments={"weights": "size"}
    ).fit(cbpp)
    assert model.model_.estimate.beta[1] == pytest.approx(-0.9923, abs=1e-3)
    predicted = model.predict(cbpp.drop(columns="incidence"))
    assert np.all((predicted > 0) & (predicted < 1))


def test_cross_validation_with_whole_groups_held_out(sleep: pd.DataFrame) -> None:
    folds = GroupKFold(n_splits=3)
    y, groups = sleep["Reaction"], sleep["Subject"]
    model = MixedModelRegressor(SLEEP)
    out = cross_val_predict(model, sleep, y, groups=groups, cv=folds)
    train, test = next(folds.split(sleep, y, groups))
    own = lmmformula.fit(SLEEP, sleep.iloc[train])
    np.testing.assert_allclose(out[test], own.predict(sleep.iloc[test], re_form=None), rtol=1e-9)
    scores = cross_val_score(model, sleep, y, groups=groups, cv=folds)
    without = cross_val_score(model, sleep, groups=groups, cv=folds)
    np.testing.assert_allclose(scores, without)
    assert scores[0] == pytest.approx(r2_score(y.iloc[test], out[test]))


def test_in_a_pipeline_and_a_search(sleep: pd.DataFrame) -> None:
    double = FunctionTransformer(lambda frame: frame.assign(Days=2 * frame["Days"]))
    pipeline = make_pipeline(double, MixedModelRegressor(SLEEP)).fit(sleep)
    plain = MixedModelRegressor(SLEEP).fit(sleep)
    assert pipeline[-1].model_.params["Days"] == pytest.approx(plain.model_.params["Days"] / 2, rel=1e-6)
    np.testing.assert_allclose(pipeline.predict(sleep), plain.predict(sleep), rtol=1e-6)
    choice = {"formula": [SLEEP, "Reaction ~ (1 | Subject)"]}
    search = GridSearchCV(plain, choice, cv=3).fit(sleep, sleep["Reaction"])
    assert search.best_params_["formula"] == SLEEP


def test_docstring_example() -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted) == (0, 5)
