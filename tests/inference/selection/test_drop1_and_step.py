"""Terms of the fixed part dropped one at a time, and backward selection: lmerTest's and lme4's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, SingularFitWarning, anova, fit, load_dataset

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/selection.json").read_text(encoding="utf-8"))
MODELS = [name for name, ref in REFERENCE.items() if "drop1_f" in ref]


def model(name: str) -> Fit:
    ref = REFERENCE[name]
    return fit(ref["formula"], load_dataset(ref["dataset"]), method="reml" if ref["reml"] else "ml")


def same(table: pd.DataFrame, ref: dict[str, Any], columns: dict[str, str], rtol: float = 1e-4) -> None:
    """The rows and the named columns of a table of R's."""
    assert list(table.index) == _as_list(ref["rows"])
    for ours, theirs in columns.items():
        expected = np.array(_as_list(ref["values"][theirs]), dtype=float)
        np.testing.assert_allclose(
            table[ours].to_numpy(dtype=float), expected, rtol=rtol, atol=1e-10, err_msg=ours
        )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


F = {name: name for name in ("Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)")}
LRT = {"npar": "npar", "AIC": "AIC", "LRT": "LRT", "Pr(>Chisq)": "Pr(Chi)"}


@pytest.mark.parametrize("name", MODELS)
def test_f_tests_are_lmertests(name: str) -> None:
    m, ref = model(name), REFERENCE[name]
    same(m.drop1(), ref["drop1_f"], F)
    if "drop1_kr" in ref:
        same(m.drop1(ddf="kenward-roger"), ref["drop1_kr"], F)


@pytest.mark.parametrize("name", MODELS)
def test_likelihood_ratios_are_lme4s(name: str) -> None:
    same(model(name).drop1("chisq"), REFERENCE[name]["drop1_chisq"], LRT)


def test_generalised_models() -> None:
    m = fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial"
    )
    same(m.drop1(), REFERENCE["cbpp_drop1"], LRT)
    wald = m.drop1("wald")
    assert wald.loc["period", "Chisq"] == pytest.approx(m.anova(type=2)["Chisq"].iloc[0], rel=1e-10)
    with pytest.raises(PlanError, match=r"test='f' is for Gaussian responses"):
        m.drop1("f")


def test_quasi_likelihood_has_walds() -> None:
    m = fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", family="binomial", method="pql"
    )
    assert m.drop1().attrs["heading"].startswith("Single term deletions with Wald's tests")
    with pytest.raises(PlanError, match="no likelihood"):
        m.drop1("chisq")


def test_without_an_intercept_the_hypothesis_is_the_smaller_model() -> None:
    """Without a, b keeps all of its levels: one coefficient less than a's columns."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=90),
            "a": rng.choice(list("pqr"), 90),
            "b": rng.choice(list("st"), 90),
            "g": rng.integers(0, 9, 90),
        }
    )
    data["y"] += rng.normal(size=9)[data["g"]]
    m = fit("y ~ 0 + a + b + (1 | g)", data)
    table = m.drop1()
    with_intercept = fit("y ~ a + b + (1 | g)", data).drop1()
    np.testing.assert_allclose(table["NumDF"], [2.0, 1.0])
    np.testing.assert_allclose(table["F value"], with_intercept["F value"], rtol=1e-6)


def test_errors_by_clusters() -> None:
    m = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    table, other = m.drop1(vcov="CR2", cluster="Subject"), m.anova(vcov="CR2", cluster="Subject")
    for column in ("F value", "DenDF", "Pr(>F)"):
        np.testing.assert_allclose(table[column], other[column], rtol=1e-10)
    with pytest.raises(PlanError, match="vcov= and cluster= are of tests by this fit"):
        m.drop1("chisq", vcov="CR2")


def test_a_bootstrap_of_a_term() -> None:
    m = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    table = m.drop1("bootstrap", n=19, seed=3)
    assert table["p_value"].iloc[1] == pytest.approx(0.05)
    assert "19 responses" in table.attrs["note"]


def test_only_terms_that_no_other_contains() -> None:
    m = fit("angle ~ recipe * temp + (1 | recipe:replicate)", load_dataset("cake"))
    assert list(m.drop1().index) == ["recipe:temp"]
    with pytest.raises(PlanError, match="no term in its fixed part"):
        fit("angle ~ 1 + (1 | recipe:replicate)", load_dataset("cake")).drop1()


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_lmertests(name: str) -> None:
    m, ref = model(name), REFERENCE[name]["step"]
    found = m.step()
    random = {n: n for n in ("Eliminated", "npar", "logLik", "AIC", "LRT", "Df", "Pr(>Chisq)")}
    same(found.random, ref["random"], random)
    same(found.fixed, ref["fixed"], {"Eliminated": "Eliminated", **F})
    terms = [t.label for t in found.fit.problem.terms]
    assert f"{found.fit.problem.X.term_labels} {terms}" == _left(ref["final"], m)


def _left(final: str, m: Fit) -> str:
    left = m.update(final.replace("\n", " "))
    return f"{left.problem.X.term_labels} {[t.label for t in left.problem.terms]}"


def test_steps_down_to_a_linear_model() -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=80), "z": rng.normal(size=80), "g": np.arange(80) % 8})
    data["y"] = 1.0 + 2.0 * data["x"] + rng.normal(size=80)
    with pytest.warns(SingularFitWarning):
        m = fit("y ~ x + z + (z | g)", data)
    found = m.step()
    assert found.fit.problem.terms == ()
    assert found.fit.problem.X.term_labels == ("x",)
    frame = found.frame
    assert frame.loc[frame["part"] == "random", "eliminated"].tolist() == [1, 2]
    assert list(frame.loc[frame["part"] == "fixed", "term"]) == ["z", "x"]
    kept = m.step(keep="z")
    assert kept.fit.problem.X.term_labels == ("x", "z")


def test_steps_of_a_generalised_model_use_likelihood_ratios() -> None:
    data = load_dataset("cbpp").assign(noise=lambda d: np.cos(np.arange(len(d))))
    m = fit("cbind(incidence, size - incidence) ~ period + noise + (1 | herd)", data, family="binomial")
    found = m.step()
    assert found.fixed.loc["noise", "Eliminated"] == 1.0
    small = m.update("~ . - noise")
    assert found.fixed.loc["noise", "LRT"] == pytest.approx(anova(small, m)["Chisq"].iloc[1], abs=1e-6)
    assert found.fit.llf == pytest.approx(small.llf, abs=1e-6)


def test_what_steps_say() -> None:
    m = fit("yield ~ Variety * nitro + (1 | Block) + (1 | Block:Variety)", load_dataset("Oats"))
    found = m.step()
    text = repr(found)
    for part in (
        "Backward reduced random-effect table",
        "Backward reduced fixed-effect table",
        f"Model found: {found.formula}",
        "chosen by the same data",
    ):
        assert part in text
    assert "<table" in found._repr_html_()
    with pytest.raises(PlanError, match="direction='forward'"):
        m.step("forward")
    with pytest.raises(DataError, match="keep='nothing' is no term"):
        m.step(keep="nothing")
