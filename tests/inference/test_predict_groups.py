"""Rows whose group is missing have a level that the fit has not seen, under every policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit, load_dataset

MISSING = [np.nan, None, pd.NA]


@pytest.fixture(scope="module")
def plots():
    rng = np.random.default_rng(1)
    plot = np.repeat(np.arange(20), 6)
    site = plot // 4
    dose = rng.normal(size=120)
    out = 1 + dose + rng.normal(size=5)[site] + rng.normal(size=20)[plot] + rng.normal(size=120)
    return pd.DataFrame({"out": out, "dose": dose, "plot": plot, "site": site, "sub": plot % 4})


def row(*groups, **columns):
    """Rows with the given values of `plot`, in a column of objects."""
    plot = pd.Series([*groups], dtype=object)
    return pd.DataFrame({"dose": np.full(len(groups), 0.3), "plot": plot, **columns})


@pytest.mark.parametrize("missing", MISSING)
def test_population_prediction_of_a_missing_group(plots, missing) -> None:
    m: Any = fit("out ~ dose + (1 | plot)", plots)
    got = m.predict(row(missing, 4), new_levels="population", se=True, interval="prediction")
    expected = m.predict(row(777, 4), new_levels="population", se=True, interval="prediction")
    pd.testing.assert_frame_equal(got, expected)
    assert got["fit"][0] == pytest.approx(m.params["(Intercept)"] + 0.3 * m.params["dose"])


@pytest.mark.parametrize("missing", MISSING)
def test_other_policies_treat_it_as_a_new_level(plots, missing) -> None:
    m: Any = fit("out ~ dose + (1 | plot)", plots)
    new = row(missing, 4, missing, 888)
    assert m.predict(new, new_levels="na").isna().tolist() == [True, False, True, True]
    sampled = m.predict(new, new_levels="sample", seed=1)
    assert sampled.notna().all()
    assert sampled[0] == sampled[2] != sampled[3]
    with pytest.raises(DataError, match=r"3 of 4 rows have levels of plot .* '888', missing in 2"):
        m.predict(new)
    expected = m.predict(row(501, 502, 503, 504), new_levels="population")
    np.testing.assert_allclose(m.predict(new, re_form=None), expected)


def test_nothing_but_missing_groups(plots) -> None:
    m = fit("out ~ dose + (1 | plot)", plots)
    expected = m.predict({"dose": [0.3, 0.3]}, re_form=None)
    for column in ([None, None], [np.nan, np.nan], pd.array([pd.NA, pd.NA], dtype="Int64")):
        new = pd.DataFrame({"dose": [0.3, 0.3], "plot": column})
        np.testing.assert_allclose(m.predict(new, new_levels="population"), expected)


@pytest.mark.parametrize("group", ["site/sub", "site:sub", "factor(plot)", "interaction(site, sub)"])
def test_any_way_to_name_a_group(plots, group) -> None:
    """Known parts keep their effects; a group made by an expression is unknown where a part of it is."""
    m = fit(f"out ~ dose + (1 | {group})", plots)
    unknown = plots.iloc[[0, 50]].astype({"plot": float, "sub": float})
    unknown.loc[unknown.index[0], ["plot", "sub"]] = np.nan
    named = plots.iloc[[0, 50]].astype({"plot": object, "sub": object})
    named.loc[named.index[0], ["plot", "sub"]] = 777
    got = m.predict(unknown, new_levels="population", se=True).to_numpy()
    np.testing.assert_allclose(got, m.predict(named, new_levels="population", se=True).to_numpy())
    assert np.isfinite(got).all()


def test_a_group_that_is_also_a_covariate_leaves_its_row_incomplete(plots) -> None:
    m: Any = fit("out ~ dose + (dose | plot)", plots)
    new = row(4, 4, np.nan).assign(dose=[np.nan, 0.3, 0.3])
    assert m.predict(new, new_levels="population").isna().tolist() == [True, False, False]
    both: Any = fit("out ~ site + (1 | site:plot)", plots)
    new = plots.iloc[[0, 1]].assign(site=[np.nan, 0.0])
    assert both.predict(new, new_levels="population").isna().tolist() == [True, False]


def test_rows_that_the_fit_left_out_for_their_group(plots) -> None:
    data = plots.astype({"plot": float})
    data.loc[3, "plot"] = np.nan
    with pytest.warns(UserWarning, match="1 of 120 rows dropped"):
        m = fit("out ~ dose + (1 | plot)", data)
    out: Any = m.predict(data, new_levels="population")
    assert out.notna().all()
    assert out[3] == pytest.approx(m.predict(data, re_form=None)[3])


def test_sleepstudy_as_lme4_has_it() -> None:
    """lme4 1.1-31: predict(m, data.frame(Days = 3, Subject = factor(c("308", NA))), allow.new.levels = TRUE)."""
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    got = m.predict({"Days": [3.0, 3.0], "Subject": ["308", None]}, new_levels="population")
    np.testing.assert_allclose(got, [312.662440973872, 282.806962727273], rtol=1e-6)
