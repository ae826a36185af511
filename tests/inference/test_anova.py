"""F tests of terms and likelihood-ratio tables, against lmerTest, pbkrtest and lme4."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, RankDeficientWarning, anova, fit, load, load_dataset
from lmmformula.inference.anova import COLUMNS
from lmmformula.inference.kenward_roger import kenward_roger

REFERENCES = Path(__file__).parent.parent / "reference"


def _reference(name: str) -> dict[str, Any]:
    return json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))


KR_MODELS = [
    m["id"]
    for m in _reference("index")["models"]
    if m["method"] == "REML" and "vcov_kenward_roger" in _reference(m["id"])
]


@cache
def _model(name: str) -> Fit:
    ref = _reference(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(ref["formula"], load_dataset(ref["dataset"]), method="reml")


@pytest.mark.parametrize("name", KR_MODELS)
def test_kenward_roger_of_each_coefficient(name: str) -> None:
    ref = _reference(name)
    adjusted = kenward_roger(_model(name))
    se, df = adjusted.coefficients()
    np.testing.assert_allclose(adjusted.vcov, ref["vcov_kenward_roger"], rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(se, ref["fixef"]["se_kenward_roger_adjusted"], rtol=1e-5)
    np.testing.assert_allclose(df, ref["fixef"]["df_kenward_roger"], rtol=1e-4)


@pytest.mark.parametrize(
    "name", [n for n in KR_MODELS if "III_kenward_roger" in dict(_reference(n).get("anova", {}))]
)
def test_kenward_roger_of_each_term(name: str) -> None:
    expected = _reference(name)["anova"]["III_kenward_roger"]
    table = _model(name).anova(3, "kenward-roger")
    assert list(table.index) == expected["rows"]
    assert tuple(table.columns) == COLUMNS
    np.testing.assert_allclose(table, np.array(expected["values"], dtype=float), rtol=2e-4)


# lmerTest on cake with every cell but one, and on an unbalanced part of it: NumDF, DenDF, F.
MISSING_CELL = {
    1: [[2, 41.9400475, 0.488932281], [5, 195.9380141, 18.770770685], [9, 195.9380141, 1.058007782]],
    2: [[2, 42.1462706, 0.317594983], [5, 195.9380141, 18.770770685], [9, 195.9380141, 1.058007782]],
    3: [[2, 42.1455585, 0.31759498], [5, 195.9380141, 18.77077068], [9, 195.9380141, 1.05800778]],
}
UNBALANCED = {
    1: [[2, 42.183756, 0.118822588], [1, 141.094357, 82.692327085], [2, 141.367409, 1.611912941]],
    2: [[2, 159.408369, 1.10689979], [1, 141.094357, 82.69232708], [2, 141.365772, 1.61191294]],
    3: [[2, 159.408369, 1.10689979], [1, 141.505266, 84.15974402], [2, 141.365772, 1.61191294]],
}
UNBALANCED_KR = [
    [2, 159.325322, 1.10581752],
    [1, 141.298952, 84.07751157],
    [2, 141.160429, 1.61017064],
]


def _with_missing_cell(**arguments: Any) -> Fit:
    cake = load_dataset("cake")
    cake = cake[~((cake["recipe"] == "C") & (cake["temperature"] == "225"))]
    with pytest.warns(RankDeficientWarning):
        return fit("angle ~ recipe * temperature + (1 | recipe:replicate)", cake, **arguments)


@cache
def _unbalanced() -> Fit:
    cake = load_dataset("cake")
    i = np.arange(1, len(cake) + 1)
    gone = (cake["recipe"] == "A") & (cake["temp"] > 200) & (i % 2 == 0)
    return fit("angle ~ recipe * temp + (1 | recipe:replicate)", cake[(i % 7 != 0) & (i % 11 != 3) & ~gone])


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_types_with_a_missing_cell(kind: int) -> None:
    table = _with_missing_cell().anova(kind)
    np.testing.assert_allclose(table[["NumDF", "DenDF", "F value"]], MISSING_CELL[kind], rtol=1e-4)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_types_in_unbalanced_data(kind: int) -> None:
    table = _unbalanced().anova(kind)
    np.testing.assert_allclose(table[["NumDF", "DenDF", "F value"]], UNBALANCED[kind], rtol=1e-4)


def test_kenward_roger_in_unbalanced_data() -> None:
    table = _unbalanced().anova(3, ddf="kenward-roger")
    np.testing.assert_allclose(table[["NumDF", "DenDF", "F value"]], UNBALANCED_KR, rtol=1e-4)


@pytest.mark.parametrize("coding", ["contr.sum", "contr.helmert", "contr.SAS", "contr.poly"])
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_type_three_does_not_depend_on_the_coding(coding: str, ddf: str) -> None:
    data = load_dataset("Oats")
    formula = "yield ~ factor(nitro) * Variety + (1 | Block/Variety)"
    data = data[np.arange(len(data)) % 5 != 2]
    plain = fit(formula, data).anova(3, ddf)
    coded = fit(formula, data, contrasts={"Variety": coding}).anova(3, ddf)
    np.testing.assert_allclose(coded, plain, rtol=1e-4)


def test_without_intercept_and_with_nested_coding() -> None:
    data = load_dataset("Machines")
    data = data[np.arange(len(data)) % 4 != 1]
    cells = fit("score ~ 0 + Machine + (1 | Worker)", data)
    table = cells.anova(3)
    assert table.loc["Machine", "NumDF"] == 3
    # One term without an intercept: the test that all means are zero.
    beta, cov = cells.params.to_numpy(), cells.cov_params().to_numpy()
    assert table.loc["Machine", "F value"] == pytest.approx(beta @ np.linalg.solve(cov, beta) / 3)


def test_spellings_and_intercept_only() -> None:
    model = _unbalanced()
    pd.testing.assert_frame_equal(model.anova("III"), model.anova(3))
    pd.testing.assert_frame_equal(anova(model), model.anova(3))
    assert model.anova("ii").attrs["heading"].startswith("Type II ")
    assert _model("dyestuff_reml").anova().empty


def test_refusals() -> None:
    model = _unbalanced()
    with pytest.raises(DataError, match="type=4"):
        model.anova(4)
    with pytest.raises(DataError, match="ddf='kr'"):
        model.anova(3, ddf="kr")
    ml = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), method="ml")
    with pytest.raises(PlanError, match="method='reml'"):
        kenward_roger(ml)
    with pytest.raises(DataError, match="without a fit"):
        anova()


def test_kenward_roger_refuses_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("sleepstudy")
    with pytest.raises(PlanError, match=r"cs\(\)"):
        kenward_roger(fit("Reaction ~ Days + cs(Days | Subject)", data))
    monkeypatch.setattr("lmmformula.inference.kenward_roger._MOST_EFFECTS", 10)
    with pytest.raises(PlanError, match="36 x 36"):
        kenward_roger(fit("Reaction ~ Days + (Days | Subject)", data))


def test_a_loaded_fit_has_the_tests_that_need_no_rows(tmp_path: Path) -> None:
    model = _unbalanced()
    model.save(tmp_path / "m.lmm")
    for kind in (1, 2, 3):
        pd.testing.assert_frame_equal(load(tmp_path / "m.lmm").anova(kind), model.anova(kind), rtol=1e-6)
    dropped = _with_missing_cell()
    dropped.save(tmp_path / "d.lmm")
    with pytest.raises(PlanError, match="1 dropped column"):
        load(tmp_path / "d.lmm").anova(3)


def test_dense_and_blocked_engines_agree() -> None:
    ref = _reference("penicillin_reml")
    dense = fit(ref["formula"], load_dataset(ref["dataset"]), engine="dense")
    np.testing.assert_allclose(
        kenward_roger(dense).vcov, kenward_roger(_model("penicillin_reml")).vcov, rtol=1e-6
    )


def test_weights_scale_out() -> None:
    data = load_dataset("Oats").assign(w=4.0)
    formula = "yield ~ nitro + Variety + (1 | Block/Variety)"
    for ddf in ("satterthwaite", "kenward-roger"):
        plain, weighted = fit(formula, data).anova(3, ddf), fit(formula, data, weights="w").anova(3, ddf)
        # Sums of squares are in units of sigma^2, which is that of an observation of weight one.
        np.testing.assert_allclose(weighted.iloc[:, 2:], plain.iloc[:, 2:], rtol=1e-4)
        np.testing.assert_allclose(weighted.iloc[:, :2], 4 * plain.iloc[:, :2], rtol=1e-4)


PAIRS = [p for p in _reference("lrt")["tests"] if p["engine"] == "lmer"]


@pytest.mark.parametrize("methods", [("ml", "ml"), ("reml", "reml"), ("reml", "ml")])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p["id"])
def test_likelihood_ratios(pair: dict[str, Any], methods: tuple[str, str]) -> None:
    data = load_dataset(pair["dataset"])
    small = fit(pair["formula_small"], data, method=methods[0])
    large = fit(pair["formula_large"], data, method=methods[1])
    table = anova(large, small)
    assert list(table.columns) == ["npar", "AIC", "BIC", "logLik", "-2*log(L)", "Chisq", "Df", "Pr(>Chisq)"]
    assert list(table.index) == [small.formula, large.formula]
    assert table.attrs["refitted"] == methods.count("reml")
    for row, size in enumerate(("small", "large")):
        for column, key in (("npar", "df"), ("logLik", "logLik"), ("AIC", "AIC"), ("BIC", "BIC")):
            assert table[column].iloc[row] == pytest.approx(pair[size][key], abs=2e-5)
    assert np.isnan(table["Chisq"].iloc[0])
    assert table["Chisq"].iloc[1] == pytest.approx(pair["chisq"], abs=4e-5)
    assert table["Df"].iloc[1] == pair["chi_df"]
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(pair["p"], rel=1e-3)


def test_compare_refuses_other_rows() -> None:
    data = load_dataset("sleepstudy")
    whole = fit("Reaction ~ Days + (1 | Subject)", data)
    part = fit("Reaction ~ Days + (1 | Subject)", data.iloc[:150])
    with pytest.raises(DataError, match="180 and 150 rows"):
        anova(whole, part)
    with pytest.raises(DataError, match="different responses"):
        anova(whole, fit("log(Reaction) ~ Days + (1 | Subject)", data))


def test_equal_models_have_no_p_value() -> None:
    data = load_dataset("sleepstudy")
    table = anova(*(fit("Reaction ~ Days + (1 | Subject)", data, method="ml") for _ in range(2)))
    assert table["Df"].iloc[1] == 0
    assert np.isnan(table["Pr(>Chisq)"].iloc[1])
