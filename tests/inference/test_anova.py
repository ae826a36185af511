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
from lmmformula.inference.anova import COLUMNS, WALD_COLUMNS
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
    se, df = np.sqrt(np.diagonal(adjusted.vcov)), adjusted.df(np.eye(len(adjusted.vcov)))
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


# -- generalised models --------------------------------------------------------------------------------------------


@cache
def _counts() -> Fit:
    return fit("count ~ spp * mined + (1 | site)", load_dataset("Salamanders"), family="nbinom2")


def test_wald_chi_squares_against_car() -> None:
    # glmmTMB; car::Anova(type = 2), and type = 3 with contr.sum
    expected = {
        2: [
            [88.6191052, 6, 5.86363395e-17],
            [57.6906429, 1, 3.06758621e-14],
            [17.0942350, 6, 8.94308518e-03],
        ],
        3: [
            [60.7474657, 6, 3.17247948e-11],
            [63.0289792, 1, 2.03687625e-15],
            [17.0940199, 6, 8.94384800e-03],
        ],
    }
    for kind, values in expected.items():
        table = _counts().anova(kind)
        assert list(table.columns) == list(WALD_COLUMNS)
        assert list(table.index) == ["spp", "mined", "spp:mined"]
        np.testing.assert_allclose(table.iloc[:, :2], np.array(values)[:, :2], rtol=1e-4)
        np.testing.assert_allclose(table.iloc[:, 2], np.array(values)[:, 2], rtol=2e-3)
        assert table.attrs["heading"].startswith(f"Type {'I' * kind} analysis of deviance table with Wald")
    pd.testing.assert_frame_equal(anova(_counts()), _counts().anova(3))


def test_wald_chi_squares_with_a_number_and_crossed_effects() -> None:
    # glmmTMB and car::Anova(type = 2); lme4's Hessian is by differences of its deviance and off by 2%
    formula = "r2 ~ Anger + Gender * btype + (1 | id) + (1 | item)"
    table = fit(formula, load_dataset("VerbAgg"), family="binomial").anova(2)
    np.testing.assert_allclose(table["Chisq"], [11.68725816, 2.79633981, 31.65614054, 19.74953976], rtol=1e-4)


def test_sequential_chi_squares_telescope() -> None:
    model = _counts()
    table, beta = model.anova(1), model.params.to_numpy()[1:]
    whole = beta @ np.linalg.solve(model.vcov[1:, 1:], beta)
    np.testing.assert_allclose(np.sum(table["Chisq"]), whole)
    np.testing.assert_allclose(table["Chisq"].iloc[1], model.anova(2)["Chisq"].iloc[1])


def test_codings_do_not_matter_and_single_terms_agree() -> None:
    sums = fit(
        "count ~ spp * mined + (1 | site)",
        load_dataset("Salamanders"),
        family="nbinom2",
        contrasts={"spp": "contr.sum", "mined": "contr.helmert"},
    )
    np.testing.assert_allclose(sums.anova(3)["Chisq"], _counts().anova(3)["Chisq"], rtol=1e-4)
    one = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="poisson")
    for kind in (1, 2, 3):
        assert one.anova(kind)["Chisq"].item() == pytest.approx(one.tvalues["minedno"] ** 2)


def test_gaussian_with_a_modelled_dispersion_has_wald_tests() -> None:
    data = load_dataset("sleepstudy")
    model = fit("Reaction ~ Days + (1 | Subject)", data, dispformula="~ Days")
    assert model.anova()["Chisq"].item() == pytest.approx(model.tvalues["Days"] ** 2)
    plain = fit("Reaction ~ Days + (1 | Subject)", data, method="ml")
    table = anova(model, plain)
    assert table["Df"].iloc[1] == 1
    assert list(table.index)[1].endswith(", dispformula='~ Days'")


def test_generalised_refusals() -> None:
    with pytest.raises(PlanError, match="leave ddf out"):
        _counts().anova(3, ddf="kenward-roger")
    with pytest.raises(PlanError, match="Wald chi-square"):
        kenward_roger(_counts())
    with pytest.raises(DataError, match="ddf='kr'"):
        _counts().anova(3, ddf="kr")


GENERALISED = [p for p in _reference("lrt")["tests"] if p["engine"] != "lmer"]


@pytest.mark.parametrize("pair", GENERALISED, ids=lambda p: p["id"])
def test_likelihood_ratios_of_generalised_models(pair: dict[str, Any]) -> None:
    data = load_dataset(pair["dataset"])
    small, large = (
        fit(
            pair[f"formula_{size}"],
            data,
            family=pair[f"family_{size}"],
            ziformula=pair.get(f"ziformula_{size}") if size == "large" else None,
            nagq=pair["nAGQ"],
        )
        for size in ("small", "large")
    )
    table = anova(large, small)
    assert list(table["npar"]) == [pair["small"]["df"], pair["large"]["df"]]
    assert table["Chisq"].iloc[1] == pytest.approx(pair["chisq"], abs=2e-3)
    assert table["Df"].iloc[1] == pair["chi_df"]
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(pair["p"], rel=1e-2)
    if pair["nAGQ"] == 1:  # lme4's quadrature leaves out a constant
        for row, size in enumerate(("small", "large")):
            for column in ("logLik", "AIC", "BIC"):
                assert table[column].iloc[row] == pytest.approx(pair[size][column], abs=2e-3)
    different = str(small.problem.family) != str(large.problem.family)
    assert ("note" in table.attrs) == different
    assert not different or str(large.problem.family) in table.index[1]


def test_approximations_are_not_mixed() -> None:
    data = load_dataset("Salamanders")
    laplace = fit("count ~ mined + (1 | site)", data, family="poisson")
    for nagq in (0, 5):
        with pytest.raises(PlanError, match="same nagq"):
            anova(laplace, fit("count ~ 1 + (1 | site)", data, family="poisson", nagq=nagq))
    observed = fit("count ~ mined + (1 | site)", data, family="nbinom2")
    expected = fit("count ~ 1 + (1 | site)", data, family="nbinom2", information="expected")
    with pytest.raises(PlanError, match="'expected'"):
        anova(observed, expected)
    assert len(anova(laplace, expected)) == 2  # for a canonical link they are the same


def test_numbers_of_trials_are_data() -> None:
    data = load_dataset("cbpp")
    data["p"] = data["incidence"] / data["size"]
    data["double"] = 2 * data["size"]
    small = fit("p ~ 1 + (1 | herd)", data, family="binomial", weights="size")
    large = fit("p ~ period + (1 | herd)", data, family="binomial", weights="double")
    with pytest.raises(DataError, match="different weights"):
        anova(small, large)


def test_a_model_without_groups_says_whose_df_it_has() -> None:
    table = fit("Reaction ~ Days", load_dataset("sleepstudy")).anova()
    assert "on n - p residual df" in str(table)
    assert table["DenDF"].iloc[0] == pytest.approx(178.0)
