"""Power by simulation: against theory, against tests of single refits, and designs with other numbers of levels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.inference.many.designs import truth
from lmmformula.inference.many.draws import drawn_responses
from lmmformula.inference.many.extending import extended, without_columns
from lmmformula.inference.many.power import clopper_pearson


@cache
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


def test_power_of_a_linear_model_is_that_of_the_noncentral_t() -> None:
    m = fit("Reaction ~ Days", load_dataset("sleepstudy").iloc[:40])
    effect = 2.0 * float(m.bse.to_numpy()[1])
    found = m.power({"Days": effect}, n=4_000, seed=1).frame.iloc[0]
    df, cut = 38, stats.t.ppf(0.975, 38)
    exact = stats.nct.sf(cut, df, 2.0) + stats.nct.cdf(-cut, df, 2.0)
    low, high = stats.binom(4_000, exact).ppf([1e-4, 1 - 1e-4]) / 4_000
    assert low < found["power"] < high


@pytest.mark.parametrize("test", ["t", "z", "lr"])
def test_p_values_are_those_of_single_refits(test: str) -> None:
    m = sleep()
    curve = m.power({"Days": 5.0}, {"Subject": [9]}, n=5, seed=3, test=test)
    (stream,) = np.random.default_rng(3).spawn(1)
    beta = m.estimate.beta.copy()
    beta[1] = 5.0
    problem = extended(m.problem, "Subject", 9)
    y = next(drawn_responses(truth(m, problem, beta), 5, stream))
    table = pd.DataFrame({"d": problem.X.matrix[:, 1], "s": problem.terms[0].codes})
    for j, response in enumerate(y.T):
        one = fit("y ~ d + (d | s)", table.assign(y=response), method="ml" if test == "lr" else "reml")
        if test == "lr":
            none = fit("y ~ 1 + (d | s)", table.assign(y=response), method="ml")
            p = stats.chi2.sf(2.0 * (one.llf - none.llf), 1)
        else:
            p = one.pvalues["d"] if test == "t" else 2.0 * stats.norm.sf(abs(one.tvalues["d"]))
        assert curve.found.pvalues[0][j] == pytest.approx(p, rel=1e-3)


def test_several_coefficients_together() -> None:
    m = fit("angle ~ recipe + temp + (1 | recipe:replicate)", load_dataset("cake"))
    found = m.power({"recipeB": 0.0, "recipeC": 0.0}, n=300, seed=1, test="lr")
    low, high = stats.binom(300, 0.05).ppf([1e-4, 1 - 1e-4]) / 300
    assert low <= found.frame["power"].iloc[0] <= high + 0.03
    with pytest.raises(DataError, match="test='lr'"):
        m.power({"recipeB": 0.0, "recipeC": 0.0}, n=3)


def test_the_curve_rises_and_repeats_itself() -> None:
    curve = sleep().power({"Days": 5.0}, {"Subject": [6, 18, 60]}, n=200, seed=4)
    frame = curve.frame
    assert frame["power"].is_monotonic_increasing
    assert frame["rows"].tolist() == [60, 180, 600]
    assert np.all(frame["lower"] <= frame["power"])
    assert np.all(frame["power"] <= frame["upper"])
    again = sleep().power({"Days": 5.0}, {"Subject": [6, 18, 60]}, n=200, seed=4)
    pd.testing.assert_frame_equal(again.frame, frame)
    text = repr(curve)
    assert "Power of the test of Days = 5 at 0.05" in text
    assert "Clopper & Pearson" in text
    assert curve._repr_html_()
    pytest.importorskip("matplotlib")
    assert curve.plot().get_title("left") == "Power, Days"


def test_effects_can_be_varied() -> None:
    frame = sleep().power({"Days": 5.0}, {"Days": [0.0, 8.0]}, n=200, seed=4).frame
    assert frame["Days"].tolist() == [0.0, 8.0]
    assert frame["power"].iloc[0] < 0.15 < frame["power"].iloc[1]


def test_counts() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 8), "x": np.tile([0.0, 1.0], 40)})
    eta = 0.5 + 0.4 * data["x"] + 0.3 * rng.normal(size=10)[data["g"]]
    m = fit("y ~ x + (1 | g)", data.assign(y=rng.poisson(np.exp(eta))), family="poisson")
    found = m.power({"x": 1.0}, {"g": [6]}, n=8, seed=1, test="z").frame
    assert found["rows"].tolist() == [48]
    assert found["power"].iloc[0] > 0.5


def test_levels_are_copied_with_their_rows() -> None:
    problem = fit("strength ~ 1 + (1 | batch / cask)", load_dataset("Pastes")).problem
    batch = next(t for t in problem.terms if t.group == "batch")
    larger = extended(problem, "batch", 25)
    sizes = {t.group: t.m for t in larger.terms}
    assert sizes == {"batch": 25, "cask:batch": 75}
    assert larger.n == problem.n // batch.m * 25
    smaller = extended(problem, "batch", 4)
    assert {t.group: t.m for t in smaller.terms} == {"batch": 4, "cask:batch": 12}
    for t in larger.terms:
        assert np.bincount(t.codes).min() == np.bincount(t.codes).max()


def test_crossed_levels_stay() -> None:
    problem = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin")).problem
    larger = extended(problem, "plate", 50)
    assert {t.group: t.m for t in larger.terms} == {"plate": 50, "sample": 6}
    assert without_columns(problem, ("(Intercept)",)).p == 0


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.0362), (5, 0.0164, 0.1128), (100, 0.9638, 1.0)])
def test_clopper_and_pearson(hits: int, low: float, high: float) -> None:
    """Limits of R's binom.test(hits, 100)."""
    np.testing.assert_allclose(clopper_pearson(hits, 100, 0.95), (low, high), atol=6e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"effect": {"Day": 1.0}}, "'Day'"),
        ({"effect": {"Days": "x"}}, "finite number"),
        ({"vary": {"Subject": [1]}}, "at least 2"),
        ({"vary": {"Subject": [10.5]}}, "whole numbers"),
        ({"vary": {"Item": [10]}}, "no grouping factor and no coefficient"),
        ({"vary": {"Subject": [10], "Days": [1]}}, "2 things"),
        ({"vary": {"Subject": 10}}, "list of values"),
        ({"test": "F"}, "'lr'"),
    ],
)
def test_refusals(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        sleep().power(**{"effect": {"Days": 5.0}, "n": 5, **arguments})
