"""t_test, f_test and wald_test: statsmodels' on a model without random effects, lmerTest's with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

from lmmformula import DataError, Fit, FormulaError, fit, load_dataset


@pytest.fixture(scope="module")
def ortho() -> Fit:
    return fit("distance ~ age * Sex + (1 | Subject)", load_dataset("Orthodont"))


def plain() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 3))
    return pd.DataFrame(
        {"y": x @ [0.2, 0.3, 0.0] + rng.normal(size=80), **{f"x{j + 1}": x[:, j] for j in range(3)}}
    )


MATRIX = np.array([[0.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
RESTRICTIONS: dict[str, Any] = {
    "text": "x1 = x2, x3 = 0",
    "matrix": MATRIX,
    "with constants": (MATRIX, [0.1, -0.05]),
    "one row": [0.0, 1.0, 1.0, 0.0],
    "text with constants": "x1 + x2 = 0.4",
}


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_as_statsmodels(name: str) -> None:
    data, given = plain(), RESTRICTIONS[name]
    ours = fit("y ~ x1 + x2 + x3", data)
    theirs = smf.ols("y ~ x1 + x2 + x3", data).fit()
    a, b = ours.t_test(given), theirs.t_test(given)
    for attribute in ("effect", "sd", "tvalue", "statistic", "pvalue", "df_denom"):
        theirs_of = np.broadcast_to(np.ravel(getattr(b, attribute)), len(a.effect))
        assert_allclose(getattr(a, attribute), theirs_of, rtol=1e-6, err_msg=attribute)
    assert a.distribution == b.distribution
    assert_allclose(a.conf_int(alpha=0.1), b.conf_int(alpha=0.1), rtol=1e-6)
    f, g = ours.f_test(given), theirs.f_test(given)
    assert_allclose(
        [f.statistic, f.fvalue, f.pvalue, f.df_num, f.df_denom],
        [g.statistic, g.fvalue, g.pvalue, g.df_num, g.df_denom],
        rtol=1e-6,
    )
    w, v = ours.wald_test(given), theirs.wald_test(given, use_f=False, scalar=True)
    assert_allclose([w.statistic, w.pvalue, w.df_denom], [v.statistic, v.pvalue, v.df_denom], rtol=1e-6)
    assert (f.distribution, w.distribution) == (g.distribution, v.distribution)


def test_as_lmertest(ortho: Fit) -> None:
    """lmerTest 3.1-3: contest(model, L, rhs =)."""
    rows = np.array([[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 11.0]])
    f = ortho.f_test(rows)
    assert_allclose((f.statistic, f.df_num, f.df_denom), (58.824006329, 2, 37.4199991896), rtol=1e-5)
    assert_allclose(f.pvalue, 2.80608708e-12, rtol=1e-4)
    f = ortho.f_test((rows, [0.5, -2.0]))
    assert_allclose(
        (f.statistic, f.df_denom, f.pvalue), (2.45114687533, 37.4199991896, 0.0999222269031), rtol=1e-5
    )
    t = ortho.t_test(rows[0])
    found = (t.effect[0], t.sd[0], t.df_denom[0], t.tvalue[0])
    assert_allclose(found, (0.631960227273, 0.0607104478639, 79.0000001767, 10.4094146808), rtol=1e-5)
    assert_allclose(t.conf_int(), [[0.511119103563, 0.752801350982]], rtol=1e-5)


def test_clusters_as_clubsandwich(ortho: Fit) -> None:
    """clubSandwich 0.5.8: Wald_test(test = "HTZ", vcov = "CR2")."""
    f = ortho.f_test("SexFemale = 0, age:SexFemale = 0", vcov="CR2")
    assert_allclose(
        (f.statistic, f.df_denom, f.pvalue),
        (6.19831764609368, 20.6534653465346, 0.00778913462753172),
        rtol=1e-6,
    )
    t = ortho.t_test("age:SexFemale", vcov="CR2", cluster="Subject")
    assert_allclose((t.sd[0], t.df_denom[0]), (0.121249143552968, 21.6534653465347), rtol=1e-6)
    assert "CR2, 27 clusters of Subject" in str(t)


def test_rows_that_depend_on_each_other(ortho: Fit) -> None:
    once, twice = (ortho.f_test(text) for text in ("age = 0", "age = 0, 2 * age = 0"))
    assert (once.df_num, twice.df_num) == (1, 1)
    assert_allclose((twice.statistic, twice.df_denom), (once.statistic, once.df_denom), rtol=1e-8)


def test_a_generalised_model_has_z_and_chi_square() -> None:
    m = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="poisson")
    name = m.problem.X.names[1]
    t = m.t_test(name)
    assert t.distribution == "norm"
    assert_allclose((t.statistic[0], t.pvalue[0]), (m.tvalues.iloc[1], m.pvalues.iloc[1]), rtol=1e-10)
    assert "z value" in str(t)
    f, w = m.f_test(name), m.wald_test(name)
    assert np.isinf(f.df_denom)
    assert_allclose(w.statistic, t.statistic[0] ** 2, rtol=1e-10)
    assert_allclose((f.pvalue, w.pvalue), (t.pvalue[0], t.pvalue[0]), rtol=1e-8)


def test_how_they_show(ortho: Fit) -> None:
    t = ortho.t_test("age = 0.5, SexFemale = 0")
    assert list(t.frame.index) == ["age = 0.5", "SexFemale = 0"]
    assert "Satterthwaite" in str(t.summary())
    assert "<table" in str(t._repr_html_())
    assert list(t.frame.columns[:4]) == ["Estimate", "H0", "Std. Error", "df"]
    assert "Pr(>F)" in str(ortho.f_test("age"))
    assert "Chisq" in ortho.wald_test("age").tidy()


def test_what_is_refused(ortho: Fit) -> None:
    with pytest.raises(DataError, match=r"shape \(3,\).*4 coefficients: \(Intercept\), age"):
        ortho.t_test([1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="2 rows in R and 3 numbers"):
        ortho.f_test((np.eye(4)[:2], [1.0, 2.0, 3.0]))
    with pytest.raises(DataError, match="row of zeros"):
        ortho.t_test([0.0, 0.0, 0.0, 0.0])
    with pytest.raises(DataError, match="missing or infinite"):
        ortho.t_test([0.0, np.nan, 0.0, 0.0])
    with pytest.raises(DataError, match="not linear"):
        ortho.f_test("age * SexFemale = 0")
    with pytest.raises(DataError, match="inequalities"):
        ortho.f_test("age > 0")
    with pytest.raises(FormulaError, match="no parameter 'sigma'"):
        ortho.t_test("sigma = 1")
