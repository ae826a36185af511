"""Fits with random effects in several linear predictors: against TMB, in other units, after the fit, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, compare_methods, fit, load, load_dataset
from lmmformula.errors import DataError, PlanError

KNOWN = json.loads((Path(__file__).parents[1] / "reference" / "several.json").read_text())


@cache
def fitted(name: str) -> Fit:
    own = KNOWN[name]
    more = {"ziformula": own["ziformula"]} if "ziformula" in own else {}
    return fit(own["formula"], pd.DataFrame(own["data"]), family=own["family"], **more)


@pytest.mark.parametrize("name", KNOWN)
def test_agrees_with_tmb(name):
    m, own = fitted(name), KNOWN[name]
    assert m.converged
    assert m.llf == pytest.approx(own["logLik"], abs=1e-6)
    assert np.abs((m.params.to_numpy() - own["fixef"]) / own["se"]).max() < 1e-4
    assert np.abs((m.estimate.aux[0] - own["aux"]) / own["aux_se"]).max() < 1e-4
    np.testing.assert_allclose(m.bse, own["se"], rtol=1e-4)
    np.testing.assert_allclose(m.varcorr()["sdcor"], own["sd"], rtol=1e-4)


def test_predictions_are_those_of_glmmtmb():
    m, own = fitted("zero_inflation"), KNOWN["zero_inflation"]
    new = pd.DataFrame(own["newdata"])
    np.testing.assert_allclose(m.predict(new, kind="link"), own["link_with_re"], rtol=1e-5)
    np.testing.assert_allclose(m.predict(new), own["response_with_re"], rtol=1e-5)
    np.testing.assert_allclose(m.predict(new, kind="zprob"), own["zprob"], rtol=1e-5)
    np.testing.assert_allclose(m.predict(new, kind="conditional"), own["conditional"], rtol=1e-5)
    cond, (alpha,) = m.params.to_numpy(), m.estimate.aux
    mean = cond[0] + cond[1] * new["x"] + cond[2] * (new["trt"] == "trt") + new["lexpo"]
    zeros = 1.0 / (1.0 + np.exp(-alpha[0] - alpha[1] * new["z"]))
    nobody = np.exp(mean) * (1.0 - zeros)
    np.testing.assert_allclose(m.predict(new, re_form=None), nobody, rtol=1e-8)
    np.testing.assert_allclose(m.fittedvalues[:10], own["fitted"], rtol=1e-5)
    names = {"g": ["nowhere"] * len(new)}
    unseen = m.predict(new.assign(**names), new_levels="population")
    np.testing.assert_allclose(unseen, nobody, rtol=1e-8)
    with pytest.raises(DataError, match="nowhere"):
        m.predict(new.assign(**names))


def test_errors_of_predictions_hold_those_of_further_effects():
    m, own = fitted("zero_inflation"), KNOWN["zero_inflation"]
    new = pd.DataFrame(own["newdata"])
    assert np.min(m.predict(new, kind="link", se=True)["se"]) > 0
    nobody, own_groups = m.predict(new, re_form=None, se=True)["se"], m.predict(new, se=True)["se"]
    assert np.min(nobody) > 0
    assert np.min(own_groups) > 0


def test_units_of_the_response_change_nothing_but_units():
    own = KNOWN["location_scale"]
    data = pd.DataFrame(own["data"])
    m, far = fitted("location_scale"), fit(own["formula"], data.assign(y_ls=1e6 * data["y_ls"]))
    assert far.llf + len(data) * np.log(1e6) == pytest.approx(m.llf, abs=1e-8)
    np.testing.assert_allclose(far.varcorr()["sdcor"], m.varcorr()["sdcor"] * [1e6, 1.0], rtol=1e-6)
    np.testing.assert_allclose(far.estimate.aux[0] - [np.log(1e6), 0.0], m.estimate.aux[0], rtol=1e-6)
    np.testing.assert_allclose(far.estimate.modes[1], m.estimate.modes[1], rtol=1e-5, atol=1e-8)


def test_comes_back_from_a_file(tmp_path):
    m = fitted("location_scale")
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    pd.testing.assert_frame_equal(again.varcorr(se=True), m.varcorr(se=True), rtol=1e-6)
    pd.testing.assert_frame_equal(again.ranef(condsd=True), m.ranef(condsd=True), rtol=1e-6)


def test_modes_are_those_of_tmb():
    m = fitted("location_scale")
    found = m.ranef(condsd=True).query("term == '(Intercept)'")[:10]
    apart = (found["condval"] - KNOWN["location_scale"]["ranef"]) / found["condsd"]
    assert np.abs(apart).max() < 1e-3


def test_draws_spread_as_the_variances_say():
    """Rows of one level share a standard deviation: over draws its log varies between levels with the sd of the effects."""
    m = fitted("location_scale")
    draws = m.simulate(300, seed=4).to_numpy()
    groups = m.problem.terms[0].codes
    within = [np.array([np.log(d[groups == g].std(ddof=1)) for g in range(24)]).std(ddof=1) for d in draws.T]
    assert 0.3 < np.mean(within) < 0.6  # 0.37 of the effects, and that of ten rows


def test_what_is_of_one_predictor_is_refused_by_name():
    m = fitted("location_scale")
    for ask in (m.r2, m.icc, m.caic, lambda: m.influence("s"), lambda: m.summary(vcov="CR0")):
        with pytest.raises(PlanError, match="predictor alone"):
            ask()
    own, data = KNOWN["zero_inflation"], pd.DataFrame(KNOWN["zero_inflation"]["data"])
    for options, says in _REFUSED:
        with pytest.raises(PlanError, match=says):
            fit(own["formula"], data, family="poisson", ziformula=own["ziformula"], **options)


_REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"nagq": 5}, "quadrature"),
    ({"nagq": 0}, "fast mode"),
    ({"method": "pql"}, "quasi-likelihood"),
    ({"method": "krylov"}, "one linear predictor"),
    ({"information": "expected"}, "observed"),
)


def test_random_effects_of_a_further_parameter_alone():
    own, data = KNOWN["zero_inflation"], pd.DataFrame(KNOWN["zero_inflation"]["data"])
    m = fit("y_zi ~ x", data, family="poisson", ziformula=own["ziformula"])
    plain = fit("y_zi ~ x", data, family="poisson", ziformula="~ z")
    assert m.llf > plain.llf
    assert list(m.varcorr()["var1"]) == ["zi:(Intercept)"]


def test_effects_of_several_predictors_may_be_correlated() -> None:
    rng, g = np.random.default_rng(6), np.repeat(np.arange(40), 8)
    b = rng.normal(size=(40, 2)) @ np.linalg.cholesky([[1.0, 0.35], [0.35, 0.25]]).T
    frame = pd.DataFrame({"y": 2.0 + b[g, 0] + np.exp(b[g, 1]) * rng.normal(size=320), "g": g.astype(str)})
    formula = "bf(y ~ 1 + (1 |p| g), sigma ~ 1 + (1 |p| g))"
    m, apart = fit(formula, frame), fit(formula.replace("|p|", "|"), frame)
    table = m.varcorr()
    assert list(table["var1"]) == ["(Intercept)", "sigma:(Intercept)", "(Intercept)"]
    assert 0.3 < table["sdcor"].iloc[2] < 0.95
    assert m.llf > apart.llf + 2.0
    assert m.df_model == apart.df_model + 1
    new = pd.DataFrame({"g": ["3", "nobody"]})
    found = m.predict(new, new_levels="population", kind="sigma")
    own = m.ranef().set_index(["term", "grp"])["condval"][("sigma:(Intercept)", "3")]
    np.testing.assert_allclose(np.log(found), m.estimate.aux[0][0] + np.array([own, 0.0]), rtol=1e-10)
    rest = fit(formula, frame.assign(y=1e3 * frame["y"]))
    assert rest.llf == pytest.approx(m.llf - 320 * np.log(1e3), abs=1e-6)
    np.testing.assert_allclose(rest.varcorr()["sdcor"], table["sdcor"] * [1e3, 1.0, 1.0], rtol=1e-4)
    with pytest.raises(PlanError, match=r"\|p\| correlates effects of several linear predictors"):
        fit(formula, frame, method="hmc")


def test_zeros_that_vary_between_sites_agree_with_glmmtmb() -> None:
    """glmmTMB 1.1.5: glmmTMB(count ~ spp + mined + (1 | site), zi = ~ mined + (1 | site), Salamanders, poisson)."""
    data = load_dataset("Salamanders")
    m = fit("count ~ spp + mined + (1 | site)", data, family="poisson", ziformula="~ mined + (1 | site)")
    assert m.llf == pytest.approx(-877.5328819, abs=1e-6)
    assert m.varcorr()["sdcor"].astype(float).to_numpy() == pytest.approx([0.2651232, 0.8172872], rel=1e-5)


def test_methods_are_compared() -> None:
    data = load_dataset("Salamanders")
    both = compare_methods(
        "count ~ mined + (1 | site)", data, ["laplace"], family="poisson", ziformula="~ 1 + (1 | site)"
    )
    own = fit("count ~ mined + (1 | site)", data, family="poisson", ziformula="~ 1 + (1 | site)")
    assert both.fits["laplace"].llf == own.llf
