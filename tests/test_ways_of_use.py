"""What people do with mixed models and found broken elsewhere, one test for each kind: types of columns, names, codings,
weights, offsets, rows left out, new levels, and sizes."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataDroppedWarning, DataError, Fit, RankDeficientWarning, fit, load_dataset


@functools.cache
def field() -> pd.DataFrame:
    """240 rows of 24 plots in six sites: a covariate, a treatment of three levels, a response."""
    rng = np.random.default_rng(71)
    plot = np.repeat(np.arange(24), 10)
    x, arm = rng.normal(size=240), np.array(["none", "some", "much"])[rng.integers(0, 3, 240)]
    y = 2.0 + 0.5 * x + 0.6 * (arm == "much") + 0.9 * rng.normal(size=24)[plot] + rng.normal(size=240)
    return pd.DataFrame({"y": y, "x": x, "arm": arm, "plot": plot, "site": plot // 4, "sub": plot % 4})


def _near(a: Any, b: Any, relative: float = 1e-8) -> None:
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=relative, atol=1e-10)


# -- columns ------------------------------------------------------------------------------------------------------------


def test_one_row_whatever_its_type() -> None:
    data = field()
    m = fit("y ~ x + arm + (1 | plot)", data)
    for k in (0, 113):
        for row in (data.iloc[[k]], data.iloc[k].to_frame().T, data.iloc[[k]].astype(object)):
            _near(m.predict(row), [m.fittedvalues.iloc[k]])


def test_whole_numbers_that_are_categories() -> None:
    rng = np.random.default_rng(72)
    data = field().assign(
        kind=pd.Categorical(rng.integers(0, 2, 240)), ward=pd.Categorical(field()["plot"] // 2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a correlation of one
        m = fit("y ~ kind + x + (0 + kind | ward)", data)
    for new in (data, data.astype({"kind": int, "ward": int}), data.astype({"kind": str, "ward": str})):
        _near(m.predict(new), m.fittedvalues)


def test_nullable_columns_are_their_plain_selves() -> None:
    data = field().assign(flag=lambda d: d["x"] > 0)
    null = data.assign(
        y=data["y"].astype("Float64"),
        flag=data["flag"].astype("boolean"),
        arm=data["arm"].astype("string"),
        plot=data["plot"].astype("Int64"),
    )
    null.loc[4, "flag"], null.loc[40, "plot"], null.loc[41, "arm"] = pd.NA, pd.NA, pd.NA
    with pytest.warns(DataDroppedWarning, match="3"):
        m = fit("y ~ flag + arm + (1 | plot)", null)
    plain = fit("y ~ flag + arm + (1 | plot)", data.drop(index=[4, 40, 41]))
    assert m.nobs == 237
    assert list(m.params.index) == list(plain.params.index)
    _near(m.params, plain.params)


def test_names_that_need_quotes() -> None:
    names = {"y": "yield (kg)", "x": "Höhe m", "arm": "arm %", "plot": "plot & row"}
    data = field().rename(columns=names)
    m = fit("`yield (kg)` ~ `Höhe m` * `arm %` + (`Höhe m` | `plot & row`)", data)
    plain = fit("y ~ x * arm + (x | plot)", field())
    _near(m.llf, plain.llf)
    _near(
        m.predict(data.head(), re_form="~ (1 | `plot & row`)"),
        plain.predict(field().head(), re_form="~ (1 | plot)"),
    )
    _near(m.anova()["F value"], plain.anova()["F value"], 1e-6)


# -- formulas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("x + (x || site/sub)", "x + (1|site) + (0+x|site) + (1|site:sub) + (0+x|site:sub)"),
        ("arm + (arm || plot)", "arm + (1|plot) + (0+dummy(arm,'none')|plot) + (0+dummy(arm,'some')|plot)"),
    ],
)
def test_double_bars_are_what_they_stand_for(short: str, long: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the variances are zero
        a, b = (fit(f"y ~ {f}", field()) for f in (short, long))
    assert a.df_model == b.df_model
    assert a.llf == pytest.approx(b.llf, abs=1e-6)


@pytest.mark.parametrize(
    "terms", ["ns(Days, 3) + (ns(Days, 2) | Subject)", "poly(log(Days + 1), 2) + (1 | Subject)"]
)
def test_bases_are_replayed_for_one_row(terms: str) -> None:
    sleep = load_dataset("sleepstudy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = fit(f"Reaction ~ {terms}", sleep)
    _near(m.predict(sleep.iloc[[61]]), [m.fittedvalues.iloc[61]])


# -- variances and tests ------------------------------------------------------------------------------------------------


def test_a_variance_of_zero_leaves_the_model_without_it() -> None:
    dye = load_dataset("Dyestuff2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m, ml = (fit("Yield ~ 1 + (1 | Batch)", dye, method=method) for method in ("reml", "ml"))
    low, high = m.conf_int(method="profile").iloc[0]
    assert low == 0.0
    assert 0.5 < high < 5.0
    assert ml.deviance == pytest.approx(30 * (np.log(2 * np.pi * dye["Yield"].var(ddof=0)) + 1), abs=1e-6)
    _near(m.df, [29.0], 1e-4)


def test_weights_are_a_change_of_variables() -> None:
    """Weights w are the model of sqrt(w) times everything, but for the Jacobian."""
    w = np.random.default_rng(73).uniform(0.2, 5.0, 240)
    data = field().assign(w=w)
    root = {name: data[name] * np.sqrt(w) for name in ("y", "x")}
    moved = pd.DataFrame({**root, "one": np.sqrt(w), "plot": data["plot"]})
    a = fit("y ~ x + (1 | plot)", data, weights="w")
    b = fit("y ~ 0 + one + x + (0 + one | plot)", moved)
    _near(a.params, b.params)
    _near(a.bse, b.bse, 1e-7)
    _near(a.df, b.df, 1e-5)
    _near(a.llf, b.llf + 0.5 * np.log(w).sum())
    _near(a.conf_int(method="profile"), b.conf_int(method="profile"), 1e-3)


def test_columns_that_repeat_others_are_as_if_absent() -> None:
    data = field().assign(one=1.0, again=lambda d: 3.0 - 2.0 * d["x"])
    with pytest.warns(RankDeficientWarning):
        m = fit("y ~ one + x + again + arm + (1 | plot)", data)
    plain = fit("y ~ x + arm + (1 | plot)", data)
    _near(m.params, plain.params)
    new = data.iloc[[3, 90]].assign(one=7.0, again=0.0)
    options: dict[str, Any] = {"se": True, "interval": "prediction"}
    _near(m.predict(new, **options), plain.predict(new, **options))


def test_type_three_does_not_see_the_coding() -> None:
    data = field().assign(half=np.where(np.arange(240) % 7 < 3, "a", "b"))
    data = data[~((data["arm"] == "some") & (data["half"] == "a") & (np.arange(240) % 2 == 0))]
    codings: list[dict[str, Any]] = [
        {},
        {"contrasts": {"arm": "contr.sum", "half": "contr.sum"}},
        {"contrasts": {"arm": "contr.helmert"}},
    ]
    fits = [fit("y ~ arm * half + (1 | plot)", data, **coding) for coding in codings]
    tables = [m.anova(type=3)["F value"] for m in fits]
    for table in tables[1:]:
        _near(table, tables[0], 1e-6)
    _near(tables[0]["half"], fits[1].tvalues["half1"] ** 2, 1e-6)


# -- rows and levels ----------------------------------------------------------------------------------------------------


def test_resampling_where_rows_were_left_out() -> None:
    data = field().copy()
    data.loc[[0, 17, 200], "x"] = np.nan
    data.loc[5, "y"] = np.nan
    with pytest.warns(DataDroppedWarning):
        m = fit("y ~ x + (1 | plot)", data)
    drawn = m.simulate(2, seed=4)
    assert drawn.shape == (236, 2)
    again = fit("y ~ x + (1 | plot)", data.loc[drawn.index].assign(y=drawn["sim_1"]))
    assert m.refit(drawn["sim_1"]).llf == pytest.approx(again.llf, abs=1e-6)
    assert np.isnan(np.asarray(m.predict(data), float)).sum() == 3


def test_a_new_part_of_a_known_group_keeps_the_group() -> None:
    m = fit("y ~ x + (1 | site/sub)", field())
    new = pd.DataFrame({"x": 0.0, "site": [0, 99], "sub": [77, 1]})
    with pytest.raises(DataError, match="77"):
        m.predict(new)
    site = m.ranef().query("grpvar == 'site' and grp == '0'")["condval"].iloc[0]
    _near(m.predict(new, new_levels="population"), m.params["(Intercept)"] + np.array([site, 0.0]))


@pytest.mark.parametrize("policy", ["error", "population", "sample", "na"])
@pytest.mark.parametrize("terms", ["x + arm + (1 | plot)", "x + (arm | plot)"])
def test_new_levels_are_about_groups(policy: str, terms: str) -> None:
    with pytest.raises(DataError, match="placebo"):
        _of_arms(terms).predict(field().head(3).assign(arm="placebo"), new_levels=policy)


@functools.cache
def _of_arms(terms: str) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(f"y ~ {terms}", field())


def test_the_offset_of_new_rows_counts() -> None:
    rng = np.random.default_rng(74)
    data = field().assign(hours=rng.uniform(0.5, 4.0, 240))
    data["calls"] = rng.poisson(
        data["hours"] * np.exp(0.3 * data["x"] + 0.4 * rng.normal(size=24)[data["plot"]])
    )
    m = fit("calls ~ x + offset(log(hours)) + (1 | plot)", data, family="poisson")
    new = pd.DataFrame({"x": [0.2, 0.2], "hours": [1.0, 10.0]})
    mean = np.asarray(m.predict(new, re_form=None), float)
    _near(mean[1] / mean[0], 10.0)
    with pytest.raises(DataError, match="hours"):
        m.predict(new.drop(columns="hours"), re_form=None)
    named = fit(
        "calls ~ x + (1 | plot)", data.assign(lh=np.log(data["hours"])), family="poisson", offset="lh"
    )
    _near(named.predict(new.assign(lh=np.log(new["hours"])), re_form=None), mean, 1e-6)


# -- sizes --------------------------------------------------------------------------------------------------------------


def test_cells_that_occur_are_what_counts() -> None:
    """A grouping interaction of 15,000,000 cells, of which 20,000 occur."""
    rng = np.random.default_rng(75)
    cell = rng.integers(0, 20_000, 40_000)
    who, area = rng.integers(0, 5_000, 20_000)[cell], rng.integers(0, 3_000, 20_000)[cell]
    y = rng.normal(size=5_000)[who] + 0.7 * rng.normal(size=20_000)[cell] + rng.normal(size=40_000)
    m = fit("y ~ 1 + (1 | who) + (1 | who:area)", pd.DataFrame({"y": y, "who": who, "area": area}))
    np.testing.assert_allclose(m.varcorr()["sdcor"], [1.0, 0.7, 1.0], atol=0.06)
