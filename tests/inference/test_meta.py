"""Differences between studies of a meta-analysis, against metafor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from lmmformula import Fit, fit
from lmmformula.errors import ArgumentError, PlanError
from lmmformula.reporting.meta import Heterogeneity

DATA = json.loads((Path(__file__).parents[1] / "reference" / "levels.json").read_text())["data"]
# metafor 3.8.1: rma(yi, sei^2, mods = ~ 1 or ~ ablat, data = bcg, method =, test =, control = list(threshold = 1e-14))
BETWEEN = {
    ("1", "reml"): (
        0.313243258136481,
        92.2213845212689,
        12.8557582353092,
        152.233008082373,
        1.99676459084600e-26,
    ),
    ("1", "ml"): (
        0.280028137268644,
        91.3782837894461,
        11.5986188315488,
        152.233008082373,
        1.99676459084600e-26,
    ),
    ("ablat", "reml"): (
        0.07634796395520264,
        68.39122483818229625,
        3.16367842436351454,
        30.7330900107493,
        0.00121429098742004,
    ),
    ("ablat", "ml"): (
        0.0343514424812415,
        49.3288501850183,
        1.97350958810162,
        30.7330900107493,
        0.00121429098742004,
    ),
}
"""tau2, I2, H2, Q and its p-value."""

TESTS = {
    ("1", "reml", "z"): (
        [-0.714532342158139],
        [0.179781516105206],
        [7.05425810164166e-05],
        [-1.06689763881035],
    ),
    ("1", "reml", "knha"): (
        [-0.714532342158139],
        [0.180791744092848],
        [0.0019200150960573],
        [-1.10844371368555],
    ),
    ("1", "reml", "t"): (
        [-0.714532342158139],
        [0.179781516105206],
        [0.00184464721013829],
        [-1.10624261598519],
    ),
    ("1", "ml", "knha"): (
        [-0.711199135474181],
        [0.180042222144362],
        [0.00192716565913342],
        [-1.10347743896412],
    ),
    ("ablat", "reml", "knha"): (
        [0.2514682100073677, -0.0291017250116496],
        [0.28392528374338316, 0.00820141741103659],
        [0.39473707244658451, 0.00456505154154004],
        [-0.3734471260866267, -0.0471529230250584],
    ),
    ("ablat", "ml", "z"): (
        [0.2821071738962085, -0.0295093353884547],
        [0.18718455633435457, 0.00548773630753897],
        [0.131783207148430, 7.56011132677134e-08],
        [-0.0847678149812353, -0.0402651009078839],
    ),
}
"""Estimates, standard errors, p-values and lower limits."""

NEW = {
    ("reml", "z"): (-1.866692217902886, 0.437627533586608),
    ("reml", "knha"): (-1.996016834196202, 0.566952149879924),
    ("reml", "t"): (-1.995341958509104, 0.566277274192826),
    ("ml", "knha"): (-1.929082109501710, 0.506683838553347),
}
"""Where a new study's effect lies."""


def trials() -> pd.DataFrame:
    return pd.DataFrame(DATA["bcg"])


def new_study(found: Heterogeneity) -> np.ndarray:
    assert found.prediction is not None
    return found.prediction[["lower_new", "upper_new"]].to_numpy()[0]


@pytest.fixture(scope="module")
def fits() -> dict[tuple[str, str], Fit]:
    return {
        (right, method): fit(f"yi | se(sei) ~ {right} + (1 | trial)", trials(), method=method)
        for right in ("1", "ablat")
        for method in ("reml", "ml")
    }


@pytest.mark.parametrize("key", BETWEEN)
def test_variances_and_cochrans_test_are_metafors(fits: dict, key: tuple[str, str]) -> None:
    found, (tau2, i2, h2, q, p) = fits[key].heterogeneity(), BETWEEN[key]
    row = found.frame.loc["trial"]
    np.testing.assert_allclose(
        [row["tau2"], row["tau"] ** 2, row["I2"], row["H2"]], [tau2, tau2, i2, h2], rtol=2e-6
    )
    np.testing.assert_allclose([found.Q, found.p_value], [q, p], rtol=1e-9)
    assert found.df == (12 if key[0] == "1" else 11)
    assert found.typical_variance == pytest.approx(
        0.0264211914513886 if key[0] == "1" else 0.0352861881393774
    )


@pytest.mark.parametrize("key", TESTS)
def test_coefficients_are_metafors(fits: dict, key: tuple[str, str, str]) -> None:
    found = fits[key[:2]].heterogeneity(test=key[2]).coefficients
    beta, se, p, lower = TESTS[key]
    np.testing.assert_allclose(found["estimate"], beta, rtol=0, atol=1e-5 * se[-1])
    np.testing.assert_allclose(found["se"], se, rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], p, rtol=2e-5)
    np.testing.assert_allclose(found["lower"], lower, rtol=1e-5)


@pytest.mark.parametrize("key", NEW)
def test_a_new_study_is_where_metafor_has_it(fits: dict, key: tuple[str, str]) -> None:
    found = fits["1", key[0]].heterogeneity(test=key[1])
    np.testing.assert_allclose(new_study(found), NEW[key], rtol=2e-6)


def test_limits_of_tau2_are_where_q_is_at_its_quantiles(fits: dict) -> None:
    row = fits["1", "reml"].heterogeneity().frame.loc["trial"]
    # confint(rma(yi, sei^2, data = bcg)), whose search stops within 1.2e-4
    np.testing.assert_allclose(
        [row["lower"], row["upper"]], [0.119695312817, 1.11148626222], rtol=0, atol=1.2e-4
    )
    y, s2 = trials()["yi"].to_numpy(), trials()["sei"].to_numpy() ** 2
    for tau2, tail in ((row["lower"], 0.975), (row["upper"], 0.025)):
        w = 1.0 / (s2 + tau2)
        q = np.sum(w * (y - np.sum(w * y) / w.sum()) ** 2)
        assert chi2.cdf(q, 12) == pytest.approx(tail, abs=1e-10)


def test_covariates_at_which_to_predict(fits: dict) -> None:
    m, at = fits["ablat", "reml"], pd.DataFrame({"ablat": [44.0, 55.0]})
    assert m.heterogeneity().prediction is None
    # predict(rma(yi, sei^2, mods = ~ ablat, data = bcg)) at the first two studies
    found = m.heterogeneity(newdata=at, test="z").prediction
    np.testing.assert_allclose(
        found[["lower_new", "upper_new"]].iloc[0], [-1.636444864625962, -0.421570516384469], rtol=2e-6
    )
    np.testing.assert_allclose(found["fit"], m.predict(at, re_form=None), rtol=1e-12)


def test_several_factors_share_their_sum() -> None:
    data = pd.DataFrame(DATA["konstantopoulos"])
    m = fit("yi | se(sei) ~ 1 + (1 | district/school)", data)
    found = m.heterogeneity(test="z")
    assert found.frame.index.tolist() == ["school:district", "district", "total"]
    # metafor 3.8.1: rma.mv(yi, sei^2, random = ~ 1 | district/school), and its documentation's I^2 of several
    np.testing.assert_allclose(
        found.frame["tau2"].iloc[:2], [0.0327365170279351, 0.0650619442753117], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.frame["I2"], [31.8624758859042, 63.3248378379642, 95.1873137238684], rtol=1e-6
    )
    assert pytest.approx(578.864017958223, rel=1e-10) == found.Q
    assert found.prediction is not None
    np.testing.assert_allclose(
        found.prediction[["lower_new", "upper_new"]].to_numpy()[0],
        (-0.450230970179251, 0.819657297530121),
        rtol=1e-6,
    )


def test_the_scale_of_knapp_and_hartung_is_its_definition() -> None:
    data = pd.DataFrame(DATA["konstantopoulos"])
    m = fit("yi | se(sei) ~ 1 + (1 | district/school)", data)
    school, district = m.heterogeneity().frame["tau2"].iloc[:2]
    same = np.equal.outer(data["district"].to_numpy(), data["district"].to_numpy())
    v = np.diag(data["sei"].to_numpy() ** 2 + school) + district * same
    r = data["yi"].to_numpy() - float(m.params.iloc[0])
    variance = (r @ np.linalg.solve(v, r) / 55) / np.sum(np.linalg.inv(v))
    se = m.heterogeneity().coefficients["se"].iloc[0]
    assert se == pytest.approx(float(np.sqrt(variance)), rel=1e-8)


def test_units_do_not_matter(fits: dict) -> None:
    data = trials()
    found = fits["1", "reml"].heterogeneity()
    other = fit(
        "yi | se(sei) ~ 1 + (1 | trial)", data.assign(yi=data["yi"] * 1e6, sei=data["sei"] * 1e6)
    ).heterogeneity()
    np.testing.assert_allclose(other.frame["I2"], found.frame["I2"], rtol=1e-6)
    np.testing.assert_allclose(other.frame["upper"], found.frame["upper"] * 1e12, rtol=1e-8)
    np.testing.assert_allclose(other.coefficients["p_value"], found.coefficients["p_value"], rtol=1e-5)


def test_it_prints_and_draws(fits: dict) -> None:
    found = fits["1", "reml"].heterogeneity()
    text = repr(found)
    for part in ("Cochran's Q(12) = 152.2", "Knapp & Hartung", "I2", "lower_new"):
        assert part in text
    assert "<table" in found._repr_html_()
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()][-1] == "mean"
    assert len(ax.get_yticks()) == 14
    assert found.exhibit().drawings


def test_what_is_no_meta_analysis_is_refused(fits: dict) -> None:
    data = trials()
    with pytest.raises(PlanError, match="known standard errors"):
        fit("yi ~ ablat + (1 | alloc)", data).heterogeneity()
    with pytest.raises(PlanError, match="variances that differ"):
        fit("yi | se(sei) ~ ablat + (0 + ablat | trial)", data).heterogeneity()
    with pytest.raises(ArgumentError, match="test"):
        fits["1", "reml"].heterogeneity(test="hksj")
