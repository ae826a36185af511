"""Conditional AIC: against the derivative of the fitted values by differences, cAIC4, and refits by lme4."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, SingularFitWarning, fit, load_dataset, model_selection
from lmmformula.inference.selection import conditional_aic as module
from lmmformula.inference.selection.table import corrected_aic

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/selection.json").read_text(encoding="utf-8"))


def by_differences(m: Fit, step: float) -> float:
    """sum_i d mu_i / d y_i, the whole fit made again for each row."""
    total = 0.0
    for i in range(m.problem.n):
        ends = []
        for sign in (1.0, -1.0):
            y = m.problem.y.copy()
            y[i] += sign * step
            ends.append(m.refit(y).fittedvalues.to_numpy()[i])
        total += (ends[0] - ends[1]) / (2.0 * step)
    return total


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(
    ("formula", "name"),
    [
        ("Yield ~ 1 + (1 | Batch)", "Dyestuff"),
        ("strength ~ 1 + (1 | batch) + (1 | sample)", "Pastes"),
        ("score ~ Machine + (Machine | Worker)", "Machines"),
    ],
)
def test_degrees_of_freedom_are_the_derivative_of_the_fit(formula: str, name: str, method: str) -> None:
    m = fit(formula, load_dataset(name), method=method, tolerance=1e-12)
    assert m.caic().df - 1.0 == pytest.approx(by_differences(m, 0.03 * m.sigma), rel=1e-5)


def test_with_weights_and_other_kinds() -> None:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(8), 5)
    data = pd.DataFrame({"x": rng.normal(size=40), "g": g, "t": np.tile(np.arange(5), 8)})
    slope = rng.normal(size=(8, 2))[g]
    data["y"] = (
        2 * rng.normal(size=8)[g]
        + data["x"] * slope[:, 0]
        + data["t"] * slope[:, 1]
        + 0.5 * rng.normal(size=40)
    )
    data["w"] = rng.uniform(0.5, 2.0, 40)
    for formula, weights in (("y ~ x + (1 | g)", "w"), ("y ~ x + cs(0 + x + t | g)", None)):
        m = fit(formula, data, tolerance=1e-12, weights=weights)
        assert m.caic().df - 1.0 == pytest.approx(by_differences(m, 0.03 * m.sigma), rel=2e-4)


@pytest.mark.parametrize("name", [n for n, ref in REFERENCE.items() if "caic" in ref and "repca" in ref])
def test_caic4_halves_one_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its likelihood is ours, and its degrees of freedom are ours with that part halved: within .1 of the derivative.

    Of three columns (Machines) its derivatives of Sigma are misplaced too, since it fills L and L' in one order.
    """
    ref = REFERENCE[name]
    m = fit(
        ref["formula"], load_dataset(ref["dataset"]), method="reml" if ref["reml"] else "ml", tolerance=1e-12
    )
    found = m.caic()
    assert found.llf == pytest.approx(ref["caic"]["loglik"], abs=2e-3)
    assert found.df == pytest.approx(ref["caic"]["df"], abs=0.1)
    if max(t.k for t in m.problem.terms) > 2:
        return
    moved = module._moved

    def halved(point: object) -> tuple[np.ndarray, np.ndarray]:
        m_j, c = moved(point)
        return m_j, 0.5 * c

    monkeypatch.setattr(module, "_moved", halved)
    assert m.caic().df == pytest.approx(ref["caic"]["df"], abs=2e-3)


@pytest.mark.parametrize(
    ("key", "name", "family"), [("epil_caic", "epil", "poisson"), ("bacteria_caic", "bacteria", "binomial")]
)
def test_counts_and_binary_responses_by_refits(key: str, name: str, family: str) -> None:
    ref = REFERENCE[key]
    data = load_dataset(name)
    if name == "epil":
        data = data[data["subject"].astype(int) % 3 == 0]
    else:
        data = data[data["ID"].astype(str).str[1:].astype(int) % 2 == 1]
    found = fit(ref["formula"], data, family=family).caic()
    assert found.llf == pytest.approx(ref["loglik"], abs=1e-3)
    assert found.df == pytest.approx(ref["df"], rel=1e-4)


def test_a_row_of_trials_is_as_many_binary_rows() -> None:
    rng = np.random.default_rng(0)
    short = pd.DataFrame({"g": np.repeat(list("abcdef"), 2), "x": np.tile([0.0, 1.0], 6), "n": 3})
    short["s"] = rng.binomial(3, 0.5, 12)
    triples = zip(short["g"], short["x"], short["s"], strict=True)
    rows = [(g, x, float(j < s)) for g, x, s in triples for j in range(3)]
    tall = pd.DataFrame(rows, columns=["g", "x", "s"])
    one = fit("cbind(s, n - s) ~ x + (1 | g)", short, family="binomial", tolerance=1e-12)
    other = fit("s ~ x + (1 | g)", tall, family="binomial", tolerance=1e-12)
    assert one.caic().df == pytest.approx(other.caic().df, rel=1e-5)
    assert one.caic("known").df == pytest.approx(other.caic("known").df, rel=1e-6)


def test_effective_degrees_of_freedom_are_the_trace_of_the_hat_matrix() -> None:
    m = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin"))
    z = [np.eye(t.m)[t.codes] * m.theta.iloc[i] for i, t in enumerate(m.problem.terms)]
    v = np.eye(m.problem.n) + sum(own @ own.T for own in z)
    x = m.problem.X.matrix
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ x @ np.linalg.inv(x.T @ inverse @ x) @ x.T @ inverse
    assert m.caic().effective == pytest.approx(m.problem.n - np.trace(p), rel=1e-9)
    assert fit("diameter ~ plate", load_dataset("Penicillin")).caic().df == 25.0


def test_at_the_boundary_it_is_the_smaller_model() -> None:
    with pytest.warns(SingularFitWarning):
        m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    assert m.caic().df == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-4, 1e5])
def test_it_does_not_depend_on_units(unit: float) -> None:
    data = load_dataset("sleepstudy")
    first = fit("Reaction ~ Days + (Days | Subject)", data).caic()
    moved = data.assign(Reaction=unit * data["Reaction"], Days=data["Days"] / unit)
    other = fit("Reaction ~ Days + (Days | Subject)", moved).caic()
    assert other.df == pytest.approx(first.df, rel=1e-5)
    assert other.llf + 180 * np.log(unit) == pytest.approx(first.llf, rel=1e-6)
    assert repr(first).startswith("Conditional AIC: 1711.5")


def test_families_without_a_correction_are_refused() -> None:
    m = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"), family="gamma(link='log')")
    with pytest.raises(PlanError, match=r"use caic\(variances='known'\)|Use caic\(variances='known'\)"):
        m.caic()
    assert m.caic("known").df > 3.0


# -- the table of models ---------------------------------------------------------------------------------------------


def test_models_are_ranked() -> None:
    data = load_dataset("sleepstudy")
    small = fit("Reaction ~ Days + (1 | Subject)", data, method="ml")
    large = fit("Reaction ~ Days + (Days | Subject)", data, method="ml")
    none = fit("Reaction ~ 1 + (1 | Subject)", data, method="ml")
    table = model_selection(small, none, large)
    assert table.index.tolist() == [m.formula for m in (large, small, none)]
    k, n = large.df_model, 180
    assert table["AICc"].iloc[0] == pytest.approx(large.aic + 2 * k * (k + 1) / (n - k - 1))
    assert table["AICc"].iloc[0] == corrected_aic(large)
    assert table["delta"].iloc[0] == 0.0
    assert float(table["weight"].to_numpy().sum()) == pytest.approx(1.0)
    ratio = table["weight"].iloc[1] / table["weight"].iloc[0]
    assert ratio == pytest.approx(np.exp(-0.5 * table["delta"].iloc[1]))
    by_bic = model_selection(small, large, none, criterion="bic")
    assert by_bic["delta"].iloc[1] == pytest.approx(small.bic - large.bic)
    both = model_selection(small, large, criterion="caic")
    assert both["cAIC"].iloc[0] == pytest.approx(large.caic().caic)
    assert "criterion='caic'" in table.attrs["note"]


def test_what_cannot_be_compared_is_refused() -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(PlanError, match=r"different fixed effects.*method='ml'"):
        model_selection(m, fit("Reaction ~ 1 + (1 | Subject)", data))
    with pytest.raises(PlanError, match="1 of the 2 models were fitted by REML"):
        model_selection(m, fit("Reaction ~ Days + (1 | Subject)", data, method="ml"))
    with pytest.raises(DataError, match="rows"):
        model_selection(m, fit("Reaction ~ Days + (1 | Subject)", data.iloc[:100]))
    with pytest.raises(DataError, match=r"model_selection\(\) compares fits"):
        model_selection(m, "Reaction ~ Days")
    pql = fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", family="binomial", method="pql"
    )
    with pytest.raises(PlanError, match="no likelihood"):
        model_selection(pql, pql)
