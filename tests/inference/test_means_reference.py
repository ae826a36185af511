"""Marginal means, contrasts, trends and joint tests against emmeans (and multcomp) in R."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.reporting.marginal_means import MarginalMeans

FOLDER = Path(__file__).resolve().parents[1] / "reference"
REFERENCE: dict[str, Any] = json.loads((FOLDER / "emmeans.json").read_text())["results"]
SHARED: dict[str, Any] = json.loads((FOLDER / "emmeans_more.json").read_text())

Made = Callable[[dict[str, Fit]], Any]


def agrees(table: pd.DataFrame, reference: dict[str, Any], rtol: float = 1e-4) -> None:
    """Every column of the reference, NA where it is; p-values to 1e-4, probabilities of the tail relative."""
    columns = reference.get("values", reference)
    for name, values in columns.items():
        if name == "note":
            continue
        assert name in table, f"{name} is not among {list(table)}"
        if all(isinstance(v, str) for v in values):
            assert [str(v) for v in table[name]] == values, name
            continue
        expected = np.array([np.nan if v is None else v for v in values], dtype=float)
        found = table[name].to_numpy(dtype=float)
        found = np.where(np.isfinite(found), found, np.nan)  # R's file has NA for infinite df
        atol = 1e-4 if name == "p.value" else 5.1e-4 if name == "F.ratio" else 1e-6
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    cake = load_dataset("cake")
    factor = cake.assign(temperature=pd.Categorical(cake["temperature"].astype(str), ordered=False))
    rows = np.arange(1, len(cake) + 1)
    few = (
        (cake["recipe"] == "A")
        & cake["temperature"].isin(["175", "185"])
        & cake["replicate"].astype(str).isin(list("1234567"))
    )
    empty = (cake["recipe"] == "C") & cake["temperature"].isin(["215", "225"])
    group = " + (1 | recipe:replicate)"
    with pytest.warns(UserWarning, match="drop"):
        lost = fit(f"angle ~ recipe * temperature{group}", factor[~empty])
    return {
        "cake": fit(f"angle ~ recipe * temperature{group}", factor),
        "poly": fit(f"angle ~ recipe * poly(temp, 2){group}", cake),
        "plus": fit(f"angle ~ recipe + temp{group}", cake),
        "slopes": fit(f"angle ~ recipe * temp{group}", cake),
        "log": fit(f"log(angle) ~ recipe * temp{group}", cake),
        "some": fit(f"angle ~ recipe + temperature{group}", factor[(rows % 7 != 3) & ~few.to_numpy()]),
        "empty": lost,
        "cbpp": fit(
            "incidence | trials(size) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial"
        ),
        "oats": fit("Y ~ N * V + (1 | B/V)", load_dataset("oats_MASS")),
        "machines": fit("score ~ Machine + (1 | Worker/Machine)", load_dataset("Machines")),
    }


def temperature(m: dict[str, Fit]) -> MarginalMeans:
    return m["cake"].emmeans("temperature")


CAKE: dict[str, Made] = {
    "cake_pairs": lambda m: temperature(m).pairs().table,
    "cake_pairs_ci": lambda m: temperature(m).pairs().confint(),
    **{
        f"cake_{name}": lambda m, name=name: temperature(m).pairs(adjust=name).table
        for name in ("scheffe", "sidak", "bonferroni", "holm", "fdr", "none")
    },
    "cake_scheffe_ci": lambda m: temperature(m).pairs(adjust="scheffe").confint(),
    "cake_ctrl": lambda m: temperature(m).contrast("trt.vs.ctrl", ref="185").table,
    "cake_ctrl_ci": lambda m: temperature(m).contrast("trt.vs.ctrl", ref=1).confint(),
    "cake_consec": lambda m: temperature(m).contrast("consec", adjust="none").table,
    "cake_eff": lambda m: temperature(m).contrast("eff").table,
    "cake_poly": lambda m: temperature(m).contrast("poly").table,
    "cake_mean_chg": lambda m: temperature(m).contrast("mean_chg", adjust="none").table,
    "cake_within": lambda m: m["cake"].emmeans("recipe | temperature").pairs().table,
    "cake_interaction": lambda m: (
        m["cake"].emmeans("recipe * temperature").contrast(interaction=["pairwise", "consec"]).table
    ),
    "cake_joint": lambda m: m["cake"].joint_tests(),
    "cake_joint_by": lambda m: m["cake"].joint_tests(by="recipe"),
    "cake_equivalence": lambda m: temperature(m).pairs().test(delta=4),
    "cake_noninferiority": lambda m: temperature(m).test(30, delta=2, side=">"),
    "cake_greater": lambda m: temperature(m).test(30, side="greater", adjust="holm"),
    "cake_at": lambda m: m["cake"].emmeans("recipe", at={"temperature": ["175", "225"]}).table,
    "cake_kr": lambda m: m["cake"].emmeans("recipe", ddf="kenward-roger").pairs().table,
    "poly_means": lambda m: m["poly"].emmeans("recipe").table,
    "poly_at": lambda m: m["poly"].emmeans("recipe | temp", at={"temp": [180, 210]}).table,
    "temp_joint": lambda m: m["plus"].joint_tests(),
    "temp_trend": lambda m: m["slopes"].emtrends("recipe", "temp").table,
    "log_response": lambda m: m["log"].emmeans("recipe", kind="response").table,
    "log_pairs": lambda m: m["log"].emmeans("recipe", kind="response").pairs().table,
    "log_pairs_ci": lambda m: m["log"].emmeans("recipe", kind="response").pairs().confint(),
    "log_bias": lambda m: m["log"].emmeans("recipe", kind="response", bias_adjust=0.3).table,
    **{
        f"weights_{name}": lambda m, name=name: m["some"].emmeans("recipe", weights=name).table
        for name in ("equal", "proportional", "outer", "cells", "flat")
    },
    "empty_means": lambda m: m["empty"].emmeans("recipe").table,
    "empty_cells": lambda m: m["empty"].emmeans("recipe | temperature").table,
    "empty_pairs": lambda m: m["empty"].emmeans("temperature | recipe").pairs(adjust="none").table,
    "cbpp_bias": lambda m: m["cbpp"].emmeans("period", kind="response", bias_adjust=0.6423).table,
    "cbpp_ctrl": lambda m: m["cbpp"].emmeans("period", kind="response").contrast("trt.vs.ctrl").table,
    "cbpp_ci": lambda m: m["cbpp"].emmeans("period", kind="response").pairs().confint(),
}


@pytest.mark.parametrize("name", CAKE)
def test_emmeans(fits: dict[str, Fit], name: str) -> None:
    agrees(CAKE[name](fits), REFERENCE[name])


def test_joint_tests_of_what_is_estimable(fits: dict[str, Fit]) -> None:
    """emmeans adds a test of the empty cells' own dimensions, which no effect of the model has."""
    expected = {k: v[:3] for k, v in REFERENCE["empty_joint"].items() if k != "note"}
    found = fits["empty"].joint_tests()
    expected["df2"] = [pytest.approx(v, abs=0.01) for v in expected["df2"]]
    assert list(found["df2"]) == expected.pop("df2")
    agrees(found, expected)
    assert "empty cells" in found.attrs["note"]


def test_contrasts_of_a_regridded_logarithm(fits: dict[str, Fit]) -> None:
    """Differences of responses; degrees of freedom there are those of each Jacobian, emmeans has one number for all."""
    found = fits["log"].emmeans("recipe", kind="response").regrid().pairs().table
    expected = {k: v for k, v in REFERENCE["log_regrid"].items() if k in ("contrast", "estimate", "SE")}
    agrees(found, expected)


OATS: dict[str, Made] = {
    "emmeans_satterthwaite": lambda m: m["oats"].emmeans("V").table,
    "pairs_none_satterthwaite": lambda m: m["oats"].emmeans("V").pairs(adjust="none").table,
    "pairs_tukey_satterthwaite": lambda m: m["oats"].emmeans("V").pairs().table,
    "emmeans_kr": lambda m: m["oats"].emmeans("V", ddf="kenward-roger").table,
    "pairs_none_kr": lambda m: m["oats"].emmeans("V", ddf="kenward-roger").pairs(adjust="none").table,
    "pairs_tukey_kr": lambda m: m["oats"].emmeans("V", ddf="kenward-roger").pairs().table,
    "emm_NV": lambda m: m["oats"].emmeans("N * V").table,
    "pairs_N_by_V_tukey": lambda m: m["oats"].emmeans("N | V").pairs().table,
    "pairs_N_by_V_none": lambda m: m["oats"].emmeans("N | V").pairs(adjust="none").table,
    "interaction_contrasts": lambda m: (
        m["oats"].emmeans("N * V").contrast(interaction={"N": "poly", "V": "consec"}).table
    ),
    "poly_N": lambda m: m["oats"].emmeans("N").contrast("poly").table,
    "joint_tests_satterthwaite": lambda m: m["oats"].joint_tests(),
    "joint_tests_kr": lambda m: m["oats"].joint_tests(ddf="kenward-roger"),
    "ci_V": lambda m: m["oats"].emmeans("V", ddf="kenward-roger").confint(),
}


def test_all_of_oats_is_asked_for() -> None:
    assert set(OATS) == set(SHARED["after_emm_oats"]["results"])


@pytest.mark.parametrize("name", OATS)
def test_oats(fits: dict[str, Fit], name: str) -> None:
    agrees(OATS[name](fits), SHARED["after_emm_oats"]["results"][name])


CBPP: dict[str, Made] = {
    "emm_link": lambda m: m["cbpp"].emmeans("period").table,
    "emm_response": lambda m: m["cbpp"].emmeans("period", kind="response").table,
    "pairs_response_tukey": lambda m: m["cbpp"].emmeans("period", kind="response").pairs().table,
    "pairs_link_none": lambda m: m["cbpp"].emmeans("period").pairs(adjust="none").table,
    "regrid_pairs_none": lambda m: m["cbpp"].emmeans("period", regrid=True).pairs(adjust="none").table,
    "trt_vs_ctrl_none": lambda m: m["cbpp"].emmeans("period").contrast("trt.vs.ctrl", adjust="none").table,
}


@pytest.mark.parametrize("name", CBPP)
def test_cbpp(fits: dict[str, Fit], name: str) -> None:
    agrees(CBPP[name](fits), SHARED["after_emm_glmm"]["results"][name], 3e-4)


def test_joint_tests_of_a_generalised_model(fits: dict[str, Fit]) -> None:
    """car::Anova's chi-square."""
    found, car = fits["cbpp"].joint_tests(), SHARED["after_emm_glmm"]["results"]["car"]["II_chisq"]["values"]
    np.testing.assert_allclose(found["F.ratio"] * found["df1"], car["Chisq"], rtol=1e-4)
    np.testing.assert_allclose(found["p.value"], car["Pr(>Chisq)"], rtol=1e-3)


@pytest.mark.parametrize("table", ["tukey_all_pairs", "weights"])
def test_glht(fits: dict[str, Fit], table: str) -> None:
    """multcomp's z tests with single-step (mvt), Bonferroni and Holm p-values."""
    reference = SHARED["after_glht"]["results"][table]
    means = fits["machines"].emmeans("Machine", ddf="normal")
    # rows of multcomp's K are in coefficients with A as the reference, here in means
    k = np.array(reference["K"]) @ np.array([[1.0, 0, 0], [-1, 1, 0], [-1, 0, 1]])
    contrasts = means.contrast(pd.DataFrame(k, index=reference["labels"]))
    found = contrasts.test(adjust="mvt")
    np.testing.assert_allclose(found["estimate"], reference["estimate"], rtol=1e-5)
    np.testing.assert_allclose(found["SE"], reference["se"], rtol=1e-4)
    np.testing.assert_allclose(found["p.value"], reference["single_step_p_4_digits"], atol=2e-4)
    for name in ("none", "bonferroni", "holm"):
        p = contrasts.test(adjust=name)["p.value"]
        np.testing.assert_allclose(p, reference[f"p_{name}"], rtol=2e-3, atol=1e-6)
    joint = contrasts.test(joint=True)
    np.testing.assert_allclose(joint["F.ratio"] * joint["df1"], reference["chisq_global"], rtol=1e-4)
