"""``gr(g, by = f)``: a covariance of its own for each kind of level."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, load
from lmmformula.errors import DataError, FormulaError, PlanError


def rows(slopes: float = 0.0, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(40), 8)
    arm = np.where(g % 2 == 0, "a", "b")
    x = rng.normal(size=g.size)
    sd = np.where(np.arange(40) % 2 == 0, 0.4, 1.5)
    y = (
        1.0
        + (0.5 + slopes * rng.normal(size=40)[g]) * x
        + (rng.normal(size=40) * sd)[g]
        + rng.normal(size=g.size)
    )
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in g], "arm": arm})


def test_is_the_sum_of_terms_with_dummies() -> None:
    data = rows(slopes=1.0)
    own = fit("y ~ x + (x | gr(g, by = arm))", data)
    both = fit(
        'y ~ x + (0 + dummy(arm, "a") + dummy(arm, "a"):x | g) + (0 + dummy(arm, "b") + dummy(arm, "b"):x | g)',
        data,
    )
    assert own.llf == pytest.approx(both.llf, abs=1e-9)
    np.testing.assert_allclose(own.varcorr()["sdcor"], both.varcorr()["sdcor"], rtol=1e-6)
    assert own.varcorr()["var1"].tolist()[:2] == ["(Intercept):arma", "x:arma"]


def test_effects_are_those_of_levels_of_the_kind(tmp_path) -> None:
    data = rows()
    m = fit("y ~ x + (1 | gr(g, by = arm))", data)
    effects = m.ranef()
    assert len(effects) == 40
    assert set(effects.loc[effects["term"] == "(Intercept):arma", "grp"]) == set(
        data.loc[data["arm"] == "a", "g"]
    )
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    new = data.iloc[[0, 8, 9]].assign(g=["g00", "new", "other"], arm=["a", "b", "a"])
    for one in (m, again):
        found = one.predict(new, new_levels="population", interval="prediction")
        width = np.array(found["upper"] - found["lower"])
        assert width[1] > 1.2 * width[2]  # a new level of b has the larger variance
    np.testing.assert_allclose(m.predict(new.iloc[:1]), m.fittedvalues.iloc[:1])
    np.testing.assert_allclose(m.predict(new.iloc[:1], re_form="~ (1 | g)"), m.fittedvalues.iloc[:1])


def test_refusals_name_level_and_reason() -> None:
    data = rows().assign(f=lambda d: np.where(np.arange(len(d)) == 9, "a", d["arm"]))
    with pytest.raises(DataError, match="1 of 40 are in several, for example 'g01' in"):
        fit("y ~ x + (1 | gr(g, by = f))", data)
    with pytest.raises(FormulaError, match=re.escape("gr(by =) is for independent levels")):
        fit('y ~ x + (1 | gr(g, by = arm, cov = "ar1"))', data)


def test_rows_in_batches_are_refused(tmp_path) -> None:
    (tmp_path / "rows").mkdir()
    rows().to_parquet(tmp_path / "rows" / "a.parquet")
    with pytest.raises(PlanError, match="dummy"):
        fit("y ~ x + (1 | gr(g, by = arm))", tmp_path / "rows")
