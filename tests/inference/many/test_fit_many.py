"""One formula, many responses: the numbers of single fits, whatever is missing and however responses are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, LmmformulaError, fit, fit_many
from lmmformula.errors import LmmformulaWarning
from lmmformula.inference.many.adjusting import adjusted
from lmmformula.inference.refitting import refit

DESIGN = "~ a + f + (1 | donor)"


def data(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {"donor": rng.integers(0, 15, rows), "a": rng.normal(size=rows), "f": rng.choice(["u", "v"], rows)}
    )


def responses(table: pd.DataFrame, count: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    effects = rng.normal(size=(15, count)) * np.linspace(0.0, 2.0, count)
    y = 5.0 + effects[table["donor"]] + rng.normal(size=(len(table), count)) * rng.gamma(5.0, 0.2, count)
    return pd.DataFrame(y * 10.0 ** np.arange(count), columns=[f"g{j}" for j in range(count)])


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def single(table: Any, y: Any, formula: str = DESIGN, **arguments: Any) -> Fit:
    m = fit(f"y {formula}", table.assign(y=np.asarray(y)), tolerance=1e-13, **arguments)
    return refit(replace(m, backend=replace(m.backend, tolerance=1e-14)), m.problem.y)


def assert_is(row: Any, m: Fit) -> None:
    np.testing.assert_allclose(row["estimate"], m.params, rtol=1e-6)
    np.testing.assert_allclose(row["std_error"], m.bse, rtol=1e-6)
    np.testing.assert_allclose(row["df"], m.df, rtol=1e-4)
    np.testing.assert_allclose(row["p_value"], m.pvalues, rtol=1e-4)
    assert row["sigma"].iloc[0] == pytest.approx(m.sigma, rel=1e-6)
    assert row["llf"].iloc[0] == pytest.approx(m.llf, rel=1e-9)
    assert row["nobs"].iloc[0] == m.nobs
    assert bool(row["singular"].iloc[0]) == m.is_singular


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_every_row_is_that_of_a_single_fit(method: str) -> None:
    table = data()
    y = responses(table)
    found = fit_many(DESIGN, table, y, method=method)
    assert len(found) == 8
    assert len(found.frame) == 24
    for name in y:
        assert_is(found.frame[found.frame["response"] == name], single(table, y[name], method=method))
    own: Any = found.frame[found.frame["term"] == "a"]
    np.testing.assert_allclose(own["p_adjusted"], adjusted(own["p_value"].to_numpy()))
    assert own["singular"].iloc[0]
    assert own["sd_(Intercept)|donor"].iloc[0] == 0.0


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_missing_values_by_pattern() -> None:
    table = data()
    y = responses(table)
    y.iloc[3, 1], y.iloc[10:30, 2], y.iloc[10:30, 5] = np.nan, np.nan, np.nan
    y.iloc[np.flatnonzero(table["donor"] == 4), 6] = np.nan
    found = fit_many(DESIGN, table, y)
    for name in ("g1", "g2", "g5", "g6", "g7"):
        here = y[name].notna().to_numpy()
        assert_is(found.frame[found.frame["response"] == name], single(table[here], y.loc[here, name]))


def test_the_ways_to_give_responses() -> None:
    table = data()
    y = responses(table, 3)
    base = fit_many(DESIGN, table, y).wide()
    joined = pd.concat([table, y], axis=1)
    for given in (y.to_numpy(), y.to_dict("list")):
        np.testing.assert_allclose(fit_many(DESIGN, table, given).wide(), base)
    by_name = fit_many("g0" + DESIGN, joined, ["g0", "g1", "g2"])
    pd.testing.assert_frame_equal(by_name.wide(), base)
    labels = [f"s{j}" for j in range(len(table))]
    mixed = y.set_axis(labels).sample(frac=1.0, random_state=1)
    pd.testing.assert_frame_equal(fit_many(DESIGN, table.set_axis(labels), mixed).wide(), base)
    assert fit_many(DESIGN, table, y.to_numpy()).responses == ("y1", "y2", "y3")
    assert fit_many(DESIGN, joined, "g1").responses == ("g1",)


def test_what_cannot_be() -> None:
    table = data()
    y = responses(table, 3)
    for given, said in [
        (y.T, "transposed"),
        (y.iloc[:7], "7 rows"),
        (["g0"], "g0"),
        (["f"], "`f` is not numeric"),
        (y.assign(t="x"), "must be numbers"),
        (y.replace(y.iloc[0, 0], np.inf), "infinite"),
    ]:
        with pytest.raises(LmmformulaError, match=said):
            fit_many(DESIGN, table, given)
    labelled = y.set_axis([f"s{j}" for j in range(len(y))])
    with pytest.raises(DataError, match="other labels"):
        fit_many(DESIGN, table.set_axis([f"t{j}" for j in range(len(y))]), labelled)


def test_responses_that_cannot_be_fitted_are_counted() -> None:
    table = data()
    y = responses(table, 4)
    y["g1"], y["g2"] = 3.0, np.nan
    with pytest.warns(LmmformulaWarning, match=r"1 of 4 responses could not be fitted.*g2"):
        found = fit_many(DESIGN, table, y)
    missing = found.frame.groupby("response")["estimate"].apply(lambda v: v.isna().all())
    assert missing.to_dict() == {"g0": False, "g1": True, "g2": True, "g3": False}
    assert set(found.reasons) == {"g2"}
    assert "2 not fitted" in repr(found)


@pytest.mark.parametrize("family", ["poisson", "nbinom2"])
def test_other_families(family: str) -> None:
    table = data()
    rng = np.random.default_rng(1)
    y = rng.poisson(
        np.exp(1.5 + 0.5 * rng.normal(size=(15, 2)))[table["donor"]] * rng.gamma(3.0, 0.3, (120, 2))
    )
    found = fit_many("~ a + (1 | donor)", table, y, family=family)
    assert found.estimates.together
    m = fit("y ~ a + (1 | donor)", table.assign(y=y[:, 1]), family=family)
    own = found.frame[found.frame["response"] == "y2"]
    np.testing.assert_allclose(own["estimate"], m.params, rtol=1e-4)
    np.testing.assert_allclose(own["std_error"], m.bse, rtol=1e-4)


def test_tables_of_the_result() -> None:
    table = data()
    y = responses(table)
    y["g6"] += 3e6 * table["a"]
    found = fit_many(DESIGN, table, y)
    top = found.top("a", 2)
    assert top.index[0] == "g6"
    assert len(top) == 2
    assert list(found.wide("p_value").columns) == ["(Intercept)", "a", "fv"]
    assert "8 fits by REML of ~ a + f + (1 | donor)" in repr(found)
    assert found._repr_html_()
    assert len(found.tidy()) == len(found.frame)
    pytest.importorskip("matplotlib")
    assert "below 5% adjusted" in found.plot("a").get_title("left")
    for ask in (lambda: found.top("b"), lambda: found.plot("b"), lambda: found.wide("b")):
        with pytest.raises(DataError, match="'b' is none of"):
            ask()


def test_refits_of_simulations() -> None:
    table = data()
    table["y"] = responses(table, 3)["g2"]
    m = fit("y ~ a + (1 | donor)", table)
    drawn = m.simulate(5, seed=1)
    found = m.refit_many(drawn)
    assert found.responses == tuple(drawn.columns)
    assert_is(
        found.frame[found.frame["response"] == "sim_3"], single(table, drawn["sim_3"], "~ a + (1 | donor)")
    )
    shuffled = m.refit_many(drawn.sample(frac=1.0, random_state=1))
    pd.testing.assert_frame_equal(shuffled.frame, found.frame)
    drawn.iloc[0, 0] = np.nan
    with pytest.raises(DataError, match=r"1 values.*fit_many"):
        m.refit_many(drawn)
    with pytest.raises(DataError, match="7 rows"):
        m.refit_many(drawn.iloc[:7])
