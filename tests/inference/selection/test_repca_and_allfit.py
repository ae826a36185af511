"""How many directions random effects have, and whether every way leads to one optimum."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import PlanError, SingularFitWarning, fit, load_dataset

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/selection.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [n for n, ref in REFERENCE.items() if "repca" in ref])
def test_components_are_lme4s(name: str) -> None:
    ref = REFERENCE[name]
    m = fit(ref["formula"], load_dataset(ref["dataset"]), method="reml" if ref["reml"] else "ml")
    found = m.repca()
    assert {own.group for own in found.groups} == set(ref["repca"])
    for group, theirs in ref["repca"].items():
        np.testing.assert_allclose(found[group].sdev, np.atleast_1d(theirs["sdev"]), rtol=1e-4)
        rotation = np.abs(np.atleast_2d(theirs["rotation"]))
        np.testing.assert_allclose(np.abs(found[group].rotation), rotation, atol=1e-4)
        assert found[group].zero == 0
        assert found[group].proportion.sum() == pytest.approx(1.0)


def test_a_direction_without_variance_is_found_in_any_unit() -> None:
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(12), 8)
    data = pd.DataFrame({"x": rng.normal(size=96), "g": g})
    data["y"] = (1.0 + data["x"]) * (1.0 + rng.normal(size=12)[g]) + rng.normal(size=96)
    for unit in (1.0, 1e5, 1e-5):
        with pytest.warns(SingularFitWarning):
            m = fit("y ~ x + (x | g)", data.assign(x=data["x"] * unit))
        found = m.repca()
        assert (found["g"].zero, found.zero) == (1, 1)
        assert "1 of 2 of g" in repr(found)
    assert list(found.frame["is_zero"]) == [False, True]


def test_terms_on_one_factor_are_taken_together() -> None:
    m = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", load_dataset("sleepstudy"))
    (own,) = m.repca().groups
    assert own.columns == ("(Intercept)", "Days")
    assert own.sdev == pytest.approx(sorted(m.theta, reverse=True))
    with pytest.raises(PlanError, match="no grouping factor 'item'"):
        m.repca()["item"]
    with pytest.raises(PlanError, match="no random effects"):
        fit("Reaction ~ Days", load_dataset("sleepstudy")).repca()


def test_every_way_leads_to_one_optimum() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    found = m.allfit(seed=1)
    frame = found.frame
    assert found.same_optimum
    assert found.verdict.startswith("same optimum: 12 of 12")
    assert set(frame["kind"]) == {"fit", "engine", "start", "optimiser"}
    assert np.abs(frame["logLik"].to_numpy() - m.llf).max() < 1e-4
    assert frame["beta_gap"].to_numpy().max() < 1e-6
    np.testing.assert_allclose(found.estimates["Days"], 10.467286, rtol=1e-6)
    assert "Same optimum" in repr(found)
    assert "<table" in found._repr_html_()


def test_generalised_models_go_by_the_same_criterion() -> None:
    formula = "cbind(incidence, size - incidence) ~ 1 + (1 | herd)"
    m = fit(formula, load_dataset("cbpp"), family="binomial")
    found = m.allfit(seed=2)
    assert found.same_optimum, found.frame
    assert found.frame["kind"].tolist().count("optimiser") == 5


def test_a_fit_that_stopped_short_is_told() -> None:
    """Where the fit in question is lower than another run, the verdict says by how much and where to go on."""
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    found = m.allfit(seed=1)
    low = replace(found.runs[0], llf=found.runs[0].llf - 0.5)
    worse = replace(found, runs=(low, *found.runs[1:]))
    assert not worse.same_optimum
    assert "higher by 0.5" in worse.verdict
    astray = replace(found.runs[-1], llf=found.runs[-1].llf - 0.5)
    split = replace(found, runs=(*found.runs[:-1], astray))
    assert "Nelder-Mead ended elsewhere" in split.verdict
    stopped = replace(found, runs=(*found.runs[:-1], replace(astray, converged=False)))
    assert stopped.same_optimum
    assert "1 stopped short" in stopped.verdict


def test_there_must_be_something_to_search() -> None:
    with pytest.raises(PlanError, match="one maximum"):
        fit("Reaction ~ Days", load_dataset("sleepstudy")).allfit()
