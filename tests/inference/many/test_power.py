"""Power by simulation: against theory, against tests of single refits, and designs with other numbers of levels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import DataError, Fit, PlanError, fit, load_dataset, power
from lmmformula.inference.many.designs import truth
from lmmformula.inference.many.draws import drawn_responses
from lmmformula.inference.many.extending import extended, more_rows, without_columns
from lmmformula.inference.many.layouts import laid_out, with_values
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


def test_the_function_is_the_method() -> None:
    curve = power(sleep(), effect={"Days": 5}, vary={"Subject": [6, 9]}, n=20, seed=4)
    again = sleep().power({"Days": 5}, {"Subject": [6, 9]}, n=20, seed=4)
    pd.testing.assert_frame_equal(curve.frame, again.frame)
    assert "by levels of Subject" in repr(curve)


def test_half_of_the_levels_are_half_of_each_treatment() -> None:
    """Whatever the order of the levels: copies are spread over the values of what is constant in them."""
    for treated in (np.repeat([0.0, 1.0], 20), np.tile([0.0, 1.0], 20)):
        data = pd.DataFrame(
            {"g": np.repeat(np.arange(40), 5), "t": np.repeat(treated, 5), "x": np.tile(np.arange(5.0), 40)}
        )
        m = fit(
            "y ~ t + x + (1 | g)",
            data.assign(y=np.random.default_rng(1).normal(size=200) + data["x"] + np.sin(data["g"])),
        )
        for size in (10, 20, 80):
            new = extended(m.problem, "g", size)
            assert new.n == 5 * size
            assert new.X.matrix[:, 1].mean() == 0.5
            assert new.X.matrix[:, 2].mean() == 2.0


def test_rows_within_levels() -> None:
    problem = sleep().problem
    fewer, more = more_rows(problem, "Subject", 5), more_rows(problem, None, 20)
    assert np.bincount(fewer.terms[0].codes).tolist() == [5] * 18
    assert np.unique(fewer.X.matrix[:5, 1]).tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert np.bincount(more.terms[0].codes).tolist() == [20] * 18
    assert np.unique(more.X.matrix[:20, 1], return_counts=True)[1].tolist() == [2] * 10
    crossed = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin")).problem
    assert more_rows(crossed, ["plate", "sample"], 3).n == 3 * crossed.n
    assert more_rows(crossed, "sample", 7).n == 7 * 6
    assert more_rows(crossed, None, 2).n == 2 * crossed.n
    frame = sleep().power({"Days": 5}, {"rows": [3, 10]}, n=20, within="Subject", seed=1).frame
    assert frame["rows within Subject"].tolist() == [3, 10]
    assert frame["rows"].tolist() == [54, 180]


def test_values_of_a_variable() -> None:
    m = sleep()
    table = with_values(m, "Days", np.array([0.0, 4.5]))
    assert table.columns.tolist() == ["Days", "Subject"]
    assert table["Days"].tolist() == [0.0, 4.5] * 18
    assert laid_out(m, table).n == 36
    cake = fit("angle ~ recipe * temp + (1 | recipe:replicate)", load_dataset("cake"))
    assert len(with_values(cake, "temp", np.array([175.0, 225.0]))) == 2 * 45
    frame = m.power({"Days": 5}, {"Days": [range(3), range(10)]}, n=200, seed=2).frame
    assert frame["Days"].tolist() == [3, 10]
    assert frame["power"].is_monotonic_increasing


def test_a_design_is_replayed_by_what_the_fit_learned() -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ poly(Days, 2) + (1 | Subject)", data)
    some = data[data["Subject"].isin(["308", "309"])]
    new = laid_out(m, pd.concat([some, some.assign(Subject="new")]))
    where = data["Subject"].isin(["308", "309"]).to_numpy()
    np.testing.assert_allclose(new.X.matrix[:20], m.problem.X.matrix[where])
    assert new.terms[0].levels.tolist() == ["308", "309", "new"]
    assert np.bincount(new.terms[0].codes).tolist() == [10, 10, 20]


def test_the_whole_data_as_a_design_are_the_fit_itself() -> None:
    m = sleep()
    data = load_dataset("sleepstudy")
    one = m.power({"Days": 5}, n=40, seed=7)
    same = m.power({"Days": 5}, n=40, seed=7, design=data.drop(columns="Reaction"))
    np.testing.assert_allclose(same.found.pvalues[0], one.found.pvalues[0], rtol=1e-6)
    two = m.power({"Days": 5}, n=10, seed=7, design={"half": data.iloc[:90], "all": data})
    assert two.frame["design"].tolist() == ["half", "all"]
    assert two.frame["rows"].tolist() == [90, 180]
    pytest.importorskip("matplotlib")
    assert [t.get_text() for t in two.plot().get_xticklabels()] == ["half", "all"]


def test_weights_of_a_design() -> None:
    data = load_dataset("cbpp")
    m = fit("incidence / size ~ period + (1 | herd)", data, family="binomial", weights="size")
    new = laid_out(m, data.iloc[:20])
    assert new.weights is not None
    assert new.weights.tolist() == data["size"].iloc[:20].tolist()
    again = fit(
        "incidence / size ~ period + (1 | herd)", data, family="binomial", weights=data["size"].to_numpy()
    )
    with pytest.raises(DataError, match="design has no weights"):
        laid_out(again, data.iloc[:20])


def test_rows_of_several_levels_are_refused() -> None:
    data = load_dataset("sleepstudy").assign(other="a")
    m = fit("Reaction ~ Days + (1 | mm(Subject, other))", data)
    with pytest.raises(PlanError, match="several levels"):
        m.power({"Days": 5}, {"rows": [5]}, n=2)
    with pytest.raises(PlanError, match="several levels"):
        m.power({"Days": 5}, n=2, design=data)


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
        ({"vary": {"rows": [0]}}, "at least 1"),
        ({"vary": {"rows": [5]}, "within": "Item"}, "'Item', which is no grouping factor"),
        ({"vary": {"Subject": [5]}, "within": "Subject"}, "within="),
        ({"vary": {"Subject": [5]}, "design": {"Days": [1], "Subject": ["a"]}}, "design="),
        ({"design": {"Days": [1.0, 2.0]}}, "design=: no column `Subject`"),
        ({"design": {"Days": [1.0, 1.0], "Subject": ["a", "b"]}}, "do not determine the coefficient of Days"),
        ({"vary": {"Item": [range(3)]}}, "no variable of the model"),
        ({"vary": {"Days": [[]]}}, "without values"),
        ({"test": "F"}, "'lr'"),
    ],
)
def test_refusals(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        sleep().power(**{"effect": {"Days": 5.0}, "n": 5, **arguments})
