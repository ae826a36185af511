"""Tests of the pieces of a random part: lmerTest's tables, the right distributions, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, fit, load_dataset
from lmmformula.inference.selection.null_distribution import chi_bar
from lmmformula.inference.selection.reductions import random_reductions

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/selection.json").read_text(encoding="utf-8"))
MODELS = [name for name, ref in REFERENCE.items() if "ranova" in ref]
COLUMNS = ["npar", "logLik", "AIC", "LRT", "Df", "Pr(>Chisq)"]


def model(name: str) -> Fit:
    ref = REFERENCE[name]
    return fit(ref["formula"], load_dataset(ref["dataset"]), method="reml" if ref["reml"] else "ml")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reduce", [True, False])
def test_the_table_is_lmertests(name: str, reduce: bool) -> None:
    ref: dict[str, Any] = REFERENCE[name]["ranova" if reduce else "ranova_noreduce"]
    table = model(name).ranova(reduce=reduce, method="chisq")
    assert list(table.index) == ref["rows"]
    for column in COLUMNS:
        expected = np.array(ref["values"][column], dtype=float)
        np.testing.assert_allclose(
            table[column].to_numpy(dtype=float), expected, rtol=1e-4, atol=1e-12, err_msg=column
        )
    np.testing.assert_allclose(table["logLik"], ref["values"]["logLik"], atol=1e-5)
    np.testing.assert_allclose(table["p_value"].iloc[1:], table["Pr(>Chisq)"].iloc[1:])


def test_what_suits_each_piece_is_taken() -> None:
    sleep = load_dataset("sleepstudy")
    slope = fit("Reaction ~ Days + (Days | Subject)", sleep).ranova()
    assert slope["p_value"].iloc[1] == pytest.approx(chi_bar(slope["LRT"].iloc[1], 1), rel=1e-12)
    assert slope["reference"].iloc[1] == "chi2(1) and chi2(2), half and half"
    alone = fit("Reaction ~ Days + (Days || Subject)", sleep).ranova(seed=1, n=500)
    assert list(alone.index) == ["<none>", "1 in (Days || Subject)", "Days in (Days || Subject)"]
    assert all(text.startswith("RLRT, 500 draws, other") for text in alone["reference"].iloc[1:])
    machines = load_dataset("Machines")
    three = fit("score ~ Machine + (Machine | Worker)", machines).ranova()
    assert three["reference"].iloc[1] == "chi-bar2(5), 2,000 directions"
    assert 0.0 < three["p_value"].iloc[1] < three["Pr(>Chisq)"].iloc[1]
    nested = fit("score ~ Machine + (0 + Machine | Worker)", machines).ranova()
    assert nested["Df"].iloc[1] == 5
    assert nested["LRT"].iloc[1] == pytest.approx(three["LRT"].iloc[1], abs=1e-5)
    both = fit("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", machines).ranova(method="mixture")
    np.testing.assert_allclose(both["p_value"].iloc[1:], 0.5 * both["Pr(>Chisq)"].iloc[1:], rtol=1e-10)


def test_a_bootstrap_agrees_with_the_exact_distribution() -> None:
    data = load_dataset("Pastes")
    m = fit("strength ~ 1 + (1 | batch) + (1 | sample)", data)
    exact = m.ranova(seed=1).loc["(1 | batch)", "p_value"]
    found = m.ranova(method="bootstrap", n=60, seed=1).loc["(1 | batch)"]
    assert found["p_value"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 60))
    assert found["reference"] == "bootstrap, 60 replicates"


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_the_right_distribution_holds_its_level() -> None:
    """Without a variance p-values of the chi-square are too large, those of the exact distribution are right."""
    rng = np.random.default_rng(12)
    data = pd.DataFrame({"y": 0.0, "g": np.repeat(np.arange(6), 4)})
    plain, right = [], []
    for _ in range(80):
        table = fit("y ~ 1 + (1 | g)", data.assign(y=rng.normal(size=24))).ranova(seed=1, n=400)
        plain.append(table["Pr(>Chisq)"].iloc[1])
        right.append(table["p_value"].iloc[1])
    share = np.mean(np.array(right) < 0.2)
    assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 80))
    assert np.mean(np.array(plain) < 0.2) < share
    assert np.all(np.array(right) <= np.array(plain) + 0.06)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_tables_do_not_depend_on_units(unit: float) -> None:
    data = load_dataset("sleepstudy")
    first = fit("Reaction ~ Days + (Days || Subject)", data).ranova(seed=1, n=300)
    moved = data.assign(Reaction=unit * data["Reaction"], Days=data["Days"] / unit)
    other = fit("Reaction ~ Days + (Days || Subject)", moved).ranova(seed=1, n=300)
    for column in ("LRT", "Df", "p_value"):
        np.testing.assert_allclose(other[column].iloc[1:], first[column].iloc[1:], rtol=1e-6)


def test_weights_change_the_exact_distribution_as_scaled_rows_do() -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"y": rng.normal(size=60), "g": rng.integers(0, 6, 60), "w": rng.uniform(0.2, 3.0, 60)}
    )
    m = fit("y ~ 1 + (1 | g)", data, weights="w")
    table = m.ranova(seed=4, n=4_000)
    assert 0.0 < table["p_value"].iloc[1] <= 1.0
    assert table["LRT"].iloc[1] >= 0.0


def test_rows_that_were_left_out_stay_out() -> None:
    """The smaller model does not use the variable whose missing values removed rows."""
    data = load_dataset("sleepstudy").assign(z=lambda d: np.where(d.index % 7 == 0, np.nan, d["Days"]))
    with pytest.warns(UserWarning, match="missing"):
        m = fit("Reaction ~ 1 + (1 | Subject) + (0 + z | Subject)", data)
    table = m.ranova(method="chisq")
    small = fit("Reaction ~ 1 + (1 | Subject)", data[data["z"].notna()])
    assert table["logLik"].iloc[2] == pytest.approx(small.llf, abs=1e-8)


def test_generalised_models_have_likelihood_ratios() -> None:
    m = fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial"
    )
    table = m.ranova()
    plain = fit("cbind(incidence, size - incidence) ~ period", load_dataset("cbpp"), family="binomial")
    assert table["LRT"].iloc[1] == pytest.approx(2 * (m.llf - plain.llf), abs=1e-8)
    assert table["p_value"].iloc[1] == pytest.approx(0.5 * table["Pr(>Chisq)"].iloc[1])


def test_marginality_within_a_term() -> None:
    data = load_dataset("cake")
    m = fit("angle ~ temp + (1 | recipe:replicate)", data)
    assert [p.label for p in random_reductions(m)] == ["(1 | recipe:replicate)"]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["y", "a", "b"]).assign(
        g=rng.integers(0, 20, 200)
    )
    own = rng.normal(size=(20, 4))[frame["g"]]
    frame["y"] += (
        own[:, 0] + own[:, 1] * frame["a"] + own[:, 2] * frame["b"] + own[:, 3] * frame["a"] * frame["b"]
    )
    m = fit("y ~ a * b + (a * b || g)", frame)
    assert [p.label for p in random_reductions(m)] == ["1 in (a * b || g)", "a:b in (a * b || g)"]


def test_what_has_no_test_is_refused_by_name() -> None:
    data = load_dataset("sleepstudy")
    with pytest.raises(PlanError, match="no random effects to test"):
        fit("Reaction ~ Days", data).ranova()
    with pytest.raises(PlanError, match=r"method='rlrt' suits none of the terms.*one variance"):
        fit("Reaction ~ Days + (Days | Subject)", data).ranova(method="rlrt")
    m = fit("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(DataError, match="does not carry its data"):
        replace(m, recall=replace(m.recall, data=None)).ranova()


def test_it_prints_with_its_heading() -> None:
    text = str(fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")).ranova(seed=1))
    assert text.startswith("ANOVA-like table for random effects: single term deletions. Model: Yield ~ 1 +")
    assert "RLRT, 10,000 draws" in text
    assert "restricted likelihoods (REML)" in text


def test_terms_of_nested_factors_have_a_label_each_and_the_table_repeats_itself() -> None:
    m: Any = fit("yield ~ nitro + (1 | Block / Variety)", load_dataset("Oats"))
    table = m.ranova()
    assert list(table.index) == ["<none>", "(1 | Variety:Block)", "(1 | Block)"]
    pd.testing.assert_frame_equal(m.ranova(), table)
